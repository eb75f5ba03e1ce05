//! `<cacheDir>/results/<network>-<containerID>-<ifName>`: one file an attachment, in libcni's format.
//!
//! No other file ever appears in `results/`, as libcni reads every file there. What else is found there is never waited
//! for, and nothing outside is written to:
//!
//! - a file of another user than this process's and root, a fifo, a socket, a device, a symbolic link, a file that is too
//!   large or torn: unreadable. Listings skip it with a warning, a new entry replaces it, and it is removed as one.
//! - a directory is no entry, and nothing writes over it: `prepare` and `add` refuse it, `remove` lets it be.
//! - `results` or `cnirt` as a symbolic link: an error of every operation. The cache directory itself may be one.
//! - directories that others can write to: a warning before a set-up, as others can remove entries then. Entries that they
//!   make are not read.
//!
//! Takes no lock: that is its callers'. Below it: `format` (the JSON), `atomic`, `sweep` and `dir` (the files).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::names::{ContainerId, IfName, NetworkName};
use crate::store::atomic::{self, Durability, Temporary};
use crate::store::dir::{Dir, OwnDir, failed};
use crate::store::format::{self, Content, Stored};
use crate::store::sweep::{self, Swept};
use crate::store::{Intents, Locks, sys};

/// Which attachment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container_id: ContainerId,
    /// The interface inside the container.
    pub if_name: IfName,
}

/// One attachment as it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheEntry {
    /// Which attachment.
    pub key: Key,
    /// The network list's or plugin's text.
    pub config: Vec<u8>,
    /// The path of the namespace, or empty.
    pub netns: String,
    /// Which namespace was there, for who looks whether it still is; libcni writes none.
    pub netns_id: Option<String>,
    /// `CNI_ARGS`, in order; `None` where the entry has no such key. An empty list is written as none, as libcni does.
    pub cni_args: Option<Vec<(String, String)>>,
    /// The capability arguments.
    pub capability_args: Map<String, Value>,
    /// The last plugin's result, an object; an empty one is written as none, as libcni does.
    pub result: Option<Value>,
    /// The `owner` of the runtime that made it; libcni writes none.
    pub owner: Option<String>,
}

/// A file as it was at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    /// Seconds and nanoseconds; of the latter systems differ in whether they have a sign.
    changed: (i64, i128),
}

/// What the cache holds for a key.
#[derive(Clone, Debug)]
pub enum Cached {
    /// Nothing.
    Missing,
    /// An entry.
    Entry(Box<CacheEntry>),
    /// A bare result, as libcni wrote it before 0.8.
    Legacy(Vec<u8>),
    /// Something that cannot be read, and why: `E_CACHE` about the file, `E_IO` about this process (descriptors, memory).
    Unreadable(Error),
}

/// The most bytes of an entry that are read or written; libcni knows no limit, real entries have a few KiB.
const MAX_ENTRY: u64 = 16 * 1024 * 1024;

/// Linux's `NAME_MAX`, in bytes.
const MAX_NAME: usize = 255;

impl Key {
    /// Checks three names, in libcni's order: container, network, interface.
    pub fn parse(network: &str, container_id: &str, if_name: &str) -> Result<Self> {
        let container_id = ContainerId::parse(container_id)?;
        Ok(Self { network: NetworkName::parse(network)?, container_id, if_name: IfName::parse(if_name)? })
    }

    /// What a file name says, where it is this container's.
    fn in_file_name(name: &OsStr, container_id: &ContainerId) -> Option<Self> {
        let (network, if_name) = name.to_str()?.split_once(&format!("-{container_id}-"))?;
        Self::parse(network, container_id.as_str(), if_name).ok()
    }

    /// libcni's file name. Not unique: network `a-b` with container `c` has the name of network `a` with container `b-c`.
    fn file_name(&self) -> OsString {
        format!("{}-{}-{}", self.network, self.container_id, self.if_name).into()
    }
}

