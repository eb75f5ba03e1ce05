//! Wakes an event loop where the configuration may have changed: an inotify descriptor that is readable from then on
//! until somebody asks for the status.
//!
//! It does not say what changed, nor whether anything did: `watch` finds out, by `stat`, with or without this. It has no
//! thread, and costs nothing before the descriptor is first asked for. rustix's inotify and not a crate of its own: all
//! that is needed is three system calls, on a descriptor that is made in `fds`.
//!
//! Nothing is lost, because of the order: the queue is emptied, then every directory is watched before it is looked at,
//! then the files are read. What changes later is in the queue again. What changed between emptying and reading is read;
//! its directories are watched because another walk follows where anything came in during one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorClass, Result};
use crate::fds::above_two;
use crate::listing;
use crate::pod::watch::MOST_ENTRIES;

/// Directories that are watched; there are about a dozen on a node. What is beyond is seen by the next call.
const MOST_WATCHES: usize = 512;
/// Symbolic links on one path, as in the kernel.
const MOST_LINKS: usize = 40;
/// Walks over directories that keep changing; then the descriptor stays readable, and the next call goes on.
const MOST_WALKS: usize = 4;
/// Above the length that the kernel gives a queue, so that one who writes without end does not hold a call.
const MOST_EVENTS: usize = 20_000;

/// A directory on the way: that the way itself changes. What comes and goes beside it wakes nobody.
const ITSELF: WatchFlags = WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF);
/// Also that a name in it leads elsewhere.
const NAMES: WatchFlags = ITSELF
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);
/// Also that somebody may look into it, or may no more. Reading a file changes no attribute, as inotify has it.
const NAMES_AND_MODES: WatchFlags = NAMES.union(WatchFlags::ATTRIB);
/// Of plugins. One that is still being written cannot be run, so only its end is of interest.
const BINARIES: WatchFlags = NAMES_AND_MODES.union(WatchFlags::CLOSE_WRITE);
/// Of network files.
const TEXTS: WatchFlags = BINARIES.union(WatchFlags::MODIFY);

/// The descriptor, and what it watches.
#[derive(Debug)]
pub(super) struct Notifier {
    inotify: OwnedFd,
    conf_dir: PathBuf,
    bin_dirs: Vec<PathBuf>,
    /// Held for some system calls on directories, by those who ask for the status. No other lock is taken meanwhile.
    watches: Mutex<Watches>,
}

#[derive(Debug, Default)]
struct Watches {
    /// What the kernel watches for, by watch descriptor.
    flags: BTreeMap<i32, WatchFlags>,
    /// Whether it was said that there are not enough.
    complained: bool,
    /// Why there are not, as long as that is still to be said.
    unsaid: Option<Errno>,
}

