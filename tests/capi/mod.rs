//! What the tests of the shared library have in common. Not every test uses all of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where the libraries are that belong to this test: beside it. The ones a directory higher may be older.
pub(crate) fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

pub(crate) fn shared_library() -> PathBuf {
    libraries().join("libcnirt.so")
}

/// What a command that must succeed prints.
pub(crate) fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Compiles a program of `tests/capi` against the shared library, by the name that it will have once installed.
pub(crate) fn compile(source: &str, into: &Path) -> PathBuf {
    let library = into.join("libcnirt.so.0");
    std::os::unix::fs::symlink(shared_library(), &library).unwrap();
    gcc(source, into, &[library.display().to_string(), format!("-Wl,-rpath,{}", into.display())])
}

/// Compiles a program of `tests/capi` that loads the shared library itself.
pub(crate) fn compile_alone(source: &str, into: &Path) -> PathBuf {
    gcc(source, into, &[])
}

fn gcc(source: &str, into: &Path, libraries: &[String]) -> PathBuf {
    let program = into.join("program");
    run(Command::new("gcc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"])
        .arg(format!("-I{}", root().join("include").display()))
        .arg(root().join("tests/capi").join(source))
        .arg("-o")
        .arg(&program)
        .args(libraries));
    program
}

/// Runs make on the build that is there, in place of a release build that would take minutes.
pub(crate) fn make(target: &str, destination: &Path) {
    let target_dir = libraries().parent().unwrap().parent().unwrap().to_owned();
    let profile = libraries().parent().unwrap().file_name().unwrap().to_owned();
    run(Command::new("make")
        .arg(target)
        .args(["PREFIX=/usr", "LIBDIR=/usr/lib64"])
        .arg(format!("PROFILE={}", profile.display()))
        .arg(format!("CARGO={}", env!("CARGO")))
        .arg(format!("CARGO_TARGET_DIR={}", target_dir.display()))
        .arg(format!("DESTDIR={}", destination.display()))
        // The jobserver of a make that runs the tests is not for this one.
        .env_remove("MAKEFLAGS")
        .current_dir(root()));
}
