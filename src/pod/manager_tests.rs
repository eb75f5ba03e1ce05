//! Turns and background calls, over a network plugin that does what the test says.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use super::*;
use crate::error::ErrorClass;
use crate::names::ContainerId;
use crate::pod::NoopNetworkPlugin;

/// Notes who is set up; pod "held" goes on until the test lets it.
struct Noting {
    noted: Mutex<Vec<String>>,
    begun: Mutex<Sender<()>>,
    may_end: Mutex<Receiver<()>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl NetworkPlugin for Arc<Noting> {
    fn name(&self) -> &'static CStr {
        c"noting"
    }

    fn setup_pod(&self, call: &Call, request: &PodRequest) -> Result<PodResult> {
        let running = 1 + self.running.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(running, Ordering::SeqCst);
        self.noted.lock().unwrap().push(request.name.clone());
        if request.name == "held" {
            self.begun.lock().unwrap().send(()).unwrap();
            self.may_end.lock().unwrap().recv().unwrap();
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        NoopNetworkPlugin.setup_pod(call, request)
    }

    fn teardown_pod(&self, call: &Call, request: &PodRequest) -> Result<PodAttachments> {
        NoopNetworkPlugin.teardown_pod(call, request)
    }

    fn check_pod(&self, call: &Call, request: &PodRequest) -> Result<PodChecks> {
        NoopNetworkPlugin.check_pod(call, request)
    }

    fn pod_status(&self, call: &Call, request: &PodRequest) -> Result<PodStatus> {
        NoopNetworkPlugin.pod_status(call, request)
    }

    fn list_pods(&self) -> Result<Vec<KnownPod>> {
        NoopNetworkPlugin.list_pods()
    }

    fn status(&self, call: &Call) -> Result<Status> {
        NoopNetworkPlugin.status(call)
    }

    fn reload(&self, call: &Call) -> Result<Status> {
        NoopNetworkPlugin.reload(call)
    }

    fn capabilities(&self, _: &Call) -> Result<Vec<String>> {
        panic!("injected")
    }

    fn gc(&self, call: &Call, request: &GcRequest) -> Result<Collected> {
        NoopNetworkPlugin.gc(call, request)
    }

    fn event(&self, name: &str, details: &str) -> Result<()> {
        self.noted.lock().unwrap().push(format!("{name} {details}"));
        Ok(())
    }
}

struct Node {
    plugin: Arc<Noting>,
    manager: Arc<PluginManager>,
    has_begun: Receiver<()>,
    end: Sender<()>,
}

impl Node {
    fn new(threads: usize) -> Self {
        Self::with_pool(Pool::new(NonZeroUsize::new(threads).unwrap()))
    }

    fn with_pool(pool: Pool) -> Self {
        let ((begun, has_begun), (end, may_end)) = (channel(), channel());
        let plugin = Arc::new(Noting {
            noted: Mutex::default(),
            begun: Mutex::new(begun),
            may_end: Mutex::new(may_end),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let manager = PluginManager {
            plugin: Box::new(Arc::clone(&plugin)),
            timeout: Duration::from_secs(220),
            calls: Calls::default(),
            metrics: Arc::new(Metrics::new()),
            pool,
        };
        Self { plugin, manager: Arc::new(manager), has_begun, end }
    }

    fn start(&self, operation: &str, request: &Value) -> Op {
        let operation = Operation::parse(operation, Some(&request.to_string())).unwrap();
        PluginManager::start(Arc::clone(&self.manager), operation).unwrap()
    }

    /// Runs a set-up of pod "a" on a thread of the test's; it goes on until `end` is told.
    fn hold(&self) -> thread::JoinHandle<()> {
        let manager = Arc::clone(&self.manager);
        let held = thread::spawn(move || drop(manager.setup_pod(&request(&pod("a", "held"))).unwrap()));
        self.has_begun.recv().unwrap();
        held
    }

    /// Waits until so many stand in the line of pod "a", the one that works on it included.
    fn await_line(&self, count: usize) {
        while self.manager.calls.standing(&ContainerId::parse("a").unwrap()) != count {
            thread::yield_now();
        }
    }
}

/// Something that is done to a call.
type Act = Box<dyn Fn(&Node, &Op)>;

fn finish(ops: Vec<Op>) {
    for op in ops {
        op.finish().unwrap();
    }
}

fn pod(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name})
}

fn request(value: &Value) -> PodRequest {
    PodRequest::from_json(&value.to_string()).unwrap()
}

#[test]
fn every_operation_answers_in_the_background_as_it_does_on_the_callers_thread() {
    let node = Node::new(2);
    for (operation, told, answer) in [
        (
            "setup_pod",
            pod("a", "x"),
            json!({"pod": {"namespace": "", "name": "x", "id": "a"}, "ips": [], "networks": []}),
        ),
        ("teardown_pod", pod("a", "x"), json!({"pod": {"namespace": "", "name": "x", "id": "a"}, "networks": []})),
        ("check_pod", pod("a", "x"), json!({"pod": {"namespace": "", "name": "x", "id": "a"}, "networks": []})),
        ("list_pods", json!({}), json!([])),
        ("plugin_status", json!({}), json!({"ready": true, "lastLoad": {"ok": true}, "networks": []})),
        ("plugin_reload", json!({}), json!({"ready": true, "lastLoad": {"ok": true}, "networks": []})),
        ("plugin_event", json!({"name": "e", "details": {"n": 1}}), json!({})),
        ("plugin_gc", json!({"validPods": []}), json!({"deleted": []})),
    ] {
        let said = node.start(operation, &told).finish().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), answer, "{operation}");
    }
    assert_eq!(*node.plugin.noted.lock().unwrap(), ["x", "e {\"n\":1}"]);
    assert!(node.start("pod_status", &pod("a", "x")).finish().unwrap().contains("\"source\":\"cache\""));
    assert_eq!(node.start("plugin_capabilities", &json!({})).finish().unwrap_err().class(), ErrorClass::Panic);
    let metrics = node.start("plugin_metrics", &json!({})).finish().unwrap();
    for line in ["cnirt_operations_total{operation=\"setup_pod\"} 1", "cnirt_operations_total{operation=\"status\"} 1"]
    {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
}