/// The cache directory. Cheap to clone; creates nothing until the first [`prepare`](Self::prepare) or [`add`](Self::add).
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    durability: Durability,
}

impl Cache {
    /// A cache below `dir` (`results/` for the entries, `cnirt/` for everything else).
    pub fn new(dir: impl AsRef<Path>, durability: Durability) -> Self {
        Self { dir: dir.as_ref().to_owned(), durability }
    }

    /// Refuses, before any plugin runs, what [`add`](Self::add) could not write: a name beyond 255 bytes
    /// (`E_INVALID_ARGUMENT`); `results/` and `cnirt/` on different mounts or symbolic links, a directory that cannot be
    /// made or written, a file system that gives files to somebody else, a name that another attachment's entry or a
    /// directory has (`E_CACHE`). What it opens and makes for that is used by [`Prepared::write`].
    pub fn prepare(&self, key: &Key) -> Result<Prepared> {
        fds::above_two(|| self.try_prepare(key))
    }

    fn try_prepare(&self, key: &Key) -> Result<Prepared> {
        let name = checked_name(key)?;
        let (results, temporary) = self.make()?;
        if results.place()? != temporary.place()? {
            let (results, temporary) = (results.path().display(), temporary.path().display());
            let words =
                format!("{results} and {temporary} are on different mounts: no file can be renamed between them");
            return Err(Error::new(ErrorClass::Cache, words).with_hint("mount the whole cache directory instead"));
        }
        results.check_writable()?;
        warn_of_others(&results)?;
        let file = Temporary::create(&temporary)?;
        let stamp = stamp(&results, &name)?;
        if stamp.is_some() {
            refuse_taken(&results, key, &name)?;
        }
        Ok(Prepared { cache: self.clone(), name, results, file, stamp })
    }

    /// Writes an entry, in place of one that is there. `E_CACHE` where it cannot, or where the file belongs to another
    /// attachment.
    pub fn add(&self, entry: &CacheEntry) -> Result<()> {
        let name = checked_name(&entry.key)?;
        let bytes = self.encode(entry, &name)?;
        let (results, temporary) = self.make()?;
        refuse_taken(&results, &entry.key, &name)?;
        atomic::replace(&temporary, &results, &name, &bytes, self.durability)
    }

    fn encode(&self, entry: &CacheEntry, name: &OsStr) -> Result<Vec<u8>> {
        let refused = |why: &str| {
            let path = self.dir.join("results").join(name);
            Error::new(ErrorClass::Cache, format!("write cache entry {}: {why}", path.display()))
        };
        let bytes = format::encode(entry).map_err(|why| refused(&why))?;
        if bytes.len() as u64 > MAX_ENTRY {
            return Err(refused(&format!("larger than {MAX_ENTRY} bytes")));
        }
        Ok(bytes)
    }

    /// Reads an entry, leniently. As in libcni the file's name says whose it is, and the names inside are not asked,
    /// unless they are another attachment's with the same file name: then nothing is there for `key`.
    pub fn get(&self, key: &Key) -> Cached {
        let name = key.file_name();
        let read = || match self.results()? {
            Some(results) => read(&results, &name),
            None => Ok(None),
        };
        match read() {
            Err(error) => Cached::Unreadable(error),
            Ok(None) => Cached::Missing,
            Ok(Some((bytes, Content::Legacy))) => Cached::Legacy(bytes),
            Ok(Some((_, Content::Entry(stored)))) if is_anothers(&stored, key) => Cached::Missing,
            Ok(Some((_, Content::Entry(stored)))) => Cached::Entry(Box::new(stored.into_entry(key.clone()))),
        }
    }

