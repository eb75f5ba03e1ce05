//! One run of a plugin, whichever engine started it: reads it, watches the clock and the cancel token.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::child::Failure;
use super::nanny::Nursery;
pub(super) use super::outcome::Status;
use super::stderr::Stderr;
use crate::call::{Call, HeldLock};
use crate::error::{Error, ErrorClass, Result};
use crate::fds;

/// How long the end of a killed group is waited for, before it is left to itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks at a plugin that has closed its output: a host that reads from a number that is not its own may have
/// taken what would have woken it.
const LOOK: Duration = Duration::from_secs(1);

/// How long output may be quiet after the plugin's end while somebody still holds it open, and how long that is borne.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_IN_ALL: Duration = Duration::from_secs(1);

/// What an engine starts.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) path: &'a CStr,
    pub(super) env: &'a [CString],
    pub(super) lock: Option<&'a HeldLock>,
}

/// Why an engine did not start anything.
pub(super) enum Refusal {
    /// The user's processes have too many descriptors on their way through sockets: that passes.
    Crowded,
    /// The system does not allow nannies.
    NoNanny,
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// `E_IO` for a system call that failed before there was a plugin.
pub(super) fn refused(call: &str, error: impl Into<io::Error>) -> Error {
    let error = Error::os(ErrorClass::Io, format_args!("cannot start a plugin: {call}"), &error.into());
    error.with_never_ran()
}

/// What is heard of a started plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Exited(Status),
    /// It has exited, and left nobody who could still print.
    Alone(Status),
    NotStarted(Failure),
    /// It is gone, and nobody knows how it ended.
    Lost,
}

/// A plugin, started by one of the engines. Dropping it kills its process group, and waits for that up to [`PATIENCE`].
pub(super) trait Child {
    /// One of them is readable when there is news.
    fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>);
    /// The next news, without waiting for it.
    fn news(&mut self) -> Option<News>;
    /// What became of the plugin, where that needs no system call: news whose wake-up went elsewhere.
    fn known(&mut self) -> Option<News> {
        None
    }
    /// Whether this process started it; a child that a callback forked has a copy.
    fn is_own(&self) -> bool;
    /// TERM to the group.
    fn terminate(&mut self);
    /// Keeps what can start the next plugin of the list; ends the rest as dropping does.
    fn keep(self: Box<Self>, _nursery: &mut Nursery) {}
}

/// The host's ends of the plugin's pipes, which do not block.
pub(super) struct HostEnds {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

#[cfg(test)]
impl HostEnds {
    /// As of a plugin that has closed its output.
    pub(super) const NONE: Self = Self { stdout: None, stderr: None };
}

/// What becomes the plugin's 0, 1 and 2.
pub(super) struct PluginEnds {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// The pipes, and standard input. Pipes, not sockets: a plugin may open /dev/stderr.
pub(super) fn stdio(input: &[u8]) -> Result<(HostEnds, PluginEnds)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| refused("pipe2", errno));
    let (stdin, (ours_out, stdout), (ours_err, stderr)) = (stdin(input)?, pipe()?, pipe()?);
    for end in [&ours_out, &ours_err] {
        rustix::io::ioctl_fionbio(end, true).map_err(|errno| refused("ioctl", errno))?;
    }
    Ok((HostEnds { stdout: Some(ours_out), stderr: Some(ours_err) }, PluginEnds { stdin, stdout, stderr }))
}

/// A file in memory with all of the input. Not a pipe: a child that the host forks meanwhile has a copy of the writing
/// end, and as long as that child lives the plugin would wait for more. It also needs no writing while the plugin runs,
/// which could raise SIGPIPE.
fn stdin(mut input: &[u8]) -> Result<OwnedFd> {
    let make = |flags| rustix::fs::memfd_create("cni-stdin", flags | MemfdFlags::CLOEXEC);
    // Before Linux 6.3 the flag is unknown; after it a system may insist on it.
    let file = match make(MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => make(MemfdFlags::empty()),
        done => done,
    };
    let file = file.map_err(|errno| refused("memfd_create", errno))?;
    if !fds::may_hold(input.len()) {
        let hint = "the process's limit on file sizes (RLIMIT_FSIZE) is less than what plugins get as input";
        return Err(refused("pwrite", Errno::FBIG).with_hint(hint));
    }
    let mut offset = 0;
    while !input.is_empty() {
        // At an offset, so that the plugin begins at the start.
        match rustix::io::pwrite(&file, input, offset) {
            Ok(written) => {
                input = input.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(refused("pwrite", errno)),
        }
    }
    Ok(file)
}

/// Whether `fd` becomes readable within `limit`.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = timespec(end.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // Out of memory, which passes.
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return false,
        }
    }
}

