//! The calls that are under way: cancelled by name, and one at a time for each pod.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::call::{Call, CancelToken};
use crate::error::Result;
use crate::names::ContainerId;

/// The calls of one network plugin.
#[derive(Default)]
pub(super) struct Calls {
    /// Held for a moment only, never while a plugin runs.
    state: Mutex<State>,
    /// Notified when a pod becomes free and when a call is cancelled.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    running: HashMap<u64, Running>,
    busy: HashSet<ContainerId>,
}

struct Running {
    call_id: Option<String>,
    pod: Option<ContainerId>,
    cancel: CancelToken,
}

/// A call that is registered as long as this lives.
pub(super) struct Registered<'a> {
    calls: &'a Calls,
    number: u64,
}

/// The right to work on a pod, as long as this lives.
pub(super) struct PodTurn<'a> {
    calls: &'a Calls,
    pod: ContainerId,
}

impl Calls {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is changed by single insertions and removals: a panic elsewhere cannot leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call known to [`cancel`](Self::cancel).
    pub(super) fn register(&self, call: &Call, pod: Option<&ContainerId>) -> Registered<'_> {
        let running = Running { call_id: call.id.clone(), pod: pod.cloned(), cancel: call.cancel.clone() };
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.running.insert(number, running);
        Registered { calls: self, number }
    }

    /// Cancels the calls whose call id or pod is `id`, or all. Answers how many.
    pub(super) fn cancel(&self, id: Option<&str>) -> usize {
        let state = self.state();
        let meant = state.running.values().filter(|running| {
            id.is_none_or(|id| {
                running.call_id.as_deref() == Some(id) || running.pod.as_ref().is_some_and(|pod| pod.as_str() == id)
            })
        });
        let mut count = 0;
        for running in meant {
            running.cancel.cancel();
            count += 1;
        }
        drop(state);
        self.changed.notify_all();
        count
    }

    /// Waits until no other call works on the pod; ends at the call's deadline, or when it is cancelled.
    pub(super) fn pod_turn(&self, call: &Call, pod: &ContainerId) -> Result<PodTurn<'_>> {
        let mut state = self.state();
        loop {
            call.check().map_err(|error| error.context(format!("waiting for another operation on pod {pod}")))?;
            if state.busy.insert(pod.clone()) {
                return Ok(PodTurn { calls: self, pod: pod.clone() });
            }
            state = match call.remaining() {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.calls.state().running.remove(&self.number);
    }
}

impl Drop for PodTurn<'_> {
    fn drop(&mut self) {
        self.calls.state().busy.remove(&self.pod);
        self.calls.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorClass;

    fn pod(id: &str) -> ContainerId {
        ContainerId::parse(id).unwrap()
    }

    #[test]
    fn one_pod_waits_for_itself_and_for_nobody_else() {
        let calls = Calls::default();
        let call = Call::default();
        let (free, freed) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = calls.pod_turn(&call, &pod("a")).unwrap();
            drop(calls.pod_turn(&call, &pod("b")).unwrap());
            scope.spawn(|| {
                let _turn = calls.pod_turn(&Call::default(), &pod("a")).unwrap();
                free.send(()).unwrap();
            });
            assert!(freed.recv_timeout(Duration::from_millis(20)).is_err());
            drop(first);
            freed.recv().unwrap();
        });
        assert!(calls.state().busy.is_empty());
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let calls = Calls::default();
        let _first = calls.pod_turn(&Call::default(), &pod("a")).unwrap();
        let hasty = Call::with_timeout(Some(Duration::from_millis(5)));
        let error = calls.pod_turn(&hasty, &pod("a")).err().unwrap();
        assert_eq!(error.class(), ErrorClass::Timeout);
        assert_eq!(error.to_string(), "waiting for another operation on pod a: timed out after 5 ms");
    }

    #[test]
    fn waiting_ends_when_cancelled_by_call_id_or_pod() {
        for id in ["mine", "a"] {
            let calls = Calls::default();
            let _first = calls.pod_turn(&Call::default(), &pod("a")).unwrap();
            let call = Call { id: Some("mine".to_owned()), ..Call::default() };
            let _registered = calls.register(&call, Some(&pod("a")));
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| calls.pod_turn(&call, &pod("a")).err().map(|error| error.class()));
                assert_eq!(calls.cancel(Some("other")), 0);
                assert_eq!(calls.cancel(Some(id)), 1);
                assert_eq!(waiter.join().unwrap(), Some(ErrorClass::Cancelled));
            });
        }
    }
}
