//! The C functions of a runtime: libcni's operations on one network.

use std::ffi::c_char;
use std::sync::Arc;

use tracing::Dispatch;

use crate::call::Call;
use crate::capi::callbacks::{Callbacks, cni_callbacks};
use crate::capi::guard::answer_on;
use crate::capi::handle::{self, Core, Handle, Opaque};
use crate::capi::rc::cni_rc;
use crate::capi::strings::{Answer, input, optional_input};
use crate::error::Result;
use crate::network::{Operation, Runtime, RuntimeOptions};

/// libcni's CNIConfig: it runs the plugins of one network for one container, and keeps what they said. It knows no pods
/// and takes no lock: two calls for one container at the same time are the caller's business.
///
/// Made by cni_runtime_new, ended by cni_runtime_free. Any number of threads may use one handle at the same time. In a
/// process forked from the one that made it every call says CNI_E_FORKED.
///
/// conf, a parameter of its functions, is a network configuration: the text of a list (with plugins) or of a single
/// network (with type), or what cni_conf_parse and cni_confdir_load said, which is told by its key bytes and used as it
/// is, changed values included. Errors about a single network do not say which plugin of a list failed, as in libcni.
///
/// rt, another one, is libcni's RuntimeConf: {containerID, netns, ifName, args: [[key, value]], capabilityArgs: {},
/// cacheDir?, callId?, env?: {}, timeoutMs?}. What is absent is empty. cacheDir counts where the option has none, env
/// is added to the plugins' environment, timeoutMs stands in for the option, and callbacks are told callId.
///
/// Since: 0.1.0
pub struct cni_runtime {
    handle: Handle<Runtime>,
}

impl Core for Runtime {
    fn cancel_all(&self) {
        Self::cancel_all(self);
    }
}

impl Opaque for cni_runtime {
    type Core = Runtime;

    const PARAMETER: &'static str = "runtime";

    fn make(options: Option<&str>, callbacks: Arc<Callbacks>, log: Dispatch) -> Result<Self> {
        let options = options.map_or_else(|| Ok(RuntimeOptions::default()), RuntimeOptions::from_json)?;
        let runtime = Runtime::new(options, callbacks.hooks().plugins)?;
        Ok(Self { handle: Handle::new(runtime, callbacks, log) })
    }

    fn handle(&self) -> &Handle<Runtime> {
        &self.handle
    }
}

/// Makes a runtime. Reads nothing from disk yet.
///
/// options: a JSON object; NULL is {}, all defaults: binDirs (/opt/cni/bin, /usr/lib/cni), cacheDir (none: that of each
/// call, else /var/lib/cni), timeoutMs 0 (no limit), killGraceMs 2000, rollback false (true: a failed ADD is followed
/// by DEL of the plugins that were started), rollbackTimeoutMs 60000 (0: no limit), durability "full" (or "atomic",
/// which a power cut may undo), maxOutputBytes 4194304, env (exactly this environment; none: the process's) and
/// pluginEnv {} (added to it). callbacks: functions of the host's, of which find_plugin, exec_plugin and log are used;
/// NULL is none. runtime: the new handle, or NULL on failure. error: the error object on failure, else NULL.
///
/// Ownership: options is borrowed, callbacks are copied, and their data is freed by their data_free, on failure too.
/// Free *runtime with cni_runtime_free and *error with cni_string_free.
/// NULL: options, callbacks and error may be NULL; runtime must not be.
/// Threads: any.
/// Errors: CNI_E_INVALID_ARGUMENT for an unknown or wrong key, CNI_E_UNSUPPORTED for callbacks of a newer version,
/// CNI_E_IO.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_new(
    options: *const c_char,
    callbacks: *const cni_callbacks,
    runtime: *mut *mut cni_runtime,
    error: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { handle::make(options, callbacks, runtime, error) }
}

