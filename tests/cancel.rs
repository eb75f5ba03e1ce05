//! A call is cancelled at every moment that it can be at, with real plugins: it ends as it should, nothing is left of it,
//! and the next one works.
//!
//! A test starts this program again on a node of its own, with the moment in its environment; and once more where another
//! process is to be in the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cnirt::ErrorClass;
use cnirt::invoke::callback::PluginCallbacks;
use cnirt::op::Op;
use cnirt::pod::{Hooks, Operation, PluginManager, PluginOptions, PodRequest};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

use self::node_state::{NETNS, State, shell};

mod node;
#[path = "real_plugins/node_state.rs"]
#[allow(dead_code, reason = "rows of real plugins use all of it")]
mod node_state;

/// Tells the program on a node at which moment to cancel; or, empty, to be in the way until its input ends.
const MOMENT: &str = "CNIRT_CANCEL_AT";

/// One moment of a call.
struct Row {
    moment: &'static str,
    operation: &'static str,
    /// What plugins do meanwhile, by the files in `/run/mode`: see `GATE` and `Bridge`.
    mode: &'static [&'static str],
    other: Other,
    /// How the call ends; `None`: well.
    class: Option<ErrorClass>,
    /// Whether the pod is attached afterwards.
    attached: bool,
}

/// Who is in the way, in a plugin that hangs.
#[derive(Clone, Copy, PartialEq)]
enum Other {
    Nobody,
    CallForAnother,
    CallForThis,
    Process,
}

const CANCELLED: Option<ErrorClass> = Some(ErrorClass::Cancelled);

const ROWS: [Row; 9] = [
    Row { other: Other::CallForAnother, ..row("waiting for a thread", &["hang"]) },
    Row { other: Other::CallForThis, ..row("waiting for its pod", &["hang"]) },
    Row { other: Other::Process, ..row("waiting for a process that works on the pod", &["hang"]) },
    row("between two plugins", &["between"]),
    row("in a plugin", &["hang"]),
    // What is being undone goes on, and why it is says the answer.
    Row { class: Some(ErrorClass::Plugin), ..row("being undone", &["fail", "pause"]) },
    row("being undone for a cancel", &["hang", "pause"]),
    Row { class: None, attached: true, ..row("done", &[]) },
    // What is not removed yet stays recorded.
    Row { operation: "teardown_pod", attached: true, ..row("in a teardown's plugin", &["stuck"]) },
];

const fn row(moment: &'static str, mode: &'static [&'static str]) -> Row {
    Row { moment, operation: "setup_pod", mode, other: Other::Nobody, class: CANCELLED, attached: false }
}

/// How a call is made, and cancelled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    ByItsHandle,
    ByItsId,
    /// By its id, on a thread of the host's.
    OnAThread,
}

/// The second plugin of the network. What is to be waited for says so by a line in `started`.
const GATE: &str = r#"#!/bin/sh
cat > /dev/null
is() { [ -e /run/mode/$1 ]; }
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD)
    if is hang; then echo > /run/started; exec sleep 1000; fi
    if is fail; then exit 1; fi
    echo '{"cniVersion": "1.0.0"}' ;;
DEL)
    if is stuck; then echo > /run/started; exec sleep 1000; fi
    if is pause; then echo > /run/started; read line < /run/go; fi ;;
esac
exit 0
"#;

/// Runs the first plugin, and with `between` waits when it is done.
struct Bridge;

impl PluginCallbacks for Bridge {
    fn find_plugin(&self, _: &str) -> Option<cnirt::Result<Vec<u8>>> {
        None
    }

