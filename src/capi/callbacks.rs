//! The host's functions: the C struct, the place for their answers, and the core's traits on top of them.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;

use serde::Deserialize;
use tracing::Dispatch;

use crate::capi::guard::reentry::HandleId;
use crate::capi::log::LogCallback;
use crate::capi::rc::{self, cni_rc};
use crate::capi::strings::lossy;
use crate::error::{Cause, Error, ErrorClass, Result};
use crate::invoke::callback::PluginCallbacks;
use crate::pod::{Hooks, Host};

/// The most that one callback may answer, in bytes.
const MAX_REPLY: usize = 64 << 20;
/// No version of the struct is as large: a bigger `size` was never set.
const MAX_SIZE: usize = 4096;
/// How much of a plain-text error is kept, in characters.
const MAX_WORDS: usize = 4096;

/// Functions of the host's that this library calls. A member that is NULL means the built-in way.
///
/// Set size to sizeof(cni_callbacks) and clear the rest ("cni_callbacks callbacks = {sizeof callbacks};" does both in
/// C). Later versions add members at the end; those beyond size count as NULL.
///
/// A callback returns 0 and puts its answer into reply with cni_reply_set, or it returns a cni_rc and puts an error
/// into reply: an error object {code, msg, details}, or plain text, or nothing. A number that is no cni_rc counts as
/// CNI_E_PLUGIN from find_plugin and exec_plugin and as CNI_E_IO from the others. Strings that it gets are
/// NUL-terminated and valid, like reply, until it returns.
///
/// Ownership: the struct is copied by cni_plugin_new and cni_runtime_new; data must stay valid until data_free was
/// called.
/// NULL: every member but size may be NULL.
/// Threads: callbacks run on any thread, at the same time on several, and with no lock held. A callback must not throw,
/// longjmp or end the thread. Calling its own handle says CNI_E_INVALID_ARGUMENT, but it may be freed.
/// Errors: see above.
/// Since: 0.1.0
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cni_callbacks {
    /// The size of this struct in bytes, as the caller was compiled.
    pub size: usize,
    /// Passed to every callback as it is.
    pub data: *mut c_void,
    /// Called exactly once with data: when the handle has ended, or when making it fails. It is not called where size
    /// cannot be used, nor in a forked child.
    pub data_free: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// The path of a pod's network namespace, asked only where a request has none. pod: {id, namespace, name, uid,
    /// callId?}. reply: the path; empty where the pod has no namespace any more.
    pub get_netns: Option<unsafe extern "C" fn(data: *mut c_void, pod: *const c_char, reply: *mut cni_reply) -> i32>,
    /// A pod's port mappings, asked only where a request has none. pod: {id, namespace, name, uid, callId?}. reply: a
    /// JSON list as portMappings in a request.
    pub get_pod_port_mappings:
        Option<unsafe extern "C" fn(data: *mut c_void, pod: *const c_char, reply: *mut cni_reply) -> i32>,
    /// Finds a plugin's binary. call: {callId?, type, dirs}. reply: the path.
    pub find_plugin: Option<unsafe extern "C" fn(data: *mut c_void, call: *const c_char, reply: *mut cni_reply) -> i32>,
    /// Runs a plugin. call: {callId?, path, env, stdin, timeoutMs}. reply: what it printed on standard output; if it
    /// failed, return CNI_E_PLUGIN and reply its error object.
    pub exec_plugin: Option<unsafe extern "C" fn(data: *mut c_void, call: *const c_char, reply: *mut cni_reply) -> i32>,
    /// Takes a log line. level: 1 error, 2 warning, 3 information, 4 debugging, 5 tracing. target: which part of the
    /// library. message: the words, may be empty. fields: a JSON object with what belongs to them. What a log callback
    /// causes itself is not logged.
    pub log: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            level: i32,
            target: *const c_char,
            message: *const c_char,
            fields: *const c_char,
        ),
    >,
}

/// Where a callback puts its answer.
///
/// Since: 0.1.0
pub struct cni_reply {
    bytes: Vec<u8>,
}

