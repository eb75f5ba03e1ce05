//! Every system call of every operation fails in turn, with every error that its manual page allows: the error says so,
//! nothing is left behind, and the same operation works afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde_json::json;

use super::journal::{Fault, counted, faulted};
use super::*;
use crate::call::Call;
use crate::error::{ErrorClass, Result};
use crate::testing;

/// How a call may fail; `EIO` is everybody's.
fn faults(call: &str) -> Vec<Fault> {
    let errnos: &[Errno] = match call {
        "open" => &[Errno::ACCESS, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR],
        "create" => &[
            Errno::ACCESS,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::INTR,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ROFS,
        ],
        "mkdir" | "rename" => &[Errno::ACCESS, Errno::DQUOT, Errno::NOMEM, Errno::NOSPC, Errno::ROFS],
        "chmod" | "unlink" | "access" => &[Errno::ACCESS, Errno::NOMEM, Errno::ROFS, Errno::PERM],
        "write" => &[Errno::DQUOT, Errno::NOSPC, Errno::INTR],
        "fsync" => &[Errno::DQUOT, Errno::NOSPC, Errno::ROFS, Errno::INTR],
        "lock" => &[Errno::INTR, Errno::NOLCK, Errno::WOULDBLOCK],
        "stat" => &[Errno::ACCESS, Errno::NOMEM],
        "read" => &[Errno::INTR],
        "read directory" => &[Errno::NOMEM, Errno::INTR],
        other => panic!("no errors are known of {other}"),
    };
    let short = (call == "write").then_some(Fault::Short);
    errnos.iter().chain(&[Errno::IO]).map(|errno| Fault::Errno(*errno)).chain(short).collect()
}

/// Whether a call that fails so is made again, or done without.
fn is_harmless(call: &str, fault: Fault) -> bool {
    let Fault::Errno(errno) = fault else { return true };
    match call {
        // No locks there; a sweep was quicker.
        "lock" if [Errno::NOLCK, Errno::WOULDBLOCK].contains(&errno) => true,
        // Refused by a seccomp filter.
        "access" if errno == Errno::PERM => true,
        _ => errno == Errno::INTR,
    }
}

fn entry(if_name: &str, config: &str) -> CacheEntry {
    CacheEntry {
        key: Key::parse("net", "c1", if_name).unwrap(),
        config: config.into(),
        netns: "/run/netns/c1".to_owned(),
        netns_id: None,
        cni_args: None,
        capability_args: serde_json::Map::new(),
        result: Some(json!({"cniVersion": "1.1.0"})),
        owner: None,
    }
}

fn old() -> CacheEntry {
    entry("eth0", "old")
}

fn new() -> CacheEntry {
    entry("eth0", "new")
}

struct Operation {
    name: &'static str,
    /// What is there before.
    arrange: fn(&Cache, &Path),
    run: fn(&Cache) -> Result<()>,
    /// Whether it did what it is for; asked where it says so.
    done: fn(&Cache, &Path) -> bool,
    /// Whether reading an entry is part of it and may fail without harm.
    lenient: bool,
}

fn intent() -> Intent {
    let attachments = vec![Intended { entry: new(), started: None, refused: false }];
    Intent { container_id: new().key.container_id, loopback: false, owner: None, of_earlier_boot: false, attachments }
}

/// What a set-up does of its own before the first plugin.
fn begin(cache: &Cache) -> Result<()> {
    cache.intents().begin(&intent())?.note(0, 1, None)
}

fn read_intent(cache: &Cache) -> Result<Option<Intent>> {
    match cache.intents().read(&new().key.container_id)? {
        Recorded::Nothing => Ok(None),
        Recorded::Intent(intent) => Ok(Some(intent)),
        Recorded::Torn(error) => Err(error),
    }
}

