//! A file appears whole or not at all: temporary file, fsync, rename, fsync of the directory.
//!
//! Temporary files have names of their own, `tmp-<pid>-…`, and are locked while they are written: what a killed process
//! left behind is what nobody has locked (`sweep`).

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::{Error, ErrorClass, Result};
use crate::store::dir::{Dir, failed, is_trusted};
use crate::store::sys;

/// What the names of temporary files begin with.
pub(super) const PREFIX: &str = "tmp-";

/// What a write has survived when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: file and directory are synced.
    #[default]
    Full,
    /// A crash of the process; after a power cut an entry may be missing or empty.
    Atomic,
}

/// A file that goes unless it is renamed.
#[derive(Debug)]
pub(super) struct Temporary {
    dir: Arc<Dir>,
    name: OsString,
    file: OwnedFd,
    renamed: bool,
}

impl Temporary {
    /// Creates an empty file, mode 0600 at any umask.
    pub(super) fn create(dir: &Arc<Dir>) -> Result<Self> {
        /// Somebody who had all of these names did not get them by chance.
        const ATTEMPTS: u32 = 16;
        for _ in 0..ATTEMPTS {
            let name = unique_name();
            let file = match sys::create(dir, &name) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(failed("create", &dir.path_of(&name), errno)),
            };
            let temporary = Self { dir: Arc::clone(dir), name, file, renamed: false };
            if let Some(mode) = temporary.lock()? {
                let own = Mode::RUSR | Mode::WUSR;
                if mode != own {
                    sys::fchmod(&temporary.file, own).map_err(|errno| failed("chmod", &temporary.path(), errno))?;
                }
                return Ok(temporary);
            }
        }
        Err(failed("create", &dir.path_of(&unique_name()), Errno::EXIST))
    }

    /// Keeps it from sweeps for as long as it is open, and answers its mode; `None` where one was quicker.
    fn lock(&self) -> Result<Option<Mode>> {
        match sys::try_lock(&self.file) {
            // Where a file system has no locks, no sweep gets one either.
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed("lock", &self.path(), errno)),
        }
        // By name, since not every file system counts links; nobody else ever makes a file of this name.
        match sys::stat(&self.dir, &self.name) {
            Ok(stat) if is_trusted(stat.st_uid) => Ok(Some(Mode::from_raw_mode(stat.st_mode))),
            Ok(stat) => {
                let (dir, owner) = (self.dir.path().display(), stat.st_uid);
                let words = format!("files that this process makes in {dir} belong to user {owner}");
                Err(Error::new(ErrorClass::Cache, words)
                    .with_hint("use a file system for the cache directory that keeps the owner"))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("stat", &self.path(), errno)),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path_of(&self.name)
    }

    /// Makes `bytes` the content of `target/name`, in place of what is there.
    pub(super) fn replace(mut self, target: &Dir, name: &OsStr, bytes: &[u8], durability: Durability) -> Result<()> {
        sys::write_all(&self.file, bytes).map_err(|errno| failed("write", &self.path(), errno))?;
        if durability == Durability::Full {
            sys::fsync(&self.file).map_err(|errno| failed("fsync", &self.path(), errno))?;
        }
        sys::rename(&self.dir, &self.name, target, name)
            .map_err(|errno| failed("rename to", &target.path_of(name), errno))?;
        self.renamed = true;
        if durability == Durability::Full {
            target.sync()?;
            self.dir.sync()?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl std::os::fd::AsRawFd for Temporary {
    fn as_raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Whatever went wrong is being reported already.
            let _ = self.dir.unlink(&self.name);
        }
    }
}

/// The pid is not enough: containers that share a cache directory may all be pid 1, and two copies of this library in
/// one process count for themselves.
pub(super) fn unique_name() -> OsString {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{PREFIX}{}-{:x}-{count:x}", std::process::id(), now.as_nanos()).into()
}

/// Makes `bytes` the content of `target/name`, in place of what is there, by a temporary file in `temporary`.
pub(super) fn replace(
    temporary: &Arc<Dir>,
    target: &Dir,
    name: &OsStr,
    bytes: &[u8],
    durability: Durability,
) -> Result<()> {
    Temporary::create(temporary)?.replace(target, name, bytes, durability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::make(temp.path(), Durability::Full).unwrap());
        std::fs::create_dir(temp.path().join("taken")).unwrap();
        let error = replace(&dir, &dir, OsStr::new("taken"), b"x", Durability::Full).unwrap_err();
        assert_eq!(error.to_string(), format!("rename to {}/taken: is a directory", temp.path().display()));
        assert_eq!(dir.names().unwrap(), ["taken"]);
    }

    #[test]
    fn names_carry_the_pid_and_never_repeat() {
        let names: std::collections::HashSet<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..500).map(|_| unique_name()).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(names.len(), 2000);
        let prefix = format!("tmp-{}-", std::process::id());
        assert!(names.iter().all(|name| name.to_str().unwrap().starts_with(&prefix)));
    }
}
