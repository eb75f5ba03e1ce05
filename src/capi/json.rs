//! The C functions for JSON, so that a program without a JSON library can make requests and read answers.

use std::ffi::c_char;

use serde_json::Value;

use crate::capi::rc::cni_rc;
use crate::capi::{guard, pointer as rfc6901, strings};

/// The value at a place in a JSON text.
///
/// json: any JSON text. pointer: an RFC 6901 pointer ("/ips/0"; "" is the whole text). out: the value as JSON, and a
/// string comes without quotes and escapes.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: json and pointer must not be NULL; out may be, to ask only whether there is a value.
/// Threads: any, also from a callback.
/// Errors: CNI_E_NOT_FOUND where there is no value, CNI_E_INVALID_ARGUMENT where json or pointer are malformed,
/// CNI_E_UNSUPPORTED for a string with a NUL inside.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_json_get(json: *const c_char, pointer: *const c_char, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (json, pointer) = unsafe { (strings::input("json", json), strings::input("pointer", pointer)) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { guard::answer_text(out, || rfc6901::get(json?, pointer?)) }
}

/// Puts a JSON value at a place in a JSON text, in place of what is there.
///
/// json: any JSON text; NULL is an empty object. pointer: an RFC 6901 pointer; objects on the way that are missing (or
/// null) are made, and "-" stands for a new last element of a list ("/networks/-"). value: JSON. out: the new text.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free. json itself is not changed.
/// NULL: json may be NULL, pointer and value must not be; out may be.
/// Threads: any, also from a callback.
/// Errors: CNI_E_INVALID_ARGUMENT where json, pointer or value are malformed, or where a step leads into a value
/// that is neither object nor list; CNI_E_NOT_FOUND for an index beyond a list's end.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_json_set(
    json: *const c_char,
    pointer: *const c_char,
    value: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (json, pointer, value) = unsafe {
        (strings::optional_input("json", json), strings::input("pointer", pointer), strings::input("value", value))
    };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { guard::answer_json(out, || rfc6901::set(json?, pointer?, rfc6901::parse("value", value?)?)) }
}

/// Like cni_json_set, with a plain string as the value: it is quoted and escaped here.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free. json itself is not changed.
/// NULL: json may be NULL, pointer and value must not be; out may be.
/// Threads: any, also from a callback.
/// Errors: as cni_json_set, save that any UTF-8 is a good value.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_json_set_string(
    json: *const c_char,
    pointer: *const c_char,
    value: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (json, pointer, value) = unsafe {
        (strings::optional_input("json", json), strings::input("pointer", pointer), strings::input("value", value))
    };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { guard::answer_json(out, || rfc6901::set(json?, pointer?, Value::from(value?))) }
}
