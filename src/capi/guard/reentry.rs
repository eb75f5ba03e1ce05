//! Whose callbacks is this thread in? A call on the same handle from one would wait for itself.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::capi::guard::panic::Inside;
use crate::thread::HostSignals;

/// Names a handle for as long as the process lives; an address could be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capi) struct HandleId(u64);

impl HandleId {
    /// An id that no other handle has.
    pub(in crate::capi) fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether this thread is in a callback of the handle.
    pub(in crate::capi) fn in_callback(self) -> bool {
        CALLBACKS.try_with(|callbacks| callbacks.borrow().contains(&self)).unwrap_or(false)
    }

    /// Runs a callback of the handle.
    pub(in crate::capi) fn call_back<R>(self, callback: impl FnOnce() -> R) -> R {
        // What the host's code does is the host's again: its panics are its own to print, its signals are for it.
        let _outside = Inside::set(false);
        let mut callbacks = current();
        callbacks.push(self);
        let _scope = Scope::set(callbacks);
        let _signals = HostSignals::restored();
        callback()
    }
}

thread_local! {
    /// The handles whose callbacks this thread is in, innermost last.
    static CALLBACKS: RefCell<Vec<HandleId>> = const { RefCell::new(Vec::new()) };
}

/// The handles whose callbacks this thread is in, to hand on to a helper thread.
pub(super) fn current() -> Vec<HandleId> {
    CALLBACKS.try_with(|callbacks| callbacks.borrow().clone()).unwrap_or_default()
}

/// Sets the list, and on drop puts back what was there.
pub(super) struct Scope(Vec<HandleId>);

impl Scope {
    pub(super) fn set(callbacks: Vec<HandleId>) -> Self {
        Self(CALLBACKS.try_with(|current| current.replace(callbacks)).unwrap_or_default())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.0);
        // The thread is ending where this fails: nobody asks any more.
        let _ = CALLBACKS.try_with(|current| current.replace(before));
    }
}
