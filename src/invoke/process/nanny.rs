//! The nanny: a process between host and plugin, so that the host gets no SIGCHLD, has no child that its `wait` could
//! see or lose, and leaves no plugin behind when it is killed.
//!
//! It shares the host's memory (which makes it cheap, however big the host is), never executes anything, and runs on a
//! stack in an [`Arena`]. What it does is in [`own_side`], by the rules of [`sys`].

mod own_side;

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use self::own_side::{is_over, nanny};
use super::arena::{Arena, Sharing};
use super::child::Program;
use super::run::{Child, News, PATIENCE, PluginEnds, Refusal, Request, Status, refused, wait_readable};
use super::sys;
use crate::{fds, thread};

/// How the nanny gets a descriptor table without the host's descriptors in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// It starts in the host's own table, leaves it for an empty one, and fetches what it needs: the cost does not grow
    /// with the host's number of descriptors. Needs ptrace rights on the host.
    Fetched,
    /// It starts with a copy, and closes all but what it needs.
    Copied,
}

/// The host's messages, a byte each: TERM to the group, and the end, for which the socket's end stands as well. Either
/// side ignores what is no message: a host that mixes up its descriptors must not lose a plugin's status.
const TERMINATE: u8 = 1;
const FINISH: u8 = 2;
/// The nanny's message that the plugin runs. Others are `si_code` and `si_status` of its end.
const STARTED: u64 = 0;

/// What nanny and host share. Written by the host before the clone; after that, only the atomics change.
struct Job {
    program: Program,
    table: Table,
    host_pid: i32,
    /// The host's numbers.
    fds: Fds,
    /// The file that is `fds.control`.
    control_identity: sys::Answer<(u64, u64)>,
    plugin_stack: *mut u8,
    /// Set before the host leaves the nanny to itself and closes `fds`: a late nanny must start nothing with what has a
    /// number now, and must not take the host for dead.
    abandoned: AtomicBool,
    /// Set before the host says that it is enough: the lock stays the living host's.
    finished: AtomicBool,
    /// Set by the nanny once nobody is between clone and exec any more.
    born: AtomicBool,
    /// A message's word for a plugin that left nobody, whose nanny goes without an order; until then 0. Not sent: the host
    /// would be woken twice.
    ending: AtomicU64,
}

/// Descriptors of the nanny; -1 is none.
#[derive(Clone, Copy)]
struct Fds {
    control: i32,
    host: i32,
    stdin: i32,
    stdout: i32,
    stderr: i32,
    lock: i32,
}

/// A running nanny, seen from the host. Dropping it ends the plugin's group and the nanny.
pub(super) struct Nanny {
    control: OwnedFd,
    pidfd: OwnedFd,
    arena: Option<Arena>,
    job: NonNull<Job>,
    /// What the nanny fetches from the host's table, kept until it is known to have.
    ends: Option<(PluginEnds, [Option<OwnedFd>; 2])>,
    control_over: bool,
    /// The nanny goes by itself.
    going: bool,
}

