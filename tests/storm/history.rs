//! What every call began and what it ended with, one line each in a file that all processes append to, and its replay.
//!
//! A pod is live from when its set-up says OK until something begins that may remove it. A call that overlaps with
//! another one that may remove the pod proves nothing about it: nobody sees in which order they had the pod.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};

use serde::{Deserialize, Serialize};

use crate::plan::{KILL_GRACE_MS, Plan, ROLLBACK_TIMEOUT_MS};

/// For a machine that has other things to do.
const SLACK_MS: u64 = 15_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    SetUp,
    Replace,
    TearDown,
    /// A teardown with `force`.
    Force,
    Check,
    PodStatus,
    List,
    Status,
    Gc,
}

/// A call: process, its incarnation, and a number there.
pub(crate) type CallId = (usize, u32, u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) call: CallId,
    pub(crate) kind: Kind,
    /// The pod, or those that GC may remove.
    pub(crate) pods: Vec<u32>,
    /// Whether something is done to the call that may make it fail.
    pub(crate) disturbed: bool,
    pub(crate) limit_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) call: CallId,
    /// Of the error, or `CNI_OK`.
    pub(crate) class: String,
    pub(crate) ms: u64,
    /// What a set-up gave: the address, and the link on the node.
    pub(crate) given: Option<[String; 2]>,
    pub(crate) error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Begun(Begun),
    Ended(Ended),
    /// A process was killed, and is gone.
    Killed(usize, u32),
    Hangs,
}

pub(crate) struct History(File);

impl History {
    pub(crate) fn open(plan: &Plan) -> Result<Self, String> {
        let opened = OpenOptions::new().append(true).create(true).open(plan.path("history"));
        opened.map(Self).map_err(|error| format!("history: {error}"))
    }

    /// In one write, so that nobody's lines are mixed up with another's.
    pub(crate) fn add(&self, event: &Event) -> Result<(), String> {
        let line = serde_json::to_string(event).map_err(|error| error.to_string())? + "\n";
        (&self.0).write_all(line.as_bytes()).map_err(|error| format!("history: {error}"))
    }

    pub(crate) fn read(plan: &Plan) -> Result<Vec<Event>, String> {
        let file = File::open(plan.path("history")).map_err(|error| format!("history: {error}"))?;
        let lines = BufReader::new(file).lines();
        let event = |line: std::io::Result<String>| {
            let line = line.map_err(|error| error.to_string())?;
            serde_json::from_str(&line).map_err(|error| format!("history: {line}: {error}"))
        };
        lines.map(event).collect()
    }
}

#[derive(Default)]
pub(crate) struct Pod {
    /// What it has for certain.
    live: Option<[String; 2]>,
    /// The calls under way that may remove it.
    removing: BTreeSet<CallId>,
    /// When such a call last began or ended.
    touched: usize,
}

/// The history's state while it is replayed, and what it counts.
#[derive(Default)]
pub(crate) struct Replay {
    pods: BTreeMap<u32, Pod>,
    running: HashMap<CallId, (usize, Begun)>,
    /// Who has an address or a link.
    owners: HashMap<String, u32>,
    pub(crate) wrong: Vec<String>,
    pub(crate) operations: BTreeMap<(Kind, String), usize>,
    pub(crate) used: BTreeSet<u32>,
    pub(crate) proven: usize,
    pub(crate) kills: usize,
    pub(crate) interrupted: usize,
    pub(crate) hangs: usize,
    /// The longest that a call took which waits for no pod.
    pub(crate) longest_look: u64,
}

