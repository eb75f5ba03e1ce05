//! One operation a pod at a time, between processes, and the plugins' own GC beside none: bytes of `<cacheDir>/cnirt/lock`.
//!
//! A pod's byte is at an offset made of its container ID: the 64 bits of FNV-1a without the uppermost. The last byte that
//! a file can have is GC's. The locks are those of open file descriptions (`F_OFD_SETLK`), which a process's exit frees
//! and a `close` elsewhere in it does not. Each operation opens the file for itself: its nannies keep that description,
//! and free all of it when the host has died and the plugin is gone. Waiting is trying again, so that one who waits for
//! GC's byte never stands before those who share it.
//!
//! The kernel does not say who holds such a lock: `cnirt/holders/<offset>` does, for messages only.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::call::{Call, HeldLock};
use crate::error::{Error, ErrorClass, Result};
use crate::json;
use crate::names::ContainerId;
use crate::store::dir::{Dir, OwnDir, failed};
use crate::store::holder::Holder;
use crate::store::{Durability, sys};

const FILE: &str = "lock";
const HOLDERS: &str = "holders";
/// GC's byte: shared by who works on a pod, alone while the plugins' own GC runs.
const GC: i64 = i64::MAX;
/// A holder's file has some 150 bytes.
const MAX_HOLDER: u64 = 4096;
/// Between two attempts; doubled from the first to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// libc's numbers, in the type of the fields that they are for.
#[expect(clippy::cast_possible_truncation, reason = "they are 0 to 2")]
const READ: i16 = libc::F_RDLCK as i16;
#[expect(clippy::cast_possible_truncation, reason = "as above")]
const WRITE: i16 = libc::F_WRLCK as i16;
#[expect(clippy::cast_possible_truncation, reason = "as above")]
const NONE: i16 = libc::F_UNLCK as i16;
#[expect(clippy::cast_possible_truncation, reason = "as above")]
const FROM_START: i16 = libc::SEEK_SET as i16;

/// The locks of one cache directory.
#[derive(Debug)]
pub(crate) struct Locks {
    dir: OwnDir,
}

/// Locks that are held. Dropping it frees them.
#[derive(Debug)]
pub(crate) struct Locked {
    file: Arc<OwnedFd>,
    /// Such a description cannot have a byte alone. Sharing it waits for those who have it alone.
    read_only: bool,
    /// Where this holder is noted.
    noted: Option<(Dir, OsString)>,
    pid: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shared,
    Alone,
}

impl Locks {
    /// The locks in `<cacheDir>/cnirt`, this directory.
    pub(super) fn new(dir: OwnDir) -> Self {
        Self { dir }
    }

    /// The right to work on a pod; waits until it is free, or the call is over.
    pub(crate) fn pod(&self, call: &Call, pod: &ContainerId, operation: &str) -> Result<Locked> {
        self.lock(call, pod, operation, true)?.ok_or_else(|| Error::new(ErrorClass::Io, "no lock after waiting"))
    }

    /// Like [`pod`](Self::pod), where nobody else has it now.
    pub(crate) fn try_pod(&self, call: &Call, pod: &ContainerId, operation: &str) -> Result<Option<Locked>> {
        self.lock(call, pod, operation, false)
    }

    fn lock(&self, call: &Call, pod: &ContainerId, operation: &str, waits: bool) -> Result<Option<Locked>> {
        let offset = offset_of(pod);
        let waiting_for_pod = || format!("waiting for pod {pod}, which {} works on", self.holder(offset));
        let taken = self.take(call, offset, waits, &waiting_for_pod)?;
        let Some((mut locked, dir)) = taken else { return Ok(None) };
        // From here on dropping it frees whatever it has.
        locked.noted = note(&dir, offset, &Holder::current(operation, pod.as_str()));
        let waiting_for_gc = || format!("waiting for GC, which {} runs", self.holder(GC));
        wait(call, &waiting_for_gc, || locked.try_byte(GC, Kind::Shared, &self.dir.path()))?;
        // Nobody has it alone now: what says so was left by a process that died.
        if let Some((holders, _)) = &locked.noted {
            let _ = holders.unlink(OsStr::new(&GC.to_string()));
        }
        Ok(Some(locked))
    }

