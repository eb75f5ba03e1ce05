//! The node: starts the hosts, kills them, and starts them again; then looks at what they did and what they left.
//!
//! It is the first process of its pid namespace, so that whatever a dead host leaves running becomes its child.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use crate::ROLE;
use crate::history::{Event, History, Kind, Replay};
use crate::leftovers::{Leftovers, processes};
use crate::plan::{LIMIT_MS, PROCESSES, Plan, TO_REMOVE};

/// Between two kills, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..1400;
/// How long a dead host's nannies may take to end what hangs.
const TO_END: Duration = Duration::from_secs(20);

struct Host {
    pid: Pid,
    incarnation: u32,
    /// Closing it tells the host to end.
    _stdin: ChildStdin,
}

pub(crate) fn main() -> Result<(), String> {
    let plan = Plan::told()?;
    plan.prepare()?;
    let history = History::open(&plan)?;
    let mut children = Children::default();
    let mut wrong = storm(&plan, &history, &mut children)?;
    wrong.extend(children.nothing_else_runs());

    let events = History::read(&plan)?;
    let replay = Replay::of(&events);
    let before = Leftovers::of(&plan)?;
    wrong.extend(end(&plan, &replay, &mut children)?);
    wrong.extend(children.nothing_else_runs());
    let left = Leftovers::of(&plan)?;
    report(&plan, &replay, &before, &left);
    wrong.extend(replay.wrong);
    wrong.extend(left.all().map(|left| format!("left behind: {left}")));
    if wrong.is_empty() {
        return Ok(());
    }
    let count = wrong.len();
    wrong.truncate(20);
    // For who looks into it.
    let kept = std::env::temp_dir().join(format!("cnirt-storm-{}.history", plan.seed));
    let kept = std::fs::copy(plan.path("history"), &kept)
        .map_or_else(|error| error.to_string(), |_| kept.display().to_string());
    Err(format!("{count} things are wrong; the history is in {kept}\n{}", wrong.join("\n")))
}

fn start(plan: &Plan, children: &mut Children, process: usize, incarnation: u32) -> Result<Host, String> {
    let mut command = Command::new(plan.program());
    plan.tell(&mut command).env(ROLE, format!("{process}/{incarnation}")).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("start a host: {error}"))?;
    let stdin = child.stdin.take().ok_or("no pipe")?;
    // Waited for by number, with everything else that may be a child here.
    let pid = Pid::from_child(&child);
    children.forget(pid);
    Ok(Host { pid, incarnation, _stdin: stdin })
}

/// Answers what went wrong with the hosts themselves.
fn storm(plan: &Plan, history: &History, children: &mut Children) -> Result<Vec<String>, String> {
    let mut rng = Rng::with_seed(plan.seed);
    let mut wrong = Vec::new();
    let mut hosts = (0..PROCESSES).map(|process| start(plan, children, process, 0)).collect::<Result<Vec<_>, _>>()?;
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    loop {
        let pause = Duration::from_millis(rng.u64(PAUSE));
        if Instant::now() + pause > end {
            break;
        }
        // The time itself is what is waited for.
        std::thread::sleep(pause);
        let process = rng.usize(0..PROCESSES);
        let Some(host) = hosts.get_mut(process) else { continue };
        kill_process(host.pid, Signal::KILL).map_err(|errno| format!("kill a host: {errno}"))?;
        let status = children.wait_for(host.pid, TO_END)?;
        if status.terminating_signal() != Some(Signal::KILL.as_raw()) {
            wrong.push(format!("host {process} was not killed but ended: {status:?}"));
        }
        history.add(&Event::Killed(process, host.incarnation))?;
        *host = start(plan, children, process, host.incarnation + 1)?;
    }
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    let pids: Vec<_> = hosts.iter().map(|host| host.pid).collect();
    drop(hosts);
    for pid in pids {
        let status = children.wait_for(pid, Duration::from_millis(LIMIT_MS * 2))?;
        if status.exit_status() != Some(0) {
            wrong.push(format!("a host ended badly: {status:?}"));
        }
    }
    Ok(wrong)
}

/// One host looks whether the live pods are there, and then removes all pods.
fn end(plan: &Plan, replay: &Replay, children: &mut Children) -> Result<Option<String>, String> {
    let mut command = Command::new(plan.program());
    plan.tell(&mut command).env(ROLE, "end").stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let live = serde_json::to_string(&replay.live()).map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no pipe")?;
    // If it has died, its status says so.
    let _ = stdin.write_all(live.as_bytes());
    drop(stdin);
    let pid = Pid::from_child(&child);
    children.forget(pid);
    let status = children.wait_for(pid, TO_REMOVE * 2)?;
    Ok((status.exit_status() != Some(0)).then(|| format!("the last host ended badly: {status:?}")))
}

/// Those who ended, own children and those of the dead.
#[derive(Default)]
struct Children(HashMap<Pid, WaitStatus>);

impl Children {
    /// Takes who has ended; false where nobody is left.
    fn take(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => drop(self.0.insert(pid, status)),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Numbers come again: what is known of this one is of somebody else.
    fn forget(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }

    fn wait_for(&mut self, pid: Pid, limit: Duration) -> Result<WaitStatus, String> {
        let end = Instant::now() + limit;
        loop {
            self.take();
            if let Some(status) = self.0.remove(&pid) {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(format!("a host does not end within {limit:?}; running: {:#?}", processes()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until no process but this one is left.
    fn nothing_else_runs(&mut self) -> Vec<String> {
        let end = Instant::now() + TO_END;
        while self.take() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        processes().into_iter().map(|process| format!("still runs: {process}")).collect()
    }
}

fn report(plan: &Plan, replay: &Replay, before: &Leftovers, left: &Leftovers) {
    let Plan { seed, seconds, built, .. } = plan;
    let plugins = if *built { "v1.9.1" } else { "installed" };
    let total: usize = replay.operations.values().sum();
    let of = |class: &str| -> usize {
        let operations = replay.operations.iter();
        operations.filter(|((_, ended), _)| ended == class).map(|(_, count)| count).sum()
    };
    println!(
        "storm: seed {seed}, {seconds} s, {plugins} plugins: {total} operations on {} pods, {} kills that interrupted {} \
         operations, {} cancelled, {} timed out, {} plugins hung, {} failed",
        replay.used.len(),
        replay.kills,
        replay.interrupted,
        of("CNI_E_CANCELLED"),
        of("CNI_E_TIMEOUT"),
        replay.hangs,
        of("CNI_E_PLUGIN"),
    );
    for kind in [Kind::SetUp, Kind::Replace, Kind::TearDown, Kind::Force, Kind::Check, Kind::PodStatus, Kind::Gc] {
        let counts = replay.operations.iter().filter(|((of, _), _)| *of == kind);
        let counts: Vec<_> = counts.map(|((_, class), count)| format!("{class} {count}")).collect();
        println!("storm: {kind:?}: {}", counts.join(", "));
    }
    println!(
        "storm: {} set-ups had their address and link for themselves; the slowest list or status took {} ms",
        replay.proven, replay.longest_look
    );
    println!("storm: when the hosts had ended: {before}; after GC: {left}");
}
