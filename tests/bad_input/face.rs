//! The C functions, with what they write read back.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use cnirt::capi::*;
use serde_json::Value;

/// A C function that takes a handle and a request.
pub(crate) type OnPod = unsafe extern "C" fn(*mut cni_plugin, *const c_char, *mut *mut c_char) -> cni_rc;

/// The functions on a pod, by name.
pub(crate) const ON_POD: [(&str, OnPod); 4] = [
    ("cni_setup_pod", cni_setup_pod),
    ("cni_teardown_pod", cni_teardown_pod),
    ("cni_check_pod", cni_check_pod),
    ("cni_pod_status", cni_pod_status),
];

/// GC takes its request as they do.
pub(crate) const GC: (&str, OnPod) = ("cni_plugin_gc", cni_plugin_gc);

/// A network plugin.
pub(crate) struct Handle(*mut cni_plugin);

impl Handle {
    pub(crate) fn new(options: &str) -> Result<Self, Value> {
        let options = CString::new(options).unwrap();
        let (mut plugin, mut error) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a string, no callbacks, and places of this function's.
        let rc = unsafe { cni_plugin_new(options.as_ptr(), ptr::null(), &raw mut plugin, &raw mut error) };
        assert_eq!(plugin.is_null(), rc != cni_rc::CNI_OK);
        read(rc, error).map(|_| Self(plugin))
    }

    /// The result, or the error object.
    pub(crate) fn call(&self, function: OnPod, request: &str) -> Result<Value, Value> {
        let request = CString::new(request).unwrap();
        let mut out = ptr::null_mut();
        // SAFETY: the handle lives as long as `self`; the string and the place are this function's.
        let rc = unsafe { function(self.0, request.as_ptr(), &raw mut out) };
        read(rc, out)
    }

    pub(crate) fn event(&self, details: &str) -> Result<Value, Value> {
        let details = CString::new(details).unwrap();
        let mut out = ptr::null_mut();
        // SAFETY: as for `call`.
        let rc = unsafe { cni_plugin_event(self.0, c"pod-cidr-change".as_ptr(), details.as_ptr(), &raw mut out) };
        read(rc, out)
    }

    pub(crate) fn status(&self) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as for `call`.
        let rc = unsafe { cni_plugin_status(self.0, &raw mut out) };
        read(rc, out).unwrap()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and used no more.
        unsafe { cni_plugin_free(self.0) };
    }
}

/// `cni_json_set` on an empty object.
pub(crate) fn json_set(value: &str) -> Result<Value, Value> {
    let value = CString::new(value).unwrap();
    let mut out = ptr::null_mut();
    // SAFETY: strings, NULL where it is allowed, and a place of this function's.
    let rc = unsafe { cni_json_set(ptr::null(), c"/a".as_ptr(), value.as_ptr(), &raw mut out) };
    read(rc, out)
}

pub(crate) fn json_get(json: &str) -> Result<Value, Value> {
    let json = CString::new(json).unwrap();
    let mut out = ptr::null_mut();
    // SAFETY: as above.
    let rc = unsafe { cni_json_get(json.as_ptr(), c"".as_ptr(), &raw mut out) };
    read(rc, out)
}

pub(crate) fn netns_create(path: &str) {
    let path = CString::new(path).unwrap();
    // SAFETY: a string; nobody asks for the answer.
    assert_eq!(unsafe { cni_netns_create(path.as_ptr(), ptr::null_mut()) }, cni_rc::CNI_OK);
}

/// Takes what a function wrote. An error object's class is the function's return code, always.
fn read(rc: cni_rc, out: *mut c_char) -> Result<Value, Value> {
    if out.is_null() {
        assert_eq!(rc, cni_rc::CNI_OK);
        return Ok(Value::Null);
    }
    // SAFETY: every function writes a string or NULL.
    let text = unsafe { CStr::from_ptr(out) }.to_str().unwrap().to_owned();
    // SAFETY: the string is the library's and is freed once.
    unsafe { cni_string_free(out) };
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if rc == cni_rc::CNI_OK {
        return Ok(value);
    }
    // SAFETY: the name is static.
    let name = unsafe { CStr::from_ptr(cni_rc_name(rc as i32)) };
    assert_eq!(value["class"].as_str().map(str::as_bytes), Some(name.to_bytes()), "{value}");
    Err(value)
}

/// Asserts an error's class, and that it says each of `words` in its message or hint.
pub(crate) fn refused(what: &str, answer: Result<Value, Value>, class: &str, words: &[&str]) -> Value {
    let error = answer.expect_err(what);
    assert_eq!(error["class"], class, "{what}: {error}");
    let said = format!("{}\n{}", error["msg"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default());
    for word in words {
        assert!(said.contains(word), "{what}: no {word:?} in {said}");
    }
    error
}