/// Puts a callback's answer, or its error, into its reply; the last one counts.
///
/// bytes: len bytes, which need no NUL at the end; at most 64 MiB.
///
/// Ownership: bytes are copied. reply belongs to the library and is valid until the callback returns.
/// NULL: reply must not be NULL; bytes may be where len is 0.
/// Threads: the callback's own.
/// Errors: CNI_E_INVALID_ARGUMENT, and the reply stays as it was.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_reply_set(reply: *mut cni_reply, bytes: *const c_char, len: usize) -> cni_rc {
    // SAFETY: the header asks for NULL or the reply that the callback got.
    let Some(reply) = (unsafe { reply.as_mut() }) else { return cni_rc::CNI_E_INVALID_ARGUMENT };
    if len > MAX_REPLY || (bytes.is_null() && len > 0) {
        return cni_rc::CNI_E_INVALID_ARGUMENT;
    }
    reply.bytes.clear();
    if len > 0 {
        // SAFETY: not NULL, and the header asks for `len` readable bytes; the bound keeps below isize::MAX.
        reply.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) });
    }
    cni_rc::CNI_OK
}

/// What the callbacks that answer have in common.
type Ask = unsafe extern "C" fn(*mut c_void, *const c_char, *mut cni_reply) -> i32;

/// A host's callbacks, and the right to free its data when nobody needs them any more.
pub(super) struct Callbacks {
    table: cni_callbacks,
    id: HandleId,
}

// SAFETY: the header says that callbacks run on any thread and at the same time, so `data` must allow that.
unsafe impl Send for Callbacks {}
// SAFETY: as above; the table itself is never written to.
unsafe impl Sync for Callbacks {}

impl Drop for Callbacks {
    fn drop(&mut self) {
        if let Some(data_free) = self.table.data_free {
            // SAFETY: the host's own function on the host's own data, once, as the header says.
            self.id.call_back(|| unsafe { data_free(self.table.data) });
        }
    }
}

impl Callbacks {
    /// Copies what the caller passed; NULL is no callbacks.
    ///
    /// # Safety
    ///
    /// `pointer` is NULL or points to `size` readable bytes, the first member being that `size`.
    pub(super) unsafe fn read(pointer: *const cni_callbacks) -> Result<Arc<Self>> {
        let mut table = cni_callbacks {
            size: 0,
            data: std::ptr::null_mut(),
            data_free: None,
            get_netns: None,
            get_pod_port_mappings: None,
            find_plugin: None,
            exec_plugin: None,
            log: None,
        };
        if pointer.is_null() {
            return Ok(Arc::new(Self { table, id: HandleId::unique() }));
        }
        // SAFETY: the caller promises that at least `size` itself is there.
        let size = unsafe { pointer.cast::<usize>().read_unaligned() };
        if !(size_of::<usize>()..=MAX_SIZE).contains(&size) || size % size_of::<usize>() != 0 {
            return Err(Error::invalid(format!("callbacks: size is {size}, which no version of the struct has"))
                .with_hint("set callbacks.size to sizeof(cni_callbacks)"));
        }
        let known = size.min(size_of::<cni_callbacks>());
        // SAFETY: both sides have `known` bytes. Whole members are copied, and each is a pointer or NULL as in C.
        unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut table).cast::<u8>(), known) };
        // From here on a failure frees the data.
        let callbacks = Arc::new(Self { table, id: HandleId::unique() });
        // SAFETY: the caller promises `size` readable bytes, `known` is not more.
        let unknown = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
        if unknown.iter().any(|byte| *byte != 0) {
            let words = "callbacks: a member is set that this version of the library does not have";
            return Err(Error::new(ErrorClass::Unsupported, words));
        }
        Ok(callbacks)
    }

    pub(super) fn id(&self) -> HandleId {
        self.id
    }

    /// The callbacks as the core sees them.
    pub(super) fn hooks(self: &Arc<Self>) -> Hooks {
        Hooks {
            host: Some(Arc::clone(self) as Arc<dyn Host>),
            plugins: Some(Arc::clone(self) as Arc<dyn PluginCallbacks>),
        }
    }

    /// Where the handle's calls log to: the host's callback, or nowhere. Does not keep the callbacks.
    pub(super) fn log(self: &Arc<Self>) -> Dispatch {
        match self.table.log {
            Some(_) => Dispatch::new(LogCallback { id: self.id, callbacks: Arc::downgrade(self) }),
            None => Dispatch::none(),
        }
    }

    /// Hands a log line to the host.
    pub(super) fn write_log(&self, level: i32, target: &str, message: &str, fields: &str) {
        let Some(log) = self.table.log else { return };
        let (target, message, fields) = (lossy(target), lossy(message), lossy(fields));
        // SAFETY: the host's own function; the strings live until it returns.
        self.id.call_back(|| unsafe {
            log(self.table.data, level, target.as_ptr(), message.as_ptr(), fields.as_ptr());
        });
    }

    /// Calls one that answers; `unlisted` is the class for a number that is no `cni_rc`.
    fn ask(&self, function: Ask, argument: &str, unlisted: ErrorClass) -> Result<Vec<u8>, Failure> {
        let argument: CString = lossy(argument);
        let mut reply = cni_reply { bytes: Vec::new() };
        // SAFETY: the host's own function; argument and reply live until it returns.
        let code = self.id.call_back(|| unsafe { function(self.table.data, argument.as_ptr(), &raw mut reply) });
        match code {
            0 => Ok(reply.bytes),
            code => Err(Failure { code, class: ErrorClass::from_code(code).unwrap_or(unlisted), reply: reply.bytes }),
        }
    }

    /// Like [`ask`](Self::ask), for the callbacks that stand for something of this library's: errors name them.
    fn ask_by_name(&self, name: &str, function: Ask, argument: &str, unlisted: ErrorClass) -> Result<Vec<u8>> {
        self.ask(function, argument, unlisted).map_err(|failure| {
            let class = failure.class;
            let error = match failure.object() {
                Some(cause) => Error::from_cause(cause).with_class(class),
                None => Error::new(class, failure.words()),
            };
            error.context(format_args!("callback {name}"))
        })
    }

    fn ask_for_text(&self, name: &str, function: Ask, pod: &str) -> Result<String> {
        String::from_utf8(self.ask_by_name(name, function, pod, ErrorClass::Io)?)
            .map_err(|_| Error::new(ErrorClass::Io, format!("callback {name}: the reply is not UTF-8")))
    }
}

