//! What others put into the cache directory, and what killed processes leave there.

use std::fmt::{Debug, Write as _};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::tests::{cache, key, minimal, sample, unreadable};
use super::*;
use crate::testing;

/// Somebody else.
const STRANGER: u32 = 12_345;

/// What is logged, warnings and worse, a line an event.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<String>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Fields<'a>(&'a mut String);
        impl Visit for Fields<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut lines = self.0.lock().unwrap();
        event.record(&mut Fields(&mut lines));
        lines.push('\n');
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs `body`; answers what it warned of.
fn warnings<T>(body: impl FnOnce() -> T) -> (T, String) {
    let warnings = Warnings::default();
    let result = tracing::subscriber::with_default(warnings.clone(), body);
    let said = warnings.0.lock().unwrap().clone();
    (result, said)
}

fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped, as only root can make it: {what}");
    }
    root
}

fn make_fifo(file: &Path) {
    mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_no_entry_is_never_waited_for_and_stops_nothing() {
    type Row = (&'static str, bool, fn(&Path), &'static str);
    let rows: [Row; 8] = [
        ("a fifo", false, make_fifo, "is not a regular file"),
        ("a socket", false, |file| drop(UnixListener::bind(file).unwrap()), "is not a regular file"),
        (
            "a device",
            true,
            |file| mknodat(CWD, file, FileType::CharacterDevice, Mode::RUSR, makedev(1, 5)).unwrap(),
            "is not a regular file",
        ),
        (
            "a link to an entry",
            false,
            |file| {
                let target = file.with_file_name("target");
                fs::write(&target, r#"{"kind":"cniCacheV1"}"#).unwrap();
                symlink(target, file).unwrap();
            },
            "is not a regular file",
        ),
        ("a link to nothing", false, |file| symlink("/nowhere", file).unwrap(), "is not a regular file"),
        (
            "1 GiB of nothing",
            false,
            |file| fs::File::create(file).unwrap().set_len(1 << 30).unwrap(),
            "is larger than 16777216 bytes",
        ),
        (
            "a stranger's entry",
            true,
            |file| {
                fs::write(file, r#"{"kind":"cniCacheV1","networkName":"net","containerId":"c1","ifName":"eth0"}"#)
                    .unwrap();
                std::os::unix::fs::chown(file, Some(STRANGER), None).unwrap();
            },
            "belongs to user 12345: only this process's user and root are trusted",
        ),
        ("a directory", false, |file| fs::create_dir_all(file.join("full")).unwrap(), "is not a regular file"),
    ];
    for (name, needs_root, make, words) in rows {
        if needs_root && !is_root(name) {
            continue;
        }
        let (_temp, cache, results) = cache();
        let neighbour = CacheEntry { key: key("net", "c1", "eth1"), ..sample() };
        cache.add(&neighbour).unwrap();
        let key = minimal().key;
        let file = results.join("net-c1-eth0");
        make(&file);
        let is_directory = file.symlink_metadata().unwrap().is_dir();

        let error = unreadable(cache.get(&key));
        assert_eq!(error.class(), ErrorClass::Cache, "{name}");
        assert_eq!(error.to_string(), format!("{} {words}", file.display()), "{name}");

        let (listed, said) = warnings(|| cache.attachments(Some(&key.container_id)).unwrap());
        assert_eq!(listed, [neighbour], "{name}");
        assert!(said.contains(&format!("error={} {words}", file.display())), "{name}: {said}");
        let broken = cache.broken(&key.container_id).unwrap();
        assert_eq!(broken, if is_directory { Vec::new() } else { vec![key.clone()] }, "{name}");

        let (removed, said) = warnings(|| cache.remove(&key));
        removed.unwrap();
        assert_eq!(file.symlink_metadata().is_ok(), is_directory, "{name}");
        assert_eq!(said.contains(&format!("file={}", file.display())), is_directory, "{name}: {said}");
        if is_directory {
            let words = format!("cache file {} is a directory", file.display());
            for error in [cache.prepare(&key).unwrap_err(), cache.add(&minimal()).unwrap_err()] {
                assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words.clone()));
            }
            continue;
        }
        make(&file);
        cache.prepare(&key).unwrap();
        cache.add(&minimal()).unwrap();
        assert!(matches!(cache.get(&key), Cached::Entry(_)), "{name}");
    }
}

#[test]
fn nothing_is_written_or_read_through_a_link_in_the_cache_directory() {
    for (name, reads) in [("results", true), ("cnirt", false)] {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("tmp-1-a"), "").unwrap();
        symlink(outside.path(), temp.path().join(name)).unwrap();
        let cache = Cache::new(temp.path(), Durability::Full);
        let words = format!("{}/{name} is a symbolic link", temp.path().display());
        let mut errors = vec![cache.prepare(&minimal().key).unwrap_err(), cache.add(&minimal()).unwrap_err()];
        if reads {
            errors.extend([
                unreadable(cache.get(&minimal().key)),
                cache.remove(&minimal().key).unwrap_err(),
                cache.attachments(None).unwrap_err(),
                cache.broken(&minimal().key.container_id).unwrap_err(),
            ]);
        }
        for error in errors {
            assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words.clone()));
        }
        cache.sweep();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn directories_that_others_can_write_to_work_with_a_warning() {
    for (name, mode, owner, warns) in [
        ("ours", 0o700, None, false),
        ("everybody's", 0o777, None, true),
        ("everybody's, each with files of his own", 0o1777, None, false),
        ("a stranger's", 0o755, Some(STRANGER), true),
    ] {
        if owner.is_some() && !is_root(name) {
            continue;
        }
        let (temp, cache, results) = cache();
        for dir in [temp.path(), &results] {
            chmod(dir, mode);
            std::os::unix::fs::chown(dir, owner, None).unwrap();
        }
        let (prepared, said) = warnings(|| cache.prepare(&minimal().key));
        prepared.unwrap();
        assert_eq!(said.contains(&format!("dir={}", results.display())), warns, "{name}: {said}");
        cache.add(&minimal()).unwrap();
        assert_eq!(cache.attachments(None).unwrap(), [minimal()], "{name}");
        cache.remove(&minimal().key).unwrap();
    }
}

