//! The descriptor for changes of the configuration, in a C program. Which changes wake is in `changes.rs`.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::process::Command;

#[test]
fn an_event_loop_in_c_learns_of_changes() {
    let directory = tempfile::tempdir().unwrap();
    let program = common::compile("changes.c", directory.path());
    let node = directory.path().join("node");
    std::fs::create_dir_all(node.join("net.d")).unwrap();
    let output = Command::new("timeout").arg("60").arg(&program).arg(&node).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{}\n{said}", output.status);
}
