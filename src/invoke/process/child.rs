//! From clone to exec: how a new process becomes the plugin.
//!
//! Runs in memory that is the host's (nanny) or a copy with other threads' locks in it (direct): system calls only.

use std::ffi::c_char;
use std::sync::atomic::{AtomicI32, Ordering};

use super::sys;

/// What a child gave up at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Step {
    /// Getting a descriptor table of its own.
    Table = 1,
    /// Getting the pipes.
    Files = 2,
    /// Making the plugin's process.
    Clone = 3,
    /// Putting the pipes on 0, 1 and 2.
    Stdio = 4,
    /// Executing the file.
    Exec = 5,
}

/// A step that failed, and its error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
}

/// Where a child leaves its failure; the host reads it when the child is gone, or its nanny has said so.
#[derive(Debug, Default)]
pub(super) struct FailureSlot {
    step: AtomicI32,
    errno: AtomicI32,
}

impl FailureSlot {
    pub(super) fn set(&self, step: Step, errno: i32) {
        self.errno.store(errno, Ordering::Relaxed);
        self.step.store(step as i32, Ordering::Release);
    }

    pub(super) fn get(&self) -> Option<Failure> {
        let step = match self.step.load(Ordering::Acquire) {
            1 => Step::Table,
            2 => Step::Files,
            3 => Step::Clone,
            4 => Step::Stdio,
            5 => Step::Exec,
            _ => return None,
        };
        Some(Failure { step, errno: self.errno.load(Ordering::Relaxed) })
    }
}

/// What is executed. Lives in memory that outlasts the child, as do the strings behind the pointers.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Program {
    pub(super) path: *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    pub(super) failure: FailureSlot,
}

/// Who must still be the parent of a process that becomes a plugin.
#[derive(Clone, Copy)]
pub(super) enum Parent {
    /// Has made every signal's disposition the default already.
    Nanny(i32),
    Host(i32),
}

impl Parent {
    pub(super) fn is_there(self) -> bool {
        let parent = sys::getppid();
        match self {
            Self::Nanny(pid) => parent == pid,
            // 0 where a host has its children in a pid namespace of their own.
            Self::Host(pid) => parent == pid || parent == 0,
        }
    }
}

/// Becomes the plugin, all signals blocked on entry.
///
/// # Safety
/// In a fresh child only, with a descriptor table of its own; `program` is whole.
pub(super) unsafe fn become_plugin(program: &Program, pipes: [i32; 3], parent: Parent) -> ! {
    let _ = sys::lead_group(0);
    // For a parent that is killed together with its host; asked after, since it may be gone already.
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize);
    if !parent.is_there() {
        sys::exit(127);
    }
    // What came in while the process was still in its parent's group; nobody else knows it.
    let came_in = sys::pending();
    if came_in != 0 {
        // Drops it.
        set_all_actions(libc::SIG_IGN);
    }
    if came_in != 0 || matches!(parent, Parent::Host(_)) {
        set_all_actions(libc::SIG_DFL);
    }
    if let Err(errno) = put_stdio(pipes) {
        program.failure.set(Step::Stdio, errno);
        sys::exit(127);
    }
    sys::close_all(3, i32::MAX);
    sys::set_mask(0);
    // SAFETY: `program` is whole.
    let errno = unsafe { sys::exec(program.path, program.argv, program.envp) };
    program.failure.set(Step::Exec, errno);
    sys::exit(127)
}

/// Sets the disposition of every signal.
pub(super) fn set_all_actions(handler: libc::sighandler_t) {
    const LAST_SIGNAL: i32 = 64;
    let mut signal = 1;
    while signal <= LAST_SIGNAL {
        sys::set_action(signal, handler);
        signal += 1;
    }
}

fn put_stdio([stdin, stdout, stderr]: [i32; 3]) -> sys::Answer<()> {
    // Out of the way first: the host may have had 0 to 2 closed, and the pipes may be there.
    let (stdin, stdout, stderr) = (sys::dup_above(stdin, 3)?, sys::dup_above(stdout, 3)?, sys::dup_above(stderr, 3)?);
    sys::dup_to(stdin, 0)?;
    sys::dup_to(stdout, 1)?;
    sys::dup_to(stderr, 2)?;
    Ok(())
}