    fn exec_plugin(&self, call: &str) -> Option<cnirt::Result<Vec<u8>>> {
        let call: Value = serde_json::from_str(call).unwrap();
        let path = call["path"].as_str().unwrap();
        let env: Vec<_> = call["env"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
        if !path.ends_with("/bridge") || !env.contains(&"CNI_COMMAND=ADD") || !fs::exists("/run/mode/between").unwrap()
        {
            return None;
        }
        let mut command = Command::new(path);
        command.env_clear().envs(env.iter().filter_map(|line| line.split_once('=')));
        let mut plugin = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        plugin.stdin.take().unwrap().write_all(call["stdin"].as_str().unwrap().as_bytes()).unwrap();
        let output = plugin.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::write("/run/started", "\n").unwrap();
        fs::read("/run/go").unwrap();
        Some(Ok(output.stdout))
    }
}

fn main() -> ExitCode {
    match std::env::var(MOMENT).as_deref() {
        Ok("") => be_in_the_way(),
        Ok(moment) => ROWS.iter().find(|row| row.moment == moment).unwrap().run(),
        Err(_) => {
            let trials = ROWS.iter().map(|row| Trial::test(row.moment, || on_a_node(row.moment)));
            return libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code();
        }
    }
    ExitCode::SUCCESS
}

fn on_a_node(moment: &str) -> Result<(), Failed> {
    node::run(node::command(std::env::current_exe()?).env(MOMENT, moment))?;
    Ok(())
}

/// What another process does: the set-up of the pod, until its input ends.
fn be_in_the_way() {
    let op = start(&manager(), "setup_pod", "pod", None);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    op.cancel();
    assert_eq!(op.finish().unwrap_err().class(), ErrorClass::Cancelled);
}

fn manager() -> Arc<PluginManager> {
    let options = json!({"confDir": "/run/conf", "cacheDir": "/run/cache", "binDirs": ["/run/bin", "/usr/lib/cni"],
        "killGraceMs": 100, "opThreads": 1, "pluginEnv": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}});
    let hooks = Hooks { host: None, plugins: Some(Arc::new(Bridge)) };
    Arc::new(PluginManager::new(PluginOptions::from_json(&options.to_string()).unwrap(), hooks).unwrap())
}

fn request(pod: &str, call_id: Option<&str>) -> String {
    json!({"id": pod, "netns": format!("/run/netns/{pod}"), "callId": call_id.unwrap_or("other")}).to_string()
}

fn start(manager: &Arc<PluginManager>, operation: &str, pod: &str, call_id: Option<&str>) -> Op {
    let operation = Operation::parse(operation, Some(&request(pod, call_id))).unwrap();
    PluginManager::start(Arc::clone(manager), operation).unwrap()
}

/// Returns when a plugin says that it has come to the moment.
fn await_started() {
    fs::read("/run/started").unwrap();
}

impl Row {
    fn run(&self) {
        node_state::make_node().unwrap();
        shell("ip netns add other; mkdir /run/conf /run/bin /run/mode; mkfifo /run/started /run/go").unwrap();
        assert_eq!(NETNS, "/run/netns/pod");
        let ipam = json!({"type": "host-local", "dataDir": "/run/ipam", "subnet": "10.1.0.0/24"});
        let list = json!({"cniVersion": "1.0.0", "name": "net",
            "plugins": [{"type": "bridge", "isGateway": true, "ipam": ipam}, {"type": "gate"}]});
        fs::write("/run/conf/net.conflist", list.to_string()).unwrap();
        fs::write("/run/bin/gate", GATE).unwrap();
        fs::set_permissions("/run/bin/gate", fs::Permissions::from_mode(0o755)).unwrap();
        let manager = manager();
        // What the plugins make once, and leave.
        attach_and_detach(&manager);
        let clean = State::read().unwrap();
        for way in [Way::ByItsHandle, Way::ByItsId, Way::OnAThread] {
            // That one needs no thread of the library's.
            if self.other != Other::CallForAnother || way != Way::OnAThread {
                println!("{way:?}");
                self.cancel(&manager, way);
                expect_nothing(&manager, &clean);
                attach_and_detach(&manager);
                expect_nothing(&manager, &clean);
            }
        }
    }

