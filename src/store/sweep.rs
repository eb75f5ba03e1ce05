//! Removes the temporary files of writers that are dead.
//!
//! Who writes one holds a lock on it (`atomic`), which the kernel frees with the process: so neither pids matter, which
//! mean nothing in another pid namespace, nor ages.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::error::Result;
use crate::store::atomic;
use crate::store::dir::{Dir, failed};
use crate::store::sys;

/// The most files that one sweep looks at; the next one goes on.
const LIMIT: usize = 1000;

/// What became of the temporary files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swept {
    pub(super) gone: usize,
    /// Somebody is writing them.
    pub(super) held: usize,
}

/// Removes what it can of `dir`.
pub(super) fn sweep(dir: &Dir) -> Result<Swept> {
    let names = dir.some_names(LIMIT, |name| name.as_bytes().starts_with(atomic::PREFIX.as_bytes()))?;
    let mut swept = Swept::default();
    for name in &names {
        match remove_abandoned(dir, name) {
            Ok(gone) => swept.gone += usize::from(gone),
            Err(Errno::WOULDBLOCK) => swept.held += 1,
            Err(errno) => {
                let error = failed("sweep", &dir.path_of(name), errno);
                tracing::debug!(%error, "a temporary file stays");
            }
        }
    }
    Ok(swept)
}

/// Removes a file that nobody has locked (`EWOULDBLOCK`). A writer that has made it but not locked it yet finds it gone, and makes
/// another one.
fn remove_abandoned(dir: &Dir, name: &OsStr) -> rustix::io::Result<bool> {
    // Nothing else of that name is ours, and a device is not even opened.
    if FileType::from_raw_mode(sys::stat(dir, name)?.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    // To write, since a network file system wants that for a lock.
    let file = sys::open_file(dir, name, OFlags::WRONLY)?;
    sys::try_lock(&file)?;
    // The lock may be free since the file was renamed: then nothing has this name any more, and nothing ever will.
    match sys::unlink(dir, name) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
