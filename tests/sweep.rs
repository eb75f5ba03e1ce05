//! Nothing is left behind, whatever dies and whatever fails: hosts are killed just before every system call that a
//! set-up, a teardown or a GC makes, and every such call fails in every way that it can; then others make it good.
//!
//! A test starts this program again in namespaces of its own, of which it is the first process, and which has what to do
//! in its environment. With `CNIRT_LONG` every point is tried with real plugins, too, else every tenth.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

use self::run::{PARTS, Points, Sweep};
use self::world::{Plugins, Spawn, Step};

#[path = "sweep/calls.rs"]
mod calls;
#[path = "capi/mod.rs"]
mod common;
#[path = "real_plugins/node_state.rs"]
#[allow(dead_code, reason = "rows of real plugins use all of it")]
mod node_state;
#[path = "sweep/run.rs"]
mod run;
#[path = "sweep/trace.rs"]
mod trace;
#[path = "sweep/watchdog.rs"]
mod watchdog;
#[path = "sweep/world.rs"]
mod world;

/// Tells the program on a node which of the sweeps to do; and where the programs are.
const SWEEP: &str = "CNIRT_SWEEP";
const PROGRAMS: &str = "CNIRT_SWEEP_PROGRAMS";

/// In seconds, for a process; what takes longer hangs.
const LIMIT: &str = "3600";

fn main() -> Result<ExitCode, String> {
    let long = std::env::var_os("CNIRT_LONG").is_some_and(|value| !value.is_empty());
    let sweeps = sweeps(long);
    if let Ok(asked) = std::env::var(SWEEP) {
        let programs = PathBuf::from(std::env::var_os(PROGRAMS).unwrap_or_default());
        let (_, sweep) = asked.parse().ok().and_then(|index: usize| sweeps.get(index)).ok_or(asked)?;
        return Ok(match sweep.run(&programs) {
            Ok(tried) => {
                println!("{tried}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        });
    }
    let mut arguments = Arguments::from_args();
    // They wait for each other's processes more than they work.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    arguments.test_threads.get_or_insert(2 * cores);
    let programs = Arc::new(if arguments.list { PathBuf::new() } else { compile() });
    let trials = sweeps.into_iter().enumerate().map(|(index, (name, _))| {
        let programs = programs.clone();
        Trial::test(name.clone(), move || on_a_node(index, &name, &programs))
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
}

/// Every sweep and its name, the longest first.
fn sweeps(long: bool) -> Vec<(String, Sweep)> {
    let mut sweeps = Vec::new();
    let kills = |plugins, spawn, points, sweeps: &mut Vec<_>| {
        for step in Step::ALL {
            for recovery in Step::ALL {
                let way = if spawn == Spawn::Direct { ", spawned directly" } else { "" };
                let then = recovery.recovery().join(" and ");
                let name = format!("{plugins} plugins{way}: killed in {}, then {then}", step.word());
                sweeps.push((name, Sweep::Kill { plugins, spawn, step, recovery, points }));
            }
        }
    };
    kills(Plugins::Real, Spawn::Nanny, if long { Points::All } else { Points::Tenth }, &mut sweeps);
    for step in Step::ALL {
        for part in 0..PARTS {
            let name = format!("faults in {}, part {} of {PARTS}", step.word(), part + 1);
            sweeps.push((name, Sweep::Fault { step, part }));
        }
    }
    kills(Plugins::Recording, Spawn::Nanny, if long { Points::All } else { Points::Visible }, &mut sweeps);
    kills(Plugins::Recording, Spawn::Direct, if long { Points::All } else { Points::Tenth }, &mut sweeps);
    sweeps
}

/// Compiles host and plugin; the host finds the library beside it.
fn compile() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sweep");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).unwrap();
    common::compile("../sweep/host.c", &directory);
    let source = common::root().join("tests/sweep/plugin.c");
    let flags = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
    common::run(Command::new("gcc").args(flags).arg(directory.join("plugin")).arg(source));
    directory
}

fn on_a_node(index: usize, name: &str, programs: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let mut command = Command::new("timeout");
    command.args([LIMIT, "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--").arg(std::env::current_exe()?).env(SWEEP, index.to_string()).env(PROGRAMS, programs);
    let output = command.stdin(Stdio::null()).current_dir("/").output()?;
    let [said, why] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if !output.status.success() {
        return Err(format!("{}\n{said}{why}", output.status).into());
    }
    println!("{name}: {}, {:.1} s", said.trim(), began.elapsed().as_secs_f64());
    Ok(())
}
