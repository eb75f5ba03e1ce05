//! Each operation has a file description of its own, so that two of one process are to each other what processes are.

use std::os::fd::AsRawFd;
use std::time::Instant;

use tempfile::TempDir;

use super::*;

fn pod(id: &str) -> ContainerId {
    ContainerId::parse(id).unwrap()
}

fn locks() -> (TempDir, Locks) {
    let temp = tempfile::tempdir().unwrap();
    let dir = OwnDir::new(&temp.path().join("cache"), Durability::Full);
    (temp, Locks::new(dir))
}

fn hasty() -> Call {
    Call::with_timeout(Some(Duration::from_millis(5)))
}

fn holders(locks: &Locks) -> usize {
    locks.dir.open_child(HOLDERS).unwrap().map_or(0, |dir| dir.names().unwrap().len())
}

#[test]
fn offsets_are_those_of_fnv_1a() {
    // The published values of the hash, without the uppermost bit.
    assert_eq!(offset_of(&pod("a")), 0x2f63_dc4c_8601_ec8c);
    assert_eq!(offset_of(&pod("foobar")), 0x0594_4171_f739_67e8);
}

#[test]
fn one_pod_is_worked_on_by_one_and_the_others_wait_with_a_message() {
    let (_temp, locks) = locks();
    let first = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    drop(locks.pod(&hasty(), &pod("b"), "setup_pod").unwrap());
    assert!(locks.try_pod(&Call::default(), &pod("a"), "gc").unwrap().is_none());
    let error = locks.pod(&hasty(), &pod("a"), "teardown_pod").unwrap_err();
    let pid = std::process::id();
    let words = format!("waiting for pod a, which this process, {pid} (setup_pod a) works on: timed out after 5 ms");
    assert_eq!((error.class(), error.to_string()), (ErrorClass::Timeout, words));
    let cancelled = Call::default();
    cancelled.cancel.cancel();
    assert_eq!(locks.pod(&cancelled, &pod("a"), "x").unwrap_err().class(), ErrorClass::Cancelled);
    assert_eq!(holders(&locks), 1);
    drop(first);
    drop(locks.pod(&hasty(), &pod("a"), "teardown_pod").unwrap());
    assert_eq!(holders(&locks), 0);
}

#[test]
fn who_waits_goes_on_when_the_lock_is_free() {
    let (_temp, locks) = locks();
    let first = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| locks.pod(&Call::default(), &pod("a"), "teardown_pod").map(drop));
        drop(first);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn gc_is_alone_but_never_stands_before_a_pods_operation() {
    let (_temp, locks) = locks();
    let first = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    let error = locks.gc(&hasty(), "gc").unwrap_err();
    let words = format!(
        "waiting until nobody works on a pod; this process, {} (setup_pod a) does: timed out after 5 ms",
        std::process::id()
    );
    assert_eq!((error.class(), error.to_string()), (ErrorClass::Timeout, words));
    let call = Call::default();
    std::thread::scope(|scope| {
        let gc = scope.spawn(|| locks.gc(&call, "gc").map(drop));
        drop(locks.pod(&Call::default(), &pod("b"), "setup_pod").unwrap());
        assert!(!gc.is_finished());
        drop(first);
        gc.join().unwrap().unwrap();
    });
    let gc = locks.gc(&Call::default(), "gc").unwrap();
    let error = locks.pod(&hasty(), &pod("a"), "setup_pod").unwrap_err();
    assert!(error.to_string().starts_with("waiting for GC, which this process"), "{error}");
    assert_eq!(holders(&locks), 1, "who gave up is not noted");
    drop(gc);
    drop(locks.pod(&hasty(), &pod("a"), "setup_pod").unwrap());
}

#[test]
fn a_file_that_is_cleared_away_divides_nobody() {
    let (_temp, locks) = locks();
    let first = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    std::fs::remove_dir_all(locks.dir.path()).unwrap();
    // Nobody can know of the first one any more; but the next two know of each other.
    let second = locks.pod(&hasty(), &pod("a"), "setup_pod").unwrap();
    assert!(locks.try_pod(&Call::default(), &pod("a"), "gc").unwrap().is_none());
    drop((first, second));
}

#[test]
fn a_copy_of_the_description_does_not_keep_the_lock() {
    let (_temp, locks) = locks();
    let first = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    let copy = first.file.try_clone().unwrap();
    drop(first);
    drop(locks.pod(&hasty(), &pod("a"), "setup_pod").unwrap());
    assert!(copy.as_raw_fd() > 2);
}

#[test]
fn the_notes_of_dead_holders_are_swept_and_those_of_living_ones_are_not() {
    let (_temp, locks) = locks();
    let living = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    let dead = Holder::current("setup_pod", "b");
    note(&locks.dir.make().unwrap(), offset_of(&pod("b")), &dead).unwrap();
    assert_eq!(holders(&locks), 2);
    locks.sweep().unwrap();
    assert_eq!(holders(&locks), 1);
    assert!(locks.try_pod(&Call::default(), &pod("a"), "gc").unwrap().is_none());
    drop(living);
}

#[test]
fn waiting_does_not_take_the_processors_time() {
    let (_temp, locks) = locks();
    let _first = locks.pod(&Call::default(), &pod("a"), "setup_pod").unwrap();
    let (call, begun) = (Call::default(), Instant::now());
    let mut attempts = 0;
    wait(&call, &String::new, || {
        attempts += 1;
        Ok(begun.elapsed() > Duration::from_millis(100))
    })
    .unwrap();
    assert!((2..=12).contains(&attempts), "{attempts}");
}
