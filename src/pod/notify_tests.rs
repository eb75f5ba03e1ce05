//! Real directories. What a change puts in the queue is there when the system call returns, so nothing is waited for.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;

use super::*;
use crate::testing::{isolated, without_standard_fds};

fn readable(notifier: &Notifier) -> bool {
    let fd = notifier.fd();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
}

/// A directory deep enough that nothing beside it is ever of interest.
struct Node {
    _dir: TempDir,
    root: PathBuf,
    notifier: Notifier,
}

impl Node {
    /// The configuration is in `etc/cni/net.d`, plugins are in `opt/cni/bin`, and none of it is there.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        fs::create_dir_all(&root).unwrap();
        let notifier = Notifier::new(&root.join("etc/cni/net.d"), &[root.join("opt/cni/bin")]).unwrap();
        Self { _dir: dir, root, notifier }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn dir(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    fn write(&self, path: &str) {
        fs::write(self.at(path), path).unwrap();
    }

    fn link(&self, path: &str, to: impl AsRef<Path>) {
        symlink(to, self.at(path)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.at(path);
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    /// One walk sees all, and does not wake anybody itself.
    fn renew(&self) {
        self.notifier.renew();
        assert!(!readable(&self.notifier), "not quiet after a walk");
    }
}

/// A name, what is there before, and a change.
type Row<'a> = (&'a str, &'a dyn Fn(&Node), &'a dyn Fn(&Node));

/// Each change wakes a node that was quiet.
fn all_wake(rows: &[Row<'_>]) {
    for (name, before, change) in rows {
        let node = Node::new();
        assert!(readable(&node.notifier), "{name}: nobody knows what was before");
        before(&node);
        node.renew();
        change(&node);
        assert!(readable(&node.notifier), "{name}");
        node.renew();
    }
}

fn none(_: &Node) {}

/// A list, a directory of plugin files, and a plugin.
fn usual(node: &Node) {
    node.dir("etc/cni/net.d/net");
    node.dir("opt/cni/bin");
    node.write("etc/cni/net.d/10-net.conflist");
    node.write("etc/cni/net.d/net/1.conf");
    node.write("opt/cni/bin/bridge");
}

/// As a volume of a config map: `..data` leads to the version, and each file through it.
fn config_map(node: &Node) {
    node.dir("etc/cni/net.d/..1");
    node.dir("etc/cni/net.d/..2");
    node.write("etc/cni/net.d/..1/10.conflist");
    node.write("etc/cni/net.d/..2/10.conflist");
    node.link("etc/cni/net.d/..data", "..1");
    node.link("etc/cni/net.d/10.conflist", "..data/10.conflist");
}

fn linked_dir(node: &Node) {
    node.dir("v1");
    node.dir("v2");
    node.dir("etc/cni");
    node.write("v1/10.conflist");
    node.link("etc/cni/net.d", "../../v1");
}

#[test]
fn changes_of_files_wake() {
    all_wake(&[
        ("a file is made", &usual, &|node| node.write("etc/cni/net.d/20.conflist")),
        ("a file is written", &usual, &|node| node.write("etc/cni/net.d/10-net.conflist")),
        ("a file is replaced", &usual, &|node| {
            node.rename("etc/cni/net.d/net/1.conf", "etc/cni/net.d/10-net.conflist");
        }),
        ("a file is removed", &usual, &|node| node.remove("etc/cni/net.d/10-net.conflist")),
        ("a file is made readable", &usual, &|node| node.mode("etc/cni/net.d/10-net.conflist", 0o640)),
        ("a file is cut and nobody closes it", &usual, &|node| {
            rustix::fs::ftruncate(
                std::mem::ManuallyDrop::new(
                    File::options().write(true).open(node.at("etc/cni/net.d/10-net.conflist")).unwrap(),
                )
                .as_fd(),
                1,
            )
            .unwrap();
        }),
        ("a plugin's file is written", &usual, &|node| node.write("etc/cni/net.d/net/1.conf")),
        ("a directory of plugins' files is made", &usual, &|node| node.dir("etc/cni/net.d/net2")),
        ("a binary is made", &usual, &|node| node.write("opt/cni/bin/portmap")),
        ("a binary is written", &usual, &|node| node.write("opt/cni/bin/bridge")),
        ("a binary is made executable", &usual, &|node| node.mode("opt/cni/bin/bridge", 0o755)),
        ("a binary is removed", &usual, &|node| node.remove("opt/cni/bin/bridge")),
    ]);
}

#[test]
fn directories_that_come_and_go_wake() {
    all_wake(&[
        ("the first directory on the way is made", &none, &|node| node.dir("etc")),
        ("the last one is made", &|node| node.dir("etc/cni"), &|node| node.dir("etc/cni/net.d")),
        ("the way is moved there", &|node| node.dir("new/cni/net.d"), &|node| node.rename("new", "etc")),
        (
            "a file is where the directory belongs, and goes",
            &|node| {
                node.dir("etc/cni");
                node.write("etc/cni/net.d");
            },
            &|node| node.remove("etc/cni/net.d"),
        ),
        ("a file is on the way, and goes", &|node| node.write("etc"), &|node| node.remove("etc")),
        ("the directory is removed", &|node| node.dir("etc/cni/net.d"), &|node| node.remove("etc/cni/net.d")),
        ("the directory is moved away", &usual, &|node| node.rename("etc/cni/net.d", "away")),
        ("the way to it is moved away", &usual, &|node| node.rename("etc", "away")),
        ("the binaries' directory is made", &none, &|node| node.dir("opt")),
        ("the binaries' directory is removed", &usual, &|node| node.remove("opt/cni/bin")),
        ("a directory of plugins' files is removed", &usual, &|node| node.remove("etc/cni/net.d/net")),
    ]);
}

#[test]
fn links_that_lead_elsewhere_and_what_they_lead_to_wake() {
    let swap = |node: &Node, link: &str, to: &str| {
        node.link("new-link", to);
        node.rename("new-link", link);
    };
    all_wake(&[
        ("..data is swapped", &config_map, &|node| swap(node, "etc/cni/net.d/..data", "..2")),
        ("a file behind ..data is written", &config_map, &|node| node.write("etc/cni/net.d/..1/10.conflist")),
        ("the directory is swapped", &linked_dir, &|node| swap(node, "etc/cni/net.d", "../../v2")),
        ("a file in it is written", &linked_dir, &|node| node.write("v1/10.conflist")),
        (
            "a file is made in it after a swap",
            &|node| {
                linked_dir(node);
                node.renew();
                swap(node, "etc/cni/net.d", "../../v2");
            },
            &|node| node.write("v2/10.conflist"),
        ),
        ("what it leads to is removed", &linked_dir, &|node| node.remove("v1")),
        (
            "the way is a link, and is swapped",
            &|node| {
                node.dir("v1/cni/net.d");
                node.dir("v2/cni/net.d");
                node.link("etc", node.at("v1"));
            },
            &|node| swap(node, "etc", "v2"),
        ),
        (
            "what it leads to appears",
            &|node| {
                node.dir("etc/cni");
                node.link("etc/cni/net.d", node.at("later/x"));
            },
            &|node| node.dir("later"),
        ),
        (
            "a linked file appears",
            &|node| {
                usual(node);
                node.link("opt/cni/bin/calico", "../../../later/calico");
                node.dir("later");
            },
            &|node| node.write("later/calico"),
        ),
        (
            "a linked file is written elsewhere",
            &|node| {
                usual(node);
                node.dir("else");
                node.write("else/file");
                node.link("etc/cni/net.d/20.conf", node.at("else/file"));
            },
            &|node| node.write("else/file"),
        ),
        (
            "a file of a linked directory of plugins' files",
            &|node| {
                usual(node);
                node.dir("else");
                node.link("etc/cni/net.d/net2", node.at("else"));
            },
            &|node| node.write("else/1.conf"),
        ),
        (
            "a link that led to itself",
            &|node| {
                node.dir("etc/cni");
                node.link("etc/cni/net.d", "net.d");
            },
            &|node| node.remove("etc/cni/net.d"),
        ),
    ]);
}

/// A directory that somebody else has open, or mounted elsewhere, says nothing when it is removed.
#[test]
fn directories_that_somebody_holds_are_missed_and_found_again() {
    let node = Node::new();
    usual(&node);
    let _held = ["etc", "etc/cni", "etc/cni/net.d"].map(|dir| File::open(node.at(dir)).unwrap());
    node.remove("etc/cni/net.d/net");
    node.remove("etc/cni/net.d/10-net.conflist");
    node.renew();
    let remove: [(&str, &dyn Fn()); 7] = [
        ("net.d goes", &|| node.remove("etc/cni/net.d")),
        ("cni goes", &|| node.remove("etc/cni")),
        ("etc goes", &|| node.remove("etc")),
        ("etc comes", &|| node.dir("etc")),
        ("cni comes", &|| node.dir("etc/cni")),
        ("net.d comes", &|| node.dir("etc/cni/net.d")),
        ("a file comes", &|| node.write("etc/cni/net.d/10.conflist")),
    ];
    for (name, change) in remove {
        change();
        assert!(readable(&node.notifier), "{name}");
        node.renew();
    }
}

#[test]
fn looking_wakes_nobody_nor_does_what_happens_beside_the_way() {
    let node = Node::new();
    usual(&node);
    node.dir("etc/other");
    node.renew();
    fs::read(node.at("etc/cni/net.d/10-net.conflist")).unwrap();
    fs::read(node.at("opt/cni/bin/bridge")).unwrap();
    assert!(fs::read_dir(node.at("etc/cni/net.d")).unwrap().count() > 0);
    fs::metadata(node.at("etc/cni/net.d/net/1.conf")).unwrap();
    node.write("beside");
    node.write("etc/beside");
    node.write("etc/other/file");
    node.write("opt/beside");
    assert!(!readable(&node.notifier));
}

#[test]
fn watches_of_earlier_walks_are_given_up() {
    let node = Node::new();
    node.renew();
    // Both were watched for names while the directories below were missing.
    usual(&node);
    node.renew();
    node.write("beside");
    node.write("etc/beside");
    assert!(!readable(&node.notifier));
    node.dir("else");
    node.link("etc/cni/net.d/20.conf", node.at("else/file"));
    node.renew();
    node.remove("etc/cni/net.d/20.conf");
    node.renew();
    node.write("else/file");
    assert!(!readable(&node.notifier));
}

/// Runs `body` on a thread that may not look where modes forbid it, as root may.
fn as_anybody(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).unwrap();
            body();
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn what_must_not_be_read_wakes_when_it_may_be() {
    as_anybody(|| {
        for (path, mode) in [
            ("etc/cni/net.d", 0),
            ("etc/cni/net.d", 0o400),
            ("etc/cni/net.d", 0o100),
            ("etc/cni", 0),
            ("etc", 0o100),
            ("etc/cni/net.d/net", 0),
            ("etc/cni/net.d/10-net.conflist", 0),
            ("opt/cni/bin", 0),
        ] {
            let node = Node::new();
            usual(&node);
            node.renew();
            node.mode(path, mode);
            // Those above are watched for less: their other attributes, and those beside, would wake, too.
            assert!(readable(&node.notifier) || path.len() < 10, "{path} is shut: {mode:o}");
            node.renew();
            if path == "etc" {
                node.write("etc/cni/net.d/20.conf");
            } else {
                node.mode(path, 0o755);
            }
            assert!(readable(&node.notifier), "{path} is open: {mode:o}");
            node.renew();
        }
    });
}

#[test]
fn it_is_readable_again_after_a_call_that_could_not_tell() {
    let node = Node::new();
    usual(&node);
    for _ in 0..3 {
        node.renew();
        node.notifier.wake();
        assert!(readable(&node.notifier));
        node.renew();
        node.write("opt/cni/bin/bridge");
        assert!(readable(&node.notifier), "all is watched as before");
    }
}

/// Whatever came to be during the walks, its own changes wake once all is quiet.
#[test]
fn what_is_made_during_a_walk_is_watched() {
    let node = Node::new();
    for round in 0..60 {
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                for top in ["etc", "opt"] {
                    if node.at(top).exists() {
                        node.remove(top);
                    }
                }
                usual(&node);
                node.dir("else");
                node.link("etc/cni/net.d/net2", "../../../else");
            });
            start.wait();
            for _ in 0..=(round % 5) {
                node.notifier.renew();
            }
        });
        while readable(&node.notifier) {
            node.notifier.renew();
        }
        for file in ["etc/cni/net.d/net/1.conf", "opt/cni/bin/bridge", "else/1.conf"] {
            node.write(file);
            assert!(readable(&node.notifier), "round {round}: {file}");
            node.renew();
        }
    }
}

