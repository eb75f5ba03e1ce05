//! Every scenario of `scenarios/scenarios.json` through the C interface: a test each, on a node of its own.
//!
//! The work is done by `bindings/c/tests/runner.c`, compiled here against the library that cargo just built.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use common::{root, shared_library};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use tempfile::TempDir;

#[path = "capi/mod.rs"]
mod common;
mod node;

fn main() -> Result<ExitCode, String> {
    let arguments = Arguments::from_args();
    let scenarios = root().join("tests/scenarios/scenarios.json");
    let names = names(&scenarios)?;
    let runner = Arc::new(Runner::compile()?);
    let trials = names.into_iter().map(|name| {
        let (runner, scenarios) = (runner.clone(), scenarios.clone());
        Trial::test(name.clone(), move || runner.run(&scenarios, &name))
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
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
    dir: TempDir,
}

impl Runner {
    fn compile() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let library = shared_library();
        for name in ["libcnirt.so", "libcnirt.so.0"] {
            symlink(&library, dir.path().join(name)).map_err(|error| error.to_string())?;
        }
        let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(cc);
        command
            .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-g", "-o"])
            .arg(dir.path().join("runner"))
            .args(["bindings/c/tests/runner.c", "-Iinclude", "-lcnirt"])
            .arg(format!("-L{}", dir.path().display()))
            .arg(format!("-Wl,-rpath,{}", dir.path().display()))
            .current_dir(root());
        node::run(&mut command).map_err(|why| format!("compiling the runner: {why}"))?;
        Ok(Self { dir })
    }

    fn run(&self, scenarios: &Path, name: &str) -> Result<(), Failed> {
        // Whatever a scenario that fails leaves goes with the directory.
        let tmp = tempfile::tempdir()?;
        let mut command = node::command(self.dir.path().join("runner"));
        node::run(command.arg(scenarios).arg(name).env("TMPDIR", tmp.path()))?;
        Ok(())
    }
}