/// Intents and locks.
fn own_operations() -> Vec<Operation> {
    let nothing = |_: &Cache, _: &Path| ();
    let any = |_: &Cache, _: &Path| true;
    let with_intent = |cache: &Cache, _: &Path| begin(cache).unwrap();
    vec![
        Operation {
            name: "begin an intent",
            arrange: nothing,
            run: begin,
            done: |cache, _| read_intent(cache).unwrap().is_some_and(|intent| intent.attachments[0].started == Some(1)),
            lenient: true,
        },
        Operation {
            name: "keep an intent",
            arrange: with_intent,
            run: |cache| cache.intents().keep(&intent()),
            done: |cache, _| read_intent(cache).unwrap().is_some_and(|intent| intent.attachments[0].started.is_none()),
            lenient: true,
        },
        Operation {
            name: "read an intent",
            arrange: with_intent,
            run: |cache| {
                // Nobody knows how far it was where its progress cannot be read.
                let started = read_intent(cache)?.unwrap().attachments[0].started;
                assert!([None, Some(1)].contains(&started));
                Ok(())
            },
            done: any,
            lenient: true,
        },
        Operation {
            name: "remove an intent",
            arrange: with_intent,
            run: |cache| cache.intents().remove(&new().key.container_id),
            done: |cache, _| read_intent(cache).unwrap().is_none() && cache.intents().abandoned().unwrap().is_empty(),
            lenient: false,
        },
        Operation {
            name: "all intents",
            arrange: with_intent,
            run: |cache| {
                let (all, errors) = cache.intents().all()?;
                assert_eq!(all.len() + errors.len(), 1);
                if let Some(error) = crate::error::Error::joined(errors) {
                    return Err(error);
                }
                Ok(())
            },
            done: any,
            lenient: true,
        },
        Operation {
            name: "lock a pod",
            arrange: nothing,
            run: |cache| cache.locks().pod(&Call::default(), &new().key.container_id, "setup_pod").map(drop),
            done: any,
            lenient: true,
        },
    ]
}

fn operations() -> Vec<Operation> {
    let made = |_: &Cache, dir: &Path| dir.join("results").is_dir() && dir.join("cnirt").is_dir();
    let is_new = |cache: &Cache, _: &Path| matches!(cache.get(&old().key), Cached::Entry(entry) if *entry == new());
    let with_old = |cache: &Cache, _: &Path| cache.add(&old()).unwrap();
    let with_two = |cache: &Cache, dir: &Path| {
        cache.add(&old()).unwrap();
        fs::write(dir.join("results/net-c1-eth1"), "torn").unwrap();
    };
    let any = |_: &Cache, _: &Path| true;
    vec![
        Operation {
            name: "prepare",
            arrange: |_, _| (),
            run: |cache| cache.prepare(&old().key).map(drop),
            done: made,
            lenient: true,
        },
        Operation {
            name: "prepare over an entry",
            arrange: with_old,
            run: |cache| cache.prepare(&old().key).map(drop),
            done: made,
            lenient: true,
        },
        Operation { name: "add", arrange: |_, _| (), run: |cache| cache.add(&new()), done: is_new, lenient: true },
        Operation {
            name: "add over an entry",
            arrange: with_old,
            run: |cache| cache.add(&new()),
            done: is_new,
            lenient: true,
        },
        Operation {
            name: "get",
            arrange: with_old,
            run: |cache| match cache.get(&old().key) {
                Cached::Entry(entry) if *entry == old() => Ok(()),
                Cached::Unreadable(error) => Err(error),
                other => panic!("{other:?}"),
            },
            done: any,
            lenient: false,
        },
        Operation {
            name: "remove",
            arrange: with_old,
            run: |cache| cache.remove(&old().key),
            done: |cache, _| matches!(cache.get(&old().key), Cached::Missing),
            lenient: true,
        },
        Operation {
            name: "attachments",
            arrange: with_two,
            run: |cache| {
                // One that cannot be read is left out, with a warning.
                assert!(cache.attachments(None)?.iter().all(|entry| *entry == old()));
                Ok(())
            },
            done: any,
            lenient: true,
        },
        Operation {
            name: "broken",
            arrange: with_two,
            run: |cache| {
                assert!(cache.broken(&old().key.container_id)?.contains(&entry("eth1", "").key));
                Ok(())
            },
            done: any,
            lenient: true,
        },
        Operation {
            name: "sweep",
            arrange: |cache, dir| {
                cache.prepare(&old().key).unwrap();
                fs::write(dir.join("cnirt/tmp-1-2-3"), "torn").unwrap();
            },
            run: |cache| {
                cache.sweep();
                Ok(())
            },
            done: any,
            lenient: true,
        },
    ]
}

fn temporary_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("cnirt")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tmp-")).collect()
}

