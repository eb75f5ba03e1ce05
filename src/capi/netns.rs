//! The C functions about network namespaces.

use std::ffi::c_char;
use std::path::Path;

use serde_json::json;

use crate::capi::rc::cni_rc;
use crate::capi::{guard, strings};
use crate::netns;

/// Creates a network namespace that is held by a bind mount on path, as "ip netns add" does.
///
/// path: where, for example /run/netns/blue. out: {}.
///
/// Ownership: path is borrowed; free *out with cni_string_free.
/// NULL: path must not be NULL; out may be.
/// Threads: any; the calling thread's own namespace does not change.
/// Errors: CNI_E_EXISTS where something is at path, CNI_E_IO, and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_netns_create(path: *const c_char, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let path = unsafe { strings::input("path", path) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { guard::answer_json(out, || netns::create(Path::new(path?)).map(|()| json!({}))) }
}

/// Unmounts and removes what cni_netns_create made.
///
/// path: the one that was given to cni_netns_create; one that is gone already is no error. out: {}.
///
/// Ownership: path is borrowed; free *out with cni_string_free.
/// NULL: path must not be NULL; out may be.
/// Threads: any.
/// Errors: CNI_E_NETNS where path is something else, CNI_E_IO, and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_netns_remove(path: *const c_char, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks for a string or NULL, borrowed until this returns.
    let path = unsafe { strings::input("path", path) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { guard::answer_json(out, || netns::remove(Path::new(path?)).map(|()| json!({}))) }
}
