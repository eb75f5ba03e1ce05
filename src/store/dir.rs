//! A directory held open, so that no path is resolved twice: make, list, read, unlink, sync.
//!
//! What is below the cache directory is opened relative to its descriptor and never through a symbolic link: nothing is
//! written outside. Only files of this process's user and of root are read, as what is in them will be run in this
//! process's name; so a directory that others can write to does no harm, save that they can remove things.
//!
//! Knows nothing of what the files hold. Errors name the system call and the path.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::store::{Durability, sys};
use crate::thread;

/// Where a directory is mounted: a file can be renamed only between equal places.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    device: (u32, u32),
    /// `None` before Linux 5.8, or where a seccomp filter refuses statx.
    mount: Option<u64>,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// `<cacheDir>/cnirt`, where everything is that is ours and no entry; found anew for each use.
#[derive(Clone, Debug)]
pub(super) struct OwnDir {
    cache: PathBuf,
    pub(super) durability: Durability,
}

impl OwnDir {
    /// Its name.
    pub(super) const NAME: &str = "cnirt";

    /// The one in this cache directory.
    pub(super) fn new(cache: &Path, durability: Durability) -> Self {
        Self { cache: cache.to_owned(), durability }
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> PathBuf {
        self.cache.join(Self::NAME)
    }

    /// Opens it; `None` where it is missing.
    pub(super) fn open(&self) -> Result<Option<Dir>> {
        fds::above_two(|| Dir::open(&self.cache)?.map_or(Ok(None), |cache| cache.open_child(Self::NAME)))
    }

    /// Opens a directory in it; `None` where it is missing.
    pub(super) fn open_child(&self, name: &str) -> Result<Option<Dir>> {
        fds::above_two(|| self.open()?.map_or(Ok(None), |dir| dir.open_child(name)))
    }

    /// Opens it, after making it where it is missing.
    pub(super) fn make(&self) -> Result<Dir> {
        fds::above_two(|| Dir::make(&self.cache, self.durability)?.child(Self::NAME, self.durability))
    }
}

/// The error of a system call on a file of the cache.
pub(super) fn failed(call: &str, path: &Path, errno: Errno) -> Error {
    let class = match errno {
        // These say something about the process, nothing about the cache.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => ErrorClass::Io,
        _ => ErrorClass::Cache,
    };
    Error::os(class, format_args!("{call} {}", path.display()), &errno.into())
}

/// Whether this process may believe what a file of this user says.
pub(super) fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    // rustix takes "" as it is; for libcni, and for `Path`, it is the current directory.
    sys::open_directory(if path.as_os_str().is_empty() { Path::new(".") } else { path })
}

