//! System calls without libc: what a process that shares the host's memory may do.
//!
//! libc's wrappers write `errno` and may look into thread-local storage, and both belong to the host's thread here. So
//! these neither allocate nor panic nor touch anything but their arguments. x86-64 and aarch64 only.

// Every value is a machine word on this side of the kernel; i32 sign-extends, which is what the kernel expects.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
// A system call's arguments have no better names.
#![allow(clippy::many_single_char_names)]

use std::arch::asm;
use std::ffi::{c_char, c_int, c_long, c_void};

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("plugins are started by system calls known for Linux on x86-64 and aarch64 only");

/// An error number, or the value.
pub(super) type Answer<T = usize> = Result<T, c_int>;

/// Sent to a whole process group through its leader's pidfd (Linux 6.9).
const PIDFD_SIGNAL_PROCESS_GROUP: usize = 1 << 2;

/// Makes a system call.
///
/// # Safety
/// As the call itself: pointers among `args` must be good for what the kernel does with them.
#[inline]
pub(super) unsafe fn syscall(number: c_long, args: [usize; 6]) -> Answer {
    let result: isize;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the kernel's calling convention, clobbers named; the arguments are the caller's promise.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack)
        );
    }
    answer(result)
}

fn answer(result: isize) -> Answer {
    if result < 0 { Err(result.wrapping_neg() as c_int) } else { Ok(result as usize) }
}

/// `clone` with a stack of its own: the child runs `entry(argument)` there and never returns. Answers the child's id.
///
/// # Safety
/// `stack` is the 16-byte aligned end of memory that is the child's alone until it is gone; `pidfd` and `argument` are
/// good for as long; `entry` keeps to this module's rules; `flags` have `CLONE_VM` and `CLONE_PIDFD`.
pub(super) unsafe fn clone_onto(
    flags: c_int,
    stack: *mut u8,
    pidfd: *mut c_int,
    entry: unsafe extern "C" fn(*const c_void) -> !,
    argument: *const c_void,
) -> Answer<i32> {
    let result: isize;
    // SAFETY: the parent's registers are clobbered as declared; the child starts on an empty stack of its own and never
    // comes back here. r12 and r13 survive the call into the kernel, the call of `entry` aligns the stack as the ABI asks.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags as usize, in("rsi") stack, in("rdx") pidfd, in("r10") 0usize, in("r8") 0usize,
            in("r12") argument, in("r13") entry,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    // SAFETY: as above, with x20 and x21.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => result,
            in("x1") stack, in("x2") pidfd, in("x3") 0usize, in("x4") 0usize,
            in("x20") argument, in("x21") entry,
        );
    }
    answer(result).map(|pid| pid as i32)
}

/// `fork` without libc's handlers; the child's descriptor comes with it. 0 is the child.
///
/// # Safety
/// The child must keep to this module's rules until it is gone: other threads' locks stay locked in it.
pub(super) unsafe fn fork(pidfd: &mut c_int) -> Answer<i32> {
    // Exit signal 0: a child that dies before it executes anything is invisible to the host.
    let args = [libc::CLONE_PIDFD as usize, 0, &raw mut *pidfd as usize, 0, 0, 0];
    // SAFETY: without CLONE_VM the child has its own copy of this stack; `pidfd` is good.
    unsafe { syscall(libc::SYS_clone, args) }.map(|pid| pid as i32)
}

