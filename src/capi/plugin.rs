//! The C functions of a network plugin.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use tracing::Dispatch;

use crate::capi::callbacks::{Callbacks, cni_callbacks};
use crate::capi::guard::{answer_on, protected};
use crate::capi::handle::{self, Core, Handle, Opaque, Running};
use crate::capi::rc::cni_rc;
use crate::capi::strings::{Answer, input, optional_input};
use crate::error::Result;
use crate::pod::{GcRequest, PluginManager, PluginOptions, PodRequest};

/// The kubelet's network plugin: it attaches pods to networks, knows which are attached, and detaches them.
///
/// Made by cni_plugin_new, ended by cni_plugin_free. Any number of threads may use one handle at the same time. In a
/// process forked from the one that made it every call says CNI_E_FORKED.
///
/// Since: 0.1.0
pub struct cni_plugin {
    handle: Handle<PluginManager>,
    name: &'static CStr,
}

impl Core for PluginManager {
    fn cancel_all(&self) {
        self.cancel(None);
    }
}

impl Opaque for cni_plugin {
    type Core = PluginManager;

    const PARAMETER: &'static str = "plugin";

    fn make(options: Option<&str>, callbacks: Arc<Callbacks>, log: Dispatch) -> Result<Self> {
        let options = options.map_or_else(|| Ok(PluginOptions::default()), PluginOptions::from_json)?;
        let manager = PluginManager::new(options, callbacks.hooks())?;
        let name = manager.plugin_name();
        Ok(Self { handle: Handle::new(manager, callbacks, log), name })
    }

    fn handle(&self) -> &Handle<PluginManager> {
        &self.handle
    }
}

/// Makes a network plugin and reads the network configurations; a node that has none yet is no error.
///
/// options: a JSON object; NULL is {}, all defaults. callbacks: functions of the host's; NULL is none. plugin: the new
/// handle, or NULL on failure. error: the error object on failure, else NULL.
///
/// Ownership: options is borrowed, callbacks are copied, and their data is freed by their data_free, on failure too.
/// Free *plugin with cni_plugin_free and *error with cni_string_free.
/// NULL: options, callbacks and error may be NULL; plugin must not be.
/// Threads: any.
/// Errors: CNI_E_INVALID_ARGUMENT for an unknown or wrong key, CNI_E_UNSUPPORTED for callbacks of a newer version,
/// CNI_E_IO.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_new(
    options: *const c_char,
    callbacks: *const cni_callbacks,
    plugin: *mut *mut cni_plugin,
    error: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { handle::make(options, callbacks, plugin, error) }
}

/// Ends a network plugin: refuses new calls, cancels the running ones, and returns when they have ended.
///
/// That takes, callbacks aside, at most killGraceMs, rollbackTimeoutMs (without end where that is 0) and killGraceMs
/// once more; a plugin that cannot be killed adds 3 s. From a callback of the same handle it only marks: the last
/// running call ends the handle. What is attached stays attached. In a forked child it does nothing, quickly: the
/// memory is gone when the child ends or execs, and data_free is not called.
///
/// Ownership: takes plugin; no call may begin with it afterwards. Calls data_free of the callbacks.
/// NULL: plugin may be NULL, which does nothing.
/// Threads: any, also while calls run on others.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cni_plugin_free(plugin: *mut cni_plugin) {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { handle::free(plugin) }
}

/// Attaches a pod to its networks. What an earlier set-up of the pod neither finished nor undid is undone first, and with
/// replace in the request what the pod has of these networks and on these interfaces is removed first.
///
/// request: the pod request, a JSON object with at least id. out: {pod: {namespace, name, id}, ips,
/// networks: [{network, ifName, result}]}.
///
/// Ownership: request is borrowed; free *out with cni_string_free.
/// NULL: plugin and request must not be NULL; out may be.
/// Threads: any; calls for one pod run one after another.
/// Errors: CNI_E_EXISTS where the pod is attached already, CNI_E_NOT_READY, CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND,
/// CNI_E_RETRY, CNI_E_CONFIG, CNI_E_NETNS, CNI_E_CACHE, CNI_E_TIMEOUT, CNI_E_CANCELLED and those of every call. What a
/// failed set-up began is undone; rollback in the error object tells how that went.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_setup_pod(
    plugin: *mut cni_plugin,
    request: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_pod(plugin, request, out, PluginManager::setup_pod) }
}

/// Detaches a pod from its networks, as they were recorded, finished or not. Needs no configuration and no network
/// namespace.
///
/// request: the pod request, a JSON object with at least id. out: {pod, networks: [{network, ifName}], errors?}, what was
/// removed; the list is empty where nothing is known of the pod. With force in the request plugins' errors stop nothing,
/// the records go in any case, and errors, a list of error objects, tells what may be left behind.
///
/// Ownership: request is borrowed; free *out with cni_string_free.
/// NULL: plugin and request must not be NULL; out may be.
/// Threads: any; calls for one pod run one after another.
/// Errors: CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_CACHE, CNI_E_TIMEOUT, CNI_E_CANCELLED and those of every call;
/// every network is tried, and errors lists what failed.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_teardown_pod(
    plugin: *mut cni_plugin,
    request: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_pod(plugin, request, out, PluginManager::teardown_pod) }
}

