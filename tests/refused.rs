//! A system call that the library cannot do without, and that the kernel or a seccomp profile refuses: the error names it,
//! nothing is left behind, and what needs no such call works on.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "seccomp/filter.rs"]
mod filter;
mod node;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cnirt::pod::{Hooks, Operation, PluginManager, PluginOptions, PodRequest};
use cnirt::{ErrorClass, Result, netns};

const NETWORK: &str = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "fake"}]}"#;
/// ADD claims a file, DEL gives it back.
const PLUGIN: &str = r#"#!/bin/sh
cd ${0%/*}/../claims
case $CNI_COMMAND in
ADD) echo >$CNI_CONTAINERID ;;
DEL) rm -f $CNI_CONTAINERID ;;
esac
echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
"#;

struct Host {
    at: PathBuf,
    manager: Arc<PluginManager>,
}

impl Host {
    fn new(at: &Path) -> Self {
        for name in ["conf", "bin", "claims"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        fs::write(at.join("conf/net.conflist"), NETWORK).unwrap();
        fs::write(at.join("bin/fake"), PLUGIN).unwrap();
        fs::set_permissions(at.join("bin/fake"), fs::Permissions::from_mode(0o755)).unwrap();
        let options = serde_json::json!({
            "confDir": at.join("conf"), "cacheDir": at.join("cache"), "binDirs": [at.join("bin")],
        });
        let options = PluginOptions::from_json(&options.to_string()).unwrap();
        let host =
            Self { at: at.to_owned(), manager: Arc::new(PluginManager::new(options, Hooks::default()).unwrap()) };
        netns::create(&at.join("ns")).unwrap();
        host.set_up().and_then(|()| host.tear_down()).unwrap();
        host
    }

    fn request(&self) -> PodRequest {
        let request = serde_json::json!({"id": "pod", "netns": self.at.join("ns")});
        PodRequest::from_json(&request.to_string()).unwrap()
    }

    fn set_up(&self) -> Result<()> {
        self.manager.setup_pod(&self.request()).map(drop)
    }

    fn tear_down(&self) -> Result<()> {
        self.manager.teardown_pod(&self.request()).map(drop)
    }

    fn in_the_background(&self) -> Result<()> {
        let operation = Operation::SetupPod(Box::new(self.request()));
        PluginManager::start(Arc::clone(&self.manager), operation)?.finish().map(drop)
    }

    fn changes(&self) -> Result<()> {
        self.manager.changes().map(drop)
    }

    fn namespace(&self) -> Result<()> {
        netns::create(&self.at.join("other"))
    }

    /// Descriptors, the library's threads, and files that only a pod has.
    fn state(&self) -> [usize; 5] {
        // A thread that was joined is a task for a moment more.
        let end = Instant::now() + Duration::from_secs(10);
        while own_threads() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let entries = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
        let own = |name: &str| entries(&self.at.join(name));
        [
            entries(Path::new("/proc/self/fd")),
            own_threads(),
            own("claims"),
            own("cache/results"),
            own("cache/cnirt/intents"),
        ]
    }
}

fn own_threads() -> usize {
    let names =
        fs::read_dir("/proc/self/task").unwrap().map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("cnirt"))).count()
}

/// What is refused, what is then done, and what the error says.
type Row = (&'static [&'static str], fn(&Host) -> Result<()>, &'static str);

const ROWS: [Row; 9] = [
    (&["memfd_create=EPERM"], Host::set_up, "cannot start a plugin: memfd_create: operation not permitted"),
    (&["pipe2=EPERM"], Host::set_up, "cannot start a plugin: pipe2: operation not permitted"),
    (&["socketpair=EPERM"], Host::set_up, "cannot start a plugin: socketpair: operation not permitted"),
    (
        &["clone=EPERM", "pidfd_open=ENOSYS"],
        Host::set_up,
        "cannot start a plugin: pidfd_open: function not implemented",
    ),
    (&["eventfd2=ENOSYS"], Host::set_up, "eventfd: function not implemented"),
    (&["timerfd_create=ENOSYS"], Host::in_the_background, "timerfd_create: function not implemented"),
    (&["inotify_init1=ENOSYS"], Host::changes, "inotify_init1: function not implemented"),
    (&["setns=EPERM"], Host::set_up, "enter network namespace"),
    (&["mount=EPERM"], Host::namespace, "mount a network namespace on"),
];

/// In a process of its own, in namespaces of its own: what is refused once is refused for good.
fn check((refused, does, words): &Row) {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::new(directory.path());
    let before = host.state();
    for refused in *refused {
        seccompiler::apply_filter(&filter::filter(refused).unwrap()).unwrap();
    }
    for _ in 0..3 {
        let error = does(&host).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Io, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(host.state(), before);
    // SAFETY: NULL for the status.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert_eq!(left, -1, "a child is left");
    assert!(host.manager.status().unwrap().ready);
    assert!(host.manager.list_pods().unwrap().is_empty());
    assert!(!directory.path().join("other").exists());
}

#[test]
fn what_cannot_be_done_without_a_call_is_an_error_that_names_it() {
    const ROW: &str = "CNIRT_REFUSED_ROW";
    if let Ok(row) = std::env::var(ROW) {
        return check(&ROWS[row.parse::<usize>().unwrap()]);
    }
    for (index, (refused, ..)) in ROWS.iter().enumerate() {
        let mut command = node::command(std::env::current_exe().unwrap());
        command.args(["what_cannot_be_done_without_a_call_is_an_error_that_names_it", "--exact", "--nocapture"]);
        command.env(ROW, index.to_string()).env_remove("CNIRT_SPAWN");
        if let Err(why) = node::run(&mut command) {
            panic!("{refused:?}: {why}");
        }
    }
}