pub(super) fn timespec(limit: Duration) -> Timespec {
    Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(Status),
    NotStarted(Failure),
    Lost,
    Stopped(Stop),
}

/// Why the plugin was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Timeout,
    Cancelled,
    TooMuchOutput,
}

/// The limits of a run.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    pub(super) call: &'a Call,
    pub(super) kill_grace: Duration,
    pub(super) max_output: usize,
}

/// A run in progress.
pub(super) struct Run<'a> {
    limits: Limits<'a>,
    ends: HostEnds,
    stderr: Stderr<'a>,
    stdout: Vec<u8>,
    /// What was read last.
    chunk: Vec<u8>,
    /// Why the rest of standard output is not known.
    unread: Option<Errno>,
    stop: Option<Stop>,
    /// When a stopped plugin is killed, or when a plugin that exited is not listened to any longer.
    stop_at: Option<Instant>,
    listen_until: Option<Instant>,
    status: Option<Status>,
}

/// What a poll entry stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Stdout,
    Stderr,
    Child,
    Cancel,
}

impl<'a> Run<'a> {
    pub(super) fn new(limits: Limits<'a>, ends: HostEnds, stderr: Stderr<'a>) -> Self {
        Self {
            limits,
            ends,
            stderr,
            stdout: Vec::new(),
            chunk: Vec::new(),
            unread: None,
            stop: None,
            stop_at: None,
            listen_until: None,
            status: None,
        }
    }

    /// Stays with the plugin to its end, or to where it has to be killed. Answers standard output and the end of
    /// standard error too.
    pub(super) fn attend(mut self, child: &mut dyn Child) -> Result<(End, Vec<u8>, Vec<u8>)> {
        let end = self.wait(child)?;
        if let (Some(errno), End::Exited(_)) = (self.unread, end) {
            let error = io::Error::from(errno);
            return Err(Error::os(ErrorClass::Io, "cannot read what a plugin printed: read", &error));
        }
        Ok((end, self.stdout, self.stderr.finish()))
    }

    fn wait(&mut self, child: &mut dyn Child) -> Result<End> {
        let call = self.limits.call;
        let cancel = call.cancel.fd()?;
        loop {
            if !child.is_own() {
                // The plugin, and what it prints, are the parent's.
                return Ok(End::Lost);
            }
            // After taking the descriptor: a cancellation before that wrote nothing.
            self.check_limits(child);
            if let Some(end) = self.end() {
                return Ok(end);
            }
            let mut news = None;
            for source in self.sleep(child, cancel)? {
                match source {
                    Source::Stdout => self.read_stdout(),
                    Source::Stderr => self.read_stderr(),
                    Source::Cancel => {}
                    // Seldom more than one at once; the next poll tells.
                    Source::Child => news = child.news(),
                }
            }
            if self.status.is_none() {
                news = news.or_else(|| child.known());
            }
            match news {
                None => {}
                Some(News::NotStarted(failure)) => return Ok(End::NotStarted(failure)),
                Some(News::Lost) => return Ok(End::Lost),
                Some(News::Exited(status)) => self.exited(status),
                Some(News::Alone(status)) => {
                    self.exited(status);
                    // A child that the host forked when the plugin started may hold them still.
                    (self.ends.stdout, self.ends.stderr) = (None, None);
                }
            }
        }
    }

    fn exited(&mut self, status: Status) {
        self.status = Some(status);
        self.read_what_is_there();
        let now = Instant::now();
        self.listen_until = Some(now + LINGER_IN_ALL);
        self.stop_at = Some(now + LINGER);
    }

    fn check_limits(&mut self, child: &mut dyn Child) {
        if self.stop.is_some() || self.status.is_some() {
            return;
        }
        let call = self.limits.call;
        let stop = if call.cancel.is_cancelled() {
            Stop::Cancelled
        } else if call.remaining().is_some_and(|left| left.is_zero()) {
            Stop::Timeout
        } else {
            return;
        };
        self.stop = Some(stop);
        self.stop_at = Instant::now().checked_add(self.limits.kill_grace).into_iter().chain(call.kill_by).min();
        child.terminate();
    }