impl Dir {
    /// Opens a directory, wherever links lead; `None` where it is missing.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        match open(path) {
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("open", path, errno)),
        }
    }

    /// Opens a directory, after making it and what is missing above it with mode 0700, as libcni's `MkdirAll` does, but
    /// at any umask.
    pub(super) fn make(path: &Path, durability: Durability) -> Result<Self> {
        let mut missing = Vec::new();
        let mut at = path;
        let mut dir = loop {
            match open(at) {
                Ok(fd) => break Self { fd, path: at.to_owned() },
                Err(Errno::NOENT) => match (at.parent(), at.file_name()) {
                    (Some(parent), Some(name)) => {
                        missing.push(name);
                        at = parent;
                    }
                    _ => return Err(failed("open", path, Errno::NOENT)),
                },
                Err(errno) => return Err(failed("open", at, errno)),
            }
        };
        if missing.is_empty() && durability == Durability::Full {
            dir.settle(|| dir.sync_parent())?;
        }
        for name in missing.into_iter().rev() {
            dir.make_directory(name, durability)?;
            let path = dir.path_of(name);
            let fd = sys::open_child_directory(&dir, name).map_err(|errno| failed("open", &path, errno))?;
            dir = Self { fd, path };
        }
        Ok(dir)
    }

    /// Opens a directory in this one, after making it with mode 0700 where it is missing; a symbolic link is an error.
    pub(super) fn child(&self, name: &str, durability: Durability) -> Result<Self> {
        if let Some(child) = self.open_child(name)? {
            if durability == Durability::Full {
                child.settle(|| self.sync())?;
            }
            return Ok(child);
        }
        self.make_directory(OsStr::new(name), durability)?;
        self.open_child(name)?.ok_or_else(|| failed("open", &self.path.join(name), Errno::NOENT))
    }

    /// Opens a directory in this one; `None` where it is missing, an error where it is a symbolic link.
    pub(super) fn open_child(&self, name: &str) -> Result<Option<Self>> {
        let path = self.path.join(name);
        let name = OsStr::new(name);
        match sys::open_child_directory(self, name) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) if self.type_of(name)? == Some(FileType::Symlink) => {
                let error = Error::new(ErrorClass::Cache, format!("{} is a symbolic link", path.display()));
                Err(error.with_hint("make it a directory; the cache directory itself may be a link"))
            }
            Err(errno) => Err(failed("open", &path, errno)),
        }
    }

    fn make_directory(&self, name: &OsStr, durability: Durability) -> Result<()> {
        match sys::mkdir(self, name) {
            Ok(()) => {}
            // Somebody else was quicker.
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(failed("mkdir", &self.path_of(name), errno)),
        }
        let chmod = || sys::chmod_directory(self, name).map_err(|errno| failed("chmod", &self.path_of(name), errno));
        let sync = || if durability == Durability::Full { self.sync() } else { Ok(()) };
        chmod().and_then(|()| sync()).inspect_err(|_| {
            // Else the next call would take it for one that is finished.
            let _ = sys::rmdir(self, name);
        })
    }

    /// Sees to it that a directory that was there is there for good, once in this process: who made it may have been
    /// killed before he synced its name, and all that is in it would go with it.
    fn settle(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        /// Real hosts have three of them.
        const MOST: usize = 1000;
        static SETTLED: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());
        let stat = self.stat()?;
        let identity = (stat.st_dev, stat.st_ino);
        if thread::try_lock(&SETTLED).is_some_and(|settled| settled.contains(&identity)) {
            return Ok(());
        }
        sync()?;
        if let Some(mut settled) = thread::try_lock(&SETTLED) {
            if settled.len() >= MOST {
                settled.clear();
            }
            settled.insert(identity);
        }
        Ok(())
    }

    /// Syncs the directory that this one is in, where that may be opened.
    fn sync_parent(&self) -> Result<()> {
        let path = self.path_of(OsStr::new(".."));
        match sys::open_child_directory(self, OsStr::new("..")) {
            Ok(fd) => Self { fd, path }.sync(),
            Err(Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(errno) => Err(failed("open", &path, errno)),
        }
    }

    /// The path of a file in here, for messages.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// The path of the directory, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a regular file of at most `limit` bytes; `None` where it is missing. Anything else (a symbolic link too) is
    /// an error, and so is a file of another user than this process's and root; never waits, as a read of a fifo would.
    pub(super) fn read(&self, name: &OsStr, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path_of(name);
        let check = |stat: &Stat| check_file(stat, &path, limit);
        // First without opening it, which alone does something to a device.
        match sys::stat(self, name) {
            Ok(stat) => check(&stat)?,
            // No file can have a name that is too long.
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
            Err(errno) => return Err(failed("stat", &path, errno)),
        }
        let fd = match sys::open_file(self, name, OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        check(&sys::fstat(&fd).map_err(|errno| failed("stat", &path, errno))?)?;
        let mut bytes = Vec::new();
        while sys::read(&fd, &mut bytes).map_err(|errno| failed("read", &path, errno))? > 0 {
            // It has grown since.
            if bytes.len() as u64 > limit {
                return Err(too_large(&path, limit));
            }
        }
        Ok(Some(bytes))
    }

    /// Whether there is a directory with this name.
    pub(super) fn has_directory(&self, name: &OsStr) -> Result<bool> {
        Ok(self.type_of(name)? == Some(FileType::Directory))
    }

    /// What has this name, a symbolic link not followed; `None` where nothing has.
    fn type_of(&self, name: &OsStr) -> Result<Option<FileType>> {
        match sys::stat(self, name) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(failed("stat", &self.path_of(name), errno)),
        }
    }

    /// Removes a file; whether there was one.
    pub(super) fn unlink(&self, name: &OsStr) -> Result<bool> {
        match sys::unlink(self, name) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            // Said before anybody looks whether the file is there.
            Err(Errno::ROFS) if self.type_of(name)?.is_none() => Ok(false),
            Err(errno) => Err(failed("unlink", &self.path_of(name), errno)),
        }
    }

    /// The names in here, sorted by byte as Go sorts them.
    pub(super) fn names(&self) -> Result<Vec<OsString>> {
        let mut names = self.some_names(usize::MAX, |_| true)?;
        names.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        Ok(names)
    }

    /// At most `limit` names for which `wanted` holds, in no order.
    pub(super) fn some_names(&self, limit: usize, wanted: impl Fn(&OsStr) -> bool) -> Result<Vec<OsString>> {
        let mut names = Vec::new();
        let read = sys::read_directory(self, |name| {
            if wanted(name) {
                names.push(name.to_owned());
            }
            names.len() < limit
        });
        read.map_err(|errno| failed("read directory", &self.path, errno))?;
        Ok(names)
    }

    /// Makes what was created, renamed and removed in here survive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        match sys::fsync(self) {
            // File systems without fsync for directories (some network ones) say so with EINVAL.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(failed("fsync", &self.path, errno)),
        }
    }

    /// Where the directory is mounted.
    pub(super) fn place(&self) -> Result<Place> {
        match sys::statx(self) {
            Ok(stat) => Ok(Place {
                device: (stat.stx_dev_major, stat.stx_dev_minor),
                mount: (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id),
            }),
            // Old seccomp filters refuse statx with EPERM.
            Err(Errno::NOSYS | Errno::PERM) => {
                let stat = self.stat()?;
                let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
                Ok(Place { device, mount: None })
            }
            Err(errno) => Err(failed("stat", &self.path, errno)),
        }
    }

    /// Refuses a directory that no file could be renamed into.
    pub(super) fn check_writable(&self) -> Result<()> {
        match sys::check_writable(self) {
            // Without faccessat2 (a seccomp filter answers EPERM) only the rename will tell.
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(()),
            Err(errno) => Err(failed("write to", &self.path, errno)),
        }
    }

    /// Whether users who are not trusted can remove files of others in here.
    pub(super) fn is_open_to_others(&self) -> Result<bool> {
        let stat = self.stat()?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        Ok(!is_trusted(stat.st_uid) || mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX))
    }

    fn stat(&self) -> Result<Stat> {
        sys::fstat(self).map_err(|errno| failed("stat", &self.path, errno))
    }
}

