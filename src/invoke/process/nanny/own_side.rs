//! The nanny's own side: what the process between host and plugin does. System calls only; see [`sys`].

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use super::super::child::{Parent, Program, Step, become_plugin, set_all_actions};
use super::super::sys;
use super::{ALONE, FINISH, Job, NOT_STARTED, START, START_LAST, TERMINATE, Table};

/// What the nanny hands to the process that becomes the plugin. On its stack: it sleeps until that has executed.
struct Birth {
    program: *const Program,
    stdio: [i32; 3],
    nanny: Parent,
}

/// The nanny's own descriptors for all of its life.
#[derive(Clone, Copy)]
struct Own {
    control: i32,
    host: i32,
}

/// Those that come with a plugin.
#[derive(Clone, Copy)]
struct Given {
    stdio: [i32; 3],
    /// -1 is none.
    lock: i32,
    last: bool,
}

pub(super) unsafe extern "C" fn nanny(argument: *const c_void) -> ! {
    // SAFETY: the host put the job there, aligned, and keeps it until this process is gone.
    let job = unsafe { &*argument.cast::<Job>() };
    // Out of the host's group: what kills that with SIGKILL must leave somebody to end the plugin.
    let _ = sys::lead_group(0);
    // Orphans of the plugin's group come here, so that waiting sees the last of them.
    let _ = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    // For the plugins; and where the host ignores SIGCHLD, their status would be lost.
    set_all_actions(libc::SIG_DFL);
    match own_table(job) {
        Ok(own) => {
            while let Some(given) = next_order(job, own) {
                if !look_after(job, own, given) || given.last {
                    break;
                }
            }
        }
        Err(errno) => job.failure.set(Step::Table, errno),
    }
    sys::exit(0)
}

unsafe extern "C" fn plugin(argument: *const c_void) -> ! {
    // SAFETY: the nanny's stack, as long as it sleeps in clone; the program as long as the nanny.
    unsafe {
        let birth = &*argument.cast::<Birth>();
        become_plugin(&*birth.program, birth.stdio, birth.nanny)
    }
}

fn own_table(job: &Job) -> sys::Answer<Own> {
    const UNSHARE: u32 = 1 << 1;
    if job.table == Table::Copied {
        close_others(&[job.control, job.host]);
        return Ok(Own { control: job.control, host: job.host });
    }
    sys::close_range(0, i32::MAX, UNSHARE)?;
    let host = sys::pidfd_open(job.host_pid)?;
    // The number may be another's: in another pid namespace, or when the host has just gone.
    if sys::getppid() != job.host_pid {
        return Err(libc::ESRCH);
    }
    let control = sys::pidfd_getfd(host, job.control)?;
    // What is fetched is the main thread's; the thread that calls may have left its table. And a late nanny's number may
    // be another file's by now.
    if sys::identity(control) != job.control_identity {
        return Err(libc::EBADF);
    }
    Ok(Own { control, host })
}

/// Waits for a plugin. `None`: there will be none.
fn next_order(job: &Job, own: Own) -> Option<Given> {
    let mut late = false;
    loop {
        let (mut order, mut files) = ([0; 2], [-1; sys::MOST_FILES]);
        let received = sys::receive_files(own.control, &mut order, &mut files);
        let [stdin, stdout, stderr, lock] = files;
        let [order, _] = order;
        match received {
            Ok((1, 3 | 4)) if matches!(order, START | START_LAST) => {
                return Some(Given { stdio: [stdin, stdout, stderr], lock, last: late || order == START_LAST });
            }
            Ok((1, 0)) if order == FINISH => return None,
            Ok((0, 0)) if late || is_over(own.control) => return None,
            Ok(_) => {
                for file in files {
                    sys::close(file);
                }
            }
            Err(libc::EINTR) => {}
            Err(libc::EAGAIN) => {
                let mut polled = [watched(own.control), watched(own.host)];
                let woken = sys::poll(&mut polled, Some(job.idle_limit));
                let [control, host] = polled;
                if woken.is_ok() && control.revents == 0 && host.revents != 0 {
                    return None;
                }
                if woken == Ok(0) {
                    // What was sent meanwhile still comes; who sends later is told that nobody is here.
                    sys::shut_down_reading(own.control);
                    late = true;
                }
            }
            Err(errno) => {
                job.failure.set(Step::Files, errno);
                return None;
            }
        }
    }
}