impl Replay {
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut replay = Self::default();
        for (now, event) in events.iter().enumerate() {
            match event {
                Event::Begun(begun) => replay.begin(now + 1, begun),
                Event::Ended(ended) => replay.end(now + 1, ended),
                Event::Killed(process, incarnation) => replay.kill(now + 1, *process, *incarnation),
                Event::Hangs => replay.hangs += 1,
            }
        }
        replay
    }

    /// The pods that are live at the end, with what they have.
    pub(crate) fn live(&self) -> Vec<(u32, [String; 2])> {
        self.pods.iter().filter_map(|(pod, state)| Some((*pod, state.live.clone()?))).collect()
    }

    fn begin(&mut self, now: usize, begun: &Begun) {
        let removes = matches!(begun.kind, Kind::Replace | Kind::TearDown | Kind::Force | Kind::Gc);
        for pod in begun.pods.iter().filter(|_| removes) {
            let state = self.pods.entry(*pod).or_default();
            state.removing.insert(begun.call);
            state.touched = now;
            for thing in state.live.take().into_iter().flatten() {
                self.owners.remove(&thing);
            }
        }
        self.running.insert(begun.call, (now, begun.clone()));
    }

    fn close(&mut self, now: usize, begun: &Begun) {
        for pod in &begun.pods {
            let state = self.pods.entry(*pod).or_default();
            if state.removing.remove(&begun.call) {
                state.touched = now;
            }
        }
    }

    fn kill(&mut self, now: usize, process: usize, incarnation: u32) {
        self.kills += 1;
        let of_it = |call: &CallId| (call.0, call.1) == (process, incarnation);
        let calls: Vec<_> = self.running.keys().filter(|call| of_it(call)).copied().collect();
        for call in calls {
            if let Some((_, begun)) = self.running.remove(&call) {
                self.close(now, &begun);
                self.interrupted += 1;
            }
        }
    }

    fn end(&mut self, now: usize, ended: &Ended) {
        let Some((since, begun)) = self.running.remove(&ended.call) else {
            self.wrong.push(format!("an end without a beginning: {ended:?}"));
            return;
        };
        *self.operations.entry((begun.kind, ended.class.clone())).or_default() += 1;
        self.used.extend(begun.pods.iter().filter(|_| begun.kind != Kind::Gc));
        let pod = begun.pods.first().copied().unwrap_or_default();
        let state = self.pods.entry(pod).or_default();
        let others = state.removing.iter().any(|call| *call != ended.call);
        let contested = others || state.touched > since;
        let was_live = !contested && state.live.is_some();
        if ended.class == "CNI_OK" && matches!(begun.kind, Kind::SetUp | Kind::Replace) && !contested {
            self.give(pod, &begun, ended);
        }
        self.close(now, &begun);
        self.judge(&begun, ended, was_live);
    }

    fn give(&mut self, pod: u32, begun: &Begun, ended: &Ended) {
        self.proven += 1;
        let Some(given) = &ended.given else {
            self.wrong.push(format!("pod {pod} got nothing: {ended:?}"));
            return;
        };
        for thing in given {
            if let Some(other) = self.owners.insert(thing.clone(), pod) {
                self.wrong.push(format!("{thing} is pod {other}'s, and was given to pod {pod}: {begun:?}"));
            }
        }
        if let Some(state) = self.pods.get_mut(&pod) {
            state.live = Some(given.clone());
        }
    }

    /// Whether a call may end so.
    fn judge(&mut self, begun: &Begun, ended: &Ended, was_live: bool) {
        let class = ended.class.as_str();
        let always = ["CNI_OK", "CNI_E_EXISTS", "CNI_E_NOT_FOUND", "CNI_E_PLUGIN", "CNI_E_TIMEOUT", "CNI_E_CANCELLED"];
        let undisturbed: &[&str] = match begun.kind {
            Kind::SetUp => &["CNI_OK", "CNI_E_EXISTS"],
            // Of what a call that failed left half removed; of what another one removes.
            Kind::Check | Kind::PodStatus if !was_live => &always,
            _ => &["CNI_OK"],
        };
        let may = if begun.disturbed { &always[..] } else { undisturbed };
        if !may.contains(&class) {
            self.wrong.push(format!("{begun:?} may not end as {ended:?}"));
        }
        // These wait for no plugin of a pod.
        let looks = matches!(begun.kind, Kind::PodStatus | Kind::List | Kind::Status);
        let waits = if looks { 0 } else { begun.limit_ms + ROLLBACK_TIMEOUT_MS + 2 * KILL_GRACE_MS };
        let longest = waits + SLACK_MS;
        if ended.ms > longest {
            self.wrong.push(format!("{begun:?} took {} ms, more than {longest}: {ended:?}", ended.ms));
        }
        if looks {
            self.longest_look = self.longest_look.max(ended.ms);
        }
    }
}
