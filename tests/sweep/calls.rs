//! The system calls that a fault is tried at, and how each may fail: what its manual page allows and what a program can
//! meet without having passed anything wrong (EBADF, EFAULT and EINVAL are not among them, nor is ENOENT for what is
//! there).
//!
//! Left out are the calls by which the C library gets and gives back memory (brk, mmap, mprotect, munmap, madvise,
//! mremap): running out of memory ends the process, as the header says. A kill is tried at those as well.

use nix::errno::Errno;
use nix::libc::{self, c_long};

use self::About::{Below, Descriptor, Nothing, Path};
use super::trace::{Call, Fault};

/// What a call's first arguments say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Nothing,
    Descriptor,
    Path,
    /// A directory's descriptor, and a path from there.
    Below,
}

struct Row {
    number: c_long,
    name: &'static str,
    about: About,
    faults: &'static [Fault],
}

macro_rules! fails {
    ($($errno:ident)*) => { &[$(Fault::Fails(Errno::$errno)),*] };
}

macro_rules! table {
    ($($(#[$attribute:meta])? $number:ident $name:literal $about:ident $faults:expr;)*) => {
        &[$($(#[$attribute])? Row { number: libc::$number, name: $name, about: $about, faults: $faults }),*]
    };
}

/// A descriptor goes even where its last write did not get through.
const CLOSE: &[Fault] = &[Fault::DoneBut(Errno::EINTR), Fault::DoneBut(Errno::EIO)];
const READ: &[Fault] = &[Fault::Fails(Errno::EINTR), Fault::Fails(Errno::EIO), Fault::Short];
const WRITE: &[Fault] = &[
    Fault::Fails(Errno::EINTR),
    Fault::Fails(Errno::EIO),
    Fault::Fails(Errno::ENOSPC),
    Fault::Fails(Errno::EDQUOT),
    Fault::Short,
];
const OPEN: &[Fault] = fails!(EACCES EDQUOT EINTR EIO ELOOP EMFILE ENFILE ENOMEM ENOSPC EROFS);
const CLONE: &[Fault] = fails!(EAGAIN EMFILE ENFILE ENOMEM EPERM ENOSYS);
const MKDIR: &[Fault] = fails!(EACCES EDQUOT EIO EMLINK ENOMEM ENOSPC EROFS);
const POLL: &[Fault] = fails!(EINTR ENOMEM);
const RENAME: &[Fault] = fails!(EACCES EDQUOT EIO ENOMEM ENOSPC EROFS);
const STAT: &[Fault] = fails!(EACCES EIO ENOMEM);
const UNLINK: &[Fault] = fails!(EACCES EBUSY EIO ENOMEM EPERM EROFS);
const SYNC: &[Fault] = fails!(EINTR EIO ENOSPC EDQUOT);

static TABLE: &[Row] = table! {
    SYS_openat "openat" Below OPEN;
    SYS_mkdirat "mkdirat" Below MKDIR;
    SYS_renameat "renameat" Below RENAME;
    SYS_renameat2 "renameat2" Below RENAME;
    SYS_unlinkat "unlinkat" Below UNLINK;
    SYS_fchmod "fchmod" Descriptor fails!(EIO EPERM EROFS);
    SYS_fchmodat "fchmodat" Below fails!(EACCES EIO ENOMEM EPERM EROFS);
    SYS_statx "statx" Below fails!(EACCES EIO ENOMEM ENOSYS EPERM);
    SYS_newfstatat "newfstatat" Below STAT;
    SYS_fstat "fstat" Descriptor fails!(EIO ENOMEM);
    SYS_faccessat2 "faccessat2" Below fails!(EACCES EIO ELOOP ENOMEM ENOSYS EROFS);
    SYS_faccessat "faccessat" Below fails!(EACCES EIO ELOOP ENOMEM EROFS);
    SYS_readlinkat "readlinkat" Below STAT;
    SYS_getdents64 "getdents64" Descriptor fails!(EIO ENOMEM);
    SYS_statfs "statfs" Path fails!(EACCES EINTR EIO ENOMEM ENOSYS);
    SYS_fstatfs "fstatfs" Descriptor fails!(EINTR EIO ENOMEM ENOSYS);
    SYS_read "read" Descriptor READ;
    SYS_pread64 "pread64" Descriptor READ;
    SYS_write "write" Descriptor WRITE;
    SYS_pwrite64 "pwrite64" Descriptor WRITE;
    SYS_fsync "fsync" Descriptor SYNC;
    SYS_fdatasync "fdatasync" Descriptor SYNC;
    SYS_close "close" Descriptor CLOSE;
    SYS_fcntl "fcntl" Descriptor fails!();
    SYS_flock "flock" Descriptor fails!(EINTR ENOLCK);
    SYS_ioctl "ioctl" Descriptor fails!(ENOTTY);
    SYS_memfd_create "memfd_create" Nothing fails!(EMFILE ENFILE ENOMEM EPERM);
    SYS_pipe2 "pipe2" Nothing fails!(EMFILE ENFILE);
    SYS_socketpair "socketpair" Nothing fails!(EMFILE ENFILE ENOBUFS ENOMEM);
    SYS_socket "socket" Nothing fails!(EACCES EMFILE ENFILE ENOBUFS ENOMEM);
    SYS_setsockopt "setsockopt" Nothing fails!(ENOBUFS ENOMEM);
    SYS_eventfd2 "eventfd2" Nothing fails!(EMFILE ENFILE ENOMEM);
    SYS_timerfd_create "timerfd_create" Nothing fails!(EMFILE ENFILE ENOMEM);
    SYS_clone "clone" Nothing CLONE;
    SYS_clone3 "clone3" Nothing CLONE;
    SYS_setns "setns" Nothing fails!(ENOMEM EPERM);
    SYS_pidfd_open "pidfd_open" Nothing fails!(EMFILE ENFILE ENOMEM ENOSYS);
    #[cfg(target_arch = "x86_64")]
    SYS_open "open" Path OPEN;
    #[cfg(target_arch = "x86_64")]
    SYS_stat "stat" Path STAT;
    #[cfg(target_arch = "x86_64")]
    SYS_lstat "lstat" Path STAT;
    #[cfg(target_arch = "x86_64")]
    SYS_access "access" Path STAT;
    #[cfg(target_arch = "x86_64")]
    SYS_readlink "readlink" Path STAT;
    #[cfg(target_arch = "x86_64")]
    SYS_mkdir "mkdir" Path MKDIR;
    #[cfg(target_arch = "x86_64")]
    SYS_rename "rename" Path RENAME;
    #[cfg(target_arch = "x86_64")]
    SYS_unlink "unlink" Path UNLINK;
    #[cfg(target_arch = "x86_64")]
    SYS_poll "poll" Nothing POLL;
    SYS_ppoll "ppoll" Nothing POLL;
    SYS_waitid "waitid" Nothing fails!(EINTR);
    SYS_wait4 "wait4" Nothing fails!(EINTR);
    SYS_recvfrom "recvfrom" Nothing fails!(EINTR ENOMEM);
    SYS_recvmsg "recvmsg" Nothing fails!(EINTR ENOMEM);
    SYS_sendto "sendto" Nothing fails!(EINTR ENOBUFS ENOMEM);
    SYS_sendmsg "sendmsg" Nothing fails!(EINTR ENOBUFS ENOMEM);
    SYS_clock_nanosleep "clock_nanosleep" Nothing fails!(EINTR);
    SYS_nanosleep "nanosleep" Nothing fails!(EINTR);
    SYS_getrandom "getrandom" Nothing fails!(EINTR ENOSYS);
    SYS_pidfd_send_signal "pidfd_send_signal" Nothing fails!(EPERM ESRCH);
    SYS_kill "kill" Nothing fails!(EPERM ESRCH);
    // Not at these.
    SYS_brk "brk" Nothing &[];
    SYS_mmap "mmap" Nothing &[];
    SYS_mprotect "mprotect" Nothing &[];
    SYS_munmap "munmap" Nothing &[];
    SYS_madvise "madvise" Nothing &[];
    SYS_mremap "mremap" Nothing &[];
    SYS_futex "futex" Nothing &[];
    SYS_exit "exit" Nothing &[];
    SYS_rt_sigprocmask "rt_sigprocmask" Nothing &[];
    SYS_rt_sigaction "rt_sigaction" Nothing &[];
    SYS_sigaltstack "sigaltstack" Nothing &[];
    SYS_set_robust_list "set_robust_list" Nothing &[];
    SYS_rseq "rseq" Nothing &[];
    SYS_prlimit64 "prlimit64" Nothing &[];
    SYS_getpid "getpid" Nothing &[];
    SYS_gettid "gettid" Nothing &[];
    SYS_prctl "prctl" Nothing &[];
    SYS_lseek "lseek" Nothing &[];
    SYS_sched_getaffinity "sched_getaffinity" Nothing &[];
    SYS_geteuid "geteuid" Nothing &[];
};

fn row(number: i64) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.number == number)
}

pub(crate) fn name(number: i64) -> Option<&'static str> {
    row(number).map(|row| row.name)
}

pub(crate) fn about(number: i64) -> About {
    row(number).map_or(Nothing, |row| row.about)
}

/// Whether the number of these calls depends on how quick a plugin or another thread is, or on what the allocator has.
pub(crate) fn depends_on_time(number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_poll {
        return true;
    }
    matches!(
        number,
        libc::SYS_ppoll
            | libc::SYS_read
            | libc::SYS_recvfrom
            | libc::SYS_getpid
            | libc::SYS_futex
            | libc::SYS_fcntl
            | libc::SYS_close
            | libc::SYS_brk
            | libc::SYS_mmap
            | libc::SYS_munmap
            | libc::SYS_mprotect
            | libc::SYS_mremap
            | libc::SYS_madvise
            | libc::SYS_sched_yield
            | libc::SYS_rt_sigprocmask
            | libc::SYS_clock_nanosleep
    )
}

/// Whether another process can see that this call was made: files, locks, processes, messages.
pub(crate) fn is_seen(call: &Call) -> bool {
    #[cfg(target_arch = "x86_64")]
    if matches!(call.number, libc::SYS_rename | libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir) {
        return true;
    }
    match call.number {
        libc::SYS_openat => call.argument(2) & libc::O_CREAT != 0,
        libc::SYS_fcntl => call.argument(1) == libc::F_OFD_SETLK,
        libc::SYS_write
        | libc::SYS_mkdirat
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_unlinkat
        | libc::SYS_fchmod
        | libc::SYS_fchmodat
        | libc::SYS_clone
        | libc::SYS_clone3
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_kill
        | libc::SYS_pidfd_send_signal => true,
        _ => false,
    }
}

/// The ways in which this call is made to go wrong.
pub(crate) fn faults(call: &Call) -> &'static [Fault] {
    if call.number == libc::SYS_fcntl {
        return match call.argument(1) {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => fails!(EMFILE),
            libc::F_OFD_SETLK | libc::F_SETLK => fails!(EAGAIN EINTR ENOLCK),
            libc::F_OFD_GETLK | libc::F_GETLK => fails!(EINTR ENOLCK),
            _ => &[],
        };
    }
    row(call.number).map_or(&[], |row| row.faults)
}

/// The classes that the watched call may answer when this goes wrong.
pub(crate) fn allowed(call: &Call, fault: Fault) -> &'static [&'static str] {
    let errno = match fault {
        // A good library tries again, or goes on; nothing can be done about a bad close, and what matters was synced.
        Fault::Short | Fault::Fails(Errno::EINTR) | Fault::DoneBut(_) => return &["CNI_OK"],
        Fault::Fails(errno) => errno,
    };
    // They say something about the process, nothing about the file.
    if matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) {
        return &["CNI_OK", "CNI_E_IO"];
    }
    let path = call.path.as_deref().unwrap_or_default();
    let below = |directory: &str| path.starts_with(&format!("{}/{directory}", super::world::NODE));
    if path.starts_with("/run/netns") {
        &["CNI_OK", "CNI_E_NETNS", "CNI_E_IO"]
    } else if path.starts_with(super::world::CACHE) || super::world::CACHE.starts_with(path) && path.starts_with('/') {
        &["CNI_OK", "CNI_E_CACHE", "CNI_E_IO"]
    } else if below("conf") {
        &["CNI_OK", "CNI_E_CONFIG", "CNI_E_NOT_READY", "CNI_E_IO"]
    } else if below("bin") {
        &["CNI_OK", "CNI_E_PLUGIN_NOT_FOUND", "CNI_E_NOT_READY", "CNI_E_IO"]
    } else {
        &["CNI_OK", "CNI_E_IO"]
    }
}
