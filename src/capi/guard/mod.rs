//! Around every call: what could harm the host is stopped here.
//!
//! [`protected`] gives a call enough stack ([`stack`]), keeps its panics silent and inside ([`mod@panic`]) and its log lines
//! where they belong. [`fork`] tells a forked child from its parent; [`reentry`] knows whose callbacks a thread is in.
//! Nothing here knows what the call does.

pub(super) mod fork;
pub(super) mod panic;
pub(super) mod reentry;
mod stack;

use std::ffi::c_char;

use serde::Serialize;
use tracing::Dispatch;

use crate::capi::handle::{Opaque, Running};
use crate::capi::log::logging_to;
use crate::capi::rc::cni_rc;
use crate::capi::strings::{Answer, clear};
use crate::error::Result;

/// Runs `body` so that nothing of it reaches the host but its result; log lines go to `log`.
pub(super) fn protected<R: Send>(log: &Dispatch, body: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    panic::install_hook();
    stack::with_enough(|| logging_to(log, || panic::caught(body)))?
}

/// Runs `body` where it is, whatever the stack: for what needs little of it and must not fail for want of a thread. Logs
/// nowhere.
pub(super) fn quiet<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    panic::install_hook();
    logging_to(&Dispatch::none(), || panic::caught(body))
}

/// Runs a call without a handle that answers JSON.
///
/// # Safety
///
/// `out` is NULL or writable.
pub(super) unsafe fn answer_json<T: Serialize>(
    out: *mut *mut c_char,
    body: impl FnOnce() -> Result<T> + Send,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    unsafe { answer(out, &Dispatch::none(), || Ok(Answer::of_json(body()))) }
}

/// Runs a call without a handle that answers plain text.
///
/// # Safety
///
/// `out` is NULL or writable.
pub(super) unsafe fn answer_text(out: *mut *mut c_char, body: impl FnOnce() -> Result<String> + Send) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    unsafe { answer(out, &Dispatch::none(), || Ok(Answer::of_text(body()))) }
}

/// Runs a call on a handle; `convert` makes the answer of what the core said.
///
/// # Safety
///
/// `pointer` is NULL, or came from `handle::make` and was not freed. `out` is NULL or writable.
pub(super) unsafe fn answer_on<H: Opaque, T>(
    pointer: *const H,
    out: *mut *mut c_char,
    convert: impl FnOnce(Result<T>) -> Answer + Send,
    body: impl FnOnce(&H::Core) -> Result<T> + Send,
) -> cni_rc {
    // SAFETY: the caller's promise is the same.
    let running = unsafe { Running::begin(pointer) };
    let log = running.as_ref().map_or_else(|_| Dispatch::none(), |running| running.log().clone());
    // Borrowed by the body and not moved into it: the call ends on this thread, when its answer is delivered.
    let core = running.as_ref().map(Running::core).map_err(Clone::clone);
    // SAFETY: the caller's promise is the same.
    unsafe { answer(out, &log, || Ok(convert(core.and_then(body)))) }
}

/// # Safety
///
/// `out` is NULL or writable.
unsafe fn answer(out: *mut *mut c_char, log: &Dispatch, body: impl FnOnce() -> Result<Answer> + Send) -> cni_rc {
    // SAFETY: the caller promises that `out` is NULL or writable.
    unsafe { clear(out) };
    let answer = protected(log, body).unwrap_or_else(|error| Answer::of_error(&error));
    // SAFETY: as above.
    unsafe { answer.deliver(out) }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::capi::strings;
    use crate::error::{Error, ErrorClass};

    #[test]
    fn out_is_always_written_and_may_be_null() {
        let mut out = ptr::without_provenance_mut(1);
        // SAFETY: `out` is a place of this test's.
        let rc = unsafe { answer_json(&raw mut out, || Ok([1, 2])) };
        // SAFETY: the call above handed the string out.
        let text = unsafe { strings::input("out", out) }.unwrap().to_owned();
        assert_eq!((rc, text.as_str()), (cni_rc::CNI_OK, "[1,2]"));
        // SAFETY: as above, and it is not used again.
        unsafe { strings::free(out) };
        // SAFETY: NULL is allowed.
        let rc = unsafe { answer_text(ptr::null_mut(), || Err(Error::new(ErrorClass::Cache, "x"))) };
        assert_eq!(rc, cni_rc::CNI_E_CACHE);
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        for body in
            [|| panic!("plain"), || panic!("formatted {}", 1), || std::panic::panic_any(7)] as [fn() -> Result<()>; 3]
        {
            let error = protected(&Dispatch::none(), body).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Panic, "{error}");
        }
        let error = protected::<()>(&Dispatch::none(), || panic!("words of {}", "it")).unwrap_err();
        assert!(error.to_string().contains("words of it"), "{error}");
        protected(&Dispatch::none(), || Ok(())).unwrap();
    }

    /// Run by the test below, in a process whose output can be read.
    #[test]
    fn panics_inside_and_outside() {
        if std::env::var_os("CNIRT_TEST_PANICS").is_none() {
            return;
        }
        let handle = reentry::HandleId::unique();
        let _ = protected::<()>(&Dispatch::none(), || panic!("inside a call"));
        let _ = protected(&Dispatch::none(), || {
            let _ =
                std::thread::Builder::new().name("cnirt-x".into()).spawn(|| panic!("on our thread")).unwrap().join();
            Ok(())
        });
        let _ = protected::<()>(&Dispatch::none(), || handle.call_back(|| panic!("inside a callback")));
        panic!("outside");
    }

    #[test]
    fn only_the_hosts_own_panics_print() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "capi::guard::tests::panics_inside_and_outside", "--nocapture"])
            .env("CNIRT_TEST_PANICS", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        for (words, printed) in
            [("inside a call\n", false), ("on our thread", false), ("inside a callback\n", true), ("outside\n", true)]
        {
            assert_eq!(said.contains(words), printed, "{words:?} in {said}");
        }
    }
}