/// A cache with its directory for temporary files.
fn temporary() -> (TempDir, Cache, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("cnirt");
    fs::create_dir(&dir).unwrap();
    let cache = Cache::new(temp.path(), Durability::Atomic);
    (temp, cache, dir)
}

fn names(dir: &Path) -> Vec<OsString> {
    Dir::open(dir).unwrap().unwrap().names().unwrap()
}

#[test]
fn a_sweep_takes_what_a_killed_process_left_and_nothing_of_a_living_one() {
    const VARIABLE: &str = "CNIRT_TEST_WRITER";
    if let Some(dir) = std::env::var_os(VARIABLE) {
        let dir = Arc::new(Dir::open(Path::new(&dir)).unwrap().unwrap());
        let _file = Temporary::create(&dir).unwrap();
        println!("\nwriting");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        unreachable!("it is killed before");
    }
    let (_temp, cache, dir) = temporary();
    let test = "store::cache::disk_tests::a_sweep_takes_what_a_killed_process_left_and_nothing_of_a_living_one";
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(testing::arguments(test))
        .env(VARIABLE, &dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "writing"));
    let own = Arc::new(Dir::open(&dir).unwrap().unwrap());
    let living = Temporary::create(&own).unwrap();
    cache.sweep();
    assert_eq!(names(&dir).len(), 2);
    writer.kill().unwrap();
    writer.wait().unwrap();
    cache.sweep();
    assert_eq!(names(&dir).len(), 1);
    drop(living);
    assert_eq!(names(&dir).len(), 0);
}

#[test]
fn what_a_dead_process_closes_late_is_waited_for() {
    let (_temp, cache, dir) = temporary();
    let file = fs::File::create(dir.join("tmp-1-2-3")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(file);
        });
        cache.sweep_behind_the_dead(&crate::call::Call::default());
    });
    assert_eq!(names(&dir).len(), 0);
}

#[test]
fn a_sweep_leaves_what_is_no_temporary_file_and_ends() {
    let (_temp, cache, dir) = temporary();
    make_fifo(&dir.join("tmp-fifo"));
    symlink("lock", dir.join("tmp-link")).unwrap();
    for other in ["tmp-dir", "intents"] {
        fs::create_dir(dir.join(other)).unwrap();
    }
    fs::write(dir.join("lock"), "").unwrap();
    for number in 0..1100 {
        fs::write(dir.join(format!("tmp-1-{number}")), "").unwrap();
    }
    cache.sweep();
    assert!((105..=108).contains(&names(&dir).len()), "{}", names(&dir).len());
    cache.sweep();
    assert_eq!(names(&dir), ["intents", "lock", "tmp-dir", "tmp-fifo", "tmp-link"]);
    Cache::new(dir.join("missing"), Durability::Full).sweep();
    assert!(!dir.join("missing").exists());
}

#[test]
fn sweeps_beside_writers_take_nothing_of_theirs() {
    let (_temp, cache, dir) = temporary();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                cache.sweep();
            }
        });
        for _ in 0..500 {
            cache.prepare(&minimal().key).unwrap();
            cache.add(&minimal()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&dir).len(), 0);
}
