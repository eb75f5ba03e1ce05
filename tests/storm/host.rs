//! A host: eight threads that do what their seed says, until the node closes standard input, or kills it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use cnirt::pod::{GcRequest, Operation, PluginManager, PodRequest};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::history::{Begun, Ended, Event, History, Kind};
use crate::plan::{LIMIT_MS, PODS, Plan, THREADS, pod_name};
use crate::plugin::{FAILS, FAULT, MODES, SITES};

/// Of a thousand calls.
const KINDS: [(Kind, u32); 9] = [
    (Kind::SetUp, 330),
    (Kind::Replace, 70),
    (Kind::TearDown, 440),
    (Kind::Force, 30),
    (Kind::Check, 50),
    (Kind::PodStatus, 30),
    (Kind::List, 20),
    (Kind::Status, 20),
    (Kind::Gc, 10),
];
/// So many pods are worked on by everybody at a time.
const WINDOW: u32 = 64;

struct Host {
    plan: Plan,
    process: usize,
    incarnation: u32,
    manager: Arc<PluginManager>,
    history: History,
    count: AtomicU64,
    stop: AtomicBool,
}

/// What is done to a call.
enum Fault {
    None,
    Limit(u64),
    Cancel(Duration),
    Plugin { limit_ms: u64, what: String },
}

/// When to cancel which call.
type ToCancel = (Instant, String);

/// `host` is `<process>/<incarnation>`.
pub(crate) fn main(host: &str) -> Result<(), String> {
    let (process, incarnation) = host.split_once('/').ok_or(host)?;
    let plan = Plan::told()?;
    let host = Host {
        process: process.parse().map_err(|_| host)?,
        incarnation: incarnation.parse().map_err(|_| host)?,
        manager: plan.manager()?,
        history: History::open(&plan)?,
        count: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        plan,
    };
    let before = descriptors()?;
    let (cancel, to_cancel) = channel();
    let answers = std::thread::scope(|scope| {
        let host = &host;
        scope.spawn(move || host.cancel(&to_cancel));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let cancel = cancel.clone();
                scope.spawn(move || host.work(thread, &cancel))
            })
            .collect();
        drop(cancel);
        // The node closes it.
        let _ = std::io::stdin().read(&mut [0]);
        host.stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    });
    let manager = Arc::into_inner(host.manager).ok_or("a call still holds the plugin")?;
    drop(manager);
    let after = descriptors()?;
    if after > before {
        return Err(format!("{before} descriptors before, {after} after"));
    }
    answers
}

fn descriptors() -> Result<usize, String> {
    std::fs::read_dir("/proc/self/fd").map(Iterator::count).map_err(|error| error.to_string())
}