#[test]
fn more_directories_than_are_watched_do_no_harm() {
    let node = Node::new();
    for number in 0..MOST_WATCHES {
        node.dir(&format!("etc/cni/net.d/{number}"));
    }
    node.renew();
    assert_eq!(node.notifier.lock().flags.len(), MOST_WATCHES);
    assert!(node.notifier.lock().complained);
    node.write("etc/cni/net.d/10.conflist");
    assert!(readable(&node.notifier));
    node.renew();
}

#[test]
fn one_that_writes_without_end_holds_no_call() {
    let node = Node::new();
    usual(&node);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                node.write("etc/cni/net.d/10-net.conflist");
            }
        });
        for _ in 0..20 {
            node.notifier.renew();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    while readable(&node.notifier) {
        node.notifier.renew();
    }
}

#[test]
fn the_descriptor_is_a_good_guest() {
    isolated("pod::notify::tests::the_descriptor_is_a_good_guest", || {
        let number = without_standard_fds(|| {
            let notifier = Notifier::new(Path::new("/nonexistent"), &[]).unwrap();
            let flags = rustix::io::fcntl_getfd(notifier.fd()).unwrap();
            let status = rustix::fs::fcntl_getfl(notifier.fd()).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC) && status.contains(rustix::fs::OFlags::NONBLOCK));
            notifier.fd().as_raw_fd()
        });
        assert!(number > 2, "{number}");
        // SAFETY: a number only.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1, "it ends with its owner");

        let limit = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..limit }).unwrap();
        let error = Notifier::new(Path::new("/nonexistent"), &[]).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Io, "inotify_init1: too many open files"));
        assert!(error.hint().unwrap().contains("max_user_instances"));
    });
}