/// Asks the plugins whether a pod's networks are as they were made.
///
/// request: the pod request, a JSON object with at least id. out: {pod, networks: [{network, ifName, checked}]};
/// checked is false where a network's version has no CHECK or its configuration says disableCheck.
///
/// Ownership: request is borrowed; free *out with cni_string_free.
/// NULL: plugin and request must not be NULL; out may be.
/// Threads: any; calls for one pod run one after another.
/// Errors: CNI_E_NOT_FOUND for an unknown pod, CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_CACHE, CNI_E_TIMEOUT,
/// CNI_E_CANCELLED and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_check_pod(
    plugin: *mut cni_plugin,
    request: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_pod(plugin, request, out, PluginManager::check_pod) }
}

/// A pod's addresses, read from its network namespace.
///
/// request: the pod request, a JSON object with at least id. out: as of cni_setup_pod, and source: "netlink", or
/// "cache" where the namespace is gone.
///
/// Ownership: request is borrowed; free *out with cni_string_free.
/// NULL: plugin and request must not be NULL; out may be.
/// Threads: any; waits for no other call.
/// Errors: CNI_E_NOT_FOUND for an unknown pod, CNI_E_CACHE, CNI_E_IO and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_pod_status(
    plugin: *mut cni_plugin,
    request: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_pod(plugin, request, out, PluginManager::pod_status) }
}

/// Every pod that is recorded.
///
/// out: [{pod: {namespace, name, id}, networks: [{network, ifName, netns, owner, unfinished}]}]; unfinished is true while
/// a set-up runs, and where one neither ended well nor could be undone.
///
/// Ownership: free *out with cni_string_free.
/// NULL: plugin must not be NULL; out may be.
/// Threads: any; waits for no other call.
/// Errors: CNI_E_CACHE and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_list_pods(plugin: *mut cni_plugin, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { answer_on(plugin, out, Answer::of_json, PluginManager::list_pods) }
}

/// Whether pods can be set up on the default network, and what is configured. Reads what changed on disk first.
///
/// out: {ready, reason?, code?, limitedConnectivity?, defaultNetwork?, podCidr?, lastLoad: {ok, error?}, networks:
/// [{name, file, cniVersion, valid, reason?, capabilities, plugins: [{type, file, path?, engine}]}]}.
///
/// Ownership: free *out with cni_string_free.
/// NULL: plugin must not be NULL; out may be.
/// Threads: any; waits for no call on a pod.
/// Errors: those of every call. Not being ready is CNI_OK with ready false.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_status(plugin: *mut cni_plugin, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { answer_on(plugin, out, Answer::of_json, PluginManager::status) }
}

/// Reads the network configurations again, changed or not. Seldom needed: every call looks for changes.
///
/// out: as of cni_plugin_status.
///
/// Ownership: free *out with cni_string_free.
/// NULL: plugin must not be NULL; out may be.
/// Threads: any; waits for no call on a pod.
/// Errors: those of every call. A configuration that cannot be used is CNI_OK, and lastLoad says so.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_reload(plugin: *mut cni_plugin, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { answer_on(plugin, out, Answer::of_json, PluginManager::reload) }
}

/// The capabilities that the default network's plugins declare.
///
/// out: a sorted JSON list of strings, such as "portMappings".
///
/// Ownership: free *out with cni_string_free.
/// NULL: plugin must not be NULL; out may be.
/// Threads: any; waits for no call on a pod.
/// Errors: those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_capabilities(plugin: *mut cni_plugin, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { answer_on(plugin, out, Answer::of_json, PluginManager::capabilities) }
}

/// The handle's metrics.
///
/// out: text in the Prometheus exposition format, families cnirt_*; not JSON.
///
/// Ownership: free *out with cni_string_free.
/// NULL: plugin must not be NULL; out may be.
/// Threads: any; waits for no other call.
/// Errors: those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_metrics(plugin: *mut cni_plugin, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { answer_on(plugin, out, Answer::of_text, PluginManager::metrics) }
}

/// The network plugin's name: "cni", or "kubernetes.io/no-op".
///
/// Ownership: the string is static; do not free it.
/// NULL: plugin may be NULL; the name is empty then. NULL is never returned.
/// Threads: any, also from a callback and in a forked child.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_name(plugin: *const cni_plugin) -> *const c_char {
    // SAFETY: the header asks for NULL or a handle that is alive.
    unsafe { plugin.as_ref() }.map_or(c"", |plugin| plugin.name).as_ptr()
}

