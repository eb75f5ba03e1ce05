//! Which process is this? A forked child has its parent's handles, but not its threads, locks or plugins.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The process that made a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capi) struct Process(u64);

impl Process {
    /// This process.
    pub(in crate::capi) fn current() -> Self {
        /// Inherited over fork, so a child's number is above all of its ancestors'.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Some(mark) = *MARK.get_or_init(wiped_page) else { return Self(u64::from(std::process::id())) };
        let seen = mark.load(Ordering::SeqCst);
        if seen != 0 {
            return Self(seen);
        }
        let fresh = NEXT.fetch_add(1, Ordering::SeqCst);
        // Another thread may have been first: then its number is this process's.
        Self(mark.compare_exchange(0, fresh, Ordering::SeqCst, Ordering::SeqCst).map_or_else(|other| other, |_| fresh))
    }

    /// Whether this is still the process. Takes no lock: a forked child may ask at any time.
    pub(in crate::capi) fn is_current(self) -> bool {
        self == Self::current()
    }
}

/// A number that reads 0 after a fork; `None` where the kernel (before 4.14) cannot do that and the process id has to
/// serve. Made once and kept: the library is never unloaded.
static MARK: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();

fn wiped_page() -> Option<&'static AtomicU64> {
    let length = size_of::<AtomicU64>();
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for a new mapping and touches no existing one.
    let page = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: `page` is the mapping from above; the advice changes nothing in this process.
    if unsafe { libc::madvise(page, length, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: nobody has a reference to the mapping.
        unsafe { libc::munmap(page, length) };
        return None;
    }
    // SAFETY: page-aligned, readable and writable, zeroed, never unmapped, and used only as this atomic.
    Some(unsafe { &*page.cast::<AtomicU64>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_is_another_process_and_so_is_its_child() {
        fn child(check: impl FnOnce() -> bool) -> bool {
            // SAFETY: the child only does arithmetic, forks, and leaves by _exit.
            match unsafe { libc::fork() } {
                0 => {
                    let status = i32::from(!check());
                    // SAFETY: ends the child at once.
                    unsafe { libc::_exit(status) }
                }
                pid => {
                    let mut status = -1;
                    // SAFETY: waits for the child from above.
                    unsafe { libc::waitpid(pid, &raw mut status, 0) };
                    status == 0
                }
            }
        }
        let parent = Process::current();
        assert!(parent.is_current());
        assert!(child(|| {
            let made = Process::current();
            !parent.is_current() && made.is_current() && child(move || !parent.is_current() && !made.is_current())
        }));
        assert!(parent.is_current());
    }
}