    /// The right to run the plugins' own GC: nobody else works on any pod meanwhile.
    pub(crate) fn gc(&self, call: &Call, operation: &str) -> Result<Locked> {
        let waiting = || format!("waiting until nobody works on a pod; {} does", self.holder_of_any_pod());
        let taken = self.take(call, GC, true, &waiting)?;
        let (mut locked, dir) = taken.ok_or_else(|| Error::new(ErrorClass::Io, "no lock after waiting"))?;
        locked.noted = note(&dir, GC, &Holder::current(operation, ""));
        Ok(locked)
    }

    /// Opens the file and takes one byte of it alone. Answers the directory, too.
    fn take(
        &self,
        call: &Call,
        offset: i64,
        waits: bool,
        waiting: &dyn Fn() -> String,
    ) -> Result<Option<(Locked, Dir)>> {
        loop {
            let dir = self.dir.make()?;
            let locked = Locked::open(&dir)?;
            if waits {
                wait(call, waiting, || locked.try_byte(offset, Kind::Alone, &self.dir.path()))?;
            } else if !locked.try_byte(offset, Kind::Alone, &self.dir.path())? {
                return Ok(None);
            }
            // Somebody may have cleared the directory meanwhile: others would lock another file then.
            if is_still_there(&dir, &locked.file)? {
                return Ok(Some((locked, dir)));
            }
            call.check()?;
        }
    }

    fn holder(&self, offset: i64) -> String {
        let holder = self.read_holder(OsStr::new(&offset.to_string()));
        holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string())
    }

    fn read_holder(&self, name: &OsStr) -> Option<Holder> {
        let bytes = self.dir.open_child(HOLDERS).ok()??.read(name, MAX_HOLDER).ok()??;
        let serde_json::Value::Object(object) = json::parse(&bytes).ok()? else { return None };
        Some(Holder::from_object(&object))
    }

    fn holder_of_any_pod(&self) -> String {
        let names = self.dir.open_child(HOLDERS).ok().flatten().and_then(|dir| dir.names().ok());
        let mut holders = names.into_iter().flatten().filter_map(|name| self.read_holder(&name));
        holders.find(Holder::is_running).map_or_else(|| "another process".to_owned(), |holder| holder.to_string())
    }

    /// Removes the notes of holders that died with their locks.
    pub(crate) fn sweep(&self) -> Result<()> {
        let Some(holders) = self.dir.open_child(HOLDERS)? else { return Ok(()) };
        let Some(dir) = self.dir.open()? else { return Ok(()) };
        let noted = holders.names()?;
        if noted.is_empty() {
            return Ok(());
        }
        let locked = Locked::open(&dir)?;
        for name in noted {
            let offset = std::str::from_utf8(name.as_bytes()).ok().and_then(|name| name.parse().ok());
            // GC's byte is shared: alone it is had only when nobody works on a pod, which is no matter here.
            if let Some(offset) = offset.filter(|offset| (0..=GC).contains(offset))
                && locked.try_byte(offset, Kind::Alone, &self.dir.path())?
            {
                holders.unlink(&name)?;
                locked.free();
            }
        }
        Ok(())
    }
}

/// Notes who has a byte. Where that cannot be, only a message will be poorer.
fn note(dir: &Dir, offset: i64, holder: &Holder) -> Option<(Dir, OsString)> {
    let name = OsString::from(offset.to_string());
    let noted = dir.child(HOLDERS, Durability::Atomic).and_then(|dir| {
        let file = sys::create_or_empty(&dir, &name).map_err(|errno| failed("create", &dir.path_of(&name), errno))?;
        let _ = sys::write_all(&file, holder.to_value().to_string().as_bytes());
        Ok((dir, name))
    });
    noted.inspect_err(|error| tracing::debug!(target: "cnirt::store", %error, "a lock's holder is not noted")).ok()
}

