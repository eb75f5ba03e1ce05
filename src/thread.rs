//! What the library's own threads have in common: the host's handlers never run on them, save for faults and in the
//! host's own callbacks, and their panics become errors. And locks that know of forks.

use std::any::Any;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::error::{Error, ErrorClass};

/// The error for a caught panic, with the panic's words.
pub(crate) fn error_of_panic(payload: Box<dyn Any + Send>) -> Error {
    let words = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => {
            // Dropping a value of an unknown type could panic again.
            std::mem::forget(payload);
            "without words".to_owned()
        }
    };
    Error::new(ErrorClass::Panic, format!("internal error: {words}"))
        .with_hint("this is a defect of cnirt; please report it")
}

/// Locks what belongs to the whole process and can be done without, where that is to be had at once: in a forked child it
/// may be locked by a thread that is not there.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What a thread is told of its own faults. Blocked, they would kill the host past its handlers: those of its crash
/// reports, of a runtime that turns faults into exceptions, of a sandbox.
const FAULTS: [i32; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

thread_local! {
    /// On a thread of ours, outside the host's callbacks: the mask that these are to have.
    static FOR_CALLBACKS: Cell<Option<HostMask>> = const { Cell::new(None) };
}

/// Blocks all signals but faults on this thread while it lives: a thread that is started meanwhile inherits that.
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    pub(crate) fn all() -> Self {
        let mut all = MaybeUninit::uninit();
        // SAFETY: fills a set of ours.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        for fault in FAULTS {
            // SAFETY: the set was filled above, and these are signals.
            unsafe { libc::sigdelset(all.as_mut_ptr(), fault) };
        }
        // SAFETY: filled above. What the host itself blocks stays blocked.
        Self(change_mask(libc::SIG_BLOCK, unsafe { all.assume_init_ref() }))
    }

    /// What callbacks of the host's are to find blocked on a thread that is started meanwhile.
    pub(crate) fn host_mask(&self) -> HostMask {
        FOR_CALLBACKS.get().unwrap_or(HostMask(self.0))
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        change_mask(libc::SIG_SETMASK, &self.0);
    }
}

/// The signals that the host has blocked on the thread that called.
#[derive(Clone, Copy)]
pub(crate) struct HostMask(libc::sigset_t);

impl HostMask {
    /// Notes it on a thread of ours for the callbacks that will run there.
    pub(crate) fn keep(self) {
        FOR_CALLBACKS.set(Some(self));
    }
}

/// Gives a thread of ours the host's mask while it lives: around a callback, as what the host starts there inherits it.
/// A thread of the host's has it already.
pub(crate) struct HostSignals(Option<(HostMask, libc::sigset_t)>);

impl HostSignals {
    pub(crate) fn restored() -> Self {
        Self(FOR_CALLBACKS.take().map(|host| (host, change_mask(libc::SIG_SETMASK, &host.0))))
    }
}

impl Drop for HostSignals {
    fn drop(&mut self) {
        if let Some((host, ours)) = self.0.take() {
            change_mask(libc::SIG_SETMASK, &ours);
            host.keep();
        }
    }
}

/// Changes this thread's mask, and returns what it was.
fn change_mask(how: i32, mask: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::zeroed();
    // SAFETY: reads a whole set; the old mask goes to a place of ours. It fails for an unknown `how` only.
    unsafe { libc::pthread_sigmask(how, mask, before.as_mut_ptr()) };
    // SAFETY: written by the call above, and zeroed before that.
    unsafe { before.assume_init() }
}
