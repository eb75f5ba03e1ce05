//! Enough stack: hosts call from coroutines, signal stacks and threads of 64 KiB, and nested JSON alone needs more.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

use crate::capi::guard::reentry;
use crate::error::{Error, ErrorClass, Result};
use crate::thread::{SignalsBlocked, error_of_panic};

/// What a call may use.
const NEEDED: usize = 512 << 10;
/// The stack of the thread that a call moves to: what is needed, and as much again for callbacks, and more.
const HELPER: usize = 2 << 20;

thread_local! {
    /// The addresses of this thread's own stack: the lowest, and the one after the highest. (0, 0) was not asked yet.
    static BOUNDS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Runs `body` here, or on a thread with a stack of its own that ends with it.
///
/// Fails with `E_IO` where that thread cannot be started. Up to there little stack is used: keep it so.
pub(super) fn with_enough<R: Send>(body: impl FnOnce() -> R + Send) -> Result<R> {
    if left() >= NEEDED { Ok(here(body)) } else { on_helper(body) }
}

/// Not inlined: the body's frame would be taken from a little stack, too.
#[inline(never)]
fn here<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[inline(never)]
fn on_helper<R: Send>(body: impl FnOnce() -> R + Send) -> Result<R> {
    let callbacks = reentry::current();
    std::thread::scope(|scope| {
        let blocked = SignalsBlocked::all();
        let host_mask = blocked.host_mask();
        let helper =
            std::thread::Builder::new().name("cnirt-call".into()).stack_size(HELPER).spawn_scoped(scope, move || {
                host_mask.keep();
                let _callbacks = reentry::Scope::set(callbacks);
                here(body)
            });
        drop(blocked);
        let helper = helper.map_err(|error| {
            Error::os(ErrorClass::Io, "starting a thread, as the caller's stack is too small for this call", &error)
        })?;
        helper.join().map_err(error_of_panic)
    })
}

/// How much of this thread's stack is left; 0 where this runs on some other stack (a coroutine's, a signal's).
fn left() -> usize {
    let mark = 0_u8;
    let here = (&raw const mark).addr();
    let (low, high) = match BOUNDS.get() {
        (0, 0) => {
            let bounds = bounds().unwrap_or((1, 1));
            BOUNDS.set(bounds);
            bounds
        }
        known => known,
    };
    if (low..high).contains(&here) { here - low } else { 0 }
}

fn bounds() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: fills the attributes of the calling thread, which is alive.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut low, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the call above succeeded, so the attributes are set; the other two are places of ours.
    let answer = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size) };
    // SAFETY: the attributes are set, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (answer == 0).then(|| (low.addr(), low.addr() + size))
}

#[cfg(test)]
mod tests {
    use std::thread::{self, Builder, ThreadId};

    use super::*;

    fn ran_on(stack_size: usize) -> (ThreadId, ThreadId) {
        let caller = || (thread::current().id(), with_enough(|| thread::current().id()).unwrap());
        Builder::new().stack_size(stack_size).spawn(caller).unwrap().join().unwrap()
    }

    #[test]
    fn a_call_moves_only_where_the_stack_is_small() {
        let (caller, helper) = ran_on(64 << 10);
        assert_ne!(caller, helper);
        let (caller, same) = ran_on(4 << 20);
        assert_eq!(caller, same);
    }

    /// The signals that this thread has blocked; the first is 1.
    fn blocked() -> Vec<i32> {
        let mut mask = MaybeUninit::zeroed();
        // SAFETY: only asks for the mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), mask.as_mut_ptr()) };
        // SAFETY: written above, and zeroed before that.
        (1..=64).filter(|signal| unsafe { libc::sigismember(mask.as_ptr(), *signal) == 1 }).collect()
    }

    fn block(signal: i32) {
        let mut set = MaybeUninit::uninit();
        // SAFETY: a set of ours is emptied, filled, and then read, for this thread only.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        }
    }

    #[test]
    fn the_helper_has_all_signals_but_faults_blocked_and_the_caller_its_own_mask() {
        let caller = || (blocked(), with_enough(blocked).unwrap(), blocked());
        let (before, inside, after) = Builder::new().stack_size(64 << 10).spawn(caller).unwrap().join().unwrap();
        assert_eq!(before, after);
        let open: Vec<_> = (1..32).filter(|signal| !inside.contains(signal)).collect();
        let faults = [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
        let never = [libc::SIGKILL, libc::SIGSTOP];
        assert!(open.iter().all(|signal| faults.contains(signal) || never.contains(signal)), "{open:?}");
        assert!(faults.iter().all(|signal| open.contains(signal)), "{open:?}");
    }

    #[test]
    fn a_callback_on_the_helper_has_the_callers_mask() {
        let caller = || {
            block(libc::SIGUSR1);
            block(libc::SIGSEGV);
            let handle = reentry::HandleId::unique();
            let call = || {
                let ours = blocked();
                let in_callback = handle.call_back(|| {
                    // What the host does here is its own, and another call from here a call of the host's.
                    let further = on_helper(|| (blocked(), reentry::HandleId::unique().call_back(blocked))).unwrap();
                    (blocked(), further)
                });
                let on_another = on_helper(|| handle.call_back(blocked)).unwrap();
                assert_eq!(blocked(), ours);
                (ours, in_callback, on_another)
            };
            (blocked(), with_enough(call).unwrap())
        };
        let (mask, (ours, (in_callback, (further, in_further)), on_another)) =
            Builder::new().stack_size(64 << 10).spawn(caller).unwrap().join().unwrap();
        assert!(mask.contains(&libc::SIGUSR1) && !mask.contains(&libc::SIGTERM), "{mask:?}");
        assert_eq!((&in_callback, &in_further, &on_another), (&mask, &mask, &mask));
        assert_eq!(ours, further);
        assert!(ours.contains(&libc::SIGTERM) && ours.contains(&libc::SIGSEGV), "{ours:?}");
    }

    #[test]
    fn a_helper_knows_the_callbacks_of_its_caller() {
        let handle = reentry::HandleId::unique();
        let caller = move || handle.call_back(|| with_enough(|| handle.in_callback()).unwrap());
        assert!(Builder::new().stack_size(64 << 10).spawn(caller).unwrap().join().unwrap());
        assert!(!handle.in_callback());
    }
}
