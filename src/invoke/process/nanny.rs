//! The nanny: a process between host and plugin, so that the host gets no SIGCHLD, has no child that its `wait` could
//! see or lose, and leaves no plugin behind when it is killed.
//!
//! It shares the host's memory (which makes it cheap, however big the host is), never executes anything, and runs on a
//! stack in an [`Arena`]. What it does is in the functions below [`nanny`]; they keep to the rules of [`sys`].

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::arena::{Arena, Sharing};
use super::child::{Program, Step, become_plugin};
use super::run::{Child, News, PATIENCE, PluginEnds, Refusal, Request, Status, refused, wait_readable};
use super::sys;
use crate::fds;

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
    plugin_stack: *mut u8,
    /// Set before the host leaves the nanny to itself and closes `fds`: a late nanny must start nothing with what has a
    /// number now, and must not take the host for dead.
    abandoned: AtomicBool,
    /// Set before the host says that it is enough: the lock stays the living host's.
    finished: AtomicBool,
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
    /// What the nanny fetches from the host's table, kept until it has.
    ends: Option<(PluginEnds, [Option<OwnedFd>; 2])>,
    control_over: bool,
    /// Something was heard of the plugin, so nobody is between clone and exec any more.
    heard: bool,
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
            plugin_stack,
            abandoned: AtomicBool::new(false),
            finished: AtomicBool::new(false),
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
        Ok(Self { control, pidfd, arena: Some(arena), job, ends, control_over: false, heard: false, going: false })
    }

    fn job(&self) -> &Job {
        // SAFETY: it is in the arena, which lives until this value's drop; nobody writes but to atomics.
        unsafe { self.job.as_ref() }
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
        let news = ended(self.job().ending.load(Ordering::SeqCst))?;
        self.heard = true;
        self.going = true;
        // It may not have been heard yet that the plugin runs; with these open its output would have no end.
        self.ends = None;
        Some(news)
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
            if word == STARTED {
                self.heard = true;
                self.ends = None;
                return Some(News::Started);
            }
            if let Some(news) = ended(word) {
                self.heard = true;
                return Some(news);
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
        if !wait_readable(self.pidfd.as_fd(), std::time::Duration::ZERO) {
            return None;
        }
        // It may have spoken just before it went.
        self.left().or_else(|| self.receive()).or_else(|| {
            let failure = self.job().program.failure.get();
            self.heard |= failure.is_some();
            Some(failure.map_or(News::Lost, News::NotStarted))
        })
    }

    fn terminate(&mut self) {
        self.say(TERMINATE);
    }
}

