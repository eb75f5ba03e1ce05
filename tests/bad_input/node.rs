//! A node in namespaces of its own, and everything on it that a failed operation could leave behind.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::face::{Handle, ON_POD, netns_create};

/// Runs `test` in network and mount namespaces of its own, in a process without other tests. `name` is the test's whole
/// name. What the inner process prints is shown only if it fails.
pub(crate) fn isolated(name: &str, test: impl FnOnce()) {
    isolated_with(&[], name, test);
}

/// The same with these variables.
pub(crate) fn isolated_with(variables: &[(&str, &str)], name: &str, test: impl FnOnce()) {
    const INSIDE: &str = "CNIRT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "timeout", "--foreground", "--signal=KILL", "60"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let output = command.env(INSIDE, "1").env_remove("CNIRT_SPAWN").envs(variables.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{}\n{said}", output.status);
}

/// Directories, a handle, and a namespace for pods.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    dir: tempfile::TempDir,
}

impl Node {
    /// With these options besides the directories.
    pub(crate) fn new(options: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["conf", "bin"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut all = json!({
            "confDir": dir.path().join("conf"), "cacheDir": dir.path().join("cache"),
            "binDirs": [dir.path().join("bin"), "/opt/cni/bin", "/usr/lib/cni"],
            "pluginEnv": {"CNIRT_TEST_MARKER": dir.path()},
            "timeoutMs": 20000, "killGraceMs": 300, "rollbackTimeoutMs": 5000,
        });
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let handle = Handle::new(&all.to_string()).unwrap();
        let node = Self { handle, dir };
        netns_create(node.path("netns").to_str().unwrap());
        // What is made once and stays: directories, the address of an `lo` that was up.
        node.plugin("good", b"#!/bin/sh\necho '{\"cniVersion\":\"1.0.0\"}'\n");
        let request = node.request("pod", &json!({"cniVersion": "1.0.0", "name": "net", "type": "good"}));
        for (_, function) in &ON_POD[..2] {
            node.handle.call(*function, &request).unwrap();
        }
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An executable file among the plugins.
    pub(crate) fn plugin(&self, name: &str, content: &[u8]) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// A request of this pod for a network that is given inline.
    pub(crate) fn request(&self, id: &str, config: &Value) -> String {
        json!({"id": id, "netns": self.path("netns"), "networks": [{"config": config}]}).to_string()
    }

    /// Gives a pod up whose plugins do not undo anything.
    pub(crate) fn forget(&self, id: &str) {
        let request = json!({"id": id, "force": true, "timeoutMs": 500}).to_string();
        let (_, teardown) = ON_POD[1];
        let answer = self.handle.call(teardown, &request).unwrap();
        assert_ne!(answer["errors"], Value::Null, "{answer}");
    }

    /// What there is, a line a thing, when nothing is on its way out any more.
    pub(crate) fn settled_things(&self) -> BTreeSet<String> {
        let end = Instant::now() + Duration::from_secs(2);
        let mut before = self.things();
        loop {
            let now = self.things();
            if now == before {
                return now;
            }
            assert!(Instant::now() < end, "no two looks see the same");
            before = now;
        }
    }

    /// What there is, a line a thing.
    fn things(&self) -> BTreeSet<String> {
        let mut things = BTreeSet::new();
        for fd in std::fs::read_dir("/proc/self/fd").unwrap() {
            let path = fd.unwrap().path();
            // The directory's own is closed by the time that it is looked at.
            if let Ok(target) = std::fs::read_link(&path) {
                let target = target.display().to_string();
                if !target.ends_with("/fd") {
                    things.insert(format!("descriptor {} -> {target}", path.display()));
                }
            }
        }
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            things.insert(format!("thread {}", task.unwrap().file_name().display()));
        }
        things.extend(self.processes());
        files(&self.path("cache"), &mut things);
        files(&self.path("ipam"), &mut things);
        let enter = format!("--net={}", self.path("netns").display());
        for (place, prefix) in [("node", vec![]), ("pod", vec!["nsenter", &enter])] {
            let ip = |object: &str| {
                let words: Vec<_> = prefix.iter().copied().chain(["ip", "-oneline", object, "show"]).collect();
                let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            // Without link-local addresses, which the kernel makes in its own time.
            let addresses = ip("address");
            let addresses = addresses.lines().filter(|line| !line.contains("scope link"));
            things.extend(addresses.map(|line| format!("{place}: {line}")));
            // Names only: a bridge goes up and down with its ports.
            let links = ip("link");
            things.extend(links.lines().map(|line| format!("{place}: link {}", line.split(' ').nth(1).unwrap())));
        }
        things
    }

    /// This process's children, and whoever has the plugins' environment.
    fn processes(&self) -> Vec<String> {
        let own = std::process::id().to_string();
        let marker = format!("CNIRT_TEST_MARKER={}", self.dir.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            // After the name, which may hold anything: state, parent.
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
            let environ = std::fs::read(path.join("environ")).unwrap_or_default();
            let is_marked = environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes());
            if parent == Some(&own) || is_marked {
                found.push(format!("process {stat}"));
            }
        }
        found
    }

    /// Asserts that there is what there was. A thread that was joined is in /proc for a moment longer.
    pub(crate) fn has_only(&self, before: &BTreeSet<String>, what: &str) {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            let now = self.things();
            let more: Vec<_> = now.symmetric_difference(before).collect();
            if more.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{what} leaves a difference: {more:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn files(dir: &Path, things: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        things.insert(format!("file {}", path.display()));
        files(&path, things);
    }
}
