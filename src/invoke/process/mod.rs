//! The process engine: an [`Exec`] that starts plugin binaries.
//!
//! It is a good guest: no signal, no descriptor and no child of its own becomes visible to the host, and what a plugin
//! leaves in its process group is killed. A plugin runs under a nanny, or directly where that cannot be.
//!
//! Not `std::process::Command`, which forks the whole host as soon as it is asked for a pidfd, and whose children the
//! host's own `wait` can take away.

mod arena;
mod child;
mod direct;
mod nanny;
mod outcome;
mod run;
mod stderr;
mod sys;
#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use self::child::{Failure, Step};
use self::direct::Direct;
pub use self::nanny::Nursery;
use self::nanny::Table;
use self::run::{Child, End, HostEnds, Limits, Refusal, Request, Run, Stop};
use self::stderr::Stderr;
use crate::call::Call;
use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::invoke::Exec;

/// How plugins are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spawn {
    /// Under a nanny; directly where the system does not allow that.
    #[default]
    Nanny,
    /// As a child of the host.
    Direct,
}

impl Spawn {
    /// What the environment asks for: `CNIRT_SPAWN=direct`, for valgrind.
    pub fn from_environment() -> Self {
        if std::env::var_os("CNIRT_SPAWN").is_some_and(|way| way == "direct") { Self::Direct } else { Self::Nanny }
    }
}

/// Starts plugin binaries.
#[derive(Clone, Debug)]
pub struct ProcessExec {
    /// Between TERM and KILL.
    pub kill_grace: Duration,
    /// The most that is read of standard output, and kept of standard error.
    pub max_output: usize,
    /// How plugins are started.
    pub spawn: Spawn,
}

impl Default for ProcessExec {
    /// The options' defaults; reads `CNIRT_SPAWN`.
    fn default() -> Self {
        Self { kill_grace: Duration::from_secs(2), max_output: 4 << 20, spawn: Spawn::from_environment() }
    }
}

impl Drop for ProcessExec {
    /// Collects what had to be left behind, by whichever engine, and has ended since; waits for nothing.
    fn drop(&mut self) {
        nanny::sweep();
        arena::free_all();
    }
}

/// The answer of a plugin that ended with status 1 and printed this: always an error. For fuzzing, which runs nothing.
#[doc(hidden)]
pub fn failed(stdout: &[u8], stderr: &[u8]) -> Result<Vec<u8>> {
    outcome::answer(outcome::Status::Exited(1), stdout.to_vec(), stderr)
}

impl Exec for ProcessExec {
    fn find_in_path(&self, _call: &Call, plugin_type: &str, dirs: &[PathBuf]) -> Result<PathBuf> {
        crate::invoke::find::find_in_path(plugin_type, dirs)
    }

    fn exec_plugin(
        &self,
        call: &Call,
        nursery: &mut Nursery,
        path: &Path,
        stdin: &[u8],
        env: &[CString],
    ) -> Result<Vec<u8>> {
        let way = match self.spawn {
            Spawn::Nanny if FETCHING_REFUSED.load(Ordering::Relaxed) => Way::Nanny(Table::Copied),
            Spawn::Nanny => Way::Nanny(Table::Fetched),
            Spawn::Direct => Way::Direct,
        };
        self.exec_by(way, call, nursery, path, stdin, env)
    }
}

/// A host without ptrace rights on itself (Yama, a container's seccomp profile) has none the next time either.
static FETCHING_REFUSED: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Nanny(Table),
    Direct,
}

type Ended = (End, Vec<u8>, Vec<u8>);

