//! Panics stop at the border and print nothing on the way.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::Result;
use crate::thread::error_of_panic;

/// Threads that this crate starts are named so; their panics are silent too.
const THREAD_PREFIX: &str = "cnirt";

thread_local! {
    /// Whether this thread is inside a call of ours, and not in a callback of the host's.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`INSIDE`], and on drop puts back what was there.
pub(in crate::capi) struct Inside(bool);

impl Inside {
    /// Marks the thread as inside (or, for a callback, outside) a call.
    pub(in crate::capi) fn set(inside: bool) -> Self {
        Self(INSIDE.replace(inside))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

/// Puts a hook before the host's (a Rust host has one) that is silent about our panics and passes on all others.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    // A hook cannot be changed while this thread unwinds; the next call does it.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = std::thread::current().name().is_some_and(|name| name.starts_with(THREAD_PREFIX));
            if !INSIDE.get() && !ours {
                previous(info);
            }
        }));
    });
}

/// Runs `body`; a panic in it is `E_PANIC` with the panic's words.
pub(super) fn caught<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    let _inside = Inside::set(true);
    // State behind a handle is built aside and swapped, and poisoned locks are taken over: nothing is seen half made.
    let body = || {
        #[cfg(test)]
        injected::happen();
        body()
    };
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(error_of_panic(payload)))
}

/// A panic for tests, as no argument makes the library panic that anybody knows of.
#[cfg(test)]
pub(in crate::capi) mod injected {
    use std::cell::Cell;

    thread_local! {
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }

    /// The next guarded call on this thread panics.
    pub(in crate::capi) fn arm() {
        ARMED.set(true);
    }

    /// Whether it has not happened; it does not any more.
    pub(in crate::capi) fn disarm() -> bool {
        ARMED.replace(false)
    }

    pub(super) fn happen() {
        assert!(!disarm(), "injected");
    }
}
