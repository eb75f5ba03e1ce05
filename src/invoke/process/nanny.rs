//! The nanny: a process between host and plugin, so that the host gets no SIGCHLD, has no child that its `wait` could
//! see or lose, and leaves no plugin behind when it is killed.
//!
//! It shares the host's memory (which makes it cheap, however big the host is), never executes anything, and runs on a
//! stack in an [`Arena`]. What it does is in [`own_side`], by the rules of [`sys`]. It has one plugin at a time in its care,
//! a [`Charge`], and stays for the next one of the same list in a [`Nursery`].

mod charge;
mod own_side;

use std::ffi::c_void;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};

pub use self::charge::Nursery;
use self::own_side::{is_over, nanny};
use super::arena::{Arena, Sharing};
use super::child::{FailureSlot, Program};
use super::run::{PATIENCE, PluginEnds, Refusal, Request, Status, refused, wait_readable};
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

/// The host's messages, a byte each: START a plugin, with its standard descriptors and perhaps the lock, or the last one;
/// TERM to the group; and the end, for which the socket's end stands as well. The nanny ignores what is no message: a host
/// that mixes up its descriptors must not lose a plugin's status. What it sends itself only wakes the host.
const START: u8 = 1;
const START_LAST: u8 = 2;
const TERMINATE: u8 = 3;
const FINISH: u8 = 4;

/// The nanny's [`Job::word`]: `si_code` and `si_status` of the plugin's end, with this bit where it left nobody.
const ALONE: u64 = 1 << 63;
/// The word for a plugin that was not started, for the reason in its [`Program`].
const NOT_STARTED: u64 = 1 << 62;

/// What nanny and host share. Written by the host before the clone; after that, only the atomics change.
struct Job {
    table: Table,
    host_pid: i32,
    /// The host's numbers; -1 is none.
    control: i32,
    host: i32,
    /// The file that is `control`.
    control_identity: sys::Answer<(u64, u64)>,
    plugin_stack: *mut u8,
    /// How long the nanny waits for a plugin.
    idle_limit: libc::timespec,
    /// Why the nanny itself gave up.
    failure: FailureSlot,
    /// What is to be started. In the arena; the nanny looks there from START to its word alone.
    program: AtomicPtr<Program>,
    /// What became of it, in memory so that nothing can be lost or made up on the way; until then 0. After a plugin that
    /// left nobody, or was not started, the nanny waits for the next one, or goes.
    word: AtomicU64,
    /// Set by the nanny while somebody may be between clone and exec.
    bearing: AtomicBool,
    /// Set before the host leaves the nanny to itself: the lock is not its business any more.
    abandoned: AtomicBool,
    /// Set before the host says that it is enough: the lock stays the living host's, and nothing more is started.
    finished: AtomicBool,
}

/// A running nanny, seen from the host. Dropping it ends the plugin's group and the nanny.
struct Nanny {
    control: OwnedFd,
    pidfd: OwnedFd,
    arena: Option<Arena>,
    /// What the arena has beside a program.
    arena_used: usize,
    job: NonNull<Job>,
    /// The nanny's end of `control`, kept until it is known to have fetched that.
    fetched: Option<OwnedFd>,
    control_over: bool,
    /// It goes by itself, or was told to.
    going: bool,
}

impl Nanny {
    /// Starts a nanny that can start plugins like this one.
    fn start(table: Table, request: &Request<'_>, idle_limit: Duration) -> Result<Self, Refusal> {
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
        let job = Job {
            table,
            host_pid,
            control: nanny_control.as_raw_fd(),
            host: host.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            control_identity: sys::identity(nanny_control.as_raw_fd()),
            plugin_stack,
            idle_limit: libc::timespec {
                tv_sec: idle_limit.as_secs().cast_signed(),
                tv_nsec: idle_limit.subsec_nanos().into(),
            },
            failure: FailureSlot::default(),
            program: AtomicPtr::new(null_mut()),
            word: AtomicU64::new(0),
            bearing: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        };
        let job = arena.put(job).ok_or_else(|| refused("mmap", Errno::NOMEM))?;
        let arena_used = arena.used();
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
        Ok(Self {
            control,
            pidfd,
            arena: Some(arena),
            arena_used,
            job,
            // A copied table has them already.
            fetched: Some(nanny_control).filter(|_| table == Table::Fetched),
            control_over: false,
            going: false,
        })
    }

    /// Has an idle nanny start this plugin. `None` where it is gone, or has no room for the program.
    fn take_in(
        &mut self,
        request: &Request<'_>,
        ends: &PluginEnds,
        last: bool,
    ) -> Result<Option<NonNull<Program>>, Refusal> {
        let Some(arena) = &mut self.arena else { return Ok(None) };
        // The nanny is idle: what was there is of no use to anybody.
        arena.forget_all_but(self.arena_used);
        let program = arena.put_program(request.path, request.env).and_then(|program| arena.put(program));
        let Some(program) = program else { return Ok(None) };
        self.job().program.store(program.as_ptr(), Ordering::SeqCst);
        self.job().word.store(0, Ordering::SeqCst);
        let lock = request.lock.map(|lock| lock.file.as_fd());
        let files = [Some(ends.stdin.as_fd()), Some(ends.stdout.as_fd()), Some(ends.stderr.as_fd()), lock];
        let files: Vec<_> = files.into_iter().flatten().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(sys::MOST_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let order = [if last { START_LAST } else { START }];
        match rustix::io::retry_on_intr(|| sendmsg(&self.control, &[IoSlice::new(&order)], &mut ancillary, flags)) {
            Ok(_) => Ok(Some(program)),
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(None),
            Err(Errno::TOOMANYREFS) => Err(Refusal::Crowded),
            Err(errno) => Err(refused("sendmsg", errno).into()),
        }
    }

    fn job(&self) -> &Job {
        // SAFETY: it is in the arena, which lives until this value's drop; nobody writes but to atomics.
        unsafe { self.job.as_ref() }
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

    /// Whether it waits for a plugin of this process's: not where that was forked meanwhile, by a callback.
    fn is_idle(&self) -> bool {
        !self.going && self.is_own() && !wait_readable(self.pidfd.as_fd(), Duration::ZERO)
    }

    fn is_own(&self) -> bool {
        self.job().host_pid == sys::getpid()
    }

    /// Takes what woke the host.
    fn drain(&mut self) {
        let mut message = [0; 8];
        loop {
            match sys::receive(self.control.as_raw_fd(), &mut message) {
                Ok(0) if is_over(self.control.as_raw_fd()) => {
                    self.control_over = true;
                    return;
                }
                Ok(_) | Err(libc::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Nanny {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        self.job().finished.store(true, Ordering::SeqCst);
        if !self.going {
            self.say(FINISH);
        }
        let end = if wait_readable(self.pidfd.as_fd(), PATIENCE) { reap(&self.pidfd) } else { End::NotYet };
        let bearing = self.job().bearing.load(Ordering::SeqCst);
        let Some(arena) = self.arena.take() else { return };
        match (end, bearing) {
            (End::OfItself, _) | (End::Unknown, false) => arena.give_back(),
            // A nanny that somebody killed may have left a plugin on the second stack, on its way to exec.
            (End::Unknown, true) => std::mem::forget(arena),
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

/// The plugin's end in a nanny's word, where there is one.
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
