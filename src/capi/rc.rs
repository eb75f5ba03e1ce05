//! The return code in C.

use std::ffi::CStr;

use crate::error::ErrorClass;

/// What a call says: CNI_OK, or what kind of failure it was.
///
/// The type is 32 bits wide and signed. Numbers are never reused; a later version may return numbers that are not in
/// this list, so treat an unknown one as a failure. cni_rc_name gives the name of a number.
///
/// Since: 0.1.0
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum cni_rc {
    /// Done.
    CNI_OK = 0,
    /// The caller passed something that cannot be used: a key, a name, a NULL, bad UTF-8.
    CNI_E_INVALID_ARGUMENT = 1,
    /// A network configuration cannot be read or used.
    CNI_E_CONFIG = 2,
    /// There is no usable default network yet, or a plugin says that it is not ready.
    CNI_E_NOT_READY = 3,
    /// A plugin ran and failed, or what it printed makes no sense.
    CNI_E_PLUGIN = 4,
    /// The plugin directories have no file for a plugin type.
    CNI_E_PLUGIN_NOT_FOUND = 5,
    /// The time limit passed.
    CNI_E_TIMEOUT = 6,
    /// Somebody cancelled the call.
    CNI_E_CANCELLED = 7,
    /// The pod is attached already.
    CNI_E_EXISTS = 8,
    /// Nothing is known of that pod, network or value.
    CNI_E_NOT_FOUND = 9,
    /// The system refused something: memory, descriptors, files, processes.
    CNI_E_IO = 10,
    /// A network namespace is missing, or is not one.
    CNI_E_NETNS = 11,
    /// The cache directory or an entry of it cannot be read or written.
    CNI_E_CACHE = 12,
    /// Not supported by this library, by this version of the configuration, or by the plugin.
    CNI_E_UNSUPPORTED = 13,
    /// The plugin asks to try again later.
    CNI_E_RETRY = 14,
    /// A handle was used in a process forked from the one that made it.
    CNI_E_FORKED = 15,
    /// A defect of this library, stopped at its border; the handle stays usable.
    CNI_E_PANIC = 16,
}

impl From<ErrorClass> for cni_rc {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::InvalidArgument => Self::CNI_E_INVALID_ARGUMENT,
            ErrorClass::Config => Self::CNI_E_CONFIG,
            ErrorClass::NotReady => Self::CNI_E_NOT_READY,
            ErrorClass::Plugin => Self::CNI_E_PLUGIN,
            ErrorClass::PluginNotFound => Self::CNI_E_PLUGIN_NOT_FOUND,
            ErrorClass::Timeout => Self::CNI_E_TIMEOUT,
            ErrorClass::Cancelled => Self::CNI_E_CANCELLED,
            ErrorClass::Exists => Self::CNI_E_EXISTS,
            ErrorClass::NotFound => Self::CNI_E_NOT_FOUND,
            ErrorClass::Io => Self::CNI_E_IO,
            ErrorClass::Netns => Self::CNI_E_NETNS,
            ErrorClass::Cache => Self::CNI_E_CACHE,
            ErrorClass::Unsupported => Self::CNI_E_UNSUPPORTED,
            ErrorClass::Retry => Self::CNI_E_RETRY,
            ErrorClass::Forked => Self::CNI_E_FORKED,
            ErrorClass::Panic => Self::CNI_E_PANIC,
        }
    }
}

/// The name of a number that came from C.
pub(super) fn name(code: i32) -> &'static CStr {
    match ErrorClass::from_code(code) {
        Some(class) => class.c_name(),
        None if code == cni_rc::CNI_OK as i32 => c"CNI_OK",
        None => c"CNI_E_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_error_classes() {
        for class in ErrorClass::ALL {
            let rc = cni_rc::from(class);
            assert_eq!(rc as i32, class as i32);
            assert_eq!(format!("{rc:?}"), class.name());
            assert_eq!(name(rc as i32).to_str(), Ok(class.name()));
        }
        assert_eq!(name(0), c"CNI_OK");
        for unknown in [-1, 17, i32::MIN, i32::MAX] {
            assert_eq!(name(unknown), c"CNI_E_UNKNOWN");
        }
    }
}
