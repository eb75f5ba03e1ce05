//! What is in a directory. Not by the standard library, whose reader panics when the kernel answers a close with an error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::fds;

/// The first `limit` names in a directory, in no order, but `.` and `..`; and what they are, symbolic links not followed.
pub(crate) fn entries(dir: &Path, limit: usize) -> rustix::io::Result<Vec<(OsString, FileType)>> {
    // rustix takes "" as it is; for Go, and for `Path`, it is the current directory.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fds::above_two(|| retry_on_intr(|| rustix::fs::open(dir, flags, Mode::empty())))?;
    let mut reader = Dir::new(fd)?;
    let mut entries = Vec::new();
    while entries.len() < limit {
        let entry = match reader.read() {
            None => break,
            Some(Err(Errno::INTR)) => continue,
            Some(entry) => entry?,
        };
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            // A file system that does not tell.
            FileType::Unknown => {
                match retry_on_intr(|| rustix::fs::statat(reader.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    // Removed meanwhile.
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                }
            }
            kind => kind,
        };
        entries.push((name.to_owned(), kind));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_with_their_kinds_and_no_more_than_wanted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("dir", dir.path().join("link")).unwrap();
        let mut found = entries(dir.path(), usize::MAX).unwrap();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let kinds = [("dir", FileType::Directory), ("file", FileType::RegularFile), ("link", FileType::Symlink)];
        assert_eq!(found, kinds.map(|(name, kind)| (name.into(), kind)));
        assert_eq!(entries(dir.path(), 2).unwrap().len(), 2);
        assert_eq!(entries(&dir.path().join("none"), 2), Err(Errno::NOENT));
        assert_eq!(entries(&dir.path().join("file"), 2), Err(Errno::NOTDIR));
        assert!(!entries(Path::new(""), usize::MAX).unwrap().is_empty());
    }
}