    /// Removes an entry, readable or not; a missing one is no error, and another attachment's stays, as does a directory.
    pub fn remove(&self, key: &Key) -> Result<()> {
        let Some(results) = self.results()? else { return Ok(()) };
        let name = key.file_name();
        if let Some((_, Content::Entry(stored))) = read_leniently(&results, &name)?
            && is_anothers(&stored, key)
        {
            return Ok(());
        }
        if results.has_directory(&name)? {
            tracing::warn!(file = %results.path_of(&name).display(), "left a directory among the cache entries alone");
            return Ok(());
        }
        let removed = results.unlink(&name)?;
        if removed && self.durability == Durability::Full { results.sync() } else { Ok(()) }
    }

    /// libcni's `GetCachedAttachments`: every readable entry, of one container or of all, sorted by file name. The keys
    /// are those inside the files. A missing directory is an empty list, an unreadable one `E_CACHE`. Where this process
    /// can read nothing (descriptors, memory), `E_IO`.
    pub fn attachments(&self, container_id: Option<&ContainerId>) -> Result<Vec<CacheEntry>> {
        self.scan(container_id).map(|(attachments, _)| attachments)
    }

    /// Like [`attachments`](Self::attachments); answers the errors, too, of files that the system does not let be read.
    pub(crate) fn scan(&self, container_id: Option<&ContainerId>) -> Result<(Vec<CacheEntry>, Vec<Error>)> {
        let Some(results) = self.results()? else { return Ok((Vec::new(), Vec::new())) };
        let (mut attachments, mut errors) = (Vec::new(), Vec::new());
        for name in results.names()? {
            if container_id.is_some_and(|id| !may_be_of(&name, id)) {
                continue;
            }
            let path = || results.path_of(&name).display().to_string();
            match read(&results, &name) {
                Ok(Some((_, Content::Entry(stored)))) => match stored.key() {
                    Some(key) if container_id.is_some_and(|id| *id != key.container_id) => {}
                    Some(key) => attachments.push(stored.into_entry(key)),
                    None => tracing::warn!(file = path(), "skipped a cache entry without valid names"),
                },
                // Gone since, or a bare result, which does not say whose it is.
                Ok(None | Some((_, Content::Legacy))) => {}
                // Skipped, it would be forgotten although nothing is wrong with it.
                Err(error) if error.class() == ErrorClass::Io => return Err(error),
                Err(error) => {
                    tracing::warn!(file = path(), %error, "skipped an unreadable cache entry");
                    errors.extend(Some(error).filter(|error| error.os_error().is_some()));
                }
            }
        }
        Ok((attachments, errors))
    }

    /// The files that must be a container's by their names, but hold no entry: what a crash left of one, or a bare
    /// result. They are missing among the [`attachments`](Self::attachments). A directory is not what is left of an entry.
    pub fn broken(&self, container_id: &ContainerId) -> Result<Vec<Key>> {
        self.of_container(container_id, true).map(|(_, broken)| broken)
    }

    /// A container's [`attachments`](Self::attachments) and what is [`broken`](Self::broken) of it, each file read once.
    /// What the system does not let be read just now is broken only for who is `lenient`.
    pub(crate) fn of_container(
        &self,
        container_id: &ContainerId,
        lenient: bool,
    ) -> Result<(Vec<CacheEntry>, Vec<Key>)> {
        let Some(results) = self.results()? else { return Ok((Vec::new(), Vec::new())) };
        let (mut attachments, mut broken) = (Vec::new(), Vec::new());
        for name in results.names()?.iter().filter(|name| may_be_of(name, container_id)) {
            match read(&results, name) {
                Ok(Some((_, Content::Entry(stored)))) => {
                    let key = stored.key().filter(|key| key.container_id == *container_id);
                    attachments.extend(key.map(|key| stored.into_entry(key)));
                }
                Ok(None) => {}
                Err(error) if error.class() == ErrorClass::Io => return Err(error),
                Err(_) if results.has_directory(name)? => {}
                Err(error) if error.os_error().is_some() && !lenient => return Err(error),
                Ok(Some((_, Content::Legacy))) | Err(_) => broken.extend(Key::in_file_name(name, container_id)),
            }
        }
        Ok((attachments, broken))
    }

