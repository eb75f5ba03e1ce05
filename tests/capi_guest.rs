//! The library in a C program that treats it badly: little stacks, forks, threads.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::process::Command;

#[test]
fn it_is_a_good_guest() {
    let directory = tempfile::tempdir().unwrap();
    let program = common::compile("guest.c", directory.path());
    for check in ["thread", "coroutine", "signal", "fork", "forks"] {
        let output = Command::new(&program).arg(check).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{check}: {}\n{said}", output.status);
    }
}
