//! Who is at work on a pod: a process, told from another one that has its number later.
//!
//! Serves messages, and tells what was written before the machine last started from what came after. Nothing is ever
//! taken away from a holder because of what this says.

use std::fmt;
use std::sync::Mutex;

use serde_json::{Map, Value, json};

use crate::thread;

/// A process and what it is at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    process: Process,
    operation: String,
    pod: String,
}

/// Numbers are 0 and texts empty where there is no `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// In clock ticks since the machine started.
    start_time: u64,
    boot_id: String,
}

impl Process {
    fn current() -> Self {
        /// Read once. A forked child finds its parent here, by another number.
        static CURRENT: Mutex<Option<Process>> = Mutex::new(None);
        let pid = std::process::id();
        let known = thread::try_lock(&CURRENT).and_then(|current| current.clone());
        known.filter(|known| known.pid == pid).unwrap_or_else(|| {
            let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let start_time = start_time(pid).unwrap_or_default();
            let current = Self { pid, start_time, boot_id: boot_id.trim().to_owned() };
            if let Some(mut known) = thread::try_lock(&CURRENT) {
                *known = Some(current.clone());
            }
            current
        })
    }

    /// False too for a process of another pid namespace.
    fn is_running(&self) -> bool {
        self.boot_id == Self::current().boot_id && start_time(self.pid) == Some(self.start_time)
    }
}

/// The field `starttime` of `/proc/<pid>/stat`, the twentieth behind the name, which may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// What the kernel calls the time since the machine was last started; empty where there is no `/proc`.
pub(crate) fn boot_id() -> String {
    Process::current().boot_id
}

impl Holder {
    /// This process, at work on a pod; an empty one is all of them.
    pub(crate) fn current(operation: &str, pod: &str) -> Self {
        Self { process: Process::current(), operation: operation.to_owned(), pod: pod.to_owned() }
    }

    /// Whether the machine has not been started anew since.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        let boot_id = &self.process.boot_id;
        !boot_id.is_empty() && *boot_id == Process::current().boot_id
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    pub(super) fn to_value(&self) -> Value {
        let Self { process: Process { pid, start_time, boot_id }, operation, pod } = self;
        json!({"pid": pid, "startTime": start_time, "bootId": boot_id, "operation": operation, "pod": pod})
    }

    /// What is missing or of another type is left empty.
    pub(super) fn from_object(object: &Map<String, Value>) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| object.get(key).and_then(Value::as_u64).unwrap_or_default();
        let pid = u32::try_from(number("pid")).unwrap_or_default();
        let process = Process { pid, start_time: number("startTime"), boot_id: text("bootId") };
        Self { process, operation: text("operation"), pod: text("pod") }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, operation, pod } = self;
        let pid = process.pid;
        match process.is_running() {
            _ if pid == std::process::id() && process.is_running() => write!(f, "this process, {pid}")?,
            true => write!(f, "process {pid}")?,
            false => write!(f, "process {pid}, which is gone or in another pid namespace")?,
        }
        write!(f, " ({operation}")?;
        if !pod.is_empty() {
            write!(f, " {pod}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_one_with_its_number() {
        let own = Holder::current("setup_pod", "a");
        assert!(own.is_of_this_boot() && own.process.start_time > 0 && own.process.boot_id.len() == 36, "{own:?}");
        let Value::Object(written) = own.to_value() else { unreachable!() };
        assert_eq!(Holder::from_object(&written), own);
        let pid = std::process::id();
        assert_eq!(own.to_string(), format!("this process, {pid} (setup_pod a)"));
        let init = Process { pid: 1, start_time: start_time(1).unwrap(), ..own.process.clone() };
        assert_eq!(Holder { process: init, ..own.clone() }.to_string(), "process 1 (setup_pod a)");
        for (key, value) in [("startTime", json!(1)), ("bootId", json!("another"))] {
            let mut other = written.clone();
            other.insert(key.to_owned(), value);
            let words = format!("process {pid}, which is gone or in another pid namespace (setup_pod a)");
            assert_eq!(Holder::from_object(&other).to_string(), words, "{key}");
        }
        assert_eq!(Holder::from_object(&Map::new()), Holder::default());
    }
}
