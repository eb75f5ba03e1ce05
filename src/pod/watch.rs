//! Whether the configuration may have changed: what `stat` says of the directory, its files, and the plugin directories.
//!
//! No thread and no watch: a directory may vanish, come back, or be swapped by a symlink, and the next call sees it. What
//! wakes an event loop meanwhile is `notify`.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::listing;

/// Two states with equal fingerprints are the same configuration, unless one was taken too early to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    files: Vec<Seen>,
    /// False where a file was so young that a second write could leave the same time stamps.
    settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    /// Of a symbolic link itself: one that was swapped and swapped back leads to the same file, but something else may
    /// have been read meanwhile.
    link: Option<Stat>,
    /// Symbolic links followed.
    file: Option<Stat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Beyond the granularity of time stamps on any file system that configurations are kept on.
const SETTLING: Duration = Duration::from_millis(50);
/// Of a directory with more entries than this only the first ones are looked at, and itself.
pub(super) const MOST_ENTRIES: usize = 4096;

impl Fingerprint {
    /// The state now. Take it before reading the files, not after.
    pub(super) fn take(conf_dir: &Path, bin_dirs: &[PathBuf]) -> Self {
        let mut files = Vec::new();
        // Plugins in files of their own are one level down, in a directory named as the network.
        add(&mut files, conf_dir, 2);
        for dir in bin_dirs {
            add(&mut files, dir, 1);
        }
        let stats = files.iter().flat_map(|seen| seen.link.iter().chain(&seen.file));
        let newest = stats.map(|stat| stat.changed.max(stat.modified)).max();
        let settled = newest.is_none_or(|newest| is_settled(newest, SystemTime::now()));
        Self { files, settled }
    }

    /// Whether nothing changed that can be seen, between one taken and the other.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// Whether a state read under `self` still holds under `now`.
    pub(super) fn holds(&self, now: &Self) -> bool {
        self.settled && self.equals(now)
    }
}

/// Whether a time stamp is old enough that a later write must leave another. One in the future says nothing about when
/// the next write will be; it counts as settled, or every call would read everything.
fn is_settled((seconds, nanoseconds): (i64, i64), now: SystemTime) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return true };
    let age = now.duration_since(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds));
    age.map_or(true, |age| age > SETTLING)
}

fn add(files: &mut Vec<Seen>, path: &Path, depth: u8) {
    let itself = std::fs::symlink_metadata(path).ok();
    let is_link = itself.as_ref().is_some_and(std::fs::Metadata::is_symlink);
    let metadata = if is_link { std::fs::metadata(path).ok() } else { itself.clone() };
    let link = itself.filter(|_| is_link).as_ref().map(stat);
    files.push(Seen { path: path.to_owned(), link, file: metadata.as_ref().map(stat) });
    if depth == 0 || !metadata.is_some_and(|metadata| metadata.is_dir()) {
        return;
    }
    let Ok(entries) = listing::entries(path, MOST_ENTRIES) else { return };
    let mut names: Vec<OsString> = entries.into_iter().map(|(name, _)| name).collect();
    names.sort();
    for name in names {
        add(files, &path.join(name), depth - 1);
    }
}

fn stat(metadata: &std::fs::Metadata) -> Stat {
    Stat {
        device: metadata.dev(),
        inode: metadata.ino(),
        mode: metadata.mode(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A fingerprint that counts as settled whatever the age of its files.
    fn settled(conf_dir: &Path, bin_dir: &Path) -> Fingerprint {
        Fingerprint { settled: true, ..Fingerprint::take(conf_dir, &[bin_dir.to_owned()]) }
    }

    #[test]
    fn every_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (conf, bin) = (dir.path().join("conf"), dir.path().join("bin"));
        let changes: &[(&str, &dyn Fn())] = &[
            ("plugin directory made", &|| fs::create_dir(&bin).unwrap()),
            ("directory made", &|| fs::create_dir(&conf).unwrap()),
            ("file made", &|| fs::write(conf.join("a.conf"), "1").unwrap()),
            ("file grown", &|| fs::write(conf.join("a.conf"), "12").unwrap()),
            ("file swapped for one of the same size", &|| {
                fs::write(dir.path().join("new"), "34").unwrap();
                fs::rename(dir.path().join("new"), conf.join("a.conf")).unwrap();
            }),
            ("directory of plugin files", &|| fs::create_dir(conf.join("net")).unwrap()),
            ("plugin file", &|| fs::write(conf.join("net/1.conf"), "1").unwrap()),
            ("plugin file changed", &|| fs::write(conf.join("net/1.conf"), "12").unwrap()),
            ("symlink", &|| {
                fs::write(dir.path().join("target1"), "1").unwrap();
                symlink(dir.path().join("target1"), conf.join("b.conf")).unwrap();
            }),
            ("symlink's target", &|| fs::write(dir.path().join("target1"), "12").unwrap()),
            ("symlink swapped for one that leads to the same", &|| {
                symlink(dir.path().join("target1"), dir.path().join("new")).unwrap();
                fs::rename(dir.path().join("new"), conf.join("b.conf")).unwrap();
            }),
            ("binary", &|| fs::write(bin.join("bridge"), "").unwrap()),
            ("file gone", &|| fs::remove_file(conf.join("a.conf")).unwrap()),
            ("directory gone", &|| fs::remove_dir_all(&conf).unwrap()),
        ];
        for (name, change) in changes {
            let before = settled(&conf, &bin);
            assert!(before.holds(&settled(&conf, &bin)), "before: {name}");
            change();
            assert!(!before.holds(&settled(&conf, &bin)), "{name}");
        }
    }

    #[test]
    fn a_file_written_a_moment_ago_is_read_once_more() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.conf"), "1").unwrap();
        let young = Fingerprint::take(dir.path(), &[]);
        assert!(!young.holds(&young.clone()));
    }

    #[test]
    fn time_stamps_settle_after_a_moment_and_those_of_the_future_at_once() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        for (stamp, settled) in
            [((99, 0), true), ((99, 990_000_000), false), ((100, 0), false), ((101, 0), true), ((-1, 0), true)]
        {
            assert_eq!(is_settled(stamp, now), settled, "{stamp:?}");
        }
    }
}
