//! Many hosts at once on one node, with all that goes wrong there: nothing is left behind, and nothing is given twice.
//!
//! Eight processes of eight threads set up and tear down 2 000 pods with the real plugins bridge and host-local, on one
//! cache directory. Calls time out and are cancelled, plugins hang and fail, processes are killed and start anew. What
//! every call did is in one history, which is replayed at the end. This program is also the node, the hosts, and the
//! plugins that hang.
//!
//! `CNIRT_STORM_SECONDS` (20) and `CNIRT_STORM_SEED` (printed) can be given, and `CNIRT_STORM_PLUGINS` chooses between the
//! installed plugins (`debian`) and those of `scripts/plugins`, of CNI 1.1.0, whose own GC runs, too (`built`).

use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};

use self::plan::Plan;

#[path = "storm/end.rs"]
mod end;
#[path = "storm/history.rs"]
mod history;
#[path = "storm/host.rs"]
mod host;
#[path = "storm/leftovers.rs"]
mod leftovers;
#[path = "storm/node.rs"]
mod node;
#[path = "storm/plan.rs"]
mod plan;
#[path = "storm/plugin.rs"]
mod plugin;
#[path = "storm/replay_rows.rs"]
mod replay_rows;

/// What this process is: unset, the test.
const ROLE: &str = "CNIRT_STORM_ROLE";
/// Beyond the storm itself: to end what runs, to replay, to look for leftovers.
const PATIENCE: Duration = Duration::from_secs(1200);

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return plugin::main();
    }
    let answer = match std::env::var(ROLE).as_deref() {
        Err(_) => return libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
        Ok("node") => node::main(),
        Ok("end") => end::main(),
        Ok(host) => host::main(host),
    };
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Vec<Trial> {
    let mut trials = replay_rows::trials();
    trials.push(Trial::test("after a storm nothing is left, and no two pods had the same", storm));
    trials
}

fn storm() -> Result<(), Failed> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = number("CNIRT_STORM_SEED")?.unwrap_or(u64::from(now.subsec_micros()));
    let seconds = number("CNIRT_STORM_SECONDS")?.unwrap_or(20);
    let built = match std::env::var("CNIRT_STORM_PLUGINS").as_deref() {
        Err(_) | Ok("debian") => false,
        Ok("built") => true,
        Ok(other) => return Err(format!("CNIRT_STORM_PLUGINS={other}: neither debian nor built").into()),
    };
    if built {
        let output = Command::new("scripts/plugins").current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    let plan = Plan { dir: dir.path().to_owned(), seed, seconds, built };
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &(seconds + PATIENCE.as_secs()).to_string(), "unshare", "--net", "--mount"]);
    // Whatever else is there dies with the node.
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--").arg(std::env::current_exe()?).env(ROLE, "node");
    let output = plan.tell(&mut command).output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        return Ok(());
    }
    Err(format!("seed {seed}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn number(variable: &str) -> Result<Option<u64>, String> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{variable}={text}: not a number"))
}
