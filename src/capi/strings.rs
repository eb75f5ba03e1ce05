//! Strings over the border: borrowed ones in, owned ones out.

use std::ffi::{CStr, CString, c_char};

use serde::Serialize;

use crate::capi::rc::cni_rc;
use crate::error::{Error, ErrorClass, Result};

/// Reads a string parameter; `name` is the header's name of it.
///
/// # Safety
///
/// `pointer` is NULL or a NUL-terminated string that outlives `'a` and that nobody writes to meanwhile.
pub(super) unsafe fn input<'a>(name: &str, pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise is the same.
    match unsafe { optional_input(name, pointer) } {
        Ok(text) => text.ok_or_else(|| Error::invalid(format!("{name}: NULL is not allowed"))),
        Err(error) => Err(error),
    }
}

/// Like [`input`], where the header allows NULL.
///
/// # Safety
///
/// As for [`input`].
pub(super) unsafe fn optional_input<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the caller promises a string that lives long enough.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|error| {
        Error::invalid(format!("{name}: not UTF-8: the byte at offset {} is wrong", error.valid_up_to()))
    })
}

/// Reads a parameter that is a JSON list of strings.
pub(super) fn list(name: &str, text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("{name}: not a JSON list of strings: {error}")))
}

/// A text for C where the loss of a NUL inside does no harm: log messages.
pub(super) fn lossy(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// What a call answers: the code, and the text for `out`.
pub(super) struct Answer {
    rc: cni_rc,
    text: CString,
}

impl Answer {
    /// The answer of a call that says `text` as it is.
    pub(super) fn of_text(result: Result<String>) -> Self {
        let text = result.and_then(|text| {
            CString::new(text).map_err(|_| {
                Error::new(ErrorClass::Unsupported, "the answer has a NUL inside, which a C string cannot hold")
            })
        });
        match text {
            Ok(text) => Self { rc: cni_rc::CNI_OK, text },
            Err(error) => Self::of_error(&error),
        }
    }

    /// The answer of a call that says JSON.
    pub(super) fn of_json(result: Result<impl Serialize>) -> Self {
        Self::of_text(result.and_then(|value| {
            serde_json::to_string(&value)
                .map_err(|error| Error::new(ErrorClass::Unsupported, format!("the answer does not fit JSON: {error}")))
        }))
    }

    /// The answer of a call that failed.
    pub(super) fn of_error(error: &Error) -> Self {
        // JSON escapes NUL, so this never falls back.
        let text = CString::new(error.to_json().to_string()).unwrap_or_default();
        Self { rc: error.class().into(), text }
    }

    /// Hands the text to the caller, who frees it, and says the code.
    ///
    /// # Safety
    ///
    /// `out` is NULL or writable.
    pub(super) unsafe fn deliver(self, out: *mut *mut c_char) -> cni_rc {
        if !out.is_null() {
            // SAFETY: not NULL, and the caller promises that it is writable.
            unsafe { out.write(self.text.into_raw()) };
        }
        self.rc
    }
}

/// Writes NULL, so that `out` is never left as it was.
///
/// # Safety
///
/// `out` is NULL or writable.
pub(super) unsafe fn clear<T>(out: *mut *mut T) {
    if !out.is_null() {
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(std::ptr::null_mut()) };
    }
}

/// Frees what [`Answer::deliver`] handed out.
///
/// # Safety
///
/// `text` is NULL, or came from this library and was not freed.
pub(super) unsafe fn free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller promises that `into_raw` in `deliver` made it.
        drop(unsafe { CString::from_raw(text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_inside_an_answer_is_an_error_and_not_a_cut() {
        let answer = Answer::of_text(Ok("a\0b".to_owned()));
        assert_eq!(answer.rc, cni_rc::CNI_E_UNSUPPORTED);
        assert_eq!(Answer::of_json(Ok("a\0b")).text.as_c_str(), c"\"a\\u0000b\"");
        assert_eq!(lossy("a\0b").as_c_str(), c"a\u{fffd}b");
    }
}
