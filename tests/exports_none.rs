//! Without the feature `capi` the library has no C symbols.
#![cfg(not(feature = "capi"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

#[test]
fn a_rust_program_gets_no_c_symbols() {
    let symbols =
        common::run(std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(common::shared_library()));
    assert!(!symbols.contains("cni_"), "{symbols}");
}