pub(super) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: ends this process, and no other thread, as each child here has one.
        let _ = unsafe { syscall(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

pub(super) fn getpid() -> i32 {
    // SAFETY: takes nothing, changes nothing.
    unsafe { syscall(libc::SYS_getpid, [0; 6]) }.map_or(0, |pid| pid as i32)
}

pub(super) fn getppid() -> i32 {
    // SAFETY: takes nothing, changes nothing.
    unsafe { syscall(libc::SYS_getppid, [0; 6]) }.map_or(0, |pid| pid as i32)
}

/// Makes `pid` (0: the caller) the leader of a process group of its own.
pub(super) fn lead_group(pid: i32) -> Answer {
    // SAFETY: numbers only.
    unsafe { syscall(libc::SYS_setpgid, [pid as usize, pid as usize, 0, 0, 0, 0]) }
}

pub(super) fn prctl(option: c_int, value: usize) -> Answer {
    // SAFETY: used with options whose second argument is a number.
    unsafe { syscall(libc::SYS_prctl, [option as usize, value, 0, 0, 0, 0]) }
}

/// Sends to a process, or with a negative `pid` to a group.
pub(super) fn kill(pid: i32, signal: c_int) -> Answer {
    // SAFETY: numbers only; whom it may hit is the caller's care.
    unsafe { syscall(libc::SYS_kill, [pid as usize, signal as usize, 0, 0, 0, 0]) }
}

/// The process group of a process.
pub(super) fn group_of(pid: i32) -> Answer<i32> {
    // SAFETY: numbers only.
    unsafe { syscall(libc::SYS_getpgid, [pid as usize, 0, 0, 0, 0, 0]) }.map(|group| group as i32)
}

/// Sends to the process behind `pidfd`.
pub(super) fn kill_by_pidfd(pidfd: c_int, signal: c_int) -> Answer {
    // SAFETY: NULL for the optional details.
    unsafe { syscall(libc::SYS_pidfd_send_signal, [pidfd as usize, signal as usize, 0, 0, 0, 0]) }
}

/// Sends to the group that the process behind `pidfd` leads, also when the leader is gone.
pub(super) fn kill_group(pidfd: c_int, signal: c_int) -> Answer {
    let args = [pidfd as usize, signal as usize, 0, PIDFD_SIGNAL_PROCESS_GROUP, 0, 0];
    // SAFETY: numbers only, NULL for the optional siginfo.
    unsafe { syscall(libc::SYS_pidfd_send_signal, args) }
}

/// Sets the thread's whole signal mask, the two that libc keeps for itself included; answers the one before.
pub(super) fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    let args = [libc::SIG_SETMASK as usize, &raw const mask as usize, &raw mut before as usize, size_of::<u64>(), 0, 0];
    // SAFETY: both pointers are to the kernel's signal sets of eight bytes.
    let _ = unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    before
}

/// The signals that wait until they are unblocked; all, where the system does not tell.
pub(super) fn pending() -> u64 {
    let mut set = 0u64;
    // SAFETY: the kernel's signal set of eight bytes.
    let told = unsafe { syscall(libc::SYS_rt_sigpending, [&raw mut set as usize, size_of::<u64>(), 0, 0, 0, 0]) };
    if told.is_ok() { set } else { u64::MAX }
}

/// Sets one signal's disposition to `SIG_DFL` or `SIG_IGN`, without flags.
pub(super) fn set_action(signal: c_int, handler: libc::sighandler_t) {
    // The kernel's struct on both machines: handler, flags, restorer, mask.
    let action = [handler, 0, 0, 0];
    let args = [signal as usize, action.as_ptr() as usize, 0, size_of::<u64>(), 0, 0];
    // SAFETY: `action` is laid out as the kernel reads it; SIGKILL and SIGSTOP are refused, which is as well.
    let _ = unsafe { syscall(libc::SYS_rt_sigaction, args) };
}

pub(super) fn close(fd: c_int) {
    // SAFETY: used in a child's own descriptor table only, on descriptors that nothing else there owns.
    let _ = unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

pub(super) fn close_range(first: c_int, last: c_int, flags: u32) -> Answer {
    // SAFETY: as `close`.
    unsafe { syscall(libc::SYS_close_range, [first as usize, last as usize, flags as usize, 0, 0, 0]) }
}

/// Closes `first..=last`, one by one where the kernel or a filter refuses `close_range`.
pub(super) fn close_all(first: c_int, last: c_int) {
    /// More than any table that is walked one by one in reasonable time.
    const CEILING: u64 = 1 << 20;
    if first > last || close_range(first, last, 0).is_ok() {
        return;
    }
    let mut limit = [CEILING; 2];
    let args = [0, libc::RLIMIT_NOFILE as usize, 0, limit.as_mut_ptr() as usize, 0, 0];
    // SAFETY: `limit` is laid out as struct rlimit64.
    let _ = unsafe { syscall(libc::SYS_prlimit64, args) };
    let [soft, _] = limit;
    let ceiling = if soft < CEILING { soft as c_int } else { CEILING as c_int };
    let mut fd = first;
    while fd <= last && fd < ceiling {
        close(fd);
        fd = fd.wrapping_add(1);
    }
}

/// `dup3` without flags: `target` stays open over exec.
pub(super) fn dup_to(fd: c_int, target: c_int) -> Answer {
    // SAFETY: as `close`.
    unsafe { syscall(libc::SYS_dup3, [fd as usize, target as usize, 0, 0, 0, 0]) }
}

/// A duplicate numbered `least` or higher.
pub(super) fn dup_above(fd: c_int, least: c_int) -> Answer<c_int> {
    // SAFETY: numbers only.
    unsafe { syscall(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, least as usize, 0, 0, 0]) }
        .map(|fd| fd as c_int)
}

pub(super) fn pidfd_open(pid: i32) -> Answer<c_int> {
    // SAFETY: numbers only.
    unsafe { syscall(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) }.map(|fd| fd as c_int)
}

/// A duplicate of another process's descriptor.
pub(super) fn pidfd_getfd(pidfd: c_int, fd: c_int) -> Answer<c_int> {
    // SAFETY: numbers only.
    unsafe { syscall(libc::SYS_pidfd_getfd, [pidfd as usize, fd as usize, 0, 0, 0, 0]) }.map(|fd| fd as c_int)
}

/// The file behind a descriptor, by device and inode.
pub(super) fn identity(fd: c_int) -> Answer<(u64, u64)> {
    // SAFETY: all-zero is a valid struct stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: libc's struct is the kernel's on both machines.
    unsafe { syscall(libc::SYS_fstat, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]) }?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Waits for readability of any of `fds`, or as long as `limit` says; `None` is for ever.
pub(super) fn poll(fds: &mut [libc::pollfd], limit: Option<libc::timespec>) -> Answer {
    let limit = limit.as_ref().map_or(0, |limit| &raw const *limit as usize);
    // SAFETY: `fds` and `limit` are laid out as the kernel reads them; no mask is given.
    unsafe { syscall(libc::SYS_ppoll, [fds.as_mut_ptr() as usize, fds.len(), limit, 0, 0, 0]) }
}

/// Sends a whole message, without a signal and without waiting.
pub(super) fn send(socket: c_int, message: &[u8]) -> Answer {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let args = [socket as usize, message.as_ptr() as usize, message.len(), flags as usize, 0, 0];
    // SAFETY: the kernel reads `message` and no more.
    unsafe { syscall(libc::SYS_sendto, args) }
}

/// Takes one message if there is one; 0 is the end.
pub(super) fn receive(socket: c_int, message: &mut [u8]) -> Answer {
    let flags = libc::MSG_DONTWAIT;
    let args = [socket as usize, message.as_mut_ptr() as usize, message.len(), flags as usize, 0, 0];
    // SAFETY: the kernel writes into `message` and no more.
    unsafe { syscall(libc::SYS_recvfrom, args) }
}

/// Takes no more messages than are there.
pub(super) fn shut_down_reading(socket: c_int) {
    // SAFETY: numbers only.
    let _ = unsafe { syscall(libc::SYS_shutdown, [socket as usize, libc::SHUT_RD as usize, 0, 0, 0, 0]) };
}

/// The most descriptors that come with a message; even, or padding would have room for one more.
pub(super) const MOST_FILES: usize = 4;

/// Room for the descriptors that come with a message, laid out as the kernel does it: its header, then the numbers.
#[repr(C)]
struct Ancillary {
    len: usize,
    level: c_int,
    kind: c_int,
    files: [c_int; MOST_FILES],
}

/// [`receive`], with descriptors: how many bytes and descriptors came. `EMFILE` where not all of them could be had, for
/// which a process's limit is the usual reason; then it has none.
pub(super) fn receive_files(
    socket: c_int,
    message: &mut [u8],
    files: &mut [c_int; MOST_FILES],
) -> Answer<(usize, usize)> {
    let mut ancillary = Ancillary { len: 0, level: 0, kind: 0, files: [-1; MOST_FILES] };
    let mut data = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
    // SAFETY: all-zero is a valid struct msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut ancillary).cast();
    header.msg_controllen = size_of_val(&ancillary) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let args = [socket as usize, &raw mut header as usize, flags as usize, 0, 0, 0];
    // SAFETY: the header names `message` and `ancillary` with their lengths; the kernel writes no more than these.
    let bytes = unsafe { syscall(libc::SYS_recvmsg, args) }?;
    let mut count = 0;
    if ancillary.level == libc::SOL_SOCKET && ancillary.kind == libc::SCM_RIGHTS {
        let len = ancillary.len.wrapping_sub(std::mem::offset_of!(Ancillary, files)) / size_of::<c_int>();
        count = if len < MOST_FILES { len } else { MOST_FILES };
        *files = ancillary.files;
    }
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        for (at, &file) in files.iter().enumerate() {
            if at < count {
                close(file);
            }
        }
        return Err(libc::EMFILE);
    }
    Ok((bytes, count))
}

