//! A directory held open, so that no path is resolved twice: make, list, read, unlink, sync.
//!
//! Knows nothing of what the files hold. Errors name the system call and the path.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::store::Durability;

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

/// The error of a system call on a file of the cache.
pub(super) fn failed(call: &str, path: &Path, errno: Errno) -> Error {
    let class = match errno {
        // These say something about the process, nothing about the cache.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => ErrorClass::Io,
        _ => ErrorClass::Cache,
    };
    Error::os(class, format_args!("{call} {}", path.display()), &errno.into())
}

fn failed_io(call: &str, path: &Path, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(number) => failed(call, path, Errno::from_raw_os_error(number)),
        None => Error::os(ErrorClass::Cache, format_args!("{call} {}", path.display()), error),
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    // rustix takes "" as it is; for libcni, and for `Path`, it is the current directory.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fds::above_two(|| rustix::fs::open(path, flags, Mode::empty()))
}

impl Dir {
    /// Opens a directory; `None` where it is missing.
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
        let mut fd = loop {
            match open(at) {
                Ok(fd) => break fd,
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
        let mut path = at.to_owned();
        for name in missing.into_iter().rev() {
            let parent = Self { fd, path };
            fd = parent.make_child(name, durability)?;
            path = parent.path_of(name);
        }
        Ok(Self { fd, path })
    }

    fn make_child(&self, name: &OsStr, durability: Durability) -> Result<OwnedFd> {
        let path = self.path_of(name);
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => {
                rustix::fs::chmodat(&self.fd, name, Mode::RWXU, AtFlags::empty())
                    .map_err(|errno| failed("chmod", &path, errno))?;
                if durability == Durability::Full {
                    self.sync()?;
                }
            }
            // Somebody else was quicker.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("mkdir", &path, errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fds::above_two(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty()))
            .map_err(|errno| failed("open", &path, errno))
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
    /// an error; never waits, as a read of a fifo would.
    pub(super) fn read(&self, name: &OsStr, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path_of(name);
        let not_regular = || Error::new(ErrorClass::Cache, format!("{} is not a regular file", path.display()));
        let too_large = || Error::new(ErrorClass::Cache, format!("{} is larger than {limit} bytes", path.display()));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match fds::above_two(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => fd,
            // No file can have a name that is too long.
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
            // A symbolic link; a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_regular()),
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed("stat", &path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular());
        }
        if u64::try_from(stat.st_size).is_ok_and(|size| size > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        // One byte more than allowed shows a file that has grown since.
        let mut file = std::fs::File::from(fd).take(limit.saturating_add(1));
        file.read_to_end(&mut bytes).map_err(|error| failed_io("read", &path, &error))?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(Some(bytes)) }
    }

    /// Whether there is a directory with this name.
    pub(super) fn has_directory(&self, name: &OsStr) -> Result<bool> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed("stat", &self.path_of(name), errno)),
        }
    }

    /// Removes a file; whether there was one.
    pub(super) fn unlink(&self, name: &OsStr) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            Err(errno) => Err(failed("unlink", &self.path_of(name), errno)),
        }
    }

    /// The names in here, sorted by byte as Go sorts them.
    pub(super) fn names(&self) -> Result<Vec<OsString>> {
        let failed = |errno| failed("read directory", &self.path, errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        Ok(names)
    }

    /// Makes what was created, renamed and removed in here survive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        match rustix::fs::fsync(&self.fd) {
            // File systems without fsync for directories (some network ones) say so with EINVAL.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(failed("fsync", &self.path, errno)),
        }
    }

    /// Where the directory is mounted.
    pub(super) fn place(&self) -> Result<Place> {
        match rustix::fs::statx(&self.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID) {
            Ok(stat) => Ok(Place {
                device: (stat.stx_dev_major, stat.stx_dev_minor),
                mount: (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id),
            }),
            // Old seccomp filters refuse statx with EPERM.
            Err(Errno::NOSYS | Errno::PERM) => {
                let stat = rustix::fs::fstat(&self.fd).map_err(|errno| failed("stat", &self.path, errno))?;
                let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
                Ok(Place { device, mount: None })
            }
            Err(errno) => Err(failed("stat", &self.path, errno)),
        }
    }

    /// Refuses a directory that no file could be renamed into.
    pub(super) fn check_writable(&self) -> Result<()> {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(&self.fd, ".", access, AtFlags::EACCESS) {
            // Without faccessat2 (a seccomp filter answers EPERM) only the rename will tell.
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(()),
            Err(errno) => Err(failed("write to", &self.path, errno)),
        }
    }
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
    fn missing_directories_are_made_0700_at_any_umask() {
        // The umask belongs to the whole process, so a process of its own gets another one.
        if std::env::var_os("CNIRT_TEST_UMASK").is_none() {
            let name = "store::dir::tests::missing_directories_are_made_0700_at_any_umask";
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
        let dir = Dir::make(&temp.path().join("a/b/c"), Durability::Full).unwrap();
        assert_eq!(dir.path(), temp.path().join("a/b/c"));
        for path in ["a", "a/b", "a/b/c"] {
            assert_eq!(temp.path().join(path).metadata().unwrap().mode() & 0o7777, 0o700, "{path}");
        }
        super::super::atomic::replace(&dir, &dir, OsStr::new("file"), b"x", Durability::Full).unwrap();
        assert_eq!(temp.path().join("a/b/c/file").metadata().unwrap().mode() & 0o7777, 0o600);
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
                let dir = Dir::make(&path, Durability::Full).unwrap();
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