impl Host {
    fn work(&self, thread: usize, cancel: &Sender<ToCancel>) -> Result<(), String> {
        let who = (u64::from(self.incarnation) << 16) + ((self.process as u64) << 8) + thread as u64;
        let mut rng = Rng::with_seed(self.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(who));
        let begun = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let mut dice = rng.u32(0..1000);
            let kind = KINDS.iter().find(|(_, share)| dice.checked_sub(*share).map(|left| dice = left).is_none());
            let (kind, _) = *kind.ok_or("the shares are not a thousand")?;
            let pod = self.pod(&mut rng);
            let fault = Self::fault(kind, &mut rng);
            self.call(kind, pod, &fault, cancel, &mut rng)?;
            if begun.elapsed() > Duration::from_secs(self.plan.seconds * 4 + 60) {
                return Err("nobody says that it is over".to_owned());
            }
        }
        Ok(())
    }

    /// Half of the calls go to a window that moves over all pods, so that hosts meet.
    fn pod(&self, rng: &mut Rng) -> u32 {
        if rng.bool() {
            return rng.u32(0..PODS);
        }
        let began = std::fs::metadata(self.plan.path("conf")).and_then(|conf| conf.modified());
        let elapsed = began.ok().and_then(|began| SystemTime::now().duration_since(began).ok()).unwrap_or_default();
        let at = elapsed.as_millis() * u128::from(PODS) / u128::from(self.plan.seconds * 1000);
        (u32::try_from(at).unwrap_or_default() + rng.u32(0..WINDOW)) % PODS
    }

    fn fault(kind: Kind, rng: &mut Rng) -> Fault {
        let command = match kind {
            Kind::SetUp => rng.choice(["ADD", "ADD", "ADD", "DEL"]).unwrap_or("ADD"),
            Kind::Replace => rng.choice(["ADD", "DEL"]).unwrap_or("ADD"),
            Kind::TearDown => "DEL",
            Kind::Check | Kind::Gc => "",
            // Forced, what hangs is left behind by the caller's own wish.
            Kind::Force | Kind::PodStatus | Kind::List | Kind::Status => return Fault::None,
        };
        let site = rng.choice(SITES).unwrap_or("last");
        match rng.u32(0..100) {
            0..15 => Fault::Limit(rng.u64(1..=50)),
            15..25 => Fault::Limit(rng.u64(50..4000)),
            25..35 if kind != Kind::Gc => Fault::Cancel(Duration::from_millis(rng.u64(0..2000))),
            35..45 if !command.is_empty() => {
                let (mode, _) = rng.choice(MODES).unwrap_or(MODES[0]);
                Fault::Plugin { limit_ms: rng.u64(200..4000), what: format!("{command} {site} {mode}") }
            }
            45..55 if !command.is_empty() => {
                Fault::Plugin { limit_ms: LIMIT_MS, what: format!("{command} {site} {FAILS}") }
            }
            _ => Fault::None,
        }
    }

    fn call(
        &self,
        kind: Kind,
        pod: u32,
        fault: &Fault,
        cancel: &Sender<ToCancel>,
        rng: &mut Rng,
    ) -> Result<(), String> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let call = (self.process, self.incarnation, number);
        let call_id = format!("{}/{}/{number}", self.process, self.incarnation);
        let mut request = self.plan.request(pod);
        let mut pods = vec![pod];
        match kind {
            Kind::Gc => {
                pods.push(self.pod(rng));
                let valid = (0..PODS).filter(|pod| !pods.contains(pod)).map(|pod| json!({"id": pod_name(pod)}));
                request = json!({"validPods": valid.collect::<Vec<_>>()});
            }
            Kind::List | Kind::Status => pods.clear(),
            Kind::Replace => request["replace"] = true.into(),
            Kind::Force => request["force"] = true.into(),
            _ => {}
        }
        request["callId"] = call_id.as_str().into();
        let mut limit_ms = LIMIT_MS;
        match fault {
            Fault::None => {}
            Fault::Limit(limit) => limit_ms = *limit,
            Fault::Cancel(after) => drop(cancel.send((Instant::now() + *after, call_id))),
            Fault::Plugin { limit_ms: limit, what } => {
                limit_ms = *limit;
                request["env"] = json!({FAULT: what});
            }
        }
        request["timeoutMs"] = limit_ms.into();
        let disturbed = !matches!(fault, Fault::None) || kind == Kind::Gc && self.plan.built;
        self.history.add(&Event::Begun(Begun { call, kind, pods, disturbed, limit_ms }))?;
        let began = Instant::now();
        let answer = self.run(kind, &request, rng.u32(0..4) == 0);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut ended = Ended { call, class: "CNI_OK".to_owned(), ms, given: None, error: None };
        match answer {
            Ok(answer) => ended.given = given(&answer),
            Err(error) => {
                error.class().name().clone_into(&mut ended.class);
                ended.error = Some(error.to_json().to_string().chars().take(2000).collect());
            }
        }
        self.history.add(&Event::Ended(ended))
    }

    fn run(&self, kind: Kind, request: &Value, background: bool) -> cnirt::Result<Value> {
        let manager = &self.manager;
        let text = request.to_string();
        if background {
            let name = match kind {
                Kind::SetUp | Kind::Replace => "setup_pod",
                Kind::TearDown | Kind::Force => "teardown_pod",
                Kind::Check => "check_pod",
                Kind::PodStatus => "pod_status",
                Kind::List => "list_pods",
                Kind::Status => "plugin_status",
                Kind::Gc => "plugin_gc",
            };
            let text = (!matches!(kind, Kind::List | Kind::Status)).then_some(text);
            let operation = Operation::parse(name, text.as_deref())?;
            let answer = PluginManager::start(Arc::clone(manager), operation)?.finish()?;
            return Ok(serde_json::from_str(&answer).unwrap_or_default());
        }
        let request = || PodRequest::from_json(&text);
        let value = match kind {
            Kind::SetUp | Kind::Replace => serde_json::to_value(manager.setup_pod(&request()?)?),
            Kind::TearDown | Kind::Force => serde_json::to_value(manager.teardown_pod(&request()?)?),
            Kind::Check => serde_json::to_value(manager.check_pod(&request()?)?),
            Kind::PodStatus => serde_json::to_value(manager.pod_status(&request()?)?),
            Kind::List => serde_json::to_value(manager.list_pods()?),
            Kind::Status => serde_json::to_value(manager.status()?),
            Kind::Gc => serde_json::to_value(manager.gc(&GcRequest::from_json(&text)?)?),
        };
        Ok(value.unwrap_or_default())
    }

    /// Cancels calls when their time has come, until no thread works any more.
    fn cancel(&self, to_cancel: &Receiver<ToCancel>) {
        let mut waiting = BinaryHeap::new();
        loop {
            let next = waiting
                .peek()
                .map(|Reverse((when, _)): &Reverse<ToCancel>| when.saturating_duration_since(Instant::now()));
            match to_cancel.recv_timeout(next.unwrap_or(Duration::from_secs(3600))) {
                Ok(one) => waiting.push(Reverse(one)),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(Reverse((_, call))) = waiting.pop() {
                        self.manager.cancel(Some(&call));
                    }
                }
            }
        }
    }
}

/// The address and the node's link in what a set-up answers.
fn given(answer: &Value) -> Option<[String; 2]> {
    let address = answer["ips"][0].as_str()?;
    let interfaces = answer["networks"][0]["result"]["interfaces"].as_array()?;
    let names = interfaces.iter().filter(|interface| interface["sandbox"].as_str().is_none_or(str::is_empty));
    let link = names.filter_map(|interface| interface["name"].as_str()).find(|name| name.starts_with("veth"))?;
    Some([address.to_owned(), link.to_owned()])
}
