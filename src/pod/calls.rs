//! The calls that are under way: cancelled by name, and one at a time for each pod, in the order in which they came.
//!
//! A synchronous call waits for its turn on its thread. A background call leaves word what to do when it is its turn,
//! and holds no thread until then; both stand in the same line.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::call::{Call, CancelToken};
use crate::error::{Error, Result};
use crate::names::ContainerId;
use crate::op::Job;

/// The calls of one network plugin.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<State>>);

/// Held for a moment only, never while a plugin runs or somebody is woken. Changed by single insertions and removals: a
/// panic elsewhere cannot leave it half done.
#[derive(Default)]
struct State {
    next: u64,
    running: HashMap<u64, Running>,
    /// Who works on each pod, and behind it those who wait for that. A line that nobody stands in is not kept.
    lines: HashMap<ContainerId, VecDeque<Standing>>,
}

struct Running {
    call_id: Option<String>,
    pod: Option<ContainerId>,
    cancel: CancelToken,
    job: Weak<Job>,
}

struct Standing {
    number: u64,
    operation: &'static str,
    wake: Wake,
}

/// Whom to tell that it is his turn.
enum Wake {
    Nobody,
    Thread(Arc<Condvar>),
    Background(Start),
}

type Start = Box<dyn FnOnce() + Send>;

/// A call that is registered as long as this lives.
pub(super) struct Registered {
    calls: Calls,
    number: u64,
}

/// A place in a pod's line; the first one is the right to work on the pod. Dropping it lets the next one go on.
pub(super) struct Place {
    calls: Calls,
    key: PlaceKey,
}

/// Names a place.
#[derive(Clone)]
pub(super) struct PlaceKey {
    pod: ContainerId,
    number: u64,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn is_first(&self, key: &PlaceKey) -> bool {
        self.lines.get(&key.pod).and_then(VecDeque::front).is_some_and(|first| first.number == key.number)
    }

