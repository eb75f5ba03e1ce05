//! Without a nanny: the host is the plugin's parent. For where `clone` refuses, and for valgrind, which cannot follow
//! a process that shares memory.
//!
//! The host then sees a SIGCHLD, and its own `wait` may take the plugin's status; the kernel remembers it from Linux
//! 6.15 on, before that it is lost, and a lost status is an error.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::arena::{Arena, Sharing};
use super::child::{Parent, Program, become_plugin};
use super::nanny::{leave, sweep};
use super::run::{Child, News, PATIENCE, PluginEnds, Refusal, Request, Status, refused, wait_readable};
use super::sys;
use crate::error::Result;

/// A plugin that is a child of the host. Dropping it ends the plugin's group.
pub(super) struct Direct {
    pid: i32,
    pidfd: OwnedFd,
    /// Keeps `program`.
    _arena: Arena,
    program: NonNull<Program>,
    reported: bool,
    host_pid: i32,
}

impl Direct {
    /// Starts the plugin.
    pub(super) fn start(request: &Request<'_>, ends: &PluginEnds) -> std::result::Result<Self, Refusal> {
        sweep();
        // Shared with the child, which leaves its failure there.
        let arena = Arena::new(request.path, request.env, size_of::<AtomicU8>(), Sharing::WithForks);
        let mut arena = arena.map_err(|error| refused("mmap", error))?;
        let full = || refused("mmap", io::Error::from_raw_os_error(libc::ENOMEM));
        let program = arena.put_program(request.path, request.env).ok_or_else(full)?;
        let program = arena.put(program).ok_or_else(full)?;
        let gate = arena.put(AtomicU8::new(WAIT)).ok_or_else(full)?;
        let stdio = [ends.stdin.as_raw_fd(), ends.stdout.as_raw_fd(), ends.stderr.as_raw_fd()];
        let host = Parent::Host(sys::getpid());
        let mask = sys::set_mask(u64::MAX);
        // SAFETY: it is in the arena; nobody writes but to the atomic.
        let forked = fork(unsafe { gate.as_ref() }, host);
        if matches!(forked, Ok((0, _))) {
            // SAFETY: this is the child, with its own table; the program is in the arena.
            unsafe { become_plugin(program.as_ref(), stdio, host) }
        }
        sys::set_mask(mask);
        let (pid, pidfd) = forked?;
        // The child does it too; whoever comes first. After exec it is refused, and done.
        let _ = sys::lead_group(pid);
        // SAFETY: the kernel just gave it to us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { pid, pidfd, _arena: arena, program, reported: false, host_pid: sys::getpid() })
    }

    fn signal(&self, signal: i32) {
        // The second way only where the kernel lacks the first, and the plugin is there or its parent has not waited for
        // it: after that its number could be somebody else's.
        if let Err(libc::EINVAL | libc::ENOSYS | libc::EPERM) = sys::kill_group(self.pidfd.as_raw_fd(), signal)
            && self.is_ours()
        {
            let _ = sys::kill(-self.pid, signal);
        }
        // A leader that went over to another group. Not else: nobody is to get a TERM twice.
        let group = sys::group_of(self.pid);
        if group == Ok(self.pid) {
            return;
        }
        if let (Err(libc::ENOSYS | libc::EPERM), Ok(_)) = (sys::kill_by_pidfd(self.pidfd.as_raw_fd(), signal), group) {
            let _ = sys::kill(self.pid, signal);
        }
    }

    /// Whether nobody has waited for the plugin yet.
    fn is_ours(&self) -> bool {
        sys::wait_id(libc::P_PIDFD, self.pidfd.as_raw_fd(), libc::WNOWAIT | libc::WNOHANG) != Err(libc::ECHILD)
    }

    fn ending(&self) -> News {
        // SAFETY: it is in the arena, which this value owns; nobody writes but to atomics.
        if let Some(failure) = unsafe { self.program.as_ref() }.failure.get() {
            return News::NotStarted(failure);
        }
        match sys::wait_id(libc::P_PIDFD, self.pidfd.as_raw_fd(), libc::WNOWAIT | libc::WNOHANG) {
            Ok(Some(ending)) => News::Exited(Status::of(ending)),
            _ => remembered_status(self.pidfd.as_fd()).map_or(News::Lost, News::Exited),
        }
    }
}