/// Ends a runtime: refuses new calls, cancels the running ones, and returns when they have ended.
///
/// That takes, callbacks aside, at most killGraceMs and, with rollback, rollbackTimeoutMs and killGraceMs once more; a
/// plugin that cannot be killed adds 3 s. From a callback of the same handle it only marks: the last running call ends
/// the handle. What is attached stays attached. In a forked child it does nothing, quickly: the memory is gone when the
/// child ends or execs, and data_free is not called.
///
/// Ownership: takes runtime; no call may begin with it afterwards. Calls data_free of the callbacks.
/// NULL: runtime may be NULL, which does nothing.
/// Threads: any, also while calls run on others.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cni_runtime_free(runtime: *mut cni_runtime) {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { handle::free(runtime) }
}

/// Attaches a container to a network: ADD of every plugin, each with the result of the one before (libcni's
/// AddNetworkList, AddNetwork).
///
/// out: the last plugin's result, in the version that the plugin chose; it is also cached.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: runtime, conf and rt must not be NULL; out may be.
/// Threads: any; calls for one container do not wait for each other.
/// Errors: CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_RETRY, CNI_E_NOT_READY, CNI_E_CONFIG, CNI_E_UNSUPPORTED,
/// CNI_E_CACHE, CNI_E_TIMEOUT, CNI_E_CANCELLED and those of every call. What was begun stays, unless the option
/// rollback says otherwise: call cni_runtime_del.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_add(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    rt: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_container(runtime, Operation::Add, conf, rt, out) }
}

/// Detaches a container from a network: DEL of every plugin in reverse order, up to the first error (libcni's
/// DelNetworkList, DelNetwork).
///
/// out: {}. From version 0.4.0 on plugins get the cached result. The cache entry goes when every plugin succeeded.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: runtime, conf and rt must not be NULL; out may be.
/// Threads: any; calls for one container do not wait for each other.
/// Errors: CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_RETRY, CNI_E_CONFIG, CNI_E_TIMEOUT, CNI_E_CANCELLED and those of
/// every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_del(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    rt: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_container(runtime, Operation::Del, conf, rt, out) }
}

/// Asks every plugin whether a container's attachment is as it was made (libcni's CheckNetworkList, CheckNetwork).
///
/// out: {}, also where the list says disableCheck and no plugin was asked.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: runtime, conf and rt must not be NULL; out may be.
/// Threads: any.
/// Errors: CNI_E_UNSUPPORTED below version 0.4.0, CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_RETRY, CNI_E_CONFIG,
/// CNI_E_CACHE, CNI_E_TIMEOUT, CNI_E_CANCELLED and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_check(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    rt: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_container(runtime, Operation::Check, conf, rt, out) }
}

/// What is cached of a container's attachment (libcni's GetNetworkListCachedResult and GetNetworkListCachedConfig, and
/// the two for single networks). Runs nothing.
///
/// out: {result, resultError?, config, configError?, rt}: the result in conf's version, the configuration's text, and
/// rt with the cached args and capabilityArgs. Each is null where it is not cached or cannot be read; then resultError
/// or configError is the error object.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: runtime, conf and rt must not be NULL; out may be.
/// Threads: any.
/// Errors: CNI_E_CONFIG and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_cached(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    rt: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { on_container(runtime, Operation::Cached, conf, rt, out) }
}

/// Collects garbage (libcni's GCNetworkList): DEL of the network's cached attachments that are not valid, then, from
/// version 1.1.0 on, GC of every plugin. The cache may hold attachments of other runtimes: list them as valid, too.
///
/// args: {validAttachments: [{containerID, ifname}], callId?, env?: {}, timeoutMs?}; NULL means that no attachment is
/// valid and that plugins are not told of any. out: {}, also where the list says disableGC and nothing was done.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: runtime and conf must not be NULL; args and out may be.
/// Threads: any.
/// Errors: CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_RETRY, CNI_E_CONFIG, CNI_E_CACHE, CNI_E_TIMEOUT, CNI_E_CANCELLED
/// and those of every call; everything is tried, and errors lists what failed.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_gc(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    args: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (conf, args) = unsafe { (input("conf", conf), optional_input("args", args)) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { run(runtime, Operation::Gc, conf, args, out) }
}

