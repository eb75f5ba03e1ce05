//! The store's system calls, each in one place: one that a signal interrupts is made again (on network file systems that
//! happens to more of them than one thinks), and no descriptor gets a number of the host's.
//!
//! Knows no names and no words: who calls says what went wrong. In tests each call can be made to fail, and what changes
//! the disk is written down (`journal`); elsewhere nothing is left of that.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags, Stat, Statx, StatxFlags};
use rustix::io::{Errno, Result};

use crate::fds;
#[cfg(test)]
use crate::store::journal;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Makes a call, named as its errors name it, until no signal interrupts it.
#[cfg_attr(not(test), expect(unused_variables, reason = "the name is for tests"))]
#[inline]
fn call<T>(name: &'static str, mut make: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        #[cfg(test)]
        match journal::fault(name) {
            Some(Errno::INTR) => continue,
            Some(errno) => return Err(errno),
            None => {}
        }
        match make() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Opens a directory, wherever links lead.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    call("open", || fds::above_two(|| rustix::fs::open(path, DIRECTORY, Mode::empty())))
}

/// Opens a directory in another one; `ENOTDIR` for a symbolic link, too.
pub(super) fn open_child_directory(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    call("open", || fds::above_two(|| rustix::fs::openat(&dir, name, flags, Mode::empty())))
}

/// Opens a file that is there, to read or to lock it; never waits, and does not follow a link.
pub(super) fn open_file(dir: impl AsFd, name: &OsStr, access: OFlags) -> Result<OwnedFd> {
    call("open", || fds::above_two(|| rustix::fs::openat(&dir, name, FILE | access, Mode::empty())))
}

/// Creates a file of mode 0600 less the umask, to write it.
pub(super) fn create(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = call("create", || fds::above_two(|| rustix::fs::openat(&dir, name, flags, mode)))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Create(journal::path_of(&dir).join(name)));
    Ok(fd)
}

/// Creates a file of mode 0600 at any umask, or empties one that is there, to write at its end.
pub(super) fn create_or_empty(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = call("create", || fds::above_two(|| rustix::fs::openat(&dir, name, flags, mode)))?;
    open_to_owner(&fd);
    #[cfg(test)]
    journal::record(|| journal::Op::Create(journal::path_of(&dir).join(name)));
    Ok(fd)
}

/// Opens a file to read and write it, after creating it with mode 0600, at any umask, where it is missing.
pub(super) fn open_or_create(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = FILE | OFlags::RDWR | OFlags::CREATE;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = call("open", || fds::above_two(|| rustix::fs::openat(&dir, name, flags, mode)))?;
    open_to_owner(&fd);
    Ok(fd)
}

/// Gives the owner of a file back what the umask took when it was made, or he could not open it again. Where that is
/// refused, it is another user's file, who has his reasons.
fn open_to_owner(file: &OwnedFd) {
    let own = Mode::RUSR | Mode::WUSR;
    if rustix::fs::fstat(file).is_ok_and(|stat| !Mode::from_raw_mode(stat.st_mode).contains(own)) {
        let _ = rustix::fs::fchmod(file, own);
    }
}

/// Writes all of the bytes at the file's end. Raises no SIGXFSZ.
pub(super) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    let length = rustix::fs::fstat(&file).map_or(0, |stat| usize::try_from(stat.st_size).unwrap_or(usize::MAX));
    if !fds::may_hold(length.saturating_add(bytes.len())) {
        return Err(Errno::FBIG);
    }
    while !bytes.is_empty() {
        match write(&file, bytes)? {
            0 => return Err(Errno::IO),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Writes some of the bytes; answers how many.
fn write(file: impl AsFd, bytes: &[u8]) -> Result<usize> {
    #[cfg(test)]
    let bytes = journal::shortened(bytes);
    let written = call("write", || rustix::io::write(&file, bytes))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Write(journal::path_of(&file), bytes[..written].to_vec()));
    Ok(written)
}

/// Appends what is read at once; answers how much, 0 at the end.
pub(super) fn read(file: impl AsFd, bytes: &mut Vec<u8>) -> Result<usize> {
    const STEP: usize = 16 * 1024;
    bytes.reserve(STEP);
    call("read", || rustix::io::read(&file, spare_capacity(bytes)))
}

/// Syncs a file or a directory.
pub(super) fn fsync(file: impl AsFd) -> Result<()> {
    call("fsync", || rustix::fs::fsync(&file))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Sync(journal::path_of(&file)));
    Ok(())
}

/// Gives a file its mode, whatever the umask has taken.
pub(super) fn fchmod(file: impl AsFd, mode: Mode) -> Result<()> {
    call("chmod", || rustix::fs::fchmod(&file, mode))
}

/// As [`fchmod`] for a directory that may be closed to its owner.
pub(super) fn chmod_directory(dir: impl AsFd, name: &OsStr) -> Result<()> {
    call("chmod", || rustix::fs::chmodat(&dir, name, Mode::RWXU, AtFlags::empty()))
}

/// Makes a directory of mode 0700 less the umask.
pub(super) fn mkdir(dir: impl AsFd, name: &OsStr) -> Result<()> {
    call("mkdir", || rustix::fs::mkdirat(&dir, name, Mode::RWXU))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Mkdir(journal::path_of(&dir).join(name)));
    Ok(())
}

/// Removes an empty directory.
pub(super) fn rmdir(dir: impl AsFd, name: &OsStr) -> Result<()> {
    call("rmdir", || rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Remove(journal::path_of(&dir).join(name)));
    Ok(())
}

/// Renames a file, over one that is there.
pub(super) fn rename(from: impl AsFd, old: &OsStr, to: impl AsFd, new: &OsStr) -> Result<()> {
    call("rename", || rustix::fs::renameat(&from, old, &to, new))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Rename(journal::path_of(&from).join(old), journal::path_of(&to).join(new)));
    Ok(())
}

/// Removes a file.
pub(super) fn unlink(dir: impl AsFd, name: &OsStr) -> Result<()> {
    call("unlink", || rustix::fs::unlinkat(&dir, name, AtFlags::empty()))?;
    #[cfg(test)]
    journal::record(|| journal::Op::Remove(journal::path_of(&dir).join(name)));
    Ok(())
}

/// Locks an open file exclusively, or answers `EWOULDBLOCK`.
pub(super) fn try_lock(file: impl AsFd) -> Result<()> {
    call("lock", || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))
}

/// What an open file is.
pub(super) fn fstat(file: impl AsFd) -> Result<Stat> {
    call("stat", || rustix::fs::fstat(&file))
}

/// What has this name, not followed.
pub(super) fn stat(dir: impl AsFd, name: &OsStr) -> Result<Stat> {
    call("stat", || rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW))
}

/// What a directory is, with its mount.
pub(super) fn statx(dir: impl AsFd) -> Result<Statx> {
    call("stat", || rustix::fs::statx(&dir, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID))
}

/// Whether files can be made in a directory.
pub(super) fn check_writable(dir: impl AsFd) -> Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    call("access", || rustix::fs::accessat(&dir, ".", access, AtFlags::EACCESS))
}

/// Calls `each` with every name in a directory but `.` and `..`, until it answers `false`.
pub(super) fn read_directory(dir: impl AsFd, mut each: impl FnMut(&OsStr) -> bool) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut entries = call("open", || fds::above_two(|| rustix::fs::Dir::read_from(&dir)))?;
    while let Some(entry) = call("read directory", || entries.read().transpose())? {
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !each(OsStr::from_bytes(name)) {
            break;
        }
    }
    Ok(())
}