/// One operation in a directory of its own, with one call that fails.
fn try_point(operation: &Operation, skipped: usize, call: &str, fault: Fault) -> bool {
    let what = format!("{}: call {skipped}, {call}: {fault:?}", operation.name);
    let temp = testing::memory_dir();
    let dir = temp.path().join("cache");
    (operation.arrange)(&Cache::new(&dir, Durability::Atomic), &dir);
    let cache = Cache::new(&dir, Durability::Full);
    let before = cache.get(&old().key);
    let result = faulted(skipped, fault, || (operation.run)(&cache));

    let failed = match (&result, fault) {
        (Ok(()), _) => {
            assert!((operation.done)(&cache, &dir), "{what}");
            false
        }
        (Err(error), Fault::Errno(errno)) => {
            assert!(!is_harmless(call, fault), "{what}: {error}");
            let of_process = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].contains(&errno);
            let class = if of_process { ErrorClass::Io } else { ErrorClass::Cache };
            let words = error.to_string();
            let named = match call {
                "access" => words.starts_with("write to /"),
                "rename" => words.starts_with("rename to /"),
                "open" => words.starts_with("open /") || words.starts_with("read directory /"),
                _ => words.starts_with(&format!("{call} /")),
            };
            let path = words.contains(temp.path().to_str().unwrap());
            assert_eq!((error.class(), error.os_error()), (class, Some(errno.raw_os_error())), "{what}: {error}");
            assert!(named && path, "{what}: {words}");
            true
        }
        (Err(error), Fault::Short) => panic!("{what}: {error}"),
    };
    let of_process = matches!(fault, Fault::Errno(Errno::MFILE | Errno::NFILE | Errno::NOMEM));
    let changes = matches!(call, "create" | "mkdir" | "chmod" | "write" | "fsync" | "rename" | "unlink");
    // What is wrong with a file that is only in the way does not matter, nor that a temporary file stays.
    // A lock's holder is noted for messages only.
    let best_effort =
        ["sweep", "lock a pod"].contains(&operation.name) || operation.name.starts_with("prepare") && call == "unlink";
    if !is_harmless(call, fault) && !best_effort && (changes || of_process || !operation.lenient) {
        assert!(failed, "{what}: it must not go unnoticed");
    }

    // The old entry or the new one, and no third.
    match (&before, cache.get(&old().key)) {
        (_, Cached::Entry(entry)) if *entry == new() => assert!(operation.name.starts_with("add"), "{what}"),
        (Cached::Entry(_), Cached::Entry(entry)) => assert_eq!(*entry, old(), "{what}"),
        (Cached::Entry(_), Cached::Missing) => assert_eq!(operation.name, "remove", "{what}"),
        (Cached::Missing, Cached::Missing) => {}
        other => panic!("{what}: {other:?}"),
    }
    if call != "unlink" && operation.name != "sweep" {
        assert_eq!(temporary_files(&dir), [] as [PathBuf; 0], "{what}");
    }
    // A child that another test is starting has the file open, too, until it executes something.
    let end = Instant::now() + Duration::from_secs(10);
    cache.sweep();
    while !temporary_files(&dir).is_empty() {
        assert!(Instant::now() < end, "{what}: {:?}", temporary_files(&dir));
        cache.sweep();
    }

    (operation.run)(&cache).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert!((operation.done)(&cache, &dir), "{what}, again");
    failed
}

#[test]
fn each_call_fails_in_turn_with_each_error() {
    let (mut points, mut errors) = (0, 0);
    for operation in operations().into_iter().chain(own_operations()) {
        let temp = testing::memory_dir();
        let dir = temp.path().join("cache");
        (operation.arrange)(&Cache::new(&dir, Durability::Atomic), &dir);
        let (result, calls) = counted(|| (operation.run)(&Cache::new(&dir, Durability::Full)));
        result.unwrap();
        assert!(calls.len() >= 4, "{}: {calls:?}", operation.name);
        for (skipped, call) in calls.iter().enumerate() {
            for fault in faults(call) {
                errors += usize::from(try_point(&operation, skipped, call, fault));
                points += 1;
            }
        }
    }
    println!("{points} faults tried, {errors} of them reported as errors");
    assert!(points > 500 && errors > 200, "{points} {errors}");
}