/// Asks every plugin whether it can serve an ADD, up to the first that cannot (libcni's GetStatusNetworkList). Below
/// version 1.1.0 there is nobody to ask.
///
/// out: {}.
///
/// Ownership: conf is borrowed; free *out with cni_string_free.
/// NULL: runtime and conf must not be NULL; out may be.
/// Threads: any.
/// Errors: CNI_E_NOT_READY where a plugin says 50 or 51, CNI_E_PLUGIN, CNI_E_PLUGIN_NOT_FOUND, CNI_E_CONFIG,
/// CNI_E_TIMEOUT, CNI_E_CANCELLED and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_status(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let conf = unsafe { input("conf", conf) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { run(runtime, Operation::Status, conf, Ok(None), out) }
}

/// Whether every plugin is there and supports the configuration's version (libcni's ValidateNetworkList,
/// ValidateNetwork).
///
/// out: {capabilities}, a sorted list of what the plugins declare.
///
/// Ownership: conf is borrowed; free *out with cni_string_free.
/// NULL: runtime and conf must not be NULL; out may be.
/// Threads: any.
/// Errors: CNI_E_PLUGIN_NOT_FOUND, CNI_E_UNSUPPORTED, CNI_E_PLUGIN, CNI_E_CONFIG, CNI_E_TIMEOUT, CNI_E_CANCELLED and
/// those of every call; every plugin of a list is asked, and errors lists what is wrong.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_validate(
    runtime: *mut cni_runtime,
    conf: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let conf = unsafe { input("conf", conf) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { run(runtime, Operation::Validate, conf, Ok(None), out) }
}

/// Which versions of the CNI specification a plugin supports (libcni's GetVersionInfo).
///
/// type: the plugin's type, the name of its binary. out: {cniVersion, supportedVersions}.
///
/// Ownership: type is borrowed; free *out with cni_string_free.
/// NULL: runtime and type must not be NULL; out may be.
/// Threads: any.
/// Errors: CNI_E_PLUGIN_NOT_FOUND, CNI_E_PLUGIN, CNI_E_CONFIG for a type that is no file name, CNI_E_TIMEOUT,
/// CNI_E_CANCELLED and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_plugin_version(
    runtime: *mut cni_runtime,
    r#type: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let plugin_type = unsafe { input("type", r#type) };
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { run(runtime, Operation::PluginVersion, plugin_type, Ok(None), out) }
}

/// Every attachment in the cache directory (libcni's GetCachedAttachments), also those of other networks and runtimes.
/// An entry that cannot be read is left out.
///
/// container_id: of this container only; NULL or empty is of all. out: [{containerID, network, ifName, config, netns,
/// cniArgs, capabilityArgs, owner?}]; config is the configuration's text.
///
/// Ownership: container_id is borrowed; free *out with cni_string_free.
/// NULL: runtime must not be NULL; container_id and out may be.
/// Threads: any.
/// Errors: CNI_E_CACHE and those of every call. A missing directory is an empty list.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_runtime_attachments(
    runtime: *mut cni_runtime,
    container_id: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let container_id = unsafe { optional_input("container_id", container_id) };
    let container_id = container_id.map(Option::unwrap_or_default);
    // SAFETY: the header asks of the caller what the function asks.
    unsafe { run(runtime, Operation::Attachments, container_id, Ok(None), out) }
}

/// An operation on one container.
///
/// # Safety
///
/// `runtime` and `out` as for `run`, `conf` and `rt` as for `input`.
unsafe fn on_container(
    runtime: *const cni_runtime,
    operation: Operation,
    conf: *const c_char,
    rt: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    let (conf, rt) = unsafe { (input("conf", conf), input("rt", rt)) };
    // SAFETY: the caller's promise is the same.
    unsafe { run(runtime, operation, conf, rt.map(Some), out) }
}

/// # Safety
///
/// `runtime` as for `answer_on`, `out` is NULL or writable.
unsafe fn run(
    runtime: *const cni_runtime,
    operation: Operation,
    conf: Result<&str>,
    rt: Result<Option<&str>>,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    unsafe {
        answer_on(runtime, out, Answer::of_json, |runtime: &Runtime| {
            runtime.run(&Call::default(), operation, conf?, rt?)
        })
    }
}