/// Deletes the attachments of pods that are gone, then runs the plugins' own GC where their networks have one (CNI 1.1.0).
///
/// Only what this handle's owner made is deleted; attachments that others made are told to the plugins as valid. What a
/// set-up that did not end left of a pod that is gone is undone, too. An attachment that is made meanwhile stays.
///
/// request: {validPods: [{id, networks?: [{network, ifName}]}], timeoutMs?, callId?}. validPods must be there; [] says
/// that no pod is. Without networks all that the pod has is valid. out: {deleted: [{id, network, ifName}]}.
///
/// Ownership: request is borrowed; free *out with cni_string_free.
/// NULL: plugin and request must not be NULL; out may be.
/// Threads: any. Waits for calls on the pods that it deletes, and until nobody works on any pod for the plugins' own GC,
/// before which new calls on pods go first.
/// Errors: CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_CACHE, CNI_E_TIMEOUT, CNI_E_CANCELLED and those of every call;
/// nothing stops at the first error, and errors lists what failed.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_gc(
    plugin: *mut cni_plugin,
    request: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let request = unsafe { input("request", request) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { answer_on(plugin, out, Answer::of_json, |manager| manager.gc(&GcRequest::from_json(request?)?)) }
}

/// A descriptor that is readable when the configuration may have changed, for poll, epoll and event loops.
///
/// It is readable at first, and again after every change of network files, plugin directories, and what leads to them;
/// and it stays so until a cni_plugin_status or a cni_plugin_reload succeeds, which is what to do then. Nothing else makes
/// it quiet. That it is readable does not say that there is something new. Do not read from it.
///
/// It tells of changes on disk and of nothing else. A plugin that says that it is not ready has to be asked again from
/// time to time; so have file systems that tell of no changes: those of the network, and those that somebody mounts over a
/// directory on the way. Beyond some hundred directories the rest is not watched. In all of these cases every call sees
/// what changed all the same.
///
/// The descriptor is made by the first call and stays the same. Until then nothing is watched.
///
/// Ownership: the descriptor is the handle's, closed on exec, and is closed by cni_plugin_free: take it out of event
/// loops before that. Do not close it.
/// NULL: plugin may be NULL; the answer is -1 then.
/// Threads: any.
/// Errors: -1 for the no-op network plugin, which has no configuration; where the system has no descriptor or no watch to
/// spare, which the log callback is told and a later call may mend; in a forked child, from a callback of the handle, and
/// while it is being freed.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_fd(plugin: *mut cni_plugin) -> c_int {
    // SAFETY: the header asks for NULL or a handle that is alive.
    let Ok(running) = (unsafe { Running::begin(plugin.cast_const()) }) else { return -1 };
    let log = running.log().clone();
    let answer = protected(&log, || {
        let answer = running.core().changes().map(|fd| fd.as_raw_fd());
        answer.inspect_err(|error| {
            let hint = error.hint();
            tracing::warn!(target: "cnirt::pod", %error, hint, "there is no descriptor for the configuration's changes");
        })
    });
    answer.unwrap_or(-1)
}

/// Tells of an event on the node.
///
/// name: "pod-cidr-change"; unknown names are ignored. details: a JSON object, {"pod-cidr": "10.1.0.0/16"}; NULL is {}.
/// out: {}.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: plugin and name must not be NULL; details and out may be.
/// Threads: any.
/// Errors: CNI_E_INVALID_ARGUMENT where details are wrong for the event, and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_event(
    plugin: *mut cni_plugin,
    name: *const c_char,
    details: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (name, details) = unsafe { (input("name", name), optional_input("details", details)) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe {
        answer_on(plugin, out, Answer::of_json, |manager| {
            manager.event(name?, details?.unwrap_or("{}")).map(|()| json!({}))
        })
    }
}

/// Cancels running and waiting calls of this handle: their plugins are stopped, a set-up is undone, and each says
/// CNI_E_CANCELLED. Returns at once.
///
/// id: the callId or the pod's id of the calls; NULL is all of them. None with that id is no error: it may just have
/// ended.
///
/// Ownership: id is borrowed.
/// NULL: plugin must not be NULL; id may be.
/// Threads: any.
/// Errors: those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_plugin_cancel(plugin: *mut cni_plugin, id: *const c_char) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let id = unsafe { optional_input("id", id) };
    // SAFETY: the header asks of the caller what the function asks; nobody asks for the answer.
    unsafe { answer_on(plugin, ptr::null_mut(), Answer::of_json, |manager| Ok(manager.cancel(id?))) }
}

/// An operation on one pod.
///
/// # Safety
///
/// `plugin` as for `answer_on`, `request` as for `input`, `out` is NULL or writable.
unsafe fn on_pod<T: Serialize>(
    plugin: *const cni_plugin,
    request: *const c_char,
    out: *mut *mut c_char,
    operation: fn(&PluginManager, &PodRequest) -> Result<T>,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    let request = unsafe { input("request", request) };
    // SAFETY: the caller's promise is the same.
    unsafe { answer_on(plugin, out, Answer::of_json, |manager| operation(manager, &PodRequest::from_json(request?)?)) }
}
