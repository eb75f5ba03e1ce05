//! Seccomp filters that answer system calls with an error: kernels and container profiles that this machine has not.

use std::collections::BTreeMap;

use seccompiler::SeccompCmpOp::MaskedEq;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule};

/// What may be refused: a name, the system call, and what its first argument must have in it (0: it may be anything).
const CALLS: [(&str, i64, libc::c_int); 17] = [
    // Not the clones of libc, which make threads and forks.
    ("nanny", libc::SYS_clone, libc::CLONE_VM | libc::CLONE_PIDFD),
    ("clone", libc::SYS_clone, libc::CLONE_PIDFD),
    ("close_range", libc::SYS_close_range, 0),
    ("eventfd2", libc::SYS_eventfd2, 0),
    ("getrandom", libc::SYS_getrandom, 0),
    ("inotify_add_watch", libc::SYS_inotify_add_watch, 0),
    ("inotify_init1", libc::SYS_inotify_init1, 0),
    ("memfd_create", libc::SYS_memfd_create, 0),
    ("mount", libc::SYS_mount, 0),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, 0),
    ("pidfd_open", libc::SYS_pidfd_open, 0),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, 0),
    ("pipe2", libc::SYS_pipe2, 0),
    ("setns", libc::SYS_setns, 0),
    ("socketpair", libc::SYS_socketpair, 0),
    ("statx", libc::SYS_statx, 0),
    ("timerfd_create", libc::SYS_timerfd_create, 0),
];

const ERRORS: [(&str, libc::c_int); 3] = [("EINVAL", libc::EINVAL), ("ENOSYS", libc::ENOSYS), ("EPERM", libc::EPERM)];

/// The filter for `CALL=ERROR`. Installed, it is also every later child's.
pub(crate) fn filter(refusal: &str) -> Result<BpfProgram, String> {
    let unknown =
        || format!("{refusal}: not CALL=ERROR with one of {:?} and one of {:?}", CALLS.map(|call| call.0), ERRORS);
    let (call, error) = refusal.split_once('=').ok_or_else(unknown)?;
    let (_, number, flags) = CALLS.into_iter().find(|(name, ..)| *name == call).ok_or_else(unknown)?;
    let (_, errno) = ERRORS.into_iter().find(|(name, _)| *name == error).ok_or_else(unknown)?;
    let build = || -> Result<BpfProgram, seccompiler::Error> {
        let flags = u64::from(flags.unsigned_abs());
        // A call without rules matches always.
        let rules = if flags == 0 {
            Vec::new()
        } else {
            vec![SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, MaskedEq(flags), flags)?])?]
        };
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        let machine = std::env::consts::ARCH.try_into()?;
        let rules = BTreeMap::from([(number, rules)]);
        Ok(SeccompFilter::new(rules, SeccompAction::Allow, answer, machine)?.try_into()?)
    };
    build().map_err(|error| error.to_string())
}
