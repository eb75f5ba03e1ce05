//! What the tests of the shared library have in common. Not every test uses all of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
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

/// The C compiler: `CC`, which may have flags in it, for sanitizers.
pub(crate) fn cc() -> Command {
    let cc = std::env::var("CC").unwrap_or_else(|_| "gcc".to_owned());
    let mut words = cc.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// Where `CNIRT_TEST_UNDER` names a tool with its arguments, puts a script that runs the program under it in its place.
pub(crate) fn put_under_tool(program: &Path) {
    let Ok(tool) = std::env::var("CNIRT_TEST_UNDER") else { return };
    let itself = program.with_extension("itself");
    std::fs::rename(program, &itself).unwrap();
    std::fs::write(program, format!("#!/bin/sh\nexec {tool} {} \"$@\"\n", itself.display())).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Compiles a program of `tests/capi` against the shared library, by the name that it will have once installed. An
/// `LD_LIBRARY_PATH` does not lead it to another one.
pub(crate) fn compile(source: &str, into: &Path) -> PathBuf {
    let library = into.join("libcnirt.so.0");
    std::os::unix::fs::symlink(shared_library(), &library).unwrap();
    build(source, into, &[library.display().to_string(), format!("-Wl,--disable-new-dtags,-rpath,{}", into.display())])
}

/// Compiles a program of `tests/capi` that loads the shared library itself.
pub(crate) fn compile_alone(source: &str, into: &Path) -> PathBuf {
    build(source, into, &[])
}

fn build(source: &str, into: &Path, libraries: &[String]) -> PathBuf {
    let program = into.join("program");
    run(cc()
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"])
        .arg(format!("-I{}", root().join("include").display()))
        .arg(root().join("tests/capi").join(source))
        .arg("-o")
        .arg(&program)
        .args(libraries));
    put_under_tool(&program);
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
