//! The handle behind `cni_plugin *`: who may call, and when it ends.

use std::ffi::CStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Dispatch;

use crate::capi::callbacks::Callbacks;
use crate::capi::guard::fork::Process;
use crate::capi::guard::protected;
use crate::capi::guard::reentry::HandleId;
use crate::error::{Error, ErrorClass, Result};
use crate::pod::{PluginManager, PluginOptions};

/// When a free cancels again, first and at most: a call may have begun just before and not be known to the manager yet.
const CANCEL_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The kubelet's network plugin: it attaches pods to networks, knows which are attached, and detaches them.
///
/// Made by cni_plugin_new, ended by cni_plugin_free. Any number of threads may use one handle at the same time. In a
/// process forked from the one that made it every call says CNI_E_FORKED.
///
/// Since: 0.1.0
pub struct cni_plugin {
    /// Looked at before anything else: a forked child must not touch the lock below.
    process: Process,
    id: HandleId,
    name: &'static CStr,
    /// Held for a moment at a call's begin and end, never while anything else is called.
    state: Mutex<State>,
    /// Told when the last running call ended.
    idle: Condvar,
}

struct State {
    /// Taken when the handle ends, after the last call.
    core: Option<Arc<Core>>,
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

/// What a handle is about. The order is the order of the end: callbacks are there until all else is gone.
struct Core {
    manager: PluginManager,
    log: Dispatch,
    _callbacks: Arc<Callbacks>,
}

impl Core {
    /// Ends it; dropping the manager may wait, log and call back.
    fn end(core: Option<Arc<Self>>) {
        let log = core.as_ref().map_or_else(Dispatch::none, |core| core.log.clone());
        // Nobody is left to tell of a failure. Without a helper thread the closure is dropped here, and the core in it.
        let _ = protected(&log, move || {
            drop(core);
            Ok(())
        });
    }
}

impl cni_plugin {
    /// Makes a handle; `log` is where its calls log to.
    pub(super) fn new(options: Option<&str>, callbacks: Arc<Callbacks>, log: Dispatch) -> Result<Arc<Self>> {
        let options = options.map_or_else(|| Ok(PluginOptions::default()), PluginOptions::from_json)?;
        let manager = PluginManager::new(options, callbacks.hooks())?;
        // A thread that was about to log for the first time may have asked who listens before this handle did.
        tracing::callsite::rebuild_interest_cache();
        let (id, name) = (callbacks.id(), manager.plugin_name());
        let core = Some(Arc::new(Core { manager, log, _callbacks: callbacks }));
        let state = Mutex::new(State { core, running: 0, life: Life::Open });
        Ok(Arc::new(Self { process: Process::current(), id, name, state, idle: Condvar::new() }))
    }

    /// The network plugin's name.
    pub(super) fn name(&self) -> &'static CStr {
        self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the handle as `cni_plugin_free` says.
    pub(super) fn free(plugin: Arc<Self>) {
        if !plugin.process.is_current() {
            // Locks may be held for ever by threads that are not in this process, and callbacks may need them.
            std::mem::forget(plugin);
        } else if plugin.id.in_callback() {
            plugin.abandon();
        } else {
            plugin.close();
        }
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
                return Core::end(core);
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
            let _ = protected(&core.log, || Ok(core.manager.cancel(None)));
        }
    }
}

/// One running call: while it lives, so does the handle's core.
///
/// The fields are dropped in this order: whoever ends the core after the last ticket must not find it in use.
pub(super) struct Running {
    core: Arc<Core>,
    ticket: Ticket,
}

impl Running {
    /// Begins a call, or says why there can be none.
    ///
    /// # Safety
    ///
    /// `plugin` is NULL, or came from `cni_plugin_new` and was not freed.
    pub(super) unsafe fn begin(plugin: *const cni_plugin) -> Result<Self> {
        // SAFETY: the caller promises NULL or a handle that is alive.
        let Some(handle) = (unsafe { plugin.as_ref() }) else {
            return Err(Error::invalid("plugin: NULL is not allowed"));
        };
        if !handle.process.is_current() {
            let words = "plugin: the handle was made before this process was forked";
            return Err(Error::new(ErrorClass::Forked, words).with_hint("make a new handle in the child"));
        }
        if handle.id.in_callback() {
            return Err(Error::invalid("plugin: the handle was called from one of its own callbacks"));
        }
        let mut state = handle.lock();
        let core = state.core.clone().filter(|_| state.life == Life::Open);
        let core = core.ok_or_else(|| Error::invalid("plugin: the handle is being freed"))?;
        state.running += 1;
        drop(state);
        // SAFETY: `plugin` came from `Arc::into_raw` and is not freed: the count that it holds is still there.
        let plugin = unsafe {
            Arc::increment_strong_count(plugin);
            Arc::from_raw(plugin)
        };
        Ok(Self { core, ticket: Ticket(plugin) })
    }

    /// The handle's.
    pub(super) fn id(&self) -> HandleId {
        self.ticket.0.id
    }

    pub(super) fn manager(&self) -> &PluginManager {
        &self.core.manager
    }

    pub(super) fn log(&self) -> &Dispatch {
        &self.core.log
    }
}

impl Clone for Running {
    /// Another call: as long as this one runs the handle is there, being freed or not.
    fn clone(&self) -> Self {
        let plugin = Arc::clone(&self.ticket.0);
        plugin.lock().running += 1;
        Self { core: Arc::clone(&self.core), ticket: Ticket(plugin) }
    }
}

impl AsRef<PluginManager> for Running {
    fn as_ref(&self) -> &PluginManager {
        self.manager()
    }
}

/// Counts one running call.
struct Ticket(Arc<cni_plugin>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        let last = state.running == 0;
        let core = if last && state.life == Life::Abandoned { state.core.take() } else { None };
        drop(state);
        if last {
            self.0.idle.notify_all();
        }
        if core.is_some() {
            Core::end(core);
        }
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
