//! One call of the library: until when it may run, whether it was cancelled, and what it adds to plugins' environment.
//!
//! Passed down by reference from the public face to the process engine; knows nobody above it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::error::{Error, ErrorClass, Result};
use crate::fds;

/// Cancels a call from any thread. Clones cancel the same call.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    /// Made by the first one who waits with poll; a call that runs no plugin needs none.
    event: OnceCell<OwnedFd>,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels; the second time does nothing.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        if let Some(event) = self.0.event.get() {
            // EAGAIN means that the counter is full: readable already.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A descriptor that is readable once the token is cancelled. Ask [`is_cancelled`](Self::is_cancelled) after taking
    /// it, not only before: a cancellation in between writes nothing.
    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        let event = self.0.event.get_or_try_init(|| {
            fds::above_two(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))
                .map_err(|error| Error::os(ErrorClass::Io, "eventfd", &error.into()))
        })?;
        Ok(event.as_fd())
    }
}

/// The locks that a call holds: those of one open file description.
///
/// Plugins' nannies keep `file` open. Where the host dies, they free its locks when the plugin is gone, not before.
#[derive(Clone, Debug)]
pub struct HeldLock {
    /// The lock file, as it was opened for this call.
    pub file: Arc<OwnedFd>,
}

/// What one call carries to everything below it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When the call must end; `None` is never.
    pub deadline: Option<Instant>,
    /// The limit that `deadline` was made from, for messages.
    pub timeout: Option<Duration>,
    /// Cancels the call.
    pub cancel: CancelToken,
    /// The caller's own name for the call, passed on to callbacks.
    pub id: Option<String>,
    /// Environment for every plugin of this call, over the process's.
    pub env: Vec<(String, String)>,
    /// The pod's lock, where the call holds one.
    pub lock: Option<HeldLock>,
    /// When a plugin that was told to end is killed at the latest: others wait for their time.
    pub(crate) kill_by: Option<Instant>,
}

impl Call {
    /// A call that must end `timeout` from now; `None` or zero is no limit.
    pub fn with_timeout(timeout: Option<Duration>) -> Self {
        let timeout = timeout.filter(|limit| !limit.is_zero());
        // A limit beyond the clock's range is no limit.
        let deadline = timeout.and_then(|limit| Instant::now().checked_add(limit));
        Self { deadline, timeout, ..Self::default() }
    }

