//! The C functions of calls in the background.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use tracing::Dispatch;

use crate::capi::guard::fork::Process;
use crate::capi::guard::reentry::HandleId;
use crate::capi::guard::{protected, quiet};
use crate::capi::handle::{Opaque, Running};
use crate::capi::plugin::cni_plugin;
use crate::capi::rc::cni_rc;
use crate::capi::runtime::cni_runtime;
use crate::capi::strings::{Answer, clear, input, optional_input};
use crate::error::{Error, ErrorClass, Result};
use crate::network::{self, Request, Runtime};
use crate::op::Op;
use crate::pod::{Operation, PluginManager};

/// One call in the background.
///
/// Made by a function whose name ends in _start, ended by cni_op_finish. It may outlive the handle that started it:
/// freeing that cancels the call, and the call's answer is kept until cni_op_finish. In a forked child every function
/// says CNI_E_FORKED.
///
/// Since: 0.1.0
pub struct cni_op {
    /// Looked at before anything else: a forked child must not touch the locks below.
    process: Process,
    /// The handle that started it: its callbacks must not wait for it.
    handle: HandleId,
    op: Op,
}

impl cni_op {
    /// What a function that starts a call hands out.
    fn new(handle: HandleId, op: Op) -> Arc<Self> {
        Arc::new(Self { process: Process::current(), handle, op })
    }

    /// Why this thread may not use it, if it may not.
    fn check(&self) -> Result<()> {
        if !self.process.is_current() {
            return Err(Error::new(ErrorClass::Forked, "op: the call was started before this process was forked"));
        }
        if self.handle.in_callback() {
            return Err(Error::invalid("op: the call was used in a callback of its own handle"));
        }
        Ok(())
    }
}

/// Starts a call on a network plugin in the background.
///
/// operation: the name of the C function without its prefix: "setup_pod", "teardown_pod", "check_pod", "pod_status",
/// "list_pods", "plugin_status", "plugin_reload", "plugin_capabilities", "plugin_metrics", "plugin_gc" or "plugin_event".
/// request: what that function is given: a pod request, a GC request; for "plugin_event" {name, details?}, details being a JSON object; for
/// the others NULL or {}. It is read at once. op: the call, or NULL on failure. error: the error object on failure,
/// else NULL.
///
/// The call is done on a thread of the handle's. These threads start when they are needed, are at most as many as the
/// option opThreads says, have all signals blocked, and end with the handle or after some idle seconds. Calls for one
/// pod, this one and those on threads of the host, run one after another in the order in which they came; one that
/// waits holds no thread. timeoutMs counts from here on, waiting included. callId and cni_plugin_cancel are as for any
/// call.
///
/// Ownership: the strings are borrowed. End *op with cni_op_finish and free *error with cni_string_free.
/// NULL: plugin, operation and op must not be NULL; error may be, and request where the operation needs none.
/// Threads: any; a thread that this has to start inherits the caller's namespaces, and its plugins do.
/// Errors: CNI_E_INVALID_ARGUMENT for an unknown operation or a wrong request, CNI_E_IO where there is no thread or
/// no descriptor for the call, CNI_E_UNSUPPORTED, and those of every call. What comes later is cni_op_finish's to say.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_start(
    plugin: *mut cni_plugin,
    operation: *const c_char,
    request: *const c_char,
    op: *mut *mut cni_op,
    error: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (operation, request) = unsafe { (input("operation", operation), optional_input("request", request)) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe {
        start(plugin, op, error, |running| PluginManager::start(running, Operation::parse(operation?, request?)?))
    }
}

/// Starts a call on a runtime in the background.
///
/// operation: the name of the C function without cni_runtime_: "add", "del", "check", "cached", "gc", "status",
/// "validate", "plugin_version" or "attachments". conf: what that function takes as conf; for "plugin_version" the
/// type, for "attachments" the container ID, NULL and empty being all. rt: what it takes as rt; for "gc" its args; for
/// the others NULL, or {callId?, env?, timeoutMs?}. Both are read at once. op: the call, or NULL on failure. error: the
/// error object on failure, else NULL.
///
/// Threads and deadlines are as for cni_plugin_start; a call waits for a thread and for no other call.
///
/// Ownership: the strings are borrowed. End *op with cni_op_finish and free *error with cni_string_free.
/// NULL: runtime, operation and op must not be NULL; error may be, and conf and rt as above.
/// Threads: any; a thread that this has to start inherits the caller's namespaces, and its plugins do.
/// Errors: CNI_E_INVALID_ARGUMENT, CNI_E_CONFIG, CNI_E_IO where there is no thread or no descriptor for the call, and
/// those of every call. What comes later is cni_op_finish's to say.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_start(
    runtime: *mut cni_runtime,
    operation: *const c_char,
    conf: *const c_char,
    rt: *const c_char,
    op: *mut *mut cni_op,
    error: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (operation, conf, rt) =
        unsafe { (input("operation", operation), optional_input("conf", conf), optional_input("rt", rt)) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe {
        start(runtime, op, error, |running| {
            let operation = network::Operation::parse(operation?)?;
            let conf = conf?.or((operation == network::Operation::Attachments).then_some(""));
            let conf = conf.ok_or_else(|| Error::invalid("conf: NULL is not allowed"))?;
            Runtime::start(running, Request::parse(operation, conf, rt?)?)
        })
    }
}

