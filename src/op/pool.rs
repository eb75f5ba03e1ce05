//! The threads that background calls run on.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Builder, JoinHandle, ThreadId};
use std::time::Duration;

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result};
use crate::op::{Job, Op};
use crate::thread::SignalsBlocked;

/// A call uses up to 512 KiB with its callbacks; only what is used is ever taken from memory.
const STACK: usize = 1 << 20;
/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(5);

thread_local! {
    /// Which of a pool's threads this is. Threads of the host's are not asked who they are: std would keep that.
    static OWN: Cell<Option<ThreadId>> = const { Cell::new(None) };
}

/// Threads that start when they are needed, at most so many, and end when they are idle, or with the pool.
#[derive(Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    limit: NonZeroUsize,
    idle_limit: Duration,
    stack: usize,
    /// Held for a moment, never while a call runs.
    state: Mutex<State>,
    /// Notified when there is a call to run, and when the pool ends.
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Arc<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Those that are on their way out: the next one that ends waits for them, or the pool's end does.
    ended: Vec<JoinHandle<()>>,
    idle: usize,
    closed: bool,
}

impl Pool {
    /// A pool of at most `limit` threads; none is started before there is a call.
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self::with(limit, IDLE, STACK)
    }

    /// Like [`new`](Self::new), with the other limits given.
    pub(crate) fn with(limit: NonZeroUsize, idle_limit: Duration, stack: usize) -> Self {
        Self(Arc::new(Shared { limit, idle_limit, stack, state: Mutex::default(), work: Condvar::new() }))
    }

    /// Where calls are made that run on these threads. Does not keep the pool.
    pub(crate) fn entry(&self) -> Entry {
        Entry(Arc::downgrade(&self.0))
    }

    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.0.state().threads.len()
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.0.state().queue.len()
    }
}

/// The way into a pool.
#[derive(Clone, Debug)]
pub(crate) struct Entry(Weak<Shared>);

impl Entry {
    /// A call that is in no queue yet: [`Job::queue`] lets it run. `work` gets an error where it must not begin; it
    /// should own what it needs. The work logs to where the calling thread logs now. `E_IO` without a descriptor.
    pub(crate) fn call(
        self,
        call: Call,
        work: impl FnOnce(&Call, Result<()>) -> Result<String> + Send + 'static,
    ) -> Result<Op> {
        Job::make(self.0, call, Box::new(work))
    }
}

impl Drop for Pool {
    /// Ends the threads, and waits for them, save where one of them is the last that needed the pool.
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        let (threads, ended) = (std::mem::take(&mut state.threads), std::mem::take(&mut state.ended));
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.0.work.notify_all();
        for job in queue {
            job.refuse(&closed());
        }
        for thread in threads.into_iter().chain(ended) {
            if OWN.get() != Some(thread.thread().id()) {
                // A panic on it was caught; there is nothing else to learn.
                let _ = thread.join();
            }
        }
    }
}

/// Why a pool that has ended runs nothing.
pub(super) fn closed() -> Error {
    Error::new(ErrorClass::Cancelled, "the call was cancelled: its handle has ended")
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Changed by single steps only: a panic elsewhere cannot leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a call into the queue. `E_IO` where there is no thread, and none can be started.
    pub(super) fn queue(self: &Arc<Self>, job: &Arc<Job>) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(closed());
        }
        let wanted = state.queue.len() >= state.idle && state.threads.len() < self.limit.get();
        if wanted
            && let Err(error) = self.start_thread(&mut state)
            && state.threads.is_empty()
        {
            return Err(Error::os(ErrorClass::Io, "starting a thread for background calls", &error));
        }
        state.queue.push_back(Arc::clone(job));
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Takes a call out of the queue, wherever it is in it.
    pub(super) fn forget(&self, job: &Job) {
        self.state().queue.retain(|other| !std::ptr::eq(&raw const **other, job));
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        let blocked = SignalsBlocked::all();
        let host_mask = blocked.host_mask();
        let thread = Builder::new().name("cnirt-op".into()).stack_size(self.stack).spawn(move || {
            host_mask.keep();
            shared.work();
        })?;
        state.threads.push(thread);
        Ok(())
    }

    /// What a thread does: one call after another.
    fn work(&self) {
        OWN.set(Some(thread::current().id()));
        let mut state = self.state();
        while !state.closed {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job.run();
                drop(job);
                state = self.state();
                continue;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.idle_limit);
            let (after, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() && !state.closed {
                return Self::leave(state);
            }
        }
    }

    /// Ends an idle thread.
    fn leave(mut state: MutexGuard<'_, State>) {
        let before = std::mem::take(&mut state.ended);
        if let Some(at) = state.threads.iter().position(|thread| Some(thread.thread().id()) == OWN.get()) {
            let thread = state.threads.swap_remove(at);
            state.ended.push(thread);
        }
        drop(state);
        for thread in before {
            let _ = thread.join();
        }
    }
}
