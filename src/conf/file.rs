//! Reads one configuration file, without waiting and without end.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::conf::text::refused;
use crate::error::{Error, ErrorClass, Result};

/// The largest configuration file that is read, in bytes; a larger one is an error that names it.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// The content of a regular file, symbolic links followed. A fifo, socket, device or directory is an error.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let failed = |what: &str, error: &io::Error| {
        Error::os(ErrorClass::Config, format_args!("error reading {shown}: {what} {shown}"), error)
    };
    // O_NONBLOCK: opening a fifo waits for its writer otherwise.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| failed("open", &error))?;
    let metadata = file.metadata().map_err(|error| failed("stat", &error))?;
    if metadata.is_dir() {
        return Err(failed("read", &io::Error::from_raw_os_error(libc::EISDIR)));
    }
    if !metadata.is_file() {
        return Err(refused(format!("error reading {shown}: not a regular file")));
    }
    read_bounded(&file)
        .map_err(|error| failed("read", &error))?
        .ok_or_else(|| refused(format!("error reading {shown}: larger than {MAX_FILE_BYTES} bytes")))
}

/// All of the file; `None` where it is too large. It may grow meanwhile, so its size is not asked for.
fn read_bounded(file: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MAX_FILE_BYTES).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn regular_files_are_read_through_links_and_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("link")).unwrap(), b"x");
        File::create(at("large")).unwrap().set_len(MAX_FILE_BYTES as u64).unwrap();
        assert_eq!(read(&at("large")).unwrap().len(), MAX_FILE_BYTES);
        assert_eq!(read_bounded(io::repeat(0)).unwrap(), None);
    }

    #[test]
    fn everything_else_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        symlink(dir.path(), at("dir")).unwrap();
        symlink("loop", at("loop")).unwrap();
        File::create(at("large")).unwrap().set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
        for (name, words) in [
            ("missing", "open PATH: no such file or directory"),
            ("fifo", "not a regular file"),
            ("socket", "open PATH: no such device or address"),
            ("device", "not a regular file"),
            ("dir", "read PATH: is a directory"),
            ("loop", "open PATH: too many levels of symbolic links"),
            ("large", "larger than 4194304 bytes"),
        ] {
            let error = read(&at(name)).unwrap_err();
            let expected = format!("error reading PATH: {words}").replace("PATH", at(name).to_str().unwrap());
            assert_eq!((error.to_string(), error.class()), (expected, ErrorClass::Config));
        }
    }
}
