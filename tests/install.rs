//! `make install`, and C programs that find the library by pkg-config, dynamic and static.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{make, root, run};

fn pkg_config(destination: &Path, arguments: &[&str]) -> Vec<String> {
    let flags = run(Command::new("pkg-config")
        .args(arguments)
        .arg("cnirt")
        .env("PKG_CONFIG_LIBDIR", destination.join("usr/lib64/pkgconfig"))
        .env("PKG_CONFIG_SYSROOT_DIR", destination));
    flags.split_whitespace().map(ToOwned::to_owned).collect()
}

/// Every installed path and what a link points to, sorted.
fn installed(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            let link = fs::read_link(&path).ok().map(|to| format!(" -> {}", to.display()));
            found.push(name + &link.unwrap_or_default());
        }
    }
    found.sort();
    found
}

#[test]
fn programs_link_what_make_installs() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("destination");
    make("install", &destination);
    let version = env!("CARGO_PKG_VERSION");
    let abi = cnirt::capi::cni_abi_version();
    assert_eq!(
        installed(&destination),
        [
            "usr/include/cnirt.h".to_owned(),
            "usr/lib64/libcnirt.a".to_owned(),
            format!("usr/lib64/libcnirt.so -> libcnirt.so.{abi}"),
            format!("usr/lib64/libcnirt.so.{abi} -> libcnirt.so.{version}"),
            format!("usr/lib64/libcnirt.so.{version}"),
            "usr/lib64/pkgconfig/cnirt.pc".to_owned(),
        ]
    );
    assert_eq!(pkg_config(&destination, &["--modversion"]), [version]);

    let libraries = destination.join("usr/lib64");
    let program = directory.path().join("program");
    let source = root().join("tests/capi/every_function.c");
    run(Command::new("gcc")
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .args(pkg_config(&destination, &["--cflags", "--libs"])));
    run(Command::new(&program).env("LD_LIBRARY_PATH", &libraries));

    // Only this library static: the shared one is away.
    fs::remove_file(libraries.join("libcnirt.so")).unwrap();
    let flags = pkg_config(&destination, &["--static", "--cflags", "--libs"]);
    run(Command::new("gcc").arg(&source).arg("-o").arg(&program).args(flags));
    run(&mut Command::new(&program));

    make("uninstall", &destination);
    assert!(installed(&destination).is_empty());
}

#[test]
fn the_private_libraries_are_those_that_rustc_names() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("empty.rs");
    fs::write(&source, "").unwrap();
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--crate-type=staticlib", "--print=native-static-libs", "-o"])
        .arg(directory.path().join("libempty.a"))
        .arg(&source)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let named = said.lines().find_map(|line| line.split_once("native-static-libs: ")).unwrap().1.trim();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    assert!(makefile.contains(&format!("PRIVATE_LIBS := {named}\n")), "rustc says {named}");
}