    /// How long is left; `None` is for ever, zero is over.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Fails with `E_CANCELLED` or `E_TIMEOUT` where the call should not go on.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(ErrorClass::Cancelled, "the call was cancelled"));
        }
        if self.remaining().is_some_and(|left| left.is_zero()) {
            return Err(self.timed_out());
        }
        Ok(())
    }

    /// Waits so long, or until the call is over, which is an error.
    pub(crate) fn pause(&self, length: Duration) -> Result<()> {
        let until = Instant::now().checked_add(self.remaining().map_or(length, |left| left.min(length)));
        self.check()?;
        let cancelled = self.cancel.fd()?;
        while !self.cancel.is_cancelled() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let limit = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&cancelled, PollFlags::IN)], limit.as_ref()) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::os(ErrorClass::Io, "poll", &error.into())),
            }
        }
        self.check()
    }

    /// The error of a call whose time is over.
    pub fn timed_out(&self) -> Error {
        let limit = self.timeout.unwrap_or_default();
        Error::new(ErrorClass::Timeout, format!("timed out after {} ms", limit.as_millis()))
    }

    /// A part of this call that must end within `limit`, or with the call; zero is no limit of its own.
    #[must_use]
    pub fn limited(&self, limit: Duration) -> Self {
        if limit.is_zero() || self.remaining().is_some_and(|left| left <= limit) {
            return self.clone();
        }
        let Self { deadline, timeout, .. } = Self::with_timeout(Some(limit));
        Self { deadline, timeout, ..self.clone() }
    }

    /// The time of one of several parts that come one after another: half of what is left while others wait, so that
    /// one that hangs does not take all.
    #[must_use]
    pub(crate) fn share(&self, others_wait: bool) -> Self {
        self.slice(if others_wait { 2 } else { 1 })
    }

    /// The time of one of so many parts that come one after another: its fair part of what is left.
    #[must_use]
    pub(crate) fn slice(&self, parts: usize) -> Self {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        match self.remaining().map(|left| left / parts).filter(|slice| parts > 1 && !slice.is_zero()) {
            Some(slice) => {
                // Half as much again may go by until a plugin that ignores its deadline is killed.
                let kill_by = Instant::now().checked_add(slice * 3 / 2);
                Self { kill_by: self.kill_by.into_iter().chain(kill_by).min(), ..self.limited(slice) }
            }
            None => self.clone(),
        }
    }

    /// A call for undoing: the same environment, id and lock, a limit of its own, deaf to this call's cancellation.
    #[must_use]
    pub fn for_rollback(&self, timeout: Duration) -> Self {
        let (id, env, lock) = (self.id.clone(), self.env.clone(), self.lock.clone());
        Self { id, env, lock, ..Self::with_timeout(Some(timeout)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_call_says_so_and_wakes_its_descriptor() {
        let call = Call::default();
        call.check().unwrap();
        let mut byte = [0; 8];
        assert!(rustix::io::read(call.cancel.fd().unwrap(), &mut byte).is_err());
        call.cancel.clone().cancel();
        assert_eq!(call.check().unwrap_err().class(), ErrorClass::Cancelled);
        assert_eq!(rustix::io::read(call.cancel.fd().unwrap(), &mut byte).unwrap(), 8);
    }

    #[test]
    fn a_pause_ends_with_its_time_with_the_call_or_with_a_cancellation() {
        let (short, long) = (Duration::from_millis(2), Duration::from_secs(600));
        Call::default().pause(short).unwrap();
        let error = Call::with_timeout(Some(short)).pause(long).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Timeout);
        let call = Call::default();
        let error = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| call.pause(long).unwrap_err());
            call.cancel.cancel();
            waiting.join().unwrap()
        });
        assert_eq!(error.class(), ErrorClass::Cancelled);
    }

    #[test]
    fn a_limit_that_is_over_is_a_timeout_and_zero_is_no_limit() {
        let call = Call { deadline: Some(Instant::now()), ..Call::with_timeout(Some(Duration::from_millis(7))) };
        let error = call.check().unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Timeout, "timed out after 7 ms"));
        assert_eq!(Call::with_timeout(Some(Duration::ZERO)).remaining(), None);
        assert_eq!(Call::with_timeout(Some(Duration::MAX)).remaining(), None);
    }

    #[test]
    fn a_part_ends_with_its_limit_or_with_the_call() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(100));
        for (call, part, timeout) in [(None, short, short), (Some(long), short, short), (Some(short), long, short)] {
            let call = Call::with_timeout(call);
            let part = call.limited(part);
            assert_eq!(part.timeout, Some(timeout));
            call.cancel.cancel();
            assert!(part.cancel.is_cancelled());
        }
    }

    #[test]
    fn parts_leave_time_to_those_behind_them() {
        let call = Call::with_timeout(Some(Duration::from_secs(100)));
        let part = call.share(true);
        assert!(part.remaining().unwrap() <= Duration::from_secs(50));
        assert!(part.kill_by.unwrap() < call.deadline.unwrap() && part.kill_by > part.deadline);
        assert!(part.share(true).kill_by < part.deadline);
        assert!(call.share(false).remaining().unwrap() > Duration::from_secs(90));
        assert!(call.slice(10).remaining().unwrap() <= Duration::from_secs(10));
        assert!(call.slice(1).remaining().unwrap() > Duration::from_secs(90));
        assert_eq!((Call::default().share(true).remaining(), Call::default().slice(3).remaining()), (None, None));
        assert!(call.limited(Duration::ZERO).remaining().unwrap() > Duration::from_secs(90));
    }

    #[test]
    fn undoing_is_deaf_to_the_cancellation_that_caused_it() {
        let call = Call { id: Some("x".into()), ..Call::default() };
        call.cancel.cancel();
        let undo = call.for_rollback(Duration::from_secs(5));
        undo.check().unwrap();
        assert_eq!(undo.id.as_deref(), Some("x"));
    }
}
