//! The handle behind `cni_plugin *` and `cni_runtime *`: who may call, and when it ends.

use std::ffi::c_char;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Dispatch;

use crate::capi::callbacks::{Callbacks, cni_callbacks};
use crate::capi::guard::fork::Process;
use crate::capi::guard::protected;
use crate::capi::guard::reentry::HandleId;
use crate::capi::rc::cni_rc;
use crate::capi::strings::{Answer, clear, optional_input};
use crate::error::{Error, ErrorClass, Result};

/// When a free cancels again, first and at most: a call may have begun just before and not be known to the core yet.
const CANCEL_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What C calls through a handle: any number of calls at a time.
pub(super) trait Core: Send + Sync + 'static {
    /// Cancels every running call.
    fn cancel_all(&self);
}

/// A type that C knows by its pointers only.
pub(super) trait Opaque: Send + Sync + Sized + 'static {
    /// What it is about.
    type Core: Core;

    /// The header's name for a parameter of this type.
    const PARAMETER: &'static str;

    /// Makes one; `log` is where its calls log to.
    fn make(options: Option<&str>, callbacks: Arc<Callbacks>, log: Dispatch) -> Result<Self>;

    /// What all such types have in common.
    fn handle(&self) -> &Handle<Self::Core>;
}

/// The life of a core that C calls.
pub(super) struct Handle<C> {
    /// Looked at before anything else: a forked child must not touch the lock below.
    process: Process,
    id: HandleId,
    /// Held for a moment at a call's begin and end, never while anything else is called.
    state: Mutex<State<C>>,
    /// Told when the last running call ended.
    idle: Condvar,
}

struct State<C> {
    /// Taken when the handle ends, after the last call.
    core: Option<Arc<Whole<C>>>,
    running: usize,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// Somebody waits in `close` and takes the core.
    Closing,
    /// Freed from a callback: the last call takes the core.
    Abandoned,
}

/// What a handle keeps alive. The order is the order of the end: callbacks are there until all else is gone.
struct Whole<C> {
    core: C,
    log: Dispatch,
    _callbacks: Arc<Callbacks>,
}

impl<C: Core> Whole<C> {
    /// Ends it; dropping the core may wait, log and call back.
    fn end(core: Option<Arc<Self>>) {
        let log = core.as_ref().map_or_else(Dispatch::none, |core| core.log.clone());
        // Nobody is left to tell of a failure. Without a helper thread the closure is dropped here, and the core in it.
        let _ = protected(&log, move || {
            drop(core);
            Ok(())
        });
    }
}