impl Host for Callbacks {
    fn get_netns(&self, pod: &str) -> Option<Result<String>> {
        self.table.get_netns.map(|function| self.ask_for_text("get_netns", function, pod))
    }

    fn get_pod_port_mappings(&self, pod: &str) -> Option<Result<String>> {
        self.table.get_pod_port_mappings.map(|function| self.ask_for_text("get_pod_port_mappings", function, pod))
    }
}

impl PluginCallbacks for Callbacks {
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let function = self.table.find_plugin?;
        Some(self.ask_by_name("find_plugin", function, call, ErrorClass::Plugin))
    }

    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let function = self.table.exec_plugin?;
        Some(self.ask(function, call, ErrorClass::Plugin).map_err(Failure::into_plugin_error))
    }

    fn finds_plugins(&self) -> bool {
        self.table.find_plugin.is_some()
    }

    fn runs_plugins(&self) -> bool {
        self.table.exec_plugin.is_some()
    }
}

/// A callback that did not return 0.
struct Failure {
    code: i32,
    class: ErrorClass,
    reply: Vec<u8>,
}

impl Failure {
    /// The error object in the reply.
    fn object(&self) -> Option<Cause> {
        #[derive(Deserialize)]
        #[serde(default)]
        struct Object {
            code: u64,
            msg: String,
            details: String,
        }
        impl Default for Object {
            fn default() -> Self {
                Self { code: crate::error::code::INTERNAL, msg: String::new(), details: String::new() }
            }
        }
        let Object { code, msg, details } =
            serde_json::from_slice(&self.reply).ok().filter(|_| self.reply.starts_with(b"{"))?;
        Some(Cause { code, msg, details })
    }

    /// The plain text in the reply, or what can be said without one.
    fn words(&self) -> String {
        let words: String = String::from_utf8_lossy(&self.reply).trim().chars().take(MAX_WORDS).collect();
        if words.is_empty() { format!("returned {}", self.number()) } else { words }
    }

    fn number(&self) -> String {
        let name: &CStr = rc::name(self.code);
        format!("{} ({})", self.code, name.to_string_lossy())
    }

    /// The error as if a plugin process had failed, in libcni's words.
    fn into_plugin_error(self) -> Error {
        if let Some(cause) = self.object() {
            let error = Error::from_cause(cause);
            // "The plugin failed" says less than the plugin's own code: 11 is "try again".
            return if self.class == ErrorClass::Plugin { error } else { error.with_class(self.class) };
        }
        let words = match self.reply.trim_ascii() {
            [] => format!("netplugin failed with no error message: callback exec_plugin returned {}", self.number()),
            _ => format!("netplugin failed: callback exec_plugin: {}", self.words()),
        };
        Error::new(self.class, words)
    }
}

#[cfg(test)]
#[path = "callbacks_tests.rs"]
mod tests;