    /// Removes the temporary files of processes that were killed while they wrote; those of living ones stay, whatever
    /// their pid namespace. Does what it can, at most a thousand files at a time; what it cannot is only logged.
    pub fn sweep(&self) {
        self.sweep_once();
    }

    /// [`sweep`](Self::sweep) for who has got a dead process's lock: its other files, or a forked child's copies of them,
    /// may be closed a moment later.
    pub(crate) fn sweep_behind_the_dead(&self, call: &Call) {
        const ATTEMPTS: u32 = 20;
        const PAUSE: Duration = Duration::from_millis(5);
        for _ in 0..ATTEMPTS {
            if self.sweep_once() == 0 || call.pause(PAUSE).is_err() {
                return;
            }
        }
    }

    /// Answers how many files are left to their writers.
    fn sweep_once(&self) -> usize {
        match self.own().open().and_then(|dir| dir.map_or(Ok(Swept::default()), |dir| sweep::sweep(&dir))) {
            Ok(Swept { gone, held }) => {
                if gone > 0 {
                    tracing::info!(dir = %self.dir.display(), files = gone, "removed temporary files of killed processes");
                }
                held
            }
            Err(error) => {
                tracing::debug!(%error, "temporary files of killed processes may be left");
                0
            }
        }
    }

    /// What tells an entry from one that is later written in its place; `None` where there is none.
    pub(crate) fn stamp(&self, key: &Key) -> Result<Option<Stamp>> {
        self.results()?.map_or(Ok(None), |results| stamp(&results, &key.file_name()))
    }

    /// Every attachment of a network that one of the files may be which hold no entry that can be read. A name does not
    /// say where its parts end: all ways to take it apart are answered.
    pub(crate) fn perhaps_of(&self, network: &str) -> Result<Vec<Key>> {
        let Some(results) = self.results()? else { return Ok(Vec::new()) };
        let mut keys = Vec::new();
        for name in results.names()? {
            let rest = name.to_str().and_then(|name| name.strip_prefix(network)?.strip_prefix('-'));
            let Some(rest) = rest else { continue };
            if !matches!(read(&results, &name), Ok(None | Some((_, Content::Entry(_))))) {
                let apart = rest.match_indices('-').map(|(at, _)| (&rest[..at], &rest[at + 1..]));
                keys.extend(apart.filter_map(|(id, if_name)| Key::parse(network, id, if_name).ok()));
            }
        }
        Ok(keys)
    }

    /// The intents beside the entries.
    pub(crate) fn intents(&self) -> Intents {
        Intents::new(self.own())
    }

    /// The locks on who works with the entries.
    pub(crate) fn locks(&self) -> Locks {
        Locks::new(self.own())
    }

    fn own(&self) -> OwnDir {
        OwnDir::new(&self.dir, self.durability)
    }

    fn results(&self) -> Result<Option<Dir>> {
        fds::above_two(|| Dir::open(&self.dir)?.map_or(Ok(None), |dir| dir.open_child("results")))
    }

    /// `results/` and `cnirt/`, made where they are missing.
    fn make(&self) -> Result<(Dir, Arc<Dir>)> {
        let dir = Dir::make(&self.dir, self.durability)?;
        Ok((dir.child("results", self.durability)?, Arc::new(dir.child(OwnDir::NAME, self.durability)?)))
    }
}

/// Room for an entry that [`Cache::prepare`] has found: the directories, open, and the file that it is written to. Dropped,
/// it leaves nothing.
#[derive(Debug)]
pub struct Prepared {
    cache: Cache,
    name: OsString,
    results: Dir,
    file: Temporary,
    /// What was there, and no other attachment's.
    stamp: Option<Stamp>,
}

