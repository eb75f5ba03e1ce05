//! The nanny's own side: what the process between host and plugin does. System calls only; see [`sys`].

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use super::super::child::{Step, become_plugin};
use super::super::sys;
use super::{FINISH, Fds, Job, STARTED, TERMINATE, Table};

/// What the nanny hands to the process that becomes the plugin. On its stack: it sleeps until that has executed.
struct Birth {
    job: *const Job,
    stdio: [i32; 3],
    nanny_pid: i32,
}

pub(super) unsafe extern "C" fn nanny(argument: *const c_void) -> ! {
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
    job.born.store(true, Ordering::SeqCst);
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
    let control = sys::pidfd_getfd(host, fds.control)?;
    // What is fetched is the main thread's; the thread that calls may have left its table.
    if sys::identity(control) != job.control_identity {
        return Err(libc::EBADF);
    }
    Ok(Fds {
        host,
        control,
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

/// Between two looks at what no descriptor tells.
const A_MOMENT: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
const AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

fn is_readable(fd: i32) -> bool {
    matches!(sys::poll(&mut [watched(fd)], Some(AT_ONCE)), Ok(1))
}

/// Whether the other end is closed; an empty message looks like that too.
pub(super) fn is_over(socket: i32) -> bool {
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
                // The group is asked for as well: where no reaper is to be had, orphans are others' children.
                answer => {
                    return self.reaped
                        && answer == Err(libc::ECHILD)
                        && sys::kill_group(self.pidfd, 0) == Err(libc::ESRCH);
                }
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
            match sys::wait_id(libc::P_PID, leader.pid, libc::WNOWAIT | libc::WNOHANG) {
                Ok(Some((code, status))) => {
                    reported = true;
                    let ending = (u64::from(code.cast_unsigned()) << 32) | u64::from(status.cast_unsigned());
                    if leader.is_alone() {
                        job.ending.store(ending, Ordering::SeqCst);
                        return Over::Alone;
                    }
                    // The host must not wait for ever; an end without a report is an error there.
                    if let Err(libc::ENOBUFS | libc::ENOMEM) = sys::send(fds.control, &ending.to_ne_bytes()) {
                        return Over::Enough;
                    }
                }
                // A debugger has it first, and its pidfd stays readable.
                Ok(None) => {
                    let _ = sys::poll(&mut [watched(fds.control), watched(fds.host)], Some(A_MOMENT));
                }
                Err(_) => return Over::Enough,
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