#[test]
fn calls_for_one_pod_run_in_the_order_in_which_they_came() {
    let node = Node::new(3);
    let held = node.hold();
    let (mut threads, mut ops) = (Vec::new(), Vec::new());
    for (number, name) in ["1", "2", "3", "4", "5"].into_iter().enumerate() {
        if number % 2 == 0 {
            ops.push(node.start("setup_pod", &pod("a", name)));
        } else {
            let manager = Arc::clone(&node.manager);
            threads.push(thread::spawn(move || drop(manager.setup_pod(&request(&pod("a", name))).unwrap())));
        }
        node.await_line(number + 2);
    }
    // The pod's status does not stand in line.
    node.start("pod_status", &pod("a", "x")).finish().unwrap();
    node.end.send(()).unwrap();
    threads.push(held);
    for thread in threads {
        thread.join().unwrap();
    }
    finish(ops);
    assert_eq!(*node.plugin.noted.lock().unwrap(), ["held", "1", "2", "3", "4", "5"]);
    node.await_line(0);
}

#[test]
fn one_that_waits_for_its_pod_holds_no_thread() {
    let node = Node::new(1);
    let held = node.hold();
    let parked: Vec<_> = (0..3).map(|_| node.start("setup_pod", &pod("a", "parked"))).collect();
    node.start("setup_pod", &pod("b", "other")).finish().unwrap();
    assert!(parked.iter().all(|op| !op.wait(Some(Duration::ZERO))));
    node.end.send(()).unwrap();
    finish(parked);
    held.join().unwrap();
}

#[test]
fn one_that_waits_for_its_pod_can_be_cancelled_and_has_a_deadline() {
    let node = Node::new(1);
    let held = node.hold();
    let cancel = |node: &Node, _: &Op| assert_eq!(node.manager.cancel(Some("mine")), 1);
    for (name, timeout, act, class, words) in [
        (
            "by its handle",
            0,
            Box::new(|_: &Node, op: &Op| op.cancel()) as Act,
            ErrorClass::Cancelled,
            "the call was cancelled",
        ),
        ("by its id", 0, Box::new(cancel), ErrorClass::Cancelled, "the call was cancelled"),
        ("its deadline", 5, Box::new(|_: &Node, _: &Op| {}), ErrorClass::Timeout, "timed out after 5 ms"),
    ] {
        let mut told = pod("a", "parked");
        told["callId"] = "mine".into();
        told["timeoutMs"] = timeout.into();
        let op = node.start("setup_pod", &told);
        node.await_line(2);
        act(&node, &op);
        let error = op.finish().unwrap_err();
        let words = format!("waiting for pod a, which another call of this handle (setup_pod) works on: {words}");
        assert_eq!((error.class(), error.to_string()), (class, words), "{name}");
        node.await_line(1);
    }
    // By the pod's id the one that works on it is meant, too; that one does not look.
    let op = node.start("setup_pod", &pod("a", "parked"));
    assert_eq!(node.manager.cancel(Some("a")), 2);
    assert_eq!(op.finish().unwrap_err().class(), ErrorClass::Cancelled);
    node.end.send(()).unwrap();
    held.join().unwrap();
    node.start("setup_pod", &pod("a", "after")).finish().unwrap();
    assert_eq!(*node.plugin.noted.lock().unwrap(), ["held", "after"]);
}

#[test]
fn five_hundred_set_ups_run_on_a_few_threads() {
    let node = Node::new(3);
    let ops: Vec<_> = (0..500).map(|number| node.start("setup_pod", &pod(&format!("p{}", number / 2), "x"))).collect();
    finish(ops);
    assert_eq!(node.plugin.noted.lock().unwrap().len(), 500);
    assert!(node.plugin.most.load(Ordering::SeqCst) <= 3);
}

#[test]
fn a_long_line_that_no_thread_can_be_had_for_ends_without_a_deep_stack() {
    let node = Node::with_pool(Pool::with(NonZeroUsize::MIN, Duration::ZERO, usize::MAX / 4));
    let held = node.hold();
    let ops: Vec<_> = (0..400).map(|_| node.start("setup_pod", &pod("a", "parked"))).collect();
    node.end.send(()).unwrap();
    held.join().unwrap();
    for op in ops {
        assert_eq!(op.finish().unwrap_err().class(), ErrorClass::Io);
    }
}