impl Nanny {
    /// Starts a nanny that starts the plugin.
    pub(super) fn start(table: Table, request: &Request<'_>, ends: PluginEnds) -> Result<Self, Refusal> {
        sweep();
        let arena = Arena::new(request.path, request.env, size_of::<Job>(), Sharing::Private);
        let mut arena = arena.map_err(|error| refused("mmap", error))?;
        let (control, nanny_control) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| refused("socketpair", error))?;
        let host_pid = sys::getpid();
        let host = match table {
            Table::Fetched => None,
            Table::Copied => {
                // Without it no nanny could see the host's end.
                let fd = sys::pidfd_open(host_pid).map_err(|errno| not_given("pidfd_open", errno))?;
                // SAFETY: the kernel just gave it to us.
                Some(unsafe { OwnedFd::from_raw_fd(fd) })
            }
        };
        let [nanny_stack, plugin_stack] = arena.stacks();
        let full = || refused("mmap", io::Error::from_raw_os_error(libc::ENOMEM));
        let job = Job {
            program: arena.put_program(request.path, request.env).ok_or_else(full)?,
            table,
            host_pid,
            fds: Fds {
                control: nanny_control.as_raw_fd(),
                host: host.as_ref().map_or(-1, AsRawFd::as_raw_fd),
                stdin: ends.stdin.as_raw_fd(),
                stdout: ends.stdout.as_raw_fd(),
                stderr: ends.stderr.as_raw_fd(),
                lock: request.lock.map_or(-1, |lock| lock.file.as_raw_fd()),
            },
            control_identity: sys::identity(nanny_control.as_raw_fd()),
            plugin_stack,
            abandoned: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            born: AtomicBool::new(false),
            ending: AtomicU64::new(0),
        };
        let job = arena.put(job).ok_or_else(full)?;
        let shared_table = if table == Table::Fetched { libc::CLONE_FILES } else { 0 };
        let flags = libc::CLONE_VM | libc::CLONE_PIDFD | shared_table;
        let mut pidfd = -1;
        // A signal that reached the nanny would run the host's handler, in the host's memory, beside the host.
        let mask = sys::set_mask(u64::MAX);
        // SAFETY: stack and job are in the arena, which is kept until the nanny is gone; `nanny` keeps to the rules.
        // CLONE_SIGHAND is not among the flags: its dispositions are its own.
        let cloned = unsafe {
            sys::clone_onto(flags, nanny_stack, &raw mut pidfd, nanny, job.as_ptr().cast_const().cast::<c_void>())
        };
        sys::set_mask(mask);
        match cloned {
            Ok(_) => {}
            Err(errno) => return Err(not_given("clone", errno)),
        }
        // SAFETY: the kernel just gave it to us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let ends = Some((ends, [Some(nanny_control), host]));
        Ok(Self { control, pidfd, arena: Some(arena), job, ends, control_over: false, going: false })
    }

    fn job(&self) -> &Job {
        // SAFETY: it is in the arena, which lives until this value's drop; nobody writes but to atomics.
        unsafe { self.job.as_ref() }
    }

    fn is_born(&self) -> bool {
        self.job().born.load(Ordering::SeqCst)
    }

    /// Both ends of the control socket, as long as the host has both.
    #[cfg(test)]
    pub(super) fn control(&self) -> [i32; 2] {
        let nannys = self.ends.as_ref().and_then(|(_, [control, _])| control.as_ref());
        [self.control.as_raw_fd(), nannys.map_or(-1, AsRawFd::as_raw_fd)]
    }

    fn say(&self, order: u8) {
        loop {
            match sys::send(self.control.as_raw_fd(), &[order]) {
                Err(libc::EINTR) => {}
                Err(libc::ENOBUFS | libc::ENOMEM) if order == FINISH => {
                    // The socket's end says the same.
                    let _ = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
                    return;
                }
                // A nanny that is gone needs no order; one that hears no TERM hears the end.
                _ => return,
            }
        }
    }

    /// What a nanny says that goes by itself.
    fn left(&mut self) -> Option<News> {
        let status = ended(self.job().ending.load(Ordering::SeqCst))?;
        self.going = true;
        self.ends = None;
        Some(News::Alone(status))
    }

    fn receive(&mut self) -> Option<News> {
        loop {
            let mut message = [0; 9];
            let [word @ .., _] = match sys::receive(self.control.as_raw_fd(), &mut message) {
                Ok(8) => message,
                Ok(0) if is_over(self.control.as_raw_fd()) => {
                    self.control_over = true;
                    return None;
                }
                Ok(_) | Err(libc::EINTR) => continue,
                Err(_) => return None,
            };
            let word = u64::from_ne_bytes(word);
            let news = if word == STARTED { Some(News::Started) } else { ended(word).map(News::Exited) };
            if news.is_some() {
                self.ends = None;
                return news;
            }
        }
    }
}