    /// What the first in its line is at, unless that is this place itself.
    fn first_but(&self, key: &PlaceKey) -> Option<&'static str> {
        let first = self.lines.get(&key.pod).and_then(VecDeque::front);
        first.filter(|first| first.number != key.number).map(|first| first.operation)
    }

    fn set_wake(&mut self, key: &PlaceKey, wake: Wake) {
        let mut standing = self.lines.get_mut(&key.pod).into_iter().flatten();
        if let Some(own) = standing.find(|standing| standing.number == key.number) {
            own.wake = wake;
        }
    }

    /// Takes a place out of its line; answers whom to tell.
    fn leave(&mut self, key: &PlaceKey) -> Wake {
        let was_first = self.is_first(key);
        let Some(line) = self.lines.get_mut(&key.pod) else { return Wake::Nobody };
        line.retain(|standing| standing.number != key.number);
        match line.front_mut() {
            Some(first) if was_first => std::mem::replace(&mut first.wake, Wake::Nobody),
            Some(_) => Wake::Nobody,
            None => {
                self.lines.remove(&key.pod);
                Wake::Nobody
            }
        }
    }
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call known to [`cancel`](Self::cancel).
    pub(super) fn register(&self, call: &Call, pod: Option<&ContainerId>) -> Registered {
        let (call_id, pod, cancel) = (call.id.clone(), pod.cloned(), call.cancel.clone());
        let mut state = self.state();
        let number = state.number();
        state.running.insert(number, Running { call_id, pod, cancel, job: Weak::new() });
        Registered { calls: self.clone(), number }
    }

    /// Lets [`cancel`](Self::cancel) reach a background call that has not begun. Looks once itself, as a cancellation may
    /// just have passed.
    pub(super) fn attach(&self, number: u64, job: &Arc<Job>) {
        let mut state = self.state();
        let Some(running) = state.running.get_mut(&number) else { return };
        running.job = Arc::downgrade(job);
        let cancelled = running.cancel.is_cancelled();
        drop(state);
        if cancelled {
            job.cancel();
        }
    }

    /// Cancels the calls whose call id or pod is `id`, or all. Answers how many.
    pub(super) fn cancel(&self, id: Option<&str>) -> usize {
        let state = self.state();
        let meant = state.running.values().filter(|running| {
            id.is_none_or(|id| {
                running.call_id.as_deref() == Some(id) || running.pod.as_ref().is_some_and(|pod| pod.as_str() == id)
            })
        });
        let (mut count, mut jobs) = (0, Vec::new());
        for running in meant {
            // Under the lock: who looks later sees it, and who waits already is woken below.
            running.cancel.cancel();
            jobs.extend(running.job.upgrade());
            count += 1;
        }
        let standing = state.lines.values().flatten();
        let threads: Vec<_> = standing.filter_map(|standing| standing.wake.thread()).collect();
        drop(state);
        for thread in threads {
            thread.notify_one();
        }
        for job in jobs {
            job.cancel();
        }
        count
    }

    #[cfg(test)]
    pub(super) fn standing(&self, pod: &ContainerId) -> usize {
        self.state().lines.get(pod).map_or(0, VecDeque::len)
    }

    /// Stands in the pod's line, at its end.
    pub(super) fn line_up(&self, pod: &ContainerId, operation: &'static str) -> Place {
        let mut state = self.state();
        let number = state.number();
        state.lines.entry(pod.clone()).or_default().push_back(Standing { number, operation, wake: Wake::Nobody });
        Place { calls: self.clone(), key: PlaceKey { pod: pod.clone(), number } }
    }

    /// Waits until no other call works on the pod; ends at the call's deadline, or when it is cancelled.
    pub(super) fn pod_turn(&self, call: &Call, pod: &ContainerId, operation: &'static str) -> Result<Place> {
        let place = self.line_up(pod, operation);
        let turn = Arc::new(Condvar::new());
        let mut state = self.state();
        loop {
            let first = state.first_but(&place.key);
            call.check()
                .map_err(|error| first.map_or_else(|| error.clone(), |first| waiting_for(pod, first, &error)))?;
            if first.is_none() {
                return Ok(place);
            }
            state.set_wake(&place.key, Wake::Thread(Arc::clone(&turn)));
            state = match call.remaining() {
                None => turn.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => turn.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Has `start` called once, when it is this place's turn: here, or by whoever ends his. Never, if the place is left
    /// before.
    pub(super) fn when_first(&self, key: &PlaceKey, start: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.is_first(key) {
            drop(state);
            start();
        } else {
            state.set_wake(key, Wake::Background(Box::new(start)));
        }
    }
}

/// The error of a call that ended while another one worked on its pod.
fn waiting_for(pod: &ContainerId, operation: &str, error: &Error) -> Error {
    error.clone().context(format!("waiting for pod {pod}, which another call of this handle ({operation}) works on"))
}

impl Wake {
    fn thread(&self) -> Option<Arc<Condvar>> {
        if let Self::Thread(thread) = self { Some(Arc::clone(thread)) } else { None }
    }

    fn tell(self) {
        match self {
            Self::Nobody => {}
            Self::Thread(thread) => thread.notify_one(),
            Self::Background(start) => start_next(start),
        }
    }
}

/// Calls `start`. One that fails ends its call, whose place is left, which starts the next: one after another, and not
/// one within the other, as a line may be longer than the stack is deep.
fn start_next(start: Start) {
    thread_local! {
        /// What to start after that which is being started on this thread.
        static NEXT: RefCell<Option<VecDeque<Start>>> = const { RefCell::new(None) };
    }
    let mut now = NEXT.with_borrow_mut(|next| {
        if let Some(next) = next {
            next.push_back(start);
            return None;
        }
        *next = Some(VecDeque::new());
        Some(start)
    });
    while let Some(start) = now {
        start();
        now = NEXT.with_borrow_mut(|next| {
            let following = next.as_mut().and_then(VecDeque::pop_front);
            if following.is_none() {
                *next = None;
            }
            following
        });
    }
}

impl Registered {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Place {
    pub(super) fn key(&self) -> PlaceKey {
        self.key.clone()
    }

    /// The error of a call that ended in this place before it began.
    pub(super) fn refused(&self, error: &Error) -> Error {
        let first = self.calls.state().first_but(&self.key);
        first.map_or_else(|| error.clone(), |first| waiting_for(&self.key.pod, first, error))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.calls.state().running.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = self.calls.state().leave(&self.key);
        next.tell();
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
            let first = calls.pod_turn(&call, &pod("a"), "x").unwrap();
            drop(calls.pod_turn(&call, &pod("b"), "x").unwrap());
            scope.spawn(|| {
                let _turn = calls.pod_turn(&Call::default(), &pod("a"), "setup_pod").unwrap();
                free.send(()).unwrap();
            });
            assert!(freed.recv_timeout(Duration::from_millis(20)).is_err());
            drop(first);
            freed.recv().unwrap();
        });
        assert!(calls.state().lines.is_empty());
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let calls = Calls::default();
        let _first = calls.pod_turn(&Call::default(), &pod("a"), "setup_pod").unwrap();
        let hasty = Call::with_timeout(Some(Duration::from_millis(5)));
        let error = calls.pod_turn(&hasty, &pod("a"), "x").err().unwrap();
        assert_eq!(error.class(), ErrorClass::Timeout);
        assert_eq!(
            error.to_string(),
            "waiting for pod a, which another call of this handle (setup_pod) works on: timed out after 5 ms"
        );
    }

    #[test]
    fn waiting_ends_when_cancelled_by_call_id_or_pod() {
        for id in ["mine", "a"] {
            let calls = Calls::default();
            let _first = calls.pod_turn(&Call::default(), &pod("a"), "setup_pod").unwrap();
            let call = Call { id: Some("mine".to_owned()), ..Call::default() };
            let _registered = calls.register(&call, Some(&pod("a")));
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| calls.pod_turn(&call, &pod("a"), "x").err().map(|error| error.class()));
                assert_eq!(calls.cancel(Some("other")), 0);
                assert_eq!(calls.cancel(Some(id)), 1);
                assert_eq!(waiter.join().unwrap(), Some(ErrorClass::Cancelled));
            });
        }
    }
}
