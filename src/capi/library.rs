//! The C functions that need no handle and no guard: names, versions, and the one that frees strings.

use std::ffi::{CStr, c_char};

use crate::capi::{rc, strings};

/// The version of this header, first number.
///
/// cni_version tells the library's.
///
/// Since: 0.1.0
pub const CNIRT_VERSION_MAJOR: u32 = 0;
/// The version of this header, second number.
///
/// Since: 0.1.0
pub const CNIRT_VERSION_MINOR: u32 = 1;
/// The version of this header, third number.
///
/// Since: 0.1.0
pub const CNIRT_VERSION_PATCH: u32 = 0;

/// Frees a string that this library handed out through a char ** parameter.
///
/// Ownership: takes text; it must not be used afterwards. Never pass a const char * that a function returned.
/// NULL: text may be NULL, which does nothing.
/// Threads: any, also another one than the one that got the string.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cni_string_free(text: *mut c_char) {
    // SAFETY: the header asks for NULL or a string of ours that was not freed yet.
    unsafe { strings::free(text) }
}

/// The name of a cni_rc: "CNI_OK", "CNI_E_TIMEOUT"; "CNI_E_UNKNOWN" for a number that this version does not know.
///
/// Ownership: the string is static; do not free it.
/// NULL: never returned.
/// Threads: any.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cni_rc_name(code: i32) -> *const c_char {
    rc::name(code).as_ptr()
}

/// The number of the ABI, the one in the library's SONAME. It changes when existing programs would break.
///
/// Ownership: nothing to free.
/// NULL: no pointers.
/// Threads: any.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cni_abi_version() -> u32 {
    CNIRT_VERSION_MAJOR
}

/// The library's version: "0.1.0". May be newer than the CNIRT_VERSION_ macros that the program was compiled with.
///
/// Ownership: the string is static; do not free it.
/// NULL: never returned.
/// Threads: any.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cni_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL inside"),
    };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macros_are_the_packages_version() {
        let macros = format!("{CNIRT_VERSION_MAJOR}.{CNIRT_VERSION_MINOR}.{CNIRT_VERSION_PATCH}");
        assert_eq!(macros, env!("CARGO_PKG_VERSION"));
    }
}
