//! The calls that are under way, to be cancelled when the runtime ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::call::{Call, CancelToken};
use crate::op::Job;

/// The calls of one runtime.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<Calls>>);

/// Held for a moment, never while a plugin runs. Changed by single insertions and removals: a panic elsewhere cannot
/// leave it half done.
#[derive(Default)]
struct Calls {
    next: u64,
    calls: HashMap<u64, (CancelToken, Weak<Job>)>,
}

/// A call that is registered as long as this lives.
pub(super) struct Registered {
    running: Running,
    pub(super) number: u64,
}

impl Running {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call known.
    pub(super) fn register(&self, call: &Call) -> Registered {
        let mut calls = self.calls();
        calls.next += 1;
        let number = calls.next;
        calls.calls.insert(number, (call.cancel.clone(), Weak::new()));
        Registered { running: self.clone(), number }
    }

    /// Lets a cancellation reach a background call that has not begun; one may just have passed.
    pub(super) fn attach(&self, number: u64, job: &Arc<Job>) {
        let mut calls = self.calls();
        let Some((cancel, known)) = calls.calls.get_mut(&number) else { return };
        *known = Arc::downgrade(job);
        let cancelled = cancel.is_cancelled();
        drop(calls);
        if cancelled {
            job.cancel();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.calls().calls.is_empty()
    }

    pub(super) fn cancel_all(&self) {
        let calls = self.calls();
        let mut jobs = Vec::new();
        for (cancel, job) in calls.calls.values() {
            cancel.cancel();
            jobs.extend(job.upgrade());
        }
        drop(calls);
        for job in jobs {
            job.cancel();
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.running.calls().calls.remove(&self.number);
    }
}
