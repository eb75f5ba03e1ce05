//! Memory that a child may go on using after the call that made it has returned: one mapping, freed or left as a whole.
//!
//! Mappings and their guard pages cost a run more than starting its nanny does, so a few stay for the next runs.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::ptr::{NonNull, null, null_mut};
use std::sync::{Mutex, MutexGuard};

use super::child::{FailureSlot, Program};
use crate::thread;

/// A mapping: two stacks with a guard page below each, and then data. Unmapped when dropped.
#[derive(Debug)]
pub(super) struct Arena {
    base: NonNull<u8>,
    len: usize,
    page: usize,
    data_used: usize,
    sharing: Sharing,
}

// SAFETY: plain memory that this value owns.
unsafe impl Send for Arena {}

/// Whether a forked child's writes are seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Private,
    WithForks,
}

/// The functions that run there need little; unoptimised ones a bit more. Only what is touched costs memory.
const STACK: usize = 64 << 10;

/// Room for data in any arena: more than most environments have, so that most runs can use the same.
const DATA: usize = 16 << 10;

/// Private arenas that nobody uses. Held for a few instructions, and by nobody who takes another lock.
static FREE: Mutex<Vec<Arena>> = Mutex::new(Vec::new());

/// The most of them that are kept, at some 20 KiB of memory each.
const MOST_FREE: usize = 16;

fn free() -> Option<MutexGuard<'static, Vec<Arena>>> {
    thread::try_lock(&FREE)
}

/// Gives back to the system what is kept for the next runs.
pub(super) fn free_all() {
    let kept = free().map(|mut free| std::mem::take(&mut *free));
    drop(kept);
}

impl Arena {
    /// An arena for a program with this path and environment, and `extra` bytes for a value of the caller's.
    pub(super) fn new(path: &CStr, env: &[CString], extra: usize, sharing: Sharing) -> io::Result<Self> {
        // SAFETY: takes a number, gives a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(64 << 10);
        let strings: usize = env.iter().map(|line| line.as_bytes_with_nul().len()).sum();
        let pointers = (env.len() + 4) * size_of::<*const c_char>();
        let data = size_of::<Program>() + extra + strings + path.to_bytes_with_nul().len() + pointers + 64;
        let len = (2 * (page + STACK) + data.max(DATA)).next_multiple_of(page);
        if sharing == Sharing::Private
            && let Some(arena) = Self::kept(len)
        {
            return Ok(arena);
        }
        let kind = if sharing == Sharing::Private { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
        let flags = kind | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping somewhere; nothing is replaced.
        let base = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        let base = match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast::<c_void>() != libc::MAP_FAILED => base,
            _ => return Err(io::Error::last_os_error()),
        };
        let arena = Self { base, len, page, data_used: 0, sharing };
        for guard in [0, page + STACK] {
            // SAFETY: within the mapping, which nobody uses yet.
            if unsafe { libc::mprotect(arena.at(guard).cast(), page, libc::PROT_NONE) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(arena)
    }

    fn kept(len: usize) -> Option<Self> {
        let mut free = free()?;
        let fitting = free.iter().rposition(|arena| arena.len >= len)?;
        let mut arena = free.swap_remove(fitting);
        arena.data_used = 0;
        Some(arena)
    }

    /// Keeps it for a next run, now that no child uses it.
    pub(super) fn give_back(self) {
        if self.sharing == Sharing::Private
            && let Some(mut free) = free()
            && free.len() < MOST_FREE
        {
            free.push(self);
        }
    }

    /// The ends of the two stacks, where they start to grow down; aligned to pages.
    pub(super) fn stacks(&self) -> [*mut u8; 2] {
        [self.at(self.page + STACK), self.at(2 * (self.page + STACK))]
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Moves `value` into the arena, where it stays as long as the mapping, never dropped. `None`: no room.
    pub(super) fn put<T>(&mut self, value: T) -> Option<NonNull<T>> {
        let place = self.room(size_of::<T>(), align_of::<T>())?.cast::<T>();
        // SAFETY: `place` is free memory of the size and alignment of a T.
        unsafe { place.write(value) };
        Some(place)
    }

    /// How much data there is.
    pub(super) fn used(&self) -> usize {
        self.data_used
    }

    /// Makes room again from `used` on. Pointers that were handed out since then must not be followed any more.
    pub(super) fn forget_all_but(&mut self, used: usize) {
        self.data_used = self.data_used.min(used);
    }

    fn room(&mut self, size: usize, align: usize) -> Option<NonNull<c_void>> {
        let start = 2 * (self.page + STACK) + self.data_used;
        let start = start.next_multiple_of(align);
        let end = start.checked_add(size)?;
        if end > self.len {
            return None;
        }
        self.data_used = end - 2 * (self.page + STACK);
        NonNull::new(self.at(start).cast())
    }

    fn put_str(&mut self, text: &CStr) -> Option<*const c_char> {
        let bytes = text.to_bytes_with_nul();
        let place = self.room(bytes.len(), 1)?.as_ptr().cast::<u8>();
        // SAFETY: `place` is free memory of that length, elsewhere than `bytes`.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Some(place.cast_const().cast())
    }

    /// Copies a program into the arena.
    pub(super) fn put_program(&mut self, path: &CStr, env: &[CString]) -> Option<Program> {
        let path = self.put_str(path)?;
        let argv: *const [*const c_char; 2] = self.put([path, null()])?.as_ptr();
        let size = (env.len() + 1) * size_of::<*const c_char>();
        let envp = self.room(size, align_of::<*const c_char>())?.as_ptr().cast::<*const c_char>();
        for (index, line) in env.iter().enumerate() {
            let line = self.put_str(line)?;
            // SAFETY: `envp` has room for one more than `env`.
            unsafe { envp.add(index).write(line) };
        }
        // SAFETY: as above.
        unsafe { envp.add(env.len()).write(null()) };
        Some(Program { path, argv: argv.cast(), envp, failure: FailureSlot::default() })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which this value owns. Whoever holds pointers into it for a child keeps the arena
        // until the child is gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
