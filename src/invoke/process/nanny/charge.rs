//! A plugin in a nanny's care, and the nanny that waits for the next one.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;

use super::super::child::Program;
use super::super::run::{Child, News, PluginEnds, Refusal, Request, refused, wait_readable};
use super::{ALONE, NOT_STARTED, Nanny, TERMINATE, Table, ended};

/// What the process engine keeps from one plugin of a list to the next: a nanny, so that only the first plugin waits for
/// one. For one call, on one thread: the nanny has the rights, limits, namespaces and the working directory that the
/// thread had when it was started. Dropping it ends what is kept.
pub struct Nursery {
    nanny: Option<Nanny>,
    none_follows: bool,
    idle_limit: Duration,
}

/// How long a nanny waits for its next plugin. A host that executes another program has left it without a word, and with
/// memory that nobody else uses.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

impl Default for Nursery {
    fn default() -> Self {
        Self { nanny: None, none_follows: false, idle_limit: IDLE_LIMIT }
    }
}

impl Nursery {
    #[cfg(test)]
    pub(in super::super) fn with_idle_limit(idle_limit: Duration) -> Self {
        Self { idle_limit, ..Self::default() }
    }

    /// The next plugin is the last one: its nanny then goes by itself, and its end is waited for when this is dropped.
    pub fn none_follows(&mut self) {
        self.none_follows = true;
    }

    #[cfg(test)]
    pub(crate) fn expects_none(&self) -> bool {
        self.none_follows
    }

    /// Has the plugin started by the nanny that is there, or a new one.
    pub(in super::super) fn take_in(
        &mut self,
        table: Table,
        request: &Request<'_>,
        ends: &PluginEnds,
    ) -> Result<Charge, Refusal> {
        /// A host that is stopped for long finds that even a new one has gone.
        const ATTEMPTS: u32 = 3;
        let last = self.none_follows;
        if let Some(mut nanny) = self.nanny.take_if(|nanny| nanny.is_idle()) {
            let taken = nanny.take_in(request, ends, last);
            if let Ok(Some(program)) = taken {
                return Ok(Charge { nanny, program, over: false });
            }
            // It goes later: here is no time to wait for its end.
            self.nanny = Some(nanny);
            taken?;
        }
        for _ in 0..ATTEMPTS {
            let mut nanny = Nanny::start(table, request, self.idle_limit)?;
            let taken = nanny.take_in(request, ends, last);
            if let Ok(Some(program)) = taken {
                return Ok(Charge { nanny, program, over: false });
            }
            self.nanny = Some(nanny);
            taken?;
        }
        Err(refused("sendmsg", Errno::PIPE).into())
    }
}

/// A plugin that a nanny looks after. Dropping it ends the plugin's group, and the nanny.
pub(in super::super) struct Charge {
    nanny: Nanny,
    program: NonNull<Program>,
    /// Nothing is left of it: the nanny can have another.
    over: bool,
}

impl Charge {
    /// The ends of the control socket that the host has.
    #[cfg(test)]
    pub(in super::super) fn control(&self) -> [Option<i32>; 2] {
        use std::os::fd::AsRawFd;
        [Some(self.nanny.control.as_raw_fd()), self.nanny.fetched.as_ref().map(AsRawFd::as_raw_fd)]
    }

    fn heard(&mut self) -> Option<News> {
        self.nanny.drain();
        self.known()
    }
}

impl Child for Charge {
    fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.nanny.pidfd.as_fd(), (!self.nanny.control_over).then(|| self.nanny.control.as_fd()))
    }

    fn known(&mut self) -> Option<News> {
        let word = self.nanny.job().word.load(Ordering::SeqCst);
        let news = if word == NOT_STARTED {
            // SAFETY: it is in the nanny's arena, whose data stays as it is while this value has the nanny; nobody writes
            // but to atomics.
            let program = unsafe { self.program.as_ref() };
            program.failure.get().map_or(News::Lost, News::NotStarted)
        } else {
            let status = ended(word & !ALONE)?;
            if word & ALONE == 0 { News::Exited(status) } else { News::Alone(status) }
        };
        self.nanny.fetched = None;
        self.over = !matches!(news, News::Exited(_));
        Some(news)
    }

    fn is_own(&self) -> bool {
        self.nanny.is_own()
    }

    fn news(&mut self) -> Option<News> {
        if let Some(news) = self.heard() {
            return Some(news);
        }
        if !wait_readable(self.nanny.pidfd.as_fd(), Duration::ZERO) {
            return None;
        }
        // It may have spoken just before it went.
        self.heard().or_else(|| Some(self.nanny.job().failure.get().map_or(News::Lost, News::NotStarted)))
    }

    fn terminate(&mut self) {
        self.nanny.say(TERMINATE);
    }

    fn keep(self: Box<Self>, nursery: &mut Nursery) {
        if self.over {
            let mut nanny = self.nanny;
            nanny.going = nursery.none_follows;
            nursery.nanny = Some(nanny);
        }
    }
}
