//! A node for one test: fresh network and mount namespaces, so that nothing meets the machine's own network.

use std::ffi::OsStr;
use std::process::{Command, Output};

/// In seconds. What takes longer hangs.
const LIMIT: &str = "120";

/// A command that runs `program` on a node of its own; root there, whoever starts it.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args([LIMIT, "unshare", "--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--").arg(program);
    command
}

/// Runs a command to its end; where it fails, the error is what it printed.
pub(crate) fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    Err(format!("{}\n{stdout}{stderr}", output.status))
}