/// `ioctl` with a pointer.
///
/// # Safety
/// `argument` is what `request` reads and writes.
pub(super) unsafe fn ioctl(fd: c_int, request: u32, argument: *mut c_void) -> Answer {
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_ioctl, [fd as usize, request as usize, argument as usize, 0, 0, 0]) }
}

/// How a child ended: `si_code` and `si_status`.
pub(super) type Ending = (c_int, c_int);

/// `waitid` for ends of children of every kind (`__WALL`). `None` where `WNOHANG` finds none.
pub(super) fn wait_id(kind: libc::idtype_t, id: i32, flags: c_int) -> Answer<Option<Ending>> {
    // siginfo_t: si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status.
    let mut info = [0i32; 32];
    let flags = flags | libc::WEXITED | libc::__WALL;
    let args = [kind as usize, id as usize, info.as_mut_ptr() as usize, flags as usize, 0, 0];
    // SAFETY: `info` has siginfo_t's size and alignment.
    unsafe { syscall(libc::SYS_waitid, args) }?;
    let [_, _, code, _, pid, _, status, ..] = info;
    Ok((pid != 0).then_some((code, status)))
}

/// Reaps a child; as for `wait4`, a negative number is a group, -1 is any. Answers its id, 0 where `WNOHANG` finds none.
pub(super) fn reap(pid: i32, flags: c_int) -> Answer {
    // SAFETY: NULL for the optional status and usage.
    unsafe { syscall(libc::SYS_wait4, [pid as usize, 0, (flags | libc::__WALL) as usize, 0, 0, 0]) }
}

/// Frees all locks of an open file description (`F_OFD_SETLK`).
pub(super) fn unlock(fd: c_int) {
    // SAFETY: all-zero is a valid struct flock: from the start to the end, whatever that is.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_UNLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: `lock` is what the command reads.
    let _ = unsafe {
        syscall(libc::SYS_fcntl, [fd as usize, libc::F_OFD_SETLK as usize, &raw const lock as usize, 0, 0, 0])
    };
}

/// `execve`; comes back with the error number only.
///
/// # Safety
/// `path` is a C string, `argv` and `envp` are NULL-ended arrays of C strings.
pub(super) unsafe fn exec(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_execve, [path as usize, argv as usize, envp as usize, 0, 0, 0]) }.err().unwrap_or(0)
}