impl<C: Core> Handle<C> {
    pub(super) fn new(core: C, callbacks: Arc<Callbacks>, log: Dispatch) -> Self {
        // A thread that was about to log for the first time may have asked who listens before this handle did.
        tracing::callsite::rebuild_interest_cache();
        let id = callbacks.id();
        let core = Some(Arc::new(Whole { core, log, _callbacks: callbacks }));
        let state = Mutex::new(State { core, running: 0, life: Life::Open });
        Self { process: Process::current(), id, state, idle: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses new calls, cancels the running ones, waits for them, ends the core.
    fn close(&self) {
        self.lock().life = Life::Closing;
        let (mut pause, longest) = CANCEL_AGAIN;
        loop {
            self.cancel_all();
            let state = self.lock();
            let wait = self.idle.wait_timeout_while(state, pause, |state| state.running > 0);
            pause = (pause * 2).min(longest);
            let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
            if state.running == 0 {
                let core = state.core.take();
                drop(state);
                return Whole::end(core);
            }
        }
    }

    /// Refuses new calls and cancels the running ones; the last of them ends the core.
    fn abandon(&self) {
        self.lock().life = Life::Abandoned;
        self.cancel_all();
    }

    fn cancel_all(&self) {
        let (core, running) = {
            let state = self.lock();
            (state.core.clone(), state.running)
        };
        if let Some(core) = core.filter(|_| running > 0) {
            // A panic here leaves the calls to their own end.
            let _ = protected(&core.log, || {
                core.core.cancel_all();
                Ok(())
            });
        }
    }
}

/// Makes what C asks for, as the header says of `cni_plugin_new`.
///
/// # Safety
///
/// `options` as for [`optional_input`], `callbacks` as for [`Callbacks::read`]; `place` and `error` are NULL or
/// writable.
pub(super) unsafe fn make<H: Opaque>(
    options: *const c_char,
    callbacks: *const cni_callbacks,
    place: *mut *mut H,
    error: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    unsafe {
        clear(place);
        clear(error);
    }
    // SAFETY: the caller's promise is the same.
    let callbacks = unsafe { Callbacks::read(callbacks) };
    // SAFETY: the caller's promise is the same.
    let options = unsafe { optional_input("options", options) };
    // SAFETY: the caller promises NULL or a place to write.
    let place = unsafe { place.as_mut() }.ok_or_else(|| null_is_not_allowed::<H>());
    let made = callbacks.and_then(|callbacks| {
        let log = callbacks.log();
        let (place, options) = (place?, options?);
        let made = protected(&log, || H::make(options, callbacks, log.clone()).map(Arc::new))?;
        *place = Arc::into_raw(made).cast_mut();
        Ok(())
    });
    match made {
        Ok(()) => cni_rc::CNI_OK,
        // SAFETY: the caller promises NULL or a place to write.
        Err(refusal) => unsafe { Answer::of_error(&refusal).deliver(error) },
    }
}

/// Ends what [`make`] made, as the header says of `cni_plugin_free`.
///
/// # Safety
///
/// `pointer` is NULL, or came from [`make`] and was not freed.
pub(super) unsafe fn free<H: Opaque>(pointer: *mut H) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: not NULL, so the caller promises that `into_raw` in `make` made it.
    let owner = unsafe { Arc::from_raw(pointer) };
    let handle = owner.handle();
    if !handle.process.is_current() {
        // Locks may be held for ever by threads that are not in this process, and callbacks may need them.
        std::mem::forget(owner);
    } else if handle.id.in_callback() {
        handle.abandon();
    } else {
        handle.close();
    }
}

fn null_is_not_allowed<H: Opaque>() -> Error {
    Error::invalid(format!("{}: NULL is not allowed", H::PARAMETER))
}

/// One running call: while it lives, so does the handle's core.
///
/// The fields are dropped in this order: whoever ends the core after the last ticket must not find it in use.
pub(super) struct Running<H: Opaque> {
    whole: Arc<Whole<H::Core>>,
    ticket: Ticket<H>,
}

impl<H: Opaque> Running<H> {
    /// Begins a call, or says why there can be none.
    ///
    /// # Safety
    ///
    /// `pointer` is NULL, or came from [`make`] and was not freed.
    pub(super) unsafe fn begin(pointer: *const H) -> Result<Self> {
        // SAFETY: the caller promises NULL or a handle that is alive.
        let Some(owner) = (unsafe { pointer.as_ref() }) else { return Err(null_is_not_allowed::<H>()) };
        let (handle, name) = (owner.handle(), H::PARAMETER);
        if !handle.process.is_current() {
            let words = format!("{name}: the handle was made before this process was forked");
            return Err(Error::new(ErrorClass::Forked, words).with_hint("make a new handle in the child"));
        }
        if handle.id.in_callback() {
            return Err(Error::invalid(format!("{name}: the handle was called from one of its own callbacks")));
        }
        let mut state = handle.lock();
        let whole = state.core.clone().filter(|_| state.life == Life::Open);
        let whole = whole.ok_or_else(|| Error::invalid(format!("{name}: the handle is being freed")))?;
        state.running += 1;
        drop(state);
        // SAFETY: `pointer` came from `Arc::into_raw` and is not freed: the count that it holds is still there.
        let owner = unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        };
        Ok(Self { whole, ticket: Ticket(owner) })
    }

    /// The handle's.
    pub(super) fn id(&self) -> HandleId {
        self.ticket.0.handle().id
    }

    pub(super) fn core(&self) -> &H::Core {
        &self.whole.core
    }

    pub(super) fn log(&self) -> &Dispatch {
        &self.whole.log
    }
}

impl<H: Opaque> Clone for Running<H> {
    /// Another call: as long as this one runs the handle is there, being freed or not.
    fn clone(&self) -> Self {
        let owner = Arc::clone(&self.ticket.0);
        owner.handle().lock().running += 1;
        Self { whole: Arc::clone(&self.whole), ticket: Ticket(owner) }
    }
}

impl<H: Opaque> AsRef<H::Core> for Running<H> {
    fn as_ref(&self) -> &H::Core {
        self.core()
    }
}

/// Counts one running call.
struct Ticket<H: Opaque>(Arc<H>);

impl<H: Opaque> Drop for Ticket<H> {
    fn drop(&mut self) {
        let handle = self.0.handle();
        let mut state = handle.lock();
        state.running -= 1;
        let last = state.running == 0;
        let core = if last && state.life == Life::Abandoned { state.core.take() } else { None };
        drop(state);
        if last {
            handle.idle.notify_all();
        }
        if core.is_some() {
            Whole::end(core);
        }
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
