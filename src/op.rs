//! Calls in the background: a pool of threads, and the handle of one call.
//!
//! What has not begun holds no thread and no timer's either: its descriptor is a timerfd set to the call's deadline, so
//! that it wakes whoever waits, and [`Op::wait`] then ends the call. What has begun minds its deadline itself. Whoever
//! starts a call says what it does; nothing here knows of pods or networks. Below are `call`, `thread` and `error`.

mod pool;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};

use crate::call::{Call, CancelToken};
use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::thread::error_of_panic;

pub(crate) use pool::Pool;
use pool::Shared;

/// One call in the background. Dropped before its end, it runs on and nobody gets its answer.
#[derive(Debug)]
pub struct Op {
    job: Arc<Job>,
    timer: Arc<OwnedFd>,
}

impl Op {
    /// Readable when the call is done. It may also be readable for a moment when the deadline of a call passes that has
    /// not begun: [`wait`](Self::wait) and [`finish`](Self::finish) then end it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Waits until the call is done, at most `limit`; `None` is for ever. Whether it is done.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        self.job.wait(limit)
    }

    /// Cancels the call. What has not begun is taken out of the queue and is done at once.
    pub fn cancel(&self) {
        self.job.cancel();
    }

    /// Waits until the call is done, and gives its answer: JSON, or for metrics text.
    pub fn finish(self) -> Result<String> {
        self.take()
    }

    /// Like [`finish`](Self::finish), for a call that others may be looking at: what it answers is taken.
    pub(crate) fn take(&self) -> Result<String> {
        self.job.wait(None);
        let nothing = Stage::Done(Ok(String::new()));
        match std::mem::replace(&mut *self.job.stage(), nothing) {
            Stage::Done(answer) => answer,
            // Waiting ends with `Done`, which is final.
            Stage::Waiting(_) | Stage::Running { .. } => Err(Error::new(ErrorClass::Panic, "the call is not done")),
        }
    }

    /// What the pool and the queues before it know of the call.
    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }
}

/// What a call does. It gets an error where it must not begin, and answers in any case.
type Work = Box<dyn FnOnce(&Call, Result<()>) -> Result<String> + Send>;

/// A background call, as those see it who run it.
#[derive(Debug)]
pub(crate) struct Job {
    pool: Weak<Shared>,
    /// Held for a moment, never while the work is done.
    stage: Mutex<Stage>,
    /// Notified when the call is done.
    done: Condvar,
}

#[derive(Debug)]
enum Stage {
    Waiting(Waiting),
    Running { cancel: CancelToken, timer: Arc<OwnedFd> },
    // The descriptors have been let go: they end with the handle, not with the thread that ran the call.
    Done(Result<String>),
}

struct Waiting {
    call: Call,
    timer: Arc<OwnedFd>,
    log: Dispatch,
    work: Work,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("call", &self.call).finish_non_exhaustive()
    }
}

impl Job {
    /// A call that is in no queue yet. Its work logs to where the calling thread logs now.
    fn make(pool: Weak<Shared>, call: Call, work: Work) -> Result<Op> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = fds::above_two(|| timerfd_create(TimerfdClockId::Monotonic, flags))
            .map_err(|error| Error::os(ErrorClass::Io, "timerfd_create", &error.into()))?;
        set(&timer, call.remaining());
        let timer = Arc::new(timer);
        let waiting = Waiting { call, timer: Arc::clone(&timer), log: get_default(Clone::clone), work };
        let job = Self { pool, stage: Mutex::new(Stage::Waiting(waiting)), done: Condvar::new() };
        Ok(Op { job: Arc::new(job), timer })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the pool run the call, or ends it with what is in the way.
    pub(crate) fn queue(self: &Arc<Self>) -> Result<()> {
        let pool = self.pool.upgrade();
        let queued = pool.map_or_else(|| Err(pool::closed()), |pool| pool.queue(self));
        if let Err(error) = &queued {
            self.refuse(error);
        }
        queued
    }

