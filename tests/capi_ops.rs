//! Calls in the background, in a C program with an event loop.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::process::Command;

const NETWORK: &str = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "fake"}]}"#;

#[test]
fn calls_run_in_the_background() {
    let directory = tempfile::tempdir().unwrap();
    let program = common::compile("ops.c", directory.path());
    for check in ["loop", "free", "waiting", "cancel", "fork", "callback", "stack"] {
        let node = tempfile::tempdir().unwrap();
        std::fs::write(node.path().join("net.conflist"), NETWORK).unwrap();
        let output = Command::new("timeout").arg("60").arg(&program).arg(check).arg(node.path()).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{check}: {}\n{said}", output.status);
    }
}