/// Says what became of the plugin. False: the host was not woken, and the nanny's end must do it.
fn report(job: &Job, own: Own, word: u64) -> bool {
    job.word.store(word, Ordering::SeqCst);
    sys::send(own.control, &[0]).is_ok()
}

/// Has one plugin from its start to its end. Comes back where that left nobody, with what [`report`] says.
fn look_after(job: &Job, own: Own, given: Given) -> bool {
    // SAFETY: the host put it into the arena before its order, and leaves it there until it has heard of the plugin's end.
    let program = unsafe { &*job.program.load(Ordering::SeqCst) };
    if job.finished.load(Ordering::SeqCst) || is_readable(own.host) {
        go(job, own, given.lock, false);
    }
    let birth = Birth { program, stdio: given.stdio, nanny: Parent::Nanny(sys::getpid()) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd = -1;
    job.bearing.store(true, Ordering::SeqCst);
    // SAFETY: the second stack is nobody else's; `birth` and `pidfd` outlast the child's way to exec (CLONE_VFORK).
    let born = unsafe {
        sys::clone_onto(flags, job.plugin_stack, &raw mut pidfd, plugin, (&raw const birth).cast::<c_void>())
    };
    job.bearing.store(false, Ordering::SeqCst);
    // Or the host would never see the end of the plugin's output.
    for fd in given.stdio {
        sys::close(fd);
    }
    let mut leader = match born {
        Ok(pid) => Leader { pid, pidfd, reaped: false },
        Err(errno) => {
            program.failure.set(Step::Clone, errno);
            sys::close(given.lock);
            return report(job, own, NOT_STARTED);
        }
    };
    let word = if program.failure.get().is_some() {
        let _ = sys::reap(leader.pid, 0);
        NOT_STARTED
    } else {
        match watch(job, own, &mut leader) {
            Over::Alone(ending) => ending | ALONE,
            over => {
                let still_held = end_group(job, given.lock, &leader);
                let lock = if still_held { given.lock } else { -1 };
                go(job, own, lock, over == Over::HostWent)
            }
        }
    };
    if given.lock >= 0 {
        if is_readable(own.host) {
            go(job, own, given.lock, true);
        }
        sys::close(given.lock);
    }
    sys::close(leader.pidfd);
    report(job, own, word)
}

/// Ends, and frees a dead host's lock before that: giving the host's memory back can take a second.
///
/// Who gets that lock next finds the host's other files closed, too, which the kernel does one by one. Only so long, since
/// a host that has executed another program lives on.
fn go(job: &Job, own: Own, lock: i32, host_went: bool) -> ! {
    const CLOSING: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    let host_went = host_went && !job.finished.load(Ordering::SeqCst);
    if lock >= 0 && !job.abandoned.load(Ordering::SeqCst) && (host_went || is_readable(own.host)) {
        let _ = sys::poll(&mut [watched(own.host)], Some(CLOSING));
        sys::unlock(lock);
    }
    sys::exit(0)
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
    /// It has ended, like this, and left nobody.
    Alone(u64),
    /// The host says so.
    Enough,
    HostWent,
}

/// Reports the plugin's end and obeys.
///
/// A host that ends closes its control socket a moment before its pidfd says so: the socket's end counts as well.
fn watch(job: &Job, own: Own, leader: &mut Leader) -> Over {
    let mut reported = false;
    loop {
        let plugin = if reported { -1 } else { leader.pidfd };
        let mut polled = [watched(own.control), watched(own.host), watched(plugin)];
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
                        return Over::Alone(ending);
                    }
                    if !report(job, own, ending) {
                        return Over::Enough;
                    }
                }
                // A debugger has it first, and its pidfd stays readable.
                Ok(None) => {
                    let _ = sys::poll(&mut [watched(own.control), watched(own.host)], Some(A_MOMENT));
                }
                Err(_) => return Over::Enough,
            }
        }
        if control.revents != 0 {
            let mut order = [0; 2];
            let length = sys::receive(own.control, &mut order);
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
                (Ok(0), _) if is_over(own.control) => return Over::HostWent,
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