    fn cancel(&self, manager: &Arc<PluginManager>, way: Way) {
        if self.operation == "teardown_pod" {
            set_up(manager);
        }
        self.mode.iter().for_each(|mode| fs::write(format!("/run/mode/{mode}"), "").unwrap());
        let in_the_way = InTheWay::new(self.other, manager);

        let ours = Arc::clone(manager);
        let (operation, pod) = (self.operation, request("pod", Some("mine")));
        let op = (way != Way::OnAThread).then(|| start(manager, operation, "pod", Some("mine")));
        let thread = (way == Way::OnAThread).then(|| {
            thread::spawn(move || {
                let request = PodRequest::from_json(&pod).unwrap();
                match operation {
                    "setup_pod" => ours.setup_pod(&request).map(drop),
                    _ => ours.teardown_pod(&request).map(drop),
                }
            })
        });
        let cancel = || match &op {
            Some(op) if way == Way::ByItsHandle => op.cancel(),
            // A thread may not have come so far yet.
            _ => {
                while manager.cancel(Some("mine")) == 0 && self.class == CANCELLED {
                    thread::yield_now();
                }
            }
        };
        match self.other {
            Other::Nobody if self.mode.is_empty() => {
                while op.as_ref().map_or_else(|| !thread.as_ref().unwrap().is_finished(), |op| !op.wait(None)) {
                    thread::yield_now();
                }
            }
            Other::Nobody => await_started(),
            Other::Process => await_lock_is_open(),
            Other::CallForAnother | Other::CallForThis => {}
        }
        cancel();
        if self.mode == ["hang", "pause"] {
            await_started();
            cancel();
        }
        if self.mode.iter().any(|mode| ["between", "pause"].contains(mode)) {
            fs::write("/run/go", "\n").unwrap();
        }
        let answer = op.map_or_else(|| thread.unwrap().join().unwrap(), |op| op.finish().map(drop));
        in_the_way.end();
        self.mode.iter().for_each(|mode| fs::remove_file(format!("/run/mode/{mode}")).unwrap());

        assert_eq!(answer.as_ref().err().map(cnirt::Error::class), self.class, "{way:?}: {answer:?}");
        let rollback = answer.err().and_then(|error| error.rollback().cloned());
        assert!(rollback.is_none_or(|rollback| rollback.done && rollback.errors.is_empty()), "{way:?}");
        let pods = manager.list_pods().unwrap();
        assert_eq!(!pods.is_empty(), self.attached, "{way:?}: {pods:?}");
        if self.attached {
            tear_down(manager);
        }
    }
}

/// Whoever is in the way.
enum InTheWay {
    Nobody,
    Call(Op),
    Process(Child),
}

impl InTheWay {
    fn new(who: Other, manager: &Arc<PluginManager>) -> Self {
        let it = match who {
            Other::Nobody => return Self::Nobody,
            Other::CallForAnother => Self::Call(start(manager, "setup_pod", "other", None)),
            Other::CallForThis => Self::Call(start(manager, "setup_pod", "pod", None)),
            Other::Process => {
                let mut process = Command::new(std::env::current_exe().unwrap());
                Self::Process(process.env(MOMENT, "").stdin(Stdio::piped()).spawn().unwrap())
            }
        };
        await_started();
        it
    }

    fn end(self) {
        match self {
            Self::Nobody => {}
            Self::Call(op) => {
                assert!(!op.wait(Some(Duration::ZERO)), "the other call has ended");
                op.cancel();
                assert_eq!(op.finish().unwrap_err().class(), ErrorClass::Cancelled);
            }
            Self::Process(mut process) => {
                assert!(process.try_wait().unwrap().is_none(), "the other process has ended");
                drop(process.stdin.take());
                assert!(process.wait().unwrap().success());
            }
        }
    }
}

/// Returns when a call of this process has opened the file with the locks: then it is about to take one.
fn await_lock_is_open() {
    let is_lock = |entry: std::io::Result<fs::DirEntry>| {
        fs::read_link(entry.unwrap().path()).is_ok_and(|file| file.ends_with("cnirt/lock"))
    };
    while !fs::read_dir("/proc/self/fd").unwrap().any(is_lock) {
        thread::yield_now();
    }
}

fn set_up(manager: &PluginManager) {
    manager.setup_pod(&PodRequest::from_json(&request("pod", None)).unwrap()).unwrap();
}

fn tear_down(manager: &PluginManager) {
    let removed = manager.teardown_pod(&PodRequest::from_json(&request("pod", None)).unwrap()).unwrap();
    assert_eq!(removed.networks.len(), 1);
}

fn attach_and_detach(manager: &PluginManager) {
    set_up(manager);
    tear_down(manager);
}

/// Neither on the node nor in the pod, nor in the records.
fn expect_nothing(manager: &PluginManager, clean: &State) {
    State::read().unwrap().expect_as(clean, &[], "after the call").unwrap();
    assert_eq!(manager.list_pods().unwrap().len(), 0);
    assert_eq!(shell("cd /run/cache; find . ! -type d ! -path ./cnirt/lock").unwrap(), "");
}
