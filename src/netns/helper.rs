//! A thread that changes its network namespace and ends, so that no thread of the host has to.

use std::thread;

use crate::error::{Error, ErrorClass, Result};
use crate::thread::{SignalsBlocked, error_of_panic};

/// Enough for a few system calls; the smallest that the threads library accepts is 16 KiB.
const STACK: usize = 128 * 1024;

/// Runs `work` on a thread that is gone when this returns. `E_IO` where no thread can be made.
pub(super) fn run<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let spawned = {
            // The host's handlers know nothing of a thread with a small stack in another namespace.
            let _blocked = SignalsBlocked::all();
            thread::Builder::new().name("cnirt-netns".into()).stack_size(STACK).spawn_scoped(scope, work)
        };
        let thread = spawned.map_err(|error| Error::os(ErrorClass::Io, "start a helper thread", &error))?;
        thread.join().unwrap_or_else(|panic| Err(error_of_panic(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap().to_owned()
    }

    #[test]
    fn all_signals_but_faults_are_blocked_on_the_helper_and_as_before_on_the_caller() {
        let before = blocked();
        let inside = u64::from_str_radix(&run(|| Ok(blocked())).unwrap(), 16).unwrap();
        // All but KILL (9), STOP (19), faults, and 32 to 34, some of which the threads library keeps for itself.
        let faults = [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
        let open = faults.iter().fold(1 << 8 | 1 << 18, |open, fault| open | 1 << (fault - 1));
        assert_eq!(inside | 0x3_8000_0000, !open, "{inside:x}");
        assert_eq!(blocked(), before);
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = run::<()>(|| std::panic::resume_unwind(Box::new(()))).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Panic);
    }
}