impl Notifier {
    /// Makes the descriptor; it is readable, as nobody knows what happened before.
    pub(super) fn new(conf_dir: &Path, bin_dirs: &[PathBuf]) -> Result<Self> {
        let failed = |what: &str, error: Errno| Error::os(ErrorClass::Io, what, &io::Error::from(error));
        let inotify = above_two(|| inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)).map_err(|error| {
            let error = failed("inotify_init1", error);
            error.with_hint("the limits are RLIMIT_NOFILE and /proc/sys/fs/inotify/max_user_instances")
        })?;
        let (conf_dir, bin_dirs) = (conf_dir.to_owned(), bin_dirs.to_owned());
        let notifier = Self { inotify, conf_dir, bin_dirs, watches: Mutex::default() };
        notifier.signal(&mut notifier.lock()).map_err(|error| {
            let error = failed("inotify_add_watch /", error);
            error.with_hint("the limit is /proc/sys/fs/inotify/max_user_watches")
        })?;
        Ok(notifier)
    }

    /// What an event loop polls.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Makes the descriptor quiet until something changes from now on. Call it before reading, not after.
    pub(super) fn renew(&self) {
        let mut watches = self.lock();
        self.walk_until_quiet(&mut watches);
        let unsaid = watches.unsaid.take();
        // No log under the lock: its callback may wait for a thread that is in another call.
        drop(watches);
        if let Some(error) = unsaid {
            let error = io::Error::from(error);
            tracing::warn!(target: "cnirt::pod", %error, "not all directories can be watched; calls see every change");
        }
    }

    fn walk_until_quiet(&self, watches: &mut Watches) {
        self.drain(&BTreeSet::new());
        for _ in 1..MOST_WALKS {
            let given_up = self.walk(watches);
            if !self.drain(&given_up) {
                return;
            }
        }
        self.walk(watches);
    }

    /// Makes the descriptor readable although nothing changed: who emptied the queue could not tell what is new.
    pub(super) fn wake(&self) {
        let signalled = self.signal(&mut self.lock());
        if let Err(error) = signalled {
            let error = io::Error::from(error);
            tracing::warn!(target: "cnirt::pod", %error, "an event loop may not learn of a change");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a watch: the kernel puts that in the queue. The next walk has it again.
    fn signal(&self, watches: &mut Watches) -> rustix::io::Result<()> {
        let watch = match inotify::add_watch(&self.inotify, "/", ITSELF | WatchFlags::MASK_ADD) {
            Ok(watch) => watch,
            Err(error) => *watches.flags.keys().next().ok_or(error)?,
        };
        watches.flags.remove(&watch);
        inotify::remove_watch(&self.inotify, watch)
    }

    /// Empties the queue; whether there was anything but the end of the watches that were given up.
    fn drain(&self, given_up: &BTreeSet<i32>) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut news = false;
        for _ in 0..MOST_EVENTS {
            match events.next() {
                Ok(event) => news |= !event.events().contains(ReadFlags::IGNORED) || !given_up.contains(&event.wd()),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        news
    }

    /// Watches what is to be watched now, and nothing else; the watches that were given up.
    fn walk(&self, watches: &mut Watches) -> BTreeSet<i32> {
        let mut walk = Walk { inotify: &self.inotify, watched: BTreeMap::new(), refused: None };
        // Plugins in files of their own are one level down.
        walk.tree(&self.conf_dir, TEXTS, 2);
        for dir in &self.bin_dirs {
            walk.tree(dir, BINARIES, 1);
        }
        if !watches.complained {
            watches.unsaid = walk.refused.or(watches.unsaid);
        }
        watches.complained = walk.refused.is_some();
        let before = std::mem::take(&mut watches.flags);
        for (watch, (flags, dir)) in walk.watched {
            if before.get(&watch).is_some_and(|before| !flags.contains(*before)) {
                // Where the directory is another one by now, that is in the queue.
                let _ = inotify::add_watch(&self.inotify, &dir, flags | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW);
            }
            watches.flags.insert(watch, flags);
        }
        let given_up: BTreeSet<i32> = before.into_keys().filter(|watch| !watches.flags.contains_key(watch)).collect();
        for watch in &given_up {
            // The kernel may have been first, where the directory is gone.
            let _ = inotify::remove_watch(&self.inotify, *watch);
        }
        given_up
    }
}

/// One walk over all directories, from the root on.
struct Walk<'a> {
    inotify: &'a OwnedFd,
    watched: BTreeMap<i32, (WatchFlags, PathBuf)>,
    /// Why some directory is not watched, other than for its mode.
    refused: Option<Errno>,
}

impl Walk<'_> {
    /// A directory and so many levels of what is in it, symbolic links followed.
    fn tree(&mut self, dir: &Path, flags: WatchFlags, levels: u8) {
        self.watch(Path::new("/"), ITSELF);
        if let Some(dir) = self.follow(PathBuf::from("/"), dir.as_os_str(), flags) {
            self.inside(&dir, flags, levels);
        }
    }

    fn inside(&mut self, dir: &Path, flags: WatchFlags, levels: u8) {
        let Ok(entries) = listing::entries(dir, MOST_ENTRIES) else { return };
        for (name, kind) in entries {
            let inner = if kind.is_symlink() {
                self.follow(dir.to_owned(), &name, flags)
            } else {
                Some(dir.join(name)).filter(|inner| kind.is_dir() && levels > 1 && self.watch(inner, flags))
            };
            if let Some(inner) = inner.filter(|_| levels > 1) {
                self.inside(&inner, flags, levels - 1);
            }
        }
    }

    /// Goes from a directory to where a path leads, and watches all that can change where that is. The directory at its
    /// end, or the one that has the file, is watched for `flags`.
    fn follow(&mut self, from: PathBuf, path: &OsStr, flags: WatchFlags) -> Option<PathBuf> {
        // Never with a symbolic link in it.
        let mut at = from;
        let mut names = backwards(path);
        let mut links = MOST_LINKS;
        while let Some(name) = names.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            if names.is_empty() {
                // A directory that somebody still uses does not say that it was removed; the one above it does.
                self.watch(&at, NAMES);
            }
            let next = at.join(&name);
            if let Kind::Directory = Kind::of(&next)
                && self.watch(&next, ITSELF)
            {
                at = next;
                continue;
            }
            // The directory above tells when that changes. It may have changed before it was watched for that.
            self.watch(&at, NAMES_AND_MODES);
            match Kind::of(&next) {
                Kind::Link(target) => {
                    links = links.checked_sub(1)?;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    names.extend(backwards(target.as_os_str()));
                }
                // What must not be read may still be passed.
                Kind::Directory => {
                    self.watch(&next, ITSELF);
                    at = next;
                }
                Kind::File => {
                    self.watch(&at, flags);
                    return None;
                }
                Kind::Nothing => {
                    at.parent().map(|above| self.watch(above, NAMES));
                    return None;
                }
            }
        }
        self.watch(&at, flags);
        Some(at)
    }

    /// Whether it is watched, for this and what it was watched for before in this walk.
    fn watch(&mut self, dir: &Path, flags: WatchFlags) -> bool {
        if self.watched.len() >= MOST_WATCHES {
            self.refused = Some(Errno::NOSPC);
            return false;
        }
        let how = WatchFlags::MASK_ADD | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(self.inotify, dir, flags | how) {
            Ok(watch) => {
                self.watched.entry(watch).or_insert_with(|| (flags, dir.to_owned())).0 |= flags;
                true
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => false,
            Err(error) => {
                self.refused = Some(error);
                false
            }
        }
    }
}

/// The names on a path, the last one first.
fn backwards(path: &OsStr) -> Vec<OsString> {
    let names = Path::new(path).components().rev();
    let names = names.filter(|name| matches!(name, Component::Normal(_) | Component::ParentDir));
    names.map(|name| name.as_os_str().to_owned()).collect()
}

enum Kind {
    Directory,
    Link(PathBuf),
    File,
    /// Nothing, or nothing that may be known.
    Nothing,
}

impl Kind {
    fn of(path: &Path) -> Self {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::Directory,
            Ok(metadata) if metadata.is_symlink() => std::fs::read_link(path).map_or(Self::Nothing, Self::Link),
            Ok(_) => Self::File,
            Err(_) => Self::Nothing,
        }
    }
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