impl Prepared {
    /// [`Cache::add`] of an entry with the key that this was prepared for.
    pub fn write(self, entry: &CacheEntry) -> Result<()> {
        let Self { cache, name, results, file, stamp: before } = self;
        let bytes = cache.encode(entry, &name)?;
        let now = stamp(&results, &name)?;
        if now != before && now.is_some() {
            refuse_taken(&results, &entry.key, &name)?;
        }
        match file.replace(&results, &name, &bytes, cache.durability) {
            // Somebody has removed the directory since.
            Err(error) if error.os_error() == Some(Errno::NOENT.raw_os_error()) => cache.add(entry),
            done => done,
        }
    }
}

/// What tells a file from one that is later written in its place; `None` where there is none.
fn stamp(results: &Dir, name: &OsStr) -> Result<Option<Stamp>> {
    match sys::stat(results, name) {
        Ok(stat) => Ok(Some(Stamp { inode: stat.st_ino, changed: (stat.st_ctime, stat.st_ctime_nsec.into()) })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("stat", &results.path_of(name), errno)),
    }
}

/// Says so where others can remove entries.
fn warn_of_others(results: &Dir) -> Result<()> {
    if results.is_open_to_others()? {
        tracing::warn!(dir = %results.path().display(), "other users can remove cache entries: the directory is theirs, or they can write to it");
    }
    Ok(())
}

fn checked_name(key: &Key) -> Result<OsString> {
    let name = key.file_name();
    if name.len() <= MAX_NAME {
        return Ok(name);
    }
    let (length, head) = (name.len(), name.to_string_lossy().chars().take(64).collect::<String>());
    Err(Error::invalid(format!("cache file name {head}… has {length} bytes; a file name has at most {MAX_NAME}")))
}

/// Reads a file of `results/`; `None` where it is missing.
fn read(results: &Dir, name: &OsStr) -> Result<Option<(Vec<u8>, Content)>> {
    let Some(bytes) = results.read(name, MAX_ENTRY)? else { return Ok(None) };
    let content = format::decode(&bytes).map_err(|why| {
        let path = results.path_of(name);
        Error::new(ErrorClass::Cache, format!("read cache entry {}: {why}", path.display()))
    })?;
    Ok(Some((bytes, content)))
}

/// [`read`], with a file that is broken taken for none. That this process can read nothing just now is still an error.
fn read_leniently(results: &Dir, name: &OsStr) -> Result<Option<(Vec<u8>, Content)>> {
    match read(results, name) {
        Err(error) if error.class() == ErrorClass::Io => Err(error),
        read => Ok(read.unwrap_or_default()),
    }
}

/// Whether an entry under the file name of `key` belongs to another attachment, whose file name is the same. An entry
/// that was copied there by hand does not.
fn is_anothers(stored: &Stored, key: &Key) -> bool {
    stored.key().is_some_and(|other| other != *key && other.file_name() == key.file_name())
}

/// Refuses to write over a directory or another attachment's entry: what that attachment holds could never be freed.
fn refuse_taken(results: &Dir, key: &Key, name: &OsStr) -> Result<()> {
    let refused = |why: String| {
        Err(Error::new(ErrorClass::Cache, format!("cache file {} {why}", results.path_of(name).display())))
    };
    if results.has_directory(name)? {
        return refused("is a directory".to_owned());
    }
    if let Some((_, Content::Entry(stored))) = read_leniently(results, name)?
        && is_anothers(&stored, key)
        && let Some(Key { network, container_id, if_name }) = stored.key()
    {
        return refused(format!("is that of network {network}, container {container_id}, interface {if_name}"));
    }
    Ok(())
}

/// libcni's quick look at the name, which saves reading the entries of every other container.
fn may_be_of(name: &OsStr, container_id: &ContainerId) -> bool {
    let part = format!("-{container_id}-");
    let name = name.as_bytes();
    let first = name.windows(part.len()).position(|window| window == part.as_bytes());
    first.is_some_and(|at| at > 0 && at + part.len() < name.len())
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;