/// What a child of libc's fork is told.
const WAIT: u8 = 0;
const GO: u8 = 1;
const LEAVE: u8 = 2;

/// Child and pidfd. In the child: 0. `gate` is shared with it.
fn fork(gate: &AtomicU8, host: Parent) -> Result<(i32, i32)> {
    let mut pidfd = -1;
    // SAFETY: the child goes straight to `become_plugin`, which makes system calls only.
    match unsafe { sys::fork(&mut pidfd) } {
        Ok(pid) => return Ok((pid, pidfd)),
        // valgrind knows libc's fork alone.
        Err(libc::EINVAL | libc::EPERM | libc::ENOSYS) => {}
        Err(errno) => return Err(refused("clone", io::Error::from_raw_os_error(errno))),
    }
    // SAFETY: as above, with `pass` before it.
    match unsafe { libc::fork() } {
        0 => {
            pass(gate, host);
            Ok((0, -1))
        }
        pid @ 1.. => {
            let opened = sys::pidfd_open(pid);
            gate.store(if opened.is_ok() { GO } else { LEAVE }, Ordering::SeqCst);
            let pidfd = opened.map_err(|errno| {
                let _ = sys::reap(pid, 0);
                refused("pidfd_open", io::Error::from_raw_os_error(errno))
            })?;
            Ok((pid, pidfd))
        }
        _ => Err(refused("fork", io::Error::last_os_error())),
    }
}

/// The child's wait until its host has a pidfd: a plugin that ended before could be anybody's number by then, and its
/// status lost.
fn pass(gate: &AtomicU8, host: Parent) {
    const PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000 };
    /// A minute, for a host whose end cannot be seen.
    const MOST: u32 = 600_000;
    let mut looks = 0;
    while gate.load(Ordering::SeqCst) == WAIT && host.is_there() && looks < MOST {
        let _ = sys::poll(&mut [], Some(PAUSE));
        looks += 1;
    }
    if gate.load(Ordering::SeqCst) != GO {
        sys::exit(127);
    }
}

impl Child for Direct {
    fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.pidfd.as_fd(), None)
    }

    fn news(&mut self) -> Option<News> {
        if self.reported || !wait_readable(self.pidfd.as_fd(), Duration::ZERO) {
            return None;
        }
        self.reported = true;
        Some(self.ending())
    }

    fn is_own(&self) -> bool {
        self.host_pid == sys::getpid()
    }

    fn terminate(&mut self) {
        self.signal(libc::SIGTERM);
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        self.signal(libc::SIGKILL);
        if wait_readable(self.pidfd.as_fd(), PATIENCE) {
            let _ = sys::wait_id(libc::P_PIDFD, self.pidfd.as_raw_fd(), libc::WNOHANG);
        } else {
            // The mapping can go: the child has its own reference to the shared pages.
            leave(self.pidfd.as_fd(), None);
        }
    }
}

/// `struct pidfd_info` of linux/pidfd.h in its first size; later kernels take that too.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    /// pid, tgid, ppid, and the eight user and group ids.
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`.
const INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`: `_IOWR(0xff, 11, struct pidfd_info)` with the size that is used here.
pub(super) const GET_INFO: u32 = (3 << 30) | (64 << 16) | (0xff << 8) | 0x0b;
const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// The status of a child that somebody else has waited for, as the kernel remembers it.
fn remembered_status(pidfd: BorrowedFd<'_>) -> Option<Status> {
    // The other's wait may be about to end: the status is there a moment after the child is not, or, on a busy machine,
    // seconds.
    for attempt in 0..40u64 {
        let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
        // SAFETY: the request's number has the struct's size in it, and the kernel writes no more than that.
        let done = unsafe { sys::ioctl(pidfd.as_raw_fd(), GET_INFO, (&raw mut info).cast()) };
        match done {
            Ok(_) if info.mask & INFO_EXIT != 0 => return Some(Status::of_wait(info.exit_code)),
            Ok(_) | Err(libc::ESRCH) => {}
            Err(_) => return None,
        }
        std::thread::sleep(Duration::from_millis(1 << attempt.min(6)));
    }
    None
}
