//! Network namespaces: create, open, remove one; read addresses and set the loopback interface by netlink inside one.
//!
//! No host thread ever changes its namespace: a helper thread does, and ends. Runs no program (no nsenter, no ip).
//! Below it: `helper` (the thread), `netlink` (a socket inside a namespace).

mod addr;
mod helper;
mod loopback;
mod netlink;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, Permissions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

pub use addr::addresses;
pub use loopback::set_loopback;

use crate::error::{Error, ErrorClass, Result};
use crate::fds;

/// Where `ip netns` keeps its namespaces.
const IP_NETNS_DIRS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Creates a network namespace that is held by a bind mount on `path`, as `ip netns add` does; directories that are
/// missing above it are made with mode 0755. `E_EXISTS` where something is there, `E_IO` where the system refuses; then
/// nothing is left behind but directories.
///
/// `/run/netns` is made a shared mount first, as `ip netns` and the CNI plugins do, so that a namespace appears in and
/// goes from every mount namespace that has the directory. Other directories keep the propagation that they have: a
/// library does not turn a stranger's directory into a mount. Removal works there too, since unlinking the file detaches
/// the copies that other mount namespaces have of the mount.
pub fn create(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        make_directories(parent)?;
        if IP_NETNS_DIRS.iter().any(|dir| parent == Path::new(dir)) {
            share(parent)?;
        }
    }
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::RUSR) {
        Ok(fd) => drop(fd),
        Err(Errno::EXIST) if is_netns(path) => {
            return Err(Error::new(ErrorClass::Exists, format!("network namespace {} exists already", path.display())));
        }
        Err(errno) => {
            let class = if errno == Errno::EXIST { ErrorClass::Exists } else { ErrorClass::Io };
            return Err(failed(class, "create", path, errno));
        }
    }
    helper::run(|| mount_new(path)).inspect_err(|_| {
        let _ = rustix::fs::unlink(path);
    })
}

/// On the helper thread: leaves the host's namespace for a new one, and mounts that.
fn mount_new(path: &Path) -> Result<()> {
    // SAFETY: unsharing is unsafe for what threads share and then no longer do, file descriptors above all. A network
    // namespace is none of it, and this thread ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(|errno| failed(ErrorClass::Io, "unshare a network namespace for", path, errno))?;
    // Not /proc/self/ns/net, which is the main thread's.
    let own = format!("/proc/self/task/{}/ns/net", rustix::thread::gettid());
    rustix::mount::mount_bind(own, path)
        .map_err(|errno| failed(ErrorClass::Io, "mount a network namespace on", path, errno))
}

/// Unmounts and removes what [`create`] made; a missing one is no error. `E_NETNS` where `path` is anything but a mounted
/// network namespace, which then stays.
pub fn remove(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(stat) if stat.is_symlink() => return Err(not_netns(path, "a symbolic link")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::os(ErrorClass::Io, format_args!("stat {}", path.display()), &error)),
    }
    open(path)?;
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => {}
        Err(errno) => {
            let class = if errno == Errno::INVAL { ErrorClass::Netns } else { ErrorClass::Io };
            return Err(failed(class, "unmount", path, errno));
        }
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(ErrorClass::Io, "unlink", path, errno)),
    }
}

/// The device and inode of a namespace, which no other one has at the same time; a later one may get the number again.
pub(crate) fn identity(path: &Path) -> Result<(u64, u64)> {
    let namespace = open(path)?;
    let stat = rustix::fs::fstat(&namespace).map_err(|errno| failed(ErrorClass::Io, "stat", path, errno))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether the path leads to the namespace of this process, or of the first one: the node's own, most probably.
pub(crate) fn is_own(path: &Path) -> bool {
    let same = |own| matches!((identity(Path::new(own)), identity(path)), (Ok(own), Ok(other)) if own == other);
    same("/proc/self/ns/net") || same("/proc/1/ns/net")
}

/// Opens a network namespace; `E_NETNS` where the path is missing or something else. Never waits, and opens nothing but
/// namespaces: to open a device can have effects.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let failed = |errno| {
        let class = match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG => ErrorClass::Netns,
            _ => ErrorClass::Io,
        };
        failed(class, "open network namespace", path, errno)
    };
    if !is_nsfs(&retry_on_intr(|| rustix::fs::statfs(path)).map_err(failed)?) {
        return Err(not_netns(path, "not a namespace"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = fds::above_two(|| retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))).map_err(failed)?;
    // The path may have changed since.
    if !is_nsfs(&retry_on_intr(|| rustix::fs::fstatfs(&fd)).map_err(failed)?) {
        return Err(not_netns(path, "not a namespace"));
    }
    if namespace_type(fd.as_fd()).map_err(failed)? == libc::CLONE_NEWNET {
        Ok(fd)
    } else {
        Err(not_netns(path, "a namespace of another type"))
    }
}

/// Whether there is a network namespace at `path`. Where the system refuses the answer (out of descriptors), the type of
/// the namespace is taken on trust.
pub fn is_netns(path: &Path) -> bool {
    retry_on_intr(|| rustix::fs::statfs(path)).is_ok_and(|stat| is_nsfs(&stat))
        && open(path).map_or_else(|error| error.class() != ErrorClass::Netns, |_| true)
}

fn is_nsfs(stat: &rustix::fs::StatFs) -> bool {
    // The field's type differs between platforms.
    i128::from(stat.f_type) == i128::from(libc::NSFS_MAGIC)
}

fn namespace_type(fd: BorrowedFd<'_>) -> rustix::io::Result<libc::c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument, so it writes nowhere; the descriptor is open while it is borrowed.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) } {
        kind if kind >= 0 => Ok(kind),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

fn not_netns(path: &Path, what: &str) -> Error {
    Error::new(ErrorClass::Netns, format!("{} is not a network namespace: {what}", path.display()))
}

fn failed(class: ErrorClass, what: &str, path: &Path, errno: Errno) -> Error {
    Error::os(class, format_args!("{what} {}", path.display()), &errno.into())
}

/// Makes a directory and those above it with mode 0755 at any umask.
fn make_directories(path: &Path) -> Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        let made = DirBuilder::new().mode(0o755).create(dir);
        match made.and_then(|()| std::fs::set_permissions(dir, Permissions::from_mode(0o755))) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::os(ErrorClass::Io, format_args!("mkdir {}", dir.display()), &error));
            }
            // Made, or somebody else was quicker.
            _ => {}
        }
    }
    Ok(())
}

/// Makes a directory a shared mount, on itself where it is no mount yet.
fn share(dir: &Path) -> Result<()> {
    let failed = |what, errno| failed(ErrorClass::Io, what, dir, errno);
    let lock =
        File::open(dir).map_err(|error| Error::os(ErrorClass::Io, format_args!("open {}", dir.display()), &error))?;
    // Two who mount at once would hide each other's namespaces below the upper mount; `ip netns` takes the same lock.
    lock_within(&lock, Duration::from_secs(2)).map_err(|errno| failed("lock", errno))?;
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    let shared = match rustix::mount::mount_change(dir, flags) {
        Err(Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(dir, dir).and_then(|()| rustix::mount::mount_change(dir, flags))
        }
        other => other,
    };
    // By a call, as a forked child that has the descriptor too would keep the lock over a close.
    let _ = rustix::fs::flock(&lock, FlockOperation::Unlock);
    shared.map_err(|errno| failed("make a shared mount of", errno))
}

/// flock, but not for ever.
fn lock_within(file: &File, limit: Duration) -> rustix::io::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