fn is_still_there(dir: &Dir, file: &OwnedFd) -> Result<bool> {
    let path = || dir.path_of(FILE.as_ref());
    let own = sys::fstat(file).map_err(|errno| failed("stat", &path(), errno))?;
    match sys::stat(dir, FILE.as_ref()) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed("stat", &path(), errno)),
    }
}

fn wait(call: &Call, waiting: &dyn Fn() -> String, mut attempt: impl FnMut() -> Result<bool>) -> Result<()> {
    let [mut pause, longest] = PAUSES;
    while !attempt()? {
        call.pause(pause).map_err(|error| error.context(waiting()))?;
        pause = longest.min(pause * 2);
    }
    Ok(())
}

/// FNV-1a of the container ID, 64 bits, without the uppermost.
fn offset_of(pod: &ContainerId) -> i64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let hash = pod.as_str().bytes().fold(BASIS, step);
    (hash & (u64::MAX >> 1)).cast_signed()
}

impl Locked {
    /// Opens the file, and takes nothing yet.
    fn open(dir: &Dir) -> Result<Self> {
        let name = FILE.as_ref();
        let (file, read_only) = match sys::open_or_create(dir, name) {
            // A file system that has become read-only: who locked the file before that still has it.
            Err(Errno::ROFS) => (sys::open_file(dir, name, OFlags::RDONLY), true),
            opened => (opened, false),
        };
        let file = file.map_err(|errno| match errno {
            // There is none, and none can be made.
            Errno::NOENT => failed("create", &dir.path_of(name), Errno::ROFS),
            errno => failed("open", &dir.path_of(name), errno),
        })?;
        Ok(Self { file: Arc::new(file), read_only, noted: None, pid: std::process::id() })
    }

    /// What the call hands to its plugins' nannies.
    pub(crate) fn held(&self) -> HeldLock {
        HeldLock { file: Arc::clone(&self.file) }
    }

    /// Takes one byte where nobody has it otherwise.
    fn try_byte(&self, offset: i64, kind: Kind, dir: &std::path::Path) -> Result<bool> {
        let kind = if kind == Kind::Alone && !self.read_only { WRITE } else { READ };
        loop {
            return match self.set(kind, offset, 1) {
                Ok(()) => Ok(true),
                Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
                Err(Errno::INTR) => continue,
                // A file system without locks: then there is the order within each handle only.
                Err(errno @ (Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP)) => {
                    let path = dir.join(FILE).display().to_string();
                    tracing::warn!(target: "cnirt::store", path, %errno, "the file system has no locks");
                    Ok(true)
                }
                Err(errno) => Err(failed("lock", &dir.join(FILE), errno)),
            };
        }
    }

    fn free(&self) {
        // It fails only on a file system that has no locks.
        while self.set(NONE, 0, 0) == Err(Errno::INTR) {}
    }

    fn set(&self, kind: i16, offset: i64, length: i64) -> rustix::io::Result<()> {
        // SAFETY: all-zero is a valid struct flock.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        (lock.l_type, lock.l_whence) = (kind, FROM_START);
        (lock.l_start, lock.l_len) = (offset, length);
        // SAFETY: `lock` is what the command reads, and the descriptor is open as long as `self`.
        let done = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        if done == 0 {
            Ok(())
        } else {
            Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // In a child that the host forked from a callback these are the parent's.
        if self.pid != std::process::id() {
            return;
        }
        if let Some((dir, name)) = self.noted.take() {
            let _ = dir.unlink(&name);
        }
        // Not left to close: a child that the host forked meanwhile has the description, too.
        self.free();
    }
}

#[cfg(test)]
mod tests;