/// Refuses what is no file of this process or root with at most `limit` bytes.
fn check_file(stat: &Stat, path: &Path, limit: u64) -> Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(ErrorClass::Cache, format!("{} is not a regular file", path.display())));
    }
    if !is_trusted(stat.st_uid) {
        let (path, owner) = (path.display(), stat.st_uid);
        let words = format!("{path} belongs to user {owner}: only this process's user and root are trusted");
        return Err(Error::new(ErrorClass::Cache, words));
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > limit) {
        return Err(too_large(path, limit));
    }
    Ok(())
}

fn too_large(path: &Path, limit: u64) -> Error {
    Error::new(ErrorClass::Cache, format!("{} is larger than {limit} bytes", path.display()))
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::testing;

    #[test]
    fn directories_are_made_0700_and_files_0600_at_any_umask() {
        // The umask belongs to the whole process, so a process of its own gets another one.
        if std::env::var_os("CNIRT_TEST_UMASK").is_none() {
            let name = "store::dir::tests::directories_are_made_0700_and_files_0600_at_any_umask";
            return testing::passes(
                std::process::Command::new("sh")
                    .args(["-c", "umask 0777; exec \"$@\"", "sh"])
                    .arg(std::env::current_exe().unwrap())
                    .args(testing::arguments(name))
                    .env("CNIRT_TEST_UMASK", "0777"),
            );
        }
        let temp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let dir = std::sync::Arc::new(Dir::make(&temp.path().join("a/b/c"), Durability::Full).unwrap());
        assert_eq!(dir.path(), temp.path().join("a/b/c"));
        for path in ["a", "a/b", "a/b/c"] {
            assert_eq!(temp.path().join(path).metadata().unwrap().mode() & 0o7777, 0o700, "{path}");
        }
        let [replaced, emptied, opened] = ["replaced", "emptied", "opened"].map(OsStr::new);
        super::super::atomic::replace(&dir, &dir, replaced, b"x", Durability::Full).unwrap();
        sys::create_or_empty(&dir, emptied).unwrap();
        sys::open_or_create(&dir, opened).unwrap();
        for file in [replaced, emptied, opened] {
            assert_eq!(dir.path_of(file).metadata().unwrap().mode() & 0o7777, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn a_directory_that_is_there_keeps_its_mode_and_a_file_in_the_way_is_named() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("a")).unwrap();
        std::fs::set_permissions(temp.path().join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Dir::make(&temp.path().join("a"), Durability::Atomic).unwrap();
        assert_eq!(temp.path().join("a").metadata().unwrap().mode() & 0o7777, 0o755);
        std::fs::write(temp.path().join("file"), "").unwrap();
        let error = Dir::make(&temp.path().join("file/results"), Durability::Atomic).unwrap_err();
        let words = format!("open {}/file/results: not a directory", temp.path().display());
        assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words));
    }

    #[test]
    fn no_file_of_ours_is_where_a_host_prints() {
        testing::isolated("store::dir::tests::no_file_of_ours_is_where_a_host_prints", || {
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("a/b");
            let (dir, again, file) = testing::without_standard_fds(|| {
                let dir = std::sync::Arc::new(Dir::make(&path, Durability::Full).unwrap());
                let again = Dir::open(&path).unwrap().unwrap();
                let file = super::super::atomic::Temporary::create(&dir).unwrap();
                (dir.fd.as_raw_fd(), again.fd.as_raw_fd(), file.as_raw_fd())
            });
            assert!([dir, again, file].iter().all(|fd| *fd > 2), "{dir} {again} {file}");
        });
    }

    #[test]
    fn equal_places_are_one_mount() {
        let temp = tempfile::tempdir().unwrap();
        let place = |path: &Path| Dir::open(path).unwrap().unwrap().place().unwrap();
        assert_eq!(place(temp.path()), place(temp.path().parent().unwrap()));
        assert_ne!(place(temp.path()), place(Path::new("/proc")));
    }
}
