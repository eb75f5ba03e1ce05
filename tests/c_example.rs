//! The C examples, built through pkg-config from an installation, as a user builds them.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{make, root};

#[path = "capi/mod.rs"]
mod common;
mod node;

/// A node with a network, and what may not be left of a pod.
const NODE: &str = r#"set -e
cd "$TMPDIR"
mkdir conf
cat > conf/net.conflist <<EOF
{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "isGateway": true,
 "ipam": {"type": "host-local", "dataDir": "$TMPDIR/ipam", "subnet": "10.1.0.0/24"}}]}
EOF
nothing_is_left() {
    test -z "$(ip -o link show type veth; find cache/results cache/cnirt/intents ipam/net -name '*eth0' -o -name '10.*')"
    test -z "$(ls cache/cnirt/intents)"
}
"#;

/// Runs the example where there is a namespace, and where there is none any more.
const POD: &str = r#"
: > blue
unshare --net=blue true
pod() { "$1" "$TMPDIR/blue" "{\"confDir\": \"$TMPDIR/conf\", \"cacheDir\": \"$TMPDIR/cache\"}"; }
pod "$1"
nothing_is_left
umount blue
if pod "$1"; then exit 1; fi
"#;

/// Runs it without a network, and with one.
const EVENT_LOOP: &str = r#"
mkdir netns
loop() { "$1" "$TMPDIR/netns" "{\"confDir\": \"$TMPDIR/$2\", \"cacheDir\": \"$TMPDIR/cache\", \"opThreads\": 8}"; }
if loop "$1" none 2> errors; then exit 1; fi
test "$(grep -c '^setup_pod .*/netns/pod[0-9]*: CNI_E_NOT_READY: cni config uninitialized$' errors)" = 200
loop "$1" conf
nothing_is_left
test -z "$(ls netns)"
"#;

/// Builds the examples; where they are, and where the library is.
fn build(directory: &Path) -> [PathBuf; 2] {
    let destination = directory.join("destination");
    make("install", &destination);
    let libraries = destination.join("usr/lib64");

    // A copy, as the makefile builds beside the sources.
    let c = directory.join("c");
    node::run(Command::new("cp").arg("-r").args([&root().join("bindings/c"), &c])).unwrap();
    let mut build = Command::new("make");
    build.arg("-C").arg(&c).arg("CFLAGS=-Wall -Wextra -Werror -pedantic").env_remove("MAKEFLAGS");
    build.env("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &destination);
    node::run(&mut build).unwrap();
    [c.join("examples"), libraries]
}

/// What an example that a script runs on a node prints: its standard output, its standard error.
fn run(example: &str, script: &str, directory: &Path) -> [String; 2] {
    let [examples, libraries] = build(directory);
    let mut command = node::command("sh");
    command.arg("-c").arg([NODE, script].concat()).arg("sh").arg(examples.join(example));
    command.env("TMPDIR", directory).env("LD_LIBRARY_PATH", &libraries);
    let output = node::run(&mut command).unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn the_c_example_attaches_a_namespace_and_detaches_it() {
    let directory = tempfile::tempdir().unwrap();
    let [stdout, stderr] = run("pod", POD, directory.path());
    assert_eq!(stdout, "[\"10.1.0.2\"]\n");
    let blue = directory.path().join("blue");
    let words = format!("setting up: CNI_E_NETNS: {} is not a network namespace: not a namespace\n", blue.display());
    assert_eq!(stderr, words);
}

#[test]
fn the_event_loop_attaches_200_namespaces_and_detaches_them() {
    let directory = tempfile::tempdir().unwrap();
    let [stdout, stderr] = run("event_loop", EVENT_LOOP, directory.path());
    assert_eq!(stderr, "");
    let told: Vec<_> = stdout.lines().filter_map(|line| line.split_once(" has 10.1.0.")).collect();
    let pods: BTreeSet<_> = told.iter().map(|(pod, _)| *pod).collect();
    let addresses: BTreeSet<_> = told.iter().map(|(_, address)| *address).collect();
    assert_eq!((stdout.lines().count(), pods.len(), addresses.len()), (200, 200, 200), "{stdout}");
}