    fn end(&self) -> Option<End> {
        if let Some(stop) = self.stop {
            let done = stop == Stop::TooMuchOutput || self.status.is_some() || over(self.stop_at);
            return done.then_some(End::Stopped(stop));
        }
        let status = self.status?;
        (self.is_silent() || over(self.stop_at) || over(self.listen_until)).then_some(End::Exited(status))
    }

    /// Waits until something is ready or a limit passes.
    fn sleep(&self, child: &dyn Child, cancel: BorrowedFd<'_>) -> Result<Vec<Source>> {
        let mut sources = Vec::with_capacity(6);
        let mut fds = Vec::with_capacity(6);
        let (first, second) = child.fds();
        // The plugin's news last: its output before its end.
        for (source, fd, flags) in [
            (Source::Cancel, (self.stop.is_none() && self.status.is_none()).then_some(cancel), PollFlags::IN),
            (Source::Stdout, self.ends.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (Source::Stderr, self.ends.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (Source::Child, self.status.is_none().then_some(first), PollFlags::IN),
            (Source::Child, second.filter(|_| self.status.is_none()), PollFlags::IN),
        ] {
            if let Some(fd) = fd {
                sources.push(source);
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        let limit = self.next_limit().map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(Error::os(ErrorClass::Io, "cannot wait for a plugin: poll", &error.into())),
        }
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        let mut ready: Vec<_> = ready.map(|(source, _)| *source).collect();
        ready.dedup();
        Ok(ready)
    }

    fn next_limit(&self) -> Option<Instant> {
        let deadline = self.limits.call.deadline.filter(|_| self.stop.is_none() && self.status.is_none());
        let look = (self.is_silent() && self.status.is_none()).then(|| Instant::now() + LOOK);
        [deadline, look, self.stop_at, self.listen_until].into_iter().flatten().min()
    }

    fn is_silent(&self) -> bool {
        self.ends.stdout.is_none() && self.ends.stderr.is_none()
    }

    fn read_stdout(&mut self) {
        if let Err(errno) = read(&mut self.ends.stdout, &mut self.chunk) {
            self.unread = Some(errno);
        }
        self.heard();
        if self.stop.is_none() && self.stdout.len() + self.chunk.len() > self.limits.max_output {
            self.stop = Some(Stop::TooMuchOutput);
        }
        if self.stop.is_none() {
            self.stdout.extend_from_slice(&self.chunk);
        }
    }

    fn read_stderr(&mut self) {
        // A stderr that cannot be read is as good as one that ended.
        let _ = read(&mut self.ends.stderr, &mut self.chunk);
        self.heard();
        self.stderr.push(&self.chunk);
    }

    /// All that the plugin itself has printed, however long that takes, and no more: it may have given the pipes to somebody
    /// who goes on writing.
    fn read_what_is_there(&mut self) {
        let mut left = capacity(self.ends.stdout.as_ref());
        while left > 0 && self.stop.is_none() {
            self.read_stdout();
            left = if self.chunk.is_empty() { 0 } else { left.saturating_sub(self.chunk.len()) };
        }
        let mut left = capacity(self.ends.stderr.as_ref());
        while left > 0 {
            self.read_stderr();
            left = if self.chunk.is_empty() { 0 } else { left.saturating_sub(self.chunk.len()) };
        }
    }

    fn heard(&mut self) {
        if self.status.is_some() && self.stop.is_none() && !self.chunk.is_empty() {
            self.stop_at = Some(Instant::now() + LINGER);
        }
    }
}

fn over(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at <= Instant::now())
}

/// How many bytes a pipe can hold.
fn capacity(pipe: Option<&OwnedFd>) -> usize {
    /// Where the system does not say: as a pipe has from the start.
    const PIPE: usize = 64 << 10;
    pipe.map_or(0, |pipe| rustix::pipe::fcntl_getpipe_size(pipe).unwrap_or(PIPE))
}

/// Makes `chunk` what is there; at the end, and where the system gives no more, `end` becomes `None`.
fn read(end: &mut Option<OwnedFd>, chunk: &mut Vec<u8>) -> Result<(), Errno> {
    /// More than nearly every plugin prints.
    const CHUNK: usize = 16 << 10;
    chunk.clear();
    let Some(fd) = end else { return Ok(()) };
    chunk.reserve(CHUNK);
    match rustix::io::retry_on_intr(|| rustix::io::read(&*fd, spare_capacity(chunk))) {
        Ok(0) => *end = None,
        Ok(_) | Err(Errno::AGAIN) => {}
        Err(errno) => {
            *end = None;
            return Err(errno);
        }
    }
    Ok(())
}
