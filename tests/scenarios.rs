//! Every scenario of `scenarios/scenarios.json` through the C interface: a test each, on a node of its own.
//!
//! The work is done by `bindings/c/tests/runner.c`, compiled here against the library that cargo just built.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use common::{root, shared_library};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use tempfile::TempDir;

#[path = "capi/mod.rs"]
mod common;
mod node;

/// These run a second time under valgrind: a good course, errors of plugins, of files and of the caller.
const UNDER_VALGRIND: [&str; 4] = [
    "a pod on two networks is taken off them in reverse",
    "where the second network fails, the first is taken off",
    "what the status tells of every file",
    "bad requests name what is wrong",
];

fn main() -> Result<ExitCode, String> {
    let arguments = Arguments::from_args();
    let scenarios = root().join("tests/scenarios/scenarios.json");
    let names = names(&scenarios)?;
    let runner = Arc::new(Runner::compile(scenarios)?);
    let trial = |name: &str, valgrind: bool| {
        let (runner, scenario) = (runner.clone(), name.to_owned());
        let way = if valgrind { ", under valgrind" } else { "" };
        Trial::test(format!("{name}{way}"), move || runner.run(&scenario, valgrind))
    };
    let plain = names.iter().map(|name| trial(name, false));
    // Not where all of them run under a tool.
    let again: &[_] = if std::env::var_os("CNIRT_TEST_UNDER").is_some() { &[] } else { &UNDER_VALGRIND };
    let trials = plain.chain(again.iter().map(|name| trial(name, true))).collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn names(scenarios: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read(scenarios).map_err(|error| format!("{}: {error}", scenarios.display()))?;
    let list: Vec<Value> =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", scenarios.display()))?;
    let name = |scenario: &Value| scenario["name"].as_str().map(ToOwned::to_owned);
    list.iter().map(|scenario| name(scenario).ok_or_else(|| format!("no name: {scenario}"))).collect()
}

/// The compiled runner, and the library under its SONAME, as an installation has it.
struct Runner {
    scenarios: PathBuf,
    dir: TempDir,
}

impl Runner {
    fn compile(scenarios: PathBuf) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        for name in ["libcnirt.so", "libcnirt.so.0"] {
            symlink(shared_library(), dir.path().join(name)).map_err(|error| error.to_string())?;
        }
        let mut command = common::cc();
        command
            .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-g", "-o"])
            .arg(dir.path().join("runner"))
            .args(["bindings/c/tests/runner.c", "-Iinclude", "-lcnirt"])
            .arg(format!("-L{}", dir.path().display()))
            .arg(format!("-Wl,--disable-new-dtags,-rpath,{}", dir.path().display()))
            .current_dir(root());
        node::run(&mut command).map_err(|why| format!("compiling the runner: {why}"))?;
        common::put_under_tool(&dir.path().join("runner"));
        Ok(Self { scenarios, dir })
    }

    fn run(&self, name: &str, valgrind: bool) -> Result<(), Failed> {
        let runner = self.dir.path().join("runner");
        let mut command;
        if valgrind {
            command = node::command("valgrind");
            command.args(["-q", "--error-exitcode=9", "--leak-check=full"]);
            let suppressions = root().join("tests/suppressions/valgrind.supp");
            command.arg(format!("--suppressions={}", suppressions.display())).arg(runner);
            // It cannot follow a nanny.
            command.env("CNIRT_SPAWN", "direct");
        } else {
            command = node::command(runner);
        }
        // Whatever a scenario that fails leaves goes with the directory.
        let tmp = tempfile::tempdir()?;
        node::run(command.arg(&self.scenarios).arg(name).env("TMPDIR", tmp.path()))?;
        Ok(())
    }
}
