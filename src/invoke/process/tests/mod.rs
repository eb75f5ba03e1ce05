//! Both engines over the same rows; the plugins are shell scripts in directories of their own.

mod guest;
mod host;
mod nursery;
mod plugin;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::testing;

const WAYS: [Way; 3] = [Way::Nanny(Table::Fetched), Way::Nanny(Table::Copied), Way::Direct];
const NANNIES: [Way; 2] = [Way::Nanny(Table::Fetched), Way::Nanny(Table::Copied)];

/// A plugin in a directory of its own, which it knows as `$D`.
struct Script {
    dir: tempfile::TempDir,
}

impl Script {
    fn new(text: &str) -> Self {
        Self::bytes(format!("#!/bin/sh\nD=${{0%/*}}\n{text}\n").as_bytes(), 0o755)
    }

    fn bytes(bytes: &[u8], mode: u32) -> Self {
        let script = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(script.path(), bytes).unwrap();
        fs::set_permissions(script.path(), fs::Permissions::from_mode(mode)).unwrap();
        script
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("plugin")
    }

    fn c_path(&self) -> CString {
        CString::new(self.path().into_os_string().into_encoded_bytes()).unwrap()
    }

    /// What the plugin wrote to `$D/<name>`, once it has.
    fn file(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        let mut text = String::new();
        wait_until(name, || {
            text = fs::read_to_string(&path).unwrap_or_default();
            text.ends_with('\n')
        });
        text.trim_end().to_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }

    fn run(&self, way: Way, call: &Call) -> Result<String> {
        self.run_with(&ProcessExec::default(), way, call, b"")
    }

    fn run_with(&self, exec: &ProcessExec, way: Way, call: &Call, stdin: &[u8]) -> Result<String> {
        let env = [c"PATH=/usr/bin:/bin".to_owned()];
        exec.exec_by(way, call, &mut Nursery::default(), &self.path(), stdin, &env)
            .map(|out| String::from_utf8(out).unwrap())
    }
}

fn limited(ms: u64) -> Call {
    Call::with_timeout(Some(Duration::from_millis(ms)))
}

fn impatient(grace_ms: u64) -> ProcessExec {
    ProcessExec { kill_grace: Duration::from_millis(grace_ms), ..ProcessExec::default() }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// Whether nannies can tell that a plugin left nobody (from Linux 6.9 on).
fn groups_are_seen() -> bool {
    let me = sys::pidfd_open(sys::getpid()).unwrap();
    let answer = sys::kill_group(me, 0);
    sys::close(me);
    matches!(answer, Ok(_) | Err(libc::ESRCH))
}

/// Tells the test that a [`Victim`] runs where to work.
const DIR: &str = "CNIRT_TEST_DIR";

/// A host to be killed. It does not outlive its test.
struct Victim(std::process::Child);

impl Victim {
    /// Runs the test of this name, in a process group of its own.
    fn start(test: &str, dir: &Path) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(testing::arguments(&with_modules(test))).env(DIR, dir);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `body` in a process of its own, for what belongs to a whole process. Call it first in a test of this name.
fn isolated(test: &str, body: fn()) {
    testing::isolated(&with_modules(test), body);
}

fn with_modules(test: &str) -> String {
    format!("{}::{test}", module_path!().split_once("::").unwrap().1)
}