impl ProcessExec {
    /// Goes this way, or where the system does not allow it the next one.
    fn exec_by(
        &self,
        mut way: Way,
        call: &Call,
        nursery: &mut Nursery,
        path: &Path,
        stdin: &[u8],
        env: &[CString],
    ) -> Result<Vec<u8>> {
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| {
            Error::invalid(format!("plugin path {}: there is a NUL in it", path.display())).with_never_ran()
        })?;
        let (mut busy, mut crowded) = (Backoff::default(), Backoff::default());
        loop {
            call.check().map_err(Error::with_never_ran)?;
            // Before anything is started: without it a call could not be cancelled.
            call.cancel.fd().map_err(Error::with_never_ran)?;
            let request = Request { path: &c_path, env, lock: call.lock.as_ref() };
            let (end, stdout, stderr) = match self.run(way, call, nursery, path, &request, stdin) {
                Ok(ended) => ended,
                Err(Refusal::Failed(error)) => return Err(error),
                Err(Refusal::Crowded) => {
                    if crowded.wait(call).map_err(Error::with_never_ran)? {
                        continue;
                    }
                    return Err(run::refused("sendmsg", Errno::TOOMANYREFS));
                }
                Err(Refusal::NoNanny) => {
                    way = Way::Direct;
                    continue;
                }
            };
            match end {
                End::Exited(status) => return outcome::answer(status, stdout, &stderr),
                End::Stopped(stop) => return Err(self.stopped(stop, call, &stderr)),
                End::Lost => return Err(outcome::lost(path)),
                End::NotStarted(Failure { step: Step::Table, errno }) if way == Way::Nanny(Table::Fetched) => {
                    FETCHING_REFUSED.fetch_or(matches!(errno, libc::EPERM | libc::ENOSYS), Ordering::Relaxed);
                    way = Way::Nanny(Table::Copied);
                }
                End::NotStarted(Failure { step: Step::Exec, errno: libc::ETXTBSY })
                    if busy.wait(call).map_err(Error::with_never_ran)? => {}
                End::NotStarted(failure) => return Err(not_started(path, failure)),
            }
        }
    }

    fn run(
        &self,
        way: Way,
        call: &Call,
        nursery: &mut Nursery,
        path: &Path,
        request: &Request<'_>,
        stdin: &[u8],
    ) -> Result<Ended, Refusal> {
        let (mut child, host_ends) = fds::above_two(|| start(way, nursery, request, stdin))?;
        let limits = Limits { call, kill_grace: self.kill_grace, max_output: self.max_output };
        let run = Run::new(limits, host_ends, Stderr::new(path, self.max_output));
        let ended = run.attend(&mut *child)?;
        child.keep(nursery);
        Ok(ended)
    }

    fn stopped(&self, stop: Stop, call: &Call, stderr: &[u8]) -> Error {
        let error = match stop {
            Stop::Timeout => Error::new(ErrorClass::Timeout, format!("netplugin {}, killed", call.timed_out())),
            Stop::Cancelled => Error::new(ErrorClass::Cancelled, "netplugin killed: the call was cancelled"),
            Stop::TooMuchOutput => {
                let msg = format!("netplugin wrote more than {} bytes to standard output, killed", self.max_output);
                return Error::new(ErrorClass::Plugin, msg).with_hint("maxOutputBytes sets the limit");
            }
        };
        let last = String::from_utf8_lossy(stderr);
        match last.trim_end().rsplit('\n').next() {
            Some(line) if !line.is_empty() => error.with_hint(format!("its standard error ended in {line:?}")),
            _ => error,
        }
    }
}

fn start(
    way: Way,
    nursery: &mut Nursery,
    request: &Request<'_>,
    stdin: &[u8],
) -> Result<(Box<dyn Child>, HostEnds), Refusal> {
    let (host_ends, plugin_ends) = run::stdio(stdin)?;
    let child: Box<dyn Child> = match way {
        Way::Nanny(table) => Box::new(nursery.take_in(table, request, &plugin_ends)?),
        Way::Direct => Box::new(Direct::start(request, &plugin_ends)?),
    };
    Ok((child, host_ends))
}

fn not_started(path: &Path, failure: Failure) -> Error {
    let call = match failure.step {
        Step::Exec => return outcome::not_executed(path, failure.errno).with_never_ran(),
        Step::Table => "close_range",
        Step::Files => "recvmsg",
        Step::Clone => "clone",
        Step::Stdio => "dup3",
    };
    let error = std::io::Error::from_raw_os_error(failure.errno);
    Error::os(ErrorClass::Io, format_args!("cannot start {}: {call}", path.display()), &error).with_never_ran()
}

/// The pauses before what passes is tried again: a plugin that is being written ("text file busy", for which libcni tries
/// for five seconds), or too many descriptors on their way.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    left: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Duration::from_millis(10), left: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// Waits; false when it is enough. The call's end ends it.
    fn wait(&mut self, call: &Call) -> Result<bool> {
        if self.left.is_zero() {
            return Ok(false);
        }
        let pause = self.next.min(self.left);
        self.left -= pause;
        self.next = (self.next * 2).min(Duration::from_secs(1));
        call.pause(pause)?;
        Ok(true)
    }
}
