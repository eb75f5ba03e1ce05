//! For tests: what the store's system calls changed on disk, in order, and the means to make one of them fail.
//!
//! Both belong to the thread that asks for them, so tests run beside each other.

use std::cell::RefCell;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// One change. Paths are absolute, without symbolic links, as of that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Mkdir(PathBuf),
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    /// Of a file, or of a directory.
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    /// Of a file, or of an empty directory.
    Remove(PathBuf),
    /// A plugin's own file, which is on the disk when the plugin returns: here, or gone.
    Claim(PathBuf, bool),
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Errno(Errno),
    /// A write takes one byte only.
    Short,
}

#[derive(Default)]
struct State {
    ops: Option<Vec<Op>>,
    calls: Option<Vec<&'static str>>,
    /// After so many calls.
    fault: Option<(usize, Fault)>,
    /// Every call of this name fails.
    refused: Option<(&'static str, Errno)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Runs `body`; answers what it changed.
pub(crate) fn recorded<T>(body: impl FnOnce() -> T) -> (T, Vec<Op>) {
    STATE.with_borrow_mut(|state| state.ops = Some(Vec::new()));
    let result = body();
    (result, STATE.with_borrow_mut(|state| state.ops.take()).unwrap())
}

/// Runs `body`; answers the names of its calls.
pub(crate) fn counted<T>(body: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    STATE.with_borrow_mut(|state| state.calls = Some(Vec::new()));
    let result = body();
    (result, STATE.with_borrow_mut(|state| state.calls.take()).unwrap())
}

/// Runs `body`, whose call after `skipped` others fails.
pub(crate) fn faulted<T>(skipped: usize, fault: Fault, body: impl FnOnce() -> T) -> T {
    STATE.with_borrow_mut(|state| state.fault = Some((skipped, fault)));
    let result = body();
    let left = STATE.with_borrow_mut(|state| state.fault.take());
    assert_eq!(left, None, "no call was left to fail");
    result
}

/// Runs `body`, whose calls of this name all fail.
pub(crate) fn refusing<T>(call: &'static str, errno: Errno, body: impl FnOnce() -> T) -> T {
    STATE.with_borrow_mut(|state| state.refused = Some((call, errno)));
    let result = body();
    STATE.with_borrow_mut(|state| state.refused = None);
    result
}

/// Notes a change that is no call of the store's.
pub(crate) fn record(op: impl FnOnce() -> Op) {
    STATE.with_borrow_mut(|state| {
        if let Some(ops) = &mut state.ops {
            ops.push(op());
        }
    });
}

/// How the call of this name, which is about to be made, fails.
pub(super) fn fault(call: &'static str) -> Option<Errno> {
    STATE.with_borrow_mut(|state| {
        if let Some(calls) = &mut state.calls {
            calls.push(call);
        }
        if let Some((refused, errno)) = state.refused
            && refused == call
        {
            return Some(errno);
        }
        match &mut state.fault {
            Some((0, Fault::Errno(errno))) => {
                let errno = *errno;
                state.fault = None;
                Some(errno)
            }
            Some((skipped @ 1.., _)) => {
                *skipped -= 1;
                None
            }
            _ => None,
        }
    })
}

/// What a write, which is about to be made, takes.
pub(super) fn shortened(bytes: &[u8]) -> &[u8] {
    STATE.with_borrow_mut(|state| match state.fault {
        Some((0, Fault::Short)) => {
            state.fault = None;
            &bytes[..1]
        }
        _ => bytes,
    })
}

/// The path of an open file or directory.
pub(super) fn path_of(file: &impl AsFd) -> PathBuf {
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    fs::read_link(Path::new(&link)).unwrap()
}
