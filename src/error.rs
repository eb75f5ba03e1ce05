//! The one error type: a class, libcni's words, and what led to it.
//!
//! Made where the fact is known and given context on the way up. [`Error::to_json`] is the error object of the C ABI:
//! the CNI specification's (`cniVersion`, `code`, `msg`, `details`) with more keys beside it.

use std::fmt;

use serde_json::{Map, Value, json};

/// What kind of failure it was; the same list as `cni_rc` in C. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The caller passed something that cannot be used: a key, a name, a NULL, bad UTF-8.
    InvalidArgument = 1,
    /// A network configuration cannot be read or used.
    Config = 2,
    /// There is no usable default network yet, or a plugin's STATUS says so (CNI codes 50 and 51).
    NotReady = 3,
    /// A plugin ran and failed, or what it printed makes no sense.
    Plugin = 4,
    /// No file for a plugin type in the plugin directories.
    PluginNotFound = 5,
    /// The time limit passed.
    Timeout = 6,
    /// Somebody cancelled the call.
    Cancelled = 7,
    /// The pod is attached already.
    Exists = 8,
    /// Nothing is known of that pod, network or value.
    NotFound = 9,
    /// The system refused something: memory, descriptors, files, processes.
    Io = 10,
    /// A network namespace is missing, or is not one.
    Netns = 11,
    /// The cache directory or an entry of it cannot be read or written.
    Cache = 12,
    /// Not supported by this library, by this version of the configuration, or by the plugin.
    Unsupported = 13,
    /// The plugin asks to try again later (CNI code 11).
    Retry = 14,
    /// A handle was used in a process forked from the one that made it.
    Forked = 15,
    /// A defect of the library: it panicked, and the panic was stopped at the border.
    Panic = 16,
}

impl ErrorClass {
    /// Every class, in the order of the numbers.
    pub const ALL: [Self; 16] = [
        Self::InvalidArgument,
        Self::Config,
        Self::NotReady,
        Self::Plugin,
        Self::PluginNotFound,
        Self::Timeout,
        Self::Cancelled,
        Self::Exists,
        Self::NotFound,
        Self::Io,
        Self::Netns,
        Self::Cache,
        Self::Unsupported,
        Self::Retry,
        Self::Forked,
        Self::Panic,
    ];

    /// The name in C, with a NUL at its end so that C can be handed the same text.
    pub(crate) const fn c_name(self) -> &'static std::ffi::CStr {
        match self {
            Self::InvalidArgument => c"CNI_E_INVALID_ARGUMENT",
            Self::Config => c"CNI_E_CONFIG",
            Self::NotReady => c"CNI_E_NOT_READY",
            Self::Plugin => c"CNI_E_PLUGIN",
            Self::PluginNotFound => c"CNI_E_PLUGIN_NOT_FOUND",
            Self::Timeout => c"CNI_E_TIMEOUT",
            Self::Cancelled => c"CNI_E_CANCELLED",
            Self::Exists => c"CNI_E_EXISTS",
            Self::NotFound => c"CNI_E_NOT_FOUND",
            Self::Io => c"CNI_E_IO",
            Self::Netns => c"CNI_E_NETNS",
            Self::Cache => c"CNI_E_CACHE",
            Self::Unsupported => c"CNI_E_UNSUPPORTED",
            Self::Retry => c"CNI_E_RETRY",
            Self::Forked => c"CNI_E_FORKED",
            Self::Panic => c"CNI_E_PANIC",
        }
    }

    /// The name in C: `CNI_E_TIMEOUT`.
    pub fn name(self) -> &'static str {
        // The names above are ASCII, so this never falls back.
        self.c_name().to_str().unwrap_or("CNI_E_PANIC")
    }

    /// The class with this number.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as i32 == code)
    }

    /// Whether it says that a call is over, and nothing about what the call was at.
    pub(crate) fn is_end_of_call(self) -> bool {
        matches!(self, Self::Timeout | Self::Cancelled)
    }

    /// The class of an error that a plugin reports with this CNI error code.
    pub fn of_plugin_code(code: u64) -> Self {
        match code {
            11 => Self::Retry,
            50 | 51 => Self::NotReady,
            _ => Self::Plugin,
        }
    }
}