impl Child for Nanny {
    fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.pidfd.as_fd(), (!self.control_over).then(|| self.control.as_fd()))
    }

    fn news(&mut self) -> Option<News> {
        if let Some(news) = self.left().or_else(|| self.receive()) {
            return Some(news);
        }
        if !wait_readable(self.pidfd.as_fd(), Duration::ZERO) {
            return None;
        }
        // It may have spoken just before it went.
        self.left()
            .or_else(|| self.receive())
            .or_else(|| Some(self.job().program.failure.get().map_or(News::Lost, News::NotStarted)))
    }

    fn terminate(&mut self) {
        self.say(TERMINATE);
    }
}

impl Drop for Nanny {
    fn drop(&mut self) {
        if !self.is_born() {
            self.job().abandoned.store(true, Ordering::SeqCst);
        }
        self.job().finished.store(true, Ordering::SeqCst);
        if !self.going {
            self.say(FINISH);
        }
        let end = if wait_readable(self.pidfd.as_fd(), PATIENCE) { reap(&self.pidfd) } else { End::NotYet };
        let born = self.is_born();
        let Some(arena) = self.arena.take() else { return };
        match (end, born) {
            (End::OfItself, _) | (End::Unknown, true) => arena.give_back(),
            // A nanny that somebody killed may have left a plugin on the second stack, on its way to exec.
            (End::Unknown, false) => std::mem::forget(arena),
            // The nanny of a plugin that hangs in the kernel stays to reap it, and its stack with it.
            (End::NotYet, _) => {
                self.job().abandoned.store(true, Ordering::SeqCst);
                leave(self.pidfd.as_fd(), Some(arena));
            }
        }
    }
}

/// The refusal for a system call that nannies need, and that a kernel or a filter may not give at all.
fn not_given(call: &str, errno: i32) -> Refusal {
    match errno {
        libc::EINVAL | libc::EPERM | libc::ENOSYS => Refusal::NoNanny,
        _ => refused(call, io::Error::from_raw_os_error(errno)).into(),
    }
}

/// How a child ended that was looked after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    /// It did all that it had to do.
    OfItself,
    /// Killed, or collected by somebody else (`__WALL`).
    Unknown,
}

/// Collects a child that has ended.
fn reap(pidfd: &OwnedFd) -> End {
    match sys::wait_id(libc::P_PIDFD, pidfd.as_raw_fd(), libc::WNOHANG) {
        Ok(None) => End::NotYet,
        Ok(Some((libc::CLD_EXITED, _))) => End::OfItself,
        Ok(Some(_)) | Err(_) => End::Unknown,
    }
}

/// Children that were left behind because what they wait for hangs in the kernel, and what they still use.
///
/// Held for a few system calls that do not block, and by nobody who holds another lock.
static LEFT: Mutex<Vec<(OwnedFd, Option<Arena>)>> = Mutex::new(Vec::new());

/// Leaves a child to itself, until a later [`sweep`] finds that it has ended.
pub(super) fn leave(pidfd: BorrowedFd<'_>, arena: Option<Arena>) {
    match fds::above_two(|| pidfd.try_clone_to_owned()) {
        Ok(pidfd) => LEFT.lock().unwrap_or_else(PoisonError::into_inner).push((pidfd, arena)),
        Err(_) => std::mem::forget(arena),
    }
}

/// Collects what was left behind and has ended since.
pub(super) fn sweep() {
    let Some(mut left) = thread::try_lock(&LEFT) else { return };
    left.retain_mut(|(pidfd, arena)| {
        if !wait_readable(pidfd.as_fd(), Duration::ZERO) {
            return true;
        }
        let end = reap(pidfd);
        if end == End::Unknown {
            // As for one that was not left.
            std::mem::forget(arena.take());
        }
        end == End::NotYet
    });
}

/// What a message says of the plugin's end.
fn ended(word: u64) -> Option<Status> {
    let ending @ (libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED, _) = (high_half(word), low_half(word)) else {
        return None;
    };
    Some(Status::of(ending))
}

fn high_half(word: u64) -> i32 {
    i32::from_ne_bytes(u32::to_ne_bytes(u32::try_from(word >> 32).unwrap_or(0)))
}

fn low_half(word: u64) -> i32 {
    i32::from_ne_bytes(u32::to_ne_bytes(u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)))
}
