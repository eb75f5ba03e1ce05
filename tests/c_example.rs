//! The C example, built through pkg-config from an installation, as a user builds it.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use common::{make, root};

#[path = "capi/mod.rs"]
mod common;
mod node;

/// Runs the example where there is a namespace, and where there is none any more; nothing is left.
const SCRIPT: &str = r#"set -e
cd "$TMPDIR"
mkdir conf
cat > conf/net.conflist <<EOF
{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "isGateway": true,
 "ipam": {"type": "host-local", "dataDir": "$TMPDIR/ipam", "subnet": "10.1.0.0/24"}}]}
EOF
: > blue
unshare --net=blue true
pod() { "$1" "$TMPDIR/blue" "{\"confDir\": \"$TMPDIR/conf\", \"cacheDir\": \"$TMPDIR/cache\"}"; }
pod "$1"
test -z "$(ip -o link show type veth; find cache/results ipam/net -name '*eth0' -o -name '10.*')"
umount blue
if pod "$1"; then exit 1; fi
"#;

#[test]
fn the_c_example_attaches_a_namespace_and_detaches_it() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("destination");
    make("install", &destination);
    let libraries = destination.join("usr/lib64");

    // A copy, as the makefile builds beside the sources.
    let c = directory.path().join("c");
    node::run(Command::new("cp").arg("-r").args([&root().join("bindings/c"), &c])).unwrap();
    let mut build = Command::new("make");
    build.arg("-C").arg(&c).arg("CFLAGS=-Wall -Wextra -Werror -pedantic").env_remove("MAKEFLAGS");
    build.env("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &destination);
    node::run(&mut build).unwrap();

    let mut script = node::command("sh");
    script.args(["-c", SCRIPT, "sh"]).arg(c.join("examples/pod"));
    script.env("TMPDIR", directory.path()).env("LD_LIBRARY_PATH", &libraries);
    let output = node::run(&mut script).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[\"10.1.0.2\"]\n");
    let blue = directory.path().join("blue");
    let words = format!("setting up: CNI_E_NETNS: {} is not a network namespace: not a namespace\n", blue.display());
    assert_eq!(String::from_utf8_lossy(&output.stderr), words);
}
