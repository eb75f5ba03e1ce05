//! What the library's own threads have in common: they block all signals, so that the host's handlers never run on
//! them, and their panics become errors.

use std::any::Any;
use std::mem::MaybeUninit;
use std::ptr;

use crate::error::{Error, ErrorClass};

/// The error for a caught panic, with the panic's words.
pub(crate) fn error_of_panic(payload: Box<dyn Any + Send>) -> Error {
    let words = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => {
            // Dropping a value of an unknown type could panic again.
            std::mem::forget(payload);
            "without words".to_owned()
        }
    };
    Error::new(ErrorClass::Panic, format!("internal error: {words}"))
        .with_hint("this is a defect of cnirt; please report it")
}

/// Blocks all signals on this thread while it lives: a thread that is started meanwhile inherits that.
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    pub(crate) fn all() -> Self {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::zeroed());
        // SAFETY: fills a set of ours.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: `all` was filled; the old mask goes to a place of ours. It cannot fail with these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: written by the call above, and zeroed before that.
        Self(unsafe { before.assume_init() })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had; the guard never leaves the function that made it.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