/// A descriptor that is readable when the call is done, for poll, epoll and event loops.
///
/// It is readable too when the deadline of a call passes that still waits for its turn or a thread: cni_op_wait and
/// cni_op_finish then end the call and do not block. Reading from it does no harm, but then it may not be readable any
/// more. Do not write to it and do not close it.
///
/// Ownership: the descriptor is the call's, and is closed by cni_op_finish.
/// NULL: op may be NULL; the answer is -1 then.
/// Threads: any, also from a callback.
/// Errors: -1 in a forked child.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_op_fd(op: *const cni_op) -> c_int {
    // SAFETY: the header asks for NULL or a call that was not finished.
    let op = unsafe { op.as_ref() }.filter(|op| op.process.is_current());
    op.map_or(-1, |op| op.op.fd().as_raw_fd())
}

/// Waits until a call is done.
///
/// ms: at most so many milliseconds; 0 only looks, less is for ever.
///
/// Ownership: op stays the caller's.
/// NULL: op must not be NULL.
/// Threads: any, several at once; from a callback of the handle that started the call it is refused.
/// Errors: CNI_E_TIMEOUT where the call is not done; CNI_E_INVALID_ARGUMENT, CNI_E_FORKED, CNI_E_PANIC. How the call
/// itself went is cni_op_finish's to say.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_op_wait(op: *mut cni_op, ms: i64) -> cni_rc {
    let limit = u64::try_from(ms).ok().map(Duration::from_millis);
    // SAFETY: the header asks of the caller what the function asks.
    let waited = unsafe { held(op) }.and_then(|op| quiet(|| Ok(op.op.wait(limit))));
    match waited {
        Ok(true) => cni_rc::CNI_OK,
        Ok(false) => cni_rc::CNI_E_TIMEOUT,
        Err(error) => error.class().into(),
    }
}

/// Cancels a call. Returns at once.
///
/// What has not begun is taken out of the queue and is done at once, as CNI_E_CANCELLED. What runs is stopped, as
/// cni_plugin_cancel stops it: wait for it. A set-up that fails and is being undone goes on, and answers why it failed.
/// What is done stays as it is. In any case the call still has to be ended with cni_op_finish.
///
/// Ownership: op stays the caller's.
/// NULL: op must not be NULL.
/// Threads: any, also while others wait for the call or finish it; from a callback of the handle that started the call
/// it is refused.
/// Errors: CNI_E_INVALID_ARGUMENT, CNI_E_FORKED, CNI_E_PANIC.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_op_cancel(op: *mut cni_op) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    let cancelled = unsafe { held(op) }.and_then(|op| {
        quiet(|| {
            op.op.cancel();
            Ok(())
        })
    });
    cancelled.map_or_else(|error| error.class().into(), |()| cni_rc::CNI_OK)
}

/// Waits until a call is done, answers as its function would have, and ends it.
///
/// out: what the function writes to its out. Where this is refused (for NULL, in a forked child, from a callback of the
/// handle that started the call) the call is not ended, and out has the error object.
///
/// Ownership: takes op, and its descriptor is closed; free *out with cni_string_free.
/// NULL: op must not be NULL; out may be.
/// Threads: any; no call may begin with op afterwards.
/// Errors: those of the call's function; CNI_E_CANCELLED where it was cancelled or its handle was freed.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_op_finish(op: *mut cni_op, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { clear(out) };
    // SAFETY: the header asks of the caller what the function asks.
    let answer = unsafe { held(op) }.map_or_else(
        |error| Answer::of_error(&error),
        |held| {
            let answer = quiet(|| Ok(Answer::of_text(held.op.take())));
            drop(held);
            // SAFETY: `_start` made it with `into_raw`, and the header says that it is finished once.
            drop(unsafe { Arc::from_raw(op) });
            answer.unwrap_or_else(|error| Answer::of_error(&error))
        },
    );
    // SAFETY: as above.
    unsafe { answer.deliver(out) }
}

/// The call, kept while this is used: another thread may finish it meanwhile.
///
/// # Safety
///
/// `op` is NULL, or came from `Arc::into_raw` and was not finished.
unsafe fn held(op: *const cni_op) -> Result<Arc<cni_op>> {
    // SAFETY: the caller promises NULL or a call that is alive.
    let Some(call) = (unsafe { op.as_ref() }) else { return Err(Error::invalid("op: NULL is not allowed")) };
    call.check()?;
    // SAFETY: it came from `into_raw` and is not finished: the count that it holds is still there.
    Ok(unsafe {
        Arc::increment_strong_count(op);
        Arc::from_raw(op)
    })
}

/// Starts a call of a handle's in the background. `begin` gets the right to use the handle's core until the call ends.
///
/// # Safety
///
/// `pointer` as for [`Running::begin`]; `place` and `error` are NULL or writable.
pub(super) unsafe fn start<H: Opaque>(
    pointer: *const H,
    place: *mut *mut cni_op,
    error: *mut *mut c_char,
    begin: impl FnOnce(Running<H>) -> Result<Op> + Send,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    unsafe {
        clear(place);
        clear(error);
    }
    // SAFETY: the caller promises NULL or a place to write.
    let place = unsafe { place.as_mut() }.ok_or_else(|| Error::invalid("op: NULL is not allowed"));
    // SAFETY: the caller's promise is the same.
    let running = unsafe { Running::begin(pointer) };
    let log = running.as_ref().map_or_else(|_| Dispatch::none(), |running| running.log().clone());
    // The background call counts for itself, so that this one ends here, when its log and all else is let go.
    let background = running.clone();
    let started = place.and_then(|place| {
        let op = protected(&log, || {
            let background = background?;
            Ok(cni_op::new(background.id(), begin(background)?))
        })?;
        *place = Arc::into_raw(op).cast_mut();
        Ok(())
    });
    match started {
        Ok(()) => cni_rc::CNI_OK,
        // SAFETY: the caller promises NULL or a place to write.
        Err(refusal) => unsafe { Answer::of_error(&refusal).deliver(error) },
    }
}