impl Drop for Nanny {
    fn drop(&mut self) {
        if self.ends.is_some() {
            self.job().abandoned.store(true, Ordering::SeqCst);
        }
        self.job().finished.store(true, Ordering::SeqCst);
        if !self.going {
            self.say(FINISH);
        }
        let Some(arena) = self.arena.take() else { return };
        let end = if wait_readable(self.pidfd.as_fd(), PATIENCE) { reap(&self.pidfd) } else { End::NotYet };
        // It may have spoken when nobody listened any more.
        while !self.going && self.receive().is_some() {}
        match (end, self.heard) {
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
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain(|(pidfd, _)| !wait_readable(pidfd.as_fd(), std::time::Duration::ZERO) || reap(pidfd) == End::NotYet);
}

/// What a message says of the plugin's end.
fn ended(word: u64) -> Option<News> {
    let ending @ (libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED, _) = (high_half(word), low_half(word)) else {
        return None;
    };
    Some(News::Exited(Status::of(ending)))
}

fn high_half(word: u64) -> i32 {
    i32::from_ne_bytes(u32::to_ne_bytes(u32::try_from(word >> 32).unwrap_or(0)))
}

fn low_half(word: u64) -> i32 {
    i32::from_ne_bytes(u32::to_ne_bytes(u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)))
}

// ---- From here on: the nanny's own side. System calls only; see `sys`. ----

/// What the nanny hands to the process that becomes the plugin. On its stack: it sleeps until that has executed.
struct Birth {
    job: *const Job,
    stdio: [i32; 3],
    nanny_pid: i32,
}

unsafe extern "C" fn nanny(argument: *const c_void) -> ! {
    // SAFETY: the host put the job there, aligned, and keeps it until this process is gone.
    let job = unsafe { &*argument.cast::<Job>() };
    // Out of the host's group: what kills that with SIGKILL must leave somebody to end the plugin.
    let _ = sys::lead_group(0);
    // Orphans of the plugin's group come here, so that waiting sees the last of them.
    let _ = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    // Where the host ignores SIGCHLD, the plugin's status would be lost.
    sys::set_action(libc::SIGCHLD, libc::SIG_DFL);
    let fds = match own_table(job) {
        Ok(fds) => fds,
        Err(errno) => {
            job.program.failure.set(Step::Table, errno);
            sys::exit(0);
        }
    };
    if job.abandoned.load(Ordering::SeqCst) || is_readable(fds.host) {
        sys::exit(0);
    }
    let birth = Birth { job, stdio: [fds.stdin, fds.stdout, fds.stderr], nanny_pid: sys::getpid() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd = -1;
    // SAFETY: the second stack is nobody else's; `birth` and `pidfd` outlast the child's way to exec (CLONE_VFORK).
    let born = unsafe {
        sys::clone_onto(flags, job.plugin_stack, &raw mut pidfd, plugin, (&raw const birth).cast::<c_void>())
    };
    let pid = match born {
        Ok(pid) => pid,
        Err(errno) => {
            job.program.failure.set(Step::Clone, errno);
            sys::exit(0);
        }
    };
    // Or the host would never see the end of the plugin's output.
    sys::close(fds.stdin);
    sys::close(fds.stdout);
    sys::close(fds.stderr);
    if job.program.failure.get().is_some() {
        let _ = sys::reap(pid, 0);
        sys::exit(0);
    }
    let _ = sys::send(fds.control, &STARTED.to_ne_bytes());
    let mut leader = Leader { pid, pidfd, reaped: false };
    let over = watch(job, fds, &mut leader);
    let still_held = over == Over::Alone || end_group(job, fds.lock, &leader);
    let host_went = over == Over::HostWent && !job.finished.load(Ordering::SeqCst);
    if fds.lock >= 0 && still_held && (host_went || is_readable(fds.host)) {
        // Before exit: giving the host's memory back can take a second.
        sys::unlock(fds.lock);
    }
    sys::exit(0)
}

unsafe extern "C" fn plugin(argument: *const c_void) -> ! {
    // SAFETY: the nanny's stack, as long as it sleeps in clone; the job as long as the nanny.
    unsafe {
        let birth = &*argument.cast::<Birth>();
        become_plugin(&(*birth.job).program, birth.stdio, birth.nanny_pid)
    }
}

fn own_table(job: &Job) -> sys::Answer<Fds> {
    const UNSHARE: u32 = 1 << 1;
    let fds = job.fds;
    if job.table == Table::Copied {
        close_others(&[fds.control, fds.host, fds.stdin, fds.stdout, fds.stderr, fds.lock]);
        return Ok(fds);
    }
    sys::close_range(0, i32::MAX, UNSHARE)?;
    let host = sys::pidfd_open(job.host_pid)?;
    // The number may be another's: in another pid namespace, or when the host has just gone.
    if sys::getppid() != job.host_pid {
        return Err(libc::ESRCH);
    }
    Ok(Fds {
        host,
        control: sys::pidfd_getfd(host, fds.control)?,
        stdin: sys::pidfd_getfd(host, fds.stdin)?,
        stdout: sys::pidfd_getfd(host, fds.stdout)?,
        stderr: sys::pidfd_getfd(host, fds.stderr)?,
        lock: if fds.lock < 0 { -1 } else { sys::pidfd_getfd(host, fds.lock)? },
    })
}

fn close_others(kept: &[i32]) {
    let mut from = 0;
    loop {
        let mut next = i32::MAX;
        for &fd in kept {
            if fd >= from && fd < next {
                next = fd;
            }
        }
        if next == i32::MAX {
            break;
        }
        sys::close_all(from, next.wrapping_sub(1));
        from = next.wrapping_add(1);
    }
    sys::close_all(from, i32::MAX);
}

const fn watched(fd: i32) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

const AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

fn is_readable(fd: i32) -> bool {
    matches!(sys::poll(&mut [watched(fd)], Some(AT_ONCE)), Ok(1))
}

/// Whether the other end is closed; an empty message looks like that too.
fn is_over(socket: i32) -> bool {
    let mut polled = [watched(socket)];
    let _ = sys::poll(&mut polled, Some(AT_ONCE));
    let [socket] = polled;
    socket.revents & libc::POLLHUP != 0
}

/// The plugin's own process, which leads its group.
struct Leader {
    pid: i32,
    pidfd: i32,
    /// Its number may be another's then: the group is reached by the pidfd alone.
    reaped: bool,
}

impl Leader {
    fn signal_group(&self, signal: i32) {
        let _ =
            if self.reaped { sys::kill_group(self.pidfd, signal) } else { sys::kill(self.pid.wrapping_neg(), signal) };
    }

    /// Reaps it where its group can be reached without it, and says whether nobody is left then, in the group or outside:
    /// what is left of a plugin is its parent's child, or else this process's.
    fn is_alone(&mut self) -> bool {
        // Before Linux 6.9: the zombie stays, so that its number is no other group's.
        if !matches!(sys::kill_group(self.pidfd, 0), Ok(_) | Err(libc::ESRCH)) {
            return false;
        }
        self.reaped = matches!(sys::reap(self.pid, libc::WNOHANG), Ok(1..));
        loop {
            match sys::reap(-1, libc::WNOHANG) {
                Ok(1..) | Err(libc::EINTR) => {}
                answer => return self.reaped && answer == Err(libc::ECHILD),
            }
        }
    }
}

/// Why a plugin is not watched any longer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It has ended, and left nobody.
    Alone,
    /// The host says so.
    Enough,
    HostWent,
}

/// Reports the plugin's end and obeys.
///
/// A host that ends closes its control socket a moment before its pidfd says so: the socket's end counts as well.
fn watch(job: &Job, fds: Fds, leader: &mut Leader) -> Over {
    let mut reported = false;
    loop {
        let plugin = if reported { -1 } else { leader.pidfd };
        let mut polled = [watched(fds.control), watched(fds.host), watched(plugin)];
        if sys::poll(&mut polled, None).is_err() {
            continue;
        }
        let [control, host, plugin] = polled;
        if plugin.revents != 0 {
            reported = true;
            let Ok(Some((code, status))) = sys::wait_id(libc::P_PID, leader.pid, libc::WNOWAIT) else {
                // The host must not wait for ever; an end without a report is an error there.
                return Over::Enough;
            };
            let ending = (u64::from(code.cast_unsigned()) << 32) | u64::from(status.cast_unsigned());
            if leader.is_alone() {
                job.ending.store(ending, Ordering::SeqCst);
                return Over::Alone;
            }
            // As above.
            if let Err(libc::ENOBUFS | libc::ENOMEM) = sys::send(fds.control, &ending.to_ne_bytes()) {
                return Over::Enough;
            }
        }
        if control.revents != 0 {
            let mut order = [0; 2];
            let length = sys::receive(fds.control, &mut order);
            let [order, _] = order;
            match (length, order) {
                (Ok(1), TERMINATE) => {
                    leader.signal_group(libc::SIGTERM);
                    // A leader that went over to another group. Not else: nobody is to get a TERM twice.
                    if !leader.reaped && sys::group_of(leader.pid) != Ok(leader.pid) {
                        let _ = sys::kill(leader.pid, libc::SIGTERM);
                    }
                }
                (Ok(1), FINISH) => return Over::Enough,
                (Ok(0), _) if is_over(fds.control) => return Over::HostWent,
                (Ok(_) | Err(libc::EAGAIN | libc::EINTR), _) => {}
                (Err(_), _) => return Over::HostWent,
            }
        } else if host.revents != 0 {
            return Over::HostWent;
        }
    }
}

/// Kills the plugin's group and waits for all of it. False: the host did not wait as long; then `lock` is closed, as the
/// living host's own business again.
fn end_group(job: &Job, lock: i32, leader: &Leader) -> bool {
    leader.signal_group(libc::SIGKILL);
    let mut held = wait_all(job, lock, leader.pid.wrapping_neg());
    if !leader.reaped {
        // The leader itself, in case that it went over to another group.
        let _ = sys::kill(leader.pid, libc::SIGKILL);
        held = wait_all(job, if held { lock } else { -1 }, leader.pid) && held;
    }
    // Daemons that left the group and ended meanwhile would be the host's zombies next, where the host is a reaper.
    while matches!(sys::reap(-1, libc::WNOHANG), Ok(1..)) {}
    held
}

/// Waits for children until there are none of these; false as `end_group`.
fn wait_all(job: &Job, lock: i32, pid: i32) -> bool {
    /// Nothing tells a process of both its children's end and a word in memory. What was killed is gone in less than the
    /// first pause, unless it hangs in the kernel.
    const PAUSES: [i64; 2] = [200_000, 20_000_000];
    let [mut pause, longest] = PAUSES;
    let mut held = true;
    loop {
        match sys::reap(pid, if held { libc::WNOHANG } else { 0 }) {
            Ok(0) if job.abandoned.load(Ordering::SeqCst) => {
                sys::close(lock);
                held = false;
            }
            Ok(0) => {
                let _ = sys::poll(&mut [], Some(libc::timespec { tv_sec: 0, tv_nsec: pause }));
                pause = if pause < longest { pause.wrapping_mul(2) } else { longest };
            }
            Ok(_) | Err(libc::EINTR) => {}
            Err(_) => return held,
        }
    }
}