/// CNI's well-known error codes (SPEC.md, section "Error"), as far as this library makes them itself.
pub mod code {
    /// The plugin does not know the configuration's version.
    pub const INCOMPATIBLE_VERSION: u64 = 1;
    /// The container is unknown; DEL takes it as done.
    pub const UNKNOWN_CONTAINER: u64 = 3;
    /// A `CNI_*` variable would be invalid.
    pub const INVALID_ENVIRONMENT: u64 = 4;
    /// The network configuration is invalid.
    pub const INVALID_NETWORK_CONFIG: u64 = 7;
    /// Try again later.
    pub const TRY_AGAIN_LATER: u64 = 11;
    /// STATUS: the plugin cannot service ADD.
    pub const PLUGIN_NOT_AVAILABLE: u64 = 50;
    /// STATUS: existing containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: u64 = 51;
    /// Everything without a code of its own.
    pub const INTERNAL: u64 = 999;
}

/// The error object of a plugin, or one that libcni would make as `types.Error`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// CNI's error code; 0 where libcni has none.
    pub code: u64,
    /// The short message.
    pub msg: String,
    /// The longer message, or empty.
    pub details: String,
}

impl fmt::Display for Cause {
    /// libcni's `types.Error.Error()`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

/// How the undoing of a failed set-up went.
#[derive(Clone, Debug, Default)]
pub struct Rollback {
    /// Whether everything that was started is undone.
    pub done: bool,
    /// What failed while undoing.
    pub errors: Vec<Error>,
}

/// Every fallible function's error.
///
/// `Display` is the message in libcni's words; [`Error::to_json`] has all of it.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    class: ErrorClass,
    msg: String,
    code: Option<u64>,
    details: Option<String>,
    cni_version: Option<String>,
    hint: Option<String>,
    plugin: Option<String>,
    command: Option<String>,
    network: Option<String>,
    if_name: Option<String>,
    cause: Option<Cause>,
    errors: Vec<Error>,
    rollback: Option<Rollback>,
    os_error: Option<i32>,
    never_ran: bool,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this class with this message.
    pub fn new(class: ErrorClass, msg: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            class,
            msg: msg.into(),
            code: None,
            details: None,
            cni_version: None,
            hint: None,
            plugin: None,
            command: None,
            network: None,
            if_name: None,
            cause: None,
            errors: Vec::new(),
            rollback: None,
            os_error: None,
            never_ran: false,
        }))
    }

    /// A bad argument of the caller's.
    pub fn invalid(msg: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidArgument, msg)
    }

    /// A system call failed: `what` is "open /a/b", the error's own words follow.
    pub fn os(class: ErrorClass, what: impl fmt::Display, error: &std::io::Error) -> Self {
        let mut made = Self::new(class, format!("{what}: {}", os_words(error)));
        made.0.os_error = error.raw_os_error();
        made
    }

    /// What libcni reports as a `types.Error`: `code` and `msg` are the cause's, and so is the class unless `class` is given.
    pub fn from_cause(cause: Cause) -> Self {
        let mut error = Self::new(ErrorClass::of_plugin_code(cause.code), cause.to_string());
        error.0.code = Some(cause.code);
        error.0.details = (!cause.details.is_empty()).then(|| cause.details.clone());
        error.0.cause = Some(cause);
        error
    }

    /// Several errors in one: the message joins theirs, `errors` lists them. One alone stays itself. As with Go's
    /// `errors.Join` and `errors.As`, code and cause are those of the first one that has a cause.
    pub fn joined(mut errors: Vec<Self>) -> Option<Self> {
        let first = errors.first()?.class();
        if errors.len() == 1 {
            return errors.pop();
        }
        let msg = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut error = Self::new(first, msg);
        if let Some(caused) = errors.iter().find(|one| one.cause().is_some()) {
            let Inner { cause, code, details, .. } = &*caused.0;
            (error.0.cause, error.0.code, error.0.details) = (cause.clone(), *code, details.clone());
        }
        error.0.errors = errors;
        Some(error)
    }

    /// Puts `context: ` before the message, as Go's `fmt.Errorf("…: %w")` does.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.msg = format!("{context}: {}", self.0.msg);
        self
    }

    /// Replaces the message.
    #[must_use]
    pub fn with_msg(mut self, msg: impl Into<String>) -> Self {
        self.0.msg = msg.into();
        self
    }

    /// Drops the error object that was the cause, its code and its details: libcni kept its words only.
    #[must_use]
    pub fn without_cause(mut self) -> Self {
        (self.0.cause, self.0.code, self.0.details) = (None, None, None);
        self
    }

    /// Replaces the class.
    #[must_use]
    pub fn with_class(mut self, class: ErrorClass) -> Self {
        self.0.class = class;
        self
    }

    /// Sets CNI's error code.
    #[must_use]
    pub fn with_code(mut self, code: u64) -> Self {
        self.0.code = Some(code);
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the plugin type and the CNI command that failed, unless an inner one is named already.
    #[must_use]
    pub fn with_plugin(mut self, plugin: &str, command: &str) -> Self {
        self.0.plugin.get_or_insert_with(|| plugin.to_owned());
        self.0.command.get_or_insert_with(|| command.to_owned());
        self
    }

    /// Names the network, the interface and the configuration's version, unless named already.
    #[must_use]
    pub fn with_network(mut self, network: &str, if_name: &str, cni_version: &str) -> Self {
        self.0.network.get_or_insert_with(|| network.to_owned());
        if !if_name.is_empty() {
            self.0.if_name.get_or_insert_with(|| if_name.to_owned());
        }
        if !cni_version.is_empty() {
            self.0.cni_version.get_or_insert_with(|| cni_version.to_owned());
        }
        self
    }

    /// Says how undoing went; a second report is added to the first.
    #[must_use]
    pub fn with_rollback(mut self, rollback: Rollback) -> Self {
        match &mut self.0.rollback {
            Some(first) => {
                first.done &= rollback.done;
                first.errors.extend(rollback.errors);
            }
            none => *none = Some(rollback),
        }
        self
    }

    /// Says that the plugin was not even started: there is nothing of it to undo.
    #[must_use]
    pub fn with_never_ran(mut self) -> Self {
        self.0.never_ran = true;
        self
    }

    /// Whether the plugin was not even started.
    pub fn never_ran(&self) -> bool {
        self.0.never_ran
    }

    /// The class.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// CNI's error code: libcni's, else 999.
    pub fn code(&self) -> u64 {
        self.0.code.unwrap_or(code::INTERNAL)
    }

    /// The error object that libcni has as `types.Error` in its chain; `None` where libcni's error is a plain one.
    pub fn cause(&self) -> Option<&Cause> {
        self.0.cause.as_ref()
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The plugin type that failed.
    pub fn plugin(&self) -> Option<&str> {
        self.0.plugin.as_deref()
    }

    /// The joined errors, empty for a single one.
    pub fn errors(&self) -> &[Self] {
        &self.0.errors
    }

    /// How undoing went, where something was undone.
    pub fn rollback(&self) -> Option<&Rollback> {
        self.0.rollback.as_ref()
    }

    /// The error number, where a system call failed.
    pub fn os_error(&self) -> Option<i32> {
        self.0.os_error
    }

    /// The error object of the C ABI.
    pub fn to_json(&self) -> Value {
        let inner = &*self.0;
        let mut object = Map::new();
        let version = inner.cni_version.as_deref().unwrap_or(crate::version::CURRENT);
        object.insert("cniVersion".into(), version.into());
        object.insert("code".into(), self.code().into());
        object.insert("msg".into(), inner.msg.clone().into());
        object.insert("class".into(), inner.class.name().into());
        for (key, value) in [
            ("details", &inner.details),
            ("hint", &inner.hint),
            ("plugin", &inner.plugin),
            ("command", &inner.command),
            ("network", &inner.network),
            ("ifName", &inner.if_name),
        ] {
            if let Some(value) = value {
                object.insert(key.into(), value.clone().into());
            }
        }
        if let Some(cause) = &inner.cause {
            let mut value = json!({"code": cause.code, "msg": cause.msg});
            if !cause.details.is_empty() {
                value["details"] = cause.details.clone().into();
            }
            object.insert("cause".into(), value);
        }
        if !inner.errors.is_empty() {
            object.insert("errors".into(), inner.errors.iter().map(Self::to_json).collect());
        }
        if let Some(rollback) = &inner.rollback {
            let errors: Value = rollback.errors.iter().map(Self::to_json).collect();
            object.insert("rollback".into(), json!({"done": rollback.done, "errors": errors}));
        }
        Value::Object(object)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.msg)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {}

/// The system's words for an error, lower-cased and without Rust's "(os error 2)": "no such file or directory", as Go
/// says it and as libcni's callers search for it.
pub(crate) fn os_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if error.raw_os_error().is_some() => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_found_again() {
        for (index, class) in ErrorClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index + 1);
            assert_eq!(ErrorClass::from_code(class as i32), Some(class));
            assert_eq!(ErrorClass::ALL.iter().filter(|other| other.name() == class.name()).count(), 1);
        }
        assert_eq!(ErrorClass::from_code(0), None);
        assert_eq!(ErrorClass::from_code(17), None);
    }

    #[test]
    fn a_plugin_error_keeps_its_object_below_libcnis_words() {
        let cause = Cause { code: 11, msg: "busy".into(), details: "come back".into() };
        let error = Error::from_cause(cause)
            .context("plugin type=\"bridge\" failed (add)")
            .with_plugin("bridge", "ADD")
            .with_network("net", "eth0", "1.0.0");
        assert_eq!(
            error.to_json(),
            json!({
                "cniVersion": "1.0.0", "code": 11, "class": "CNI_E_RETRY",
                "msg": "plugin type=\"bridge\" failed (add): busy; come back", "details": "come back",
                "plugin": "bridge", "command": "ADD", "network": "net", "ifName": "eth0",
                "cause": {"code": 11, "msg": "busy", "details": "come back"}
            })
        );
    }

    #[test]
    fn a_plain_error_has_code_999_and_no_cause() {
        let object = Error::invalid("no").to_json();
        assert_eq!(object, json!({"cniVersion": "1.1.0", "code": 999, "class": "CNI_E_INVALID_ARGUMENT", "msg": "no"}));
    }

    #[test]
    fn joined_errors_are_listed_and_one_alone_stays_itself() {
        assert!(Error::joined(Vec::new()).is_none());
        let one = Error::joined(vec![Error::new(ErrorClass::Io, "a")]).unwrap();
        assert!(one.errors().is_empty());
        let two = Error::joined(vec![Error::new(ErrorClass::Io, "a"), Error::new(ErrorClass::Cache, "b")]).unwrap();
        assert_eq!((two.class(), two.to_string().as_str(), two.errors().len()), (ErrorClass::Io, "a\nb", 2));
        let caused = Error::from_cause(Cause { code: 11, msg: "c".into(), details: "d".into() });
        let three = Error::joined(vec![Error::new(ErrorClass::Io, "a"), caused]).unwrap();
        assert_eq!((two.code(), two.cause()), (999, None));
        assert_eq!((three.code(), three.cause().unwrap().msg.as_str(), three.class()), (11, "c", ErrorClass::Io));
    }

    #[test]
    fn rollback_reports_add_up() {
        let failed = Rollback { done: false, errors: vec![Error::invalid("x")] };
        let error = Error::invalid("no").with_rollback(Rollback { done: true, errors: vec![] }).with_rollback(failed);
        let rollback = &error.to_json()["rollback"];
        assert_eq!((&rollback["done"], rollback["errors"].as_array().unwrap().len()), (&json!(false), 1));
    }

    #[test]
    fn system_errors_speak_as_go_does() {
        let error = Error::os(ErrorClass::Io, "open /x", &std::io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(
            (error.to_string().as_str(), error.os_error()),
            ("open /x: no such file or directory", Some(libc::ENOENT))
        );
    }
}