    /// Cancels the call; what has not begun ends here.
    pub(crate) fn cancel(&self) {
        let stage = self.stage();
        let token = match &*stage {
            Stage::Waiting(waiting) => &waiting.call.cancel,
            Stage::Running { cancel, .. } => cancel,
            Stage::Done(_) => return,
        };
        token.cancel();
        drop(stage);
        self.refuse(&Error::new(ErrorClass::Cancelled, "the call was cancelled"));
    }

    /// Does the call's work, unless it has ended.
    fn run(&self) {
        let Some(Waiting { call, timer, log, work }) = self.claim() else { return };
        drop(timer);
        let verdict = call.check();
        self.end(with_default(&log, || answer(work, &call, verdict)), (call, log));
    }

    /// Ends a call that has not begun; any other stays as it is.
    fn refuse(&self, error: &Error) {
        let Some(Waiting { call, timer, log, work }) = self.claim() else { return };
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(self);
        }
        // With the work may end what it belongs to: nothing of that may be held here any longer.
        drop((timer, log));
        self.end(answer(work, &call, Err(error.clone())), call);
    }

    /// The work of a call that is waiting, which thereby begins.
    fn claim(&self) -> Option<Waiting> {
        let mut stage = self.stage();
        match std::mem::replace(&mut *stage, Stage::Done(Ok(String::new()))) {
            Stage::Waiting(waiting) => {
                set(&waiting.timer, None);
                let (cancel, timer) = (waiting.call.cancel.clone(), Arc::clone(&waiting.timer));
                *stage = Stage::Running { cancel, timer };
                Some(waiting)
            }
            other => {
                *stage = other;
                None
            }
        }
    }

    /// Makes the answer known, after letting go of what the call `held`.
    fn end<T>(&self, answer: Result<String>, held: T) {
        drop(held);
        let mut stage = self.stage();
        if let Stage::Running { timer, .. } = &*stage {
            ring(timer);
        }
        *stage = Stage::Done(answer);
        drop(stage);
        self.done.notify_all();
    }

    fn wait(&self, limit: Option<Duration>) -> bool {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let stage = self.stage();
            let (due, late) = match &*stage {
                Stage::Done(_) => return true,
                Stage::Running { .. } => (None, None),
                Stage::Waiting(Waiting { call, .. }) => (call.deadline, Some(call.timed_out())),
            };
            let now = Instant::now();
            if let Some(late) = late.filter(|_| due.is_some_and(|due| due <= now)) {
                drop(stage);
                self.refuse(&late);
                continue;
            }
            if until.is_some_and(|until| until <= now) {
                return false;
            }
            match [due, until].into_iter().flatten().min() {
                None => drop(self.done.wait(stage)),
                Some(at) => drop(self.done.wait_timeout(stage, at - now)),
            }
        }
    }
}

/// Does the work; a panic in it is its answer.
fn answer(work: Work, call: &Call, verdict: Result<()>) -> Result<String> {
    // Whatever the work changes is behind locks that are taken over, or goes with it.
    catch_unwind(AssertUnwindSafe(|| work(call, verdict))).unwrap_or_else(|payload| Err(error_of_panic(payload)))
}

/// Makes the descriptor readable after this time; `None`: not before it is set again.
fn set(timer: &OwnedFd, after: Option<Duration>) {
    // Zero would be never.
    let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
    let it_value =
        Timespec { tv_sec: after.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: i64::from(after.subsec_nanos()) };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    // It fails for no timer of ours: only for bad values and descriptors.
    let _ = timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value });
}

/// Makes the descriptor readable now. The timer takes a moment that nobody must see: done is readable.
fn ring(timer: &OwnedFd) {
    set(timer, Some(Duration::ZERO));
    let longest = Instant::now() + Duration::from_secs(1);
    let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
    // A signal may interrupt it where the host's own thread ends the call.
    while poll(&mut [PollFd::new(timer, PollFlags::IN)], Some(&limit)).is_err() && Instant::now() < longest {}
}

#[cfg(test)]
mod tests;
