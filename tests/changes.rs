//! A node becomes ready when its files say so, whatever was there before: the next call sees it, and the descriptor for
//! event loops wakes. Real directories, and plugins that are shell scripts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cnirt::pod::{Hooks, PluginManager, PluginOptions, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Is ready, and says so in every version.
const PLUGIN: &str = "#!/bin/sh\n[ $CNI_COMMAND != VERSION ] ||
    echo '{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"1.0.0\",\"1.1.0\"]}'\n";

/// A directory with room for `net.d` and `bin`, deep enough that nothing beside it is of interest.
struct Node {
    _dir: TempDir,
    root: PathBuf,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("opt/bin")).unwrap();
        Self { _dir: dir, root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Puts a file there at once, its directory too.
    fn put(&self, path: &str, content: &str) {
        let (path, new) = (self.at(path), self.at("new"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, path).unwrap();
    }

    fn put_list(&self, path: &str, name: &str, types: &[&str]) {
        self.put(path, &list(name, types).to_string());
    }

    /// Puts a symbolic link there at once.
    fn link(&self, path: &str, to: &str) {
        symlink(to, self.at("new-link")).unwrap();
        fs::rename(self.at("new-link"), self.at(path)).unwrap();
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    fn manager(&self) -> PluginManager {
        let options = json!({"confDir": self.at("etc/net.d"), "binDirs": [self.at("opt/bin")], "loopback": false,
                             "cacheDir": self.at("cache")});
        PluginManager::new(PluginOptions::from_json(&options.to_string()).unwrap(), Hooks::default()).unwrap()
    }
}

fn list(name: &str, types: &[&str]) -> Value {
    let plugins: Vec<Value> = types.iter().map(|plugin_type| json!({"type": plugin_type})).collect();
    json!({"name": name, "cniVersion": "1.1.0", "plugins": plugins})
}

/// Whether it wakes an event loop that waits so long.
fn wakes(manager: &PluginManager, limit: Duration) -> bool {
    let fd = manager.changes().unwrap();
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

fn is_quiet(manager: &PluginManager) -> bool {
    !wakes(manager, Duration::ZERO)
}

/// The default network where all is well, else why not.
fn told(status: &Status) -> String {
    match (&status.last_load.error, &status.reason, &status.default_network) {
        (None, None, Some(network)) if status.ready => network.clone(),
        (error, reason, _) => format!("{error:?} {reason:?}"),
    }
}

/// A name, what is there at first, the change, and the network afterwards; or part of what is wrong then.
type Row<'a> = (&'a str, &'a dyn Fn(&Node), &'a (dyn Fn(&Node) + Sync), &'a str);

/// Each change is seen by the next call, and by the one that the descriptor asks for.
fn all_are_seen(rows: &[Row<'_>]) {
    for (name, before, change, expected) in rows {
        let node = Node::new();
        before(&node);
        let (asked, loops) = (node.manager(), node.manager());
        asked.status().unwrap();
        assert!(wakes(&loops, Duration::ZERO), "{name}: a loop begins by asking");
        let first = told(&loops.status().unwrap());
        assert!(is_quiet(&loops), "{name}: asking wakes nobody");
        assert!(!first.contains(expected), "{name}: {first} already");

        std::thread::scope(|scope| {
            scope.spawn(|| change(&node));
            assert!(wakes(&loops, Duration::from_secs(60)), "{name}: does not wake");
        });
        for (way, manager) in [("the next call", &asked), ("the loop", &loops)] {
            let status = manager.status().unwrap();
            assert!(told(&status).contains(expected), "{name}, {way}: {status:?}");
        }
        assert!(is_quiet(&loops), "{name}: not quiet when all is told");
    }
}

fn usual(node: &Node) {
    node.put("opt/bin/one", PLUGIN);
    node.put("opt/bin/two", PLUGIN);
    node.put_list("etc/net.d/10.conflist", "net-a", &["one"]);
}

fn net_b(node: &Node) {
    node.put_list("etc/net.d/10.conflist", "net-b", &["one", "two"]);
}

/// Versions of all files in directories of their own, as a volume of a config map; `..data` leads to one.
fn config_map(node: &Node) {
    node.put("opt/bin/one", PLUGIN);
    node.put("opt/bin/two", PLUGIN);
    for (version, name, plugin_type) in [("1", "net-a", "one"), ("2", "net-b", "two")] {
        node.put_list(&format!("etc/net.d/..{version}/10.conflist"), name, &[plugin_type]);
    }
    node.link("etc/net.d/..data", "..1");
    node.link("etc/net.d/10.conflist", "..data/10.conflist");
}

#[test]
fn binaries_that_appear_late_make_a_node_ready() {
    all_are_seen(&[
        (
            "binaries that appear after the configuration",
            &|node| net_b(node),
            &|node| {
                node.put("opt/bin/one", PLUGIN);
                node.put("opt/bin/two", PLUGIN);
            },
            "net-b",
        ),
        (
            "a directory of binaries, too",
            &|node| {
                net_b(node);
                fs::remove_dir(node.at("opt/bin")).unwrap();
            },
            &|node| {
                node.put("opt/bin/one", PLUGIN);
                node.put("opt/bin/two", PLUGIN);
            },
            "net-b",
        ),
        (
            "a binary that becomes executable",
            &|node| {
                usual(node);
                node.mode("opt/bin/one", 0o644);
            },
            &|node| node.mode("opt/bin/one", 0o755),
            "net-a",
        ),
    ]);
}

#[test]
fn directories_that_come_go_and_are_swapped_are_followed() {
    all_are_seen(&[
        (
            "no directory at all",
            &|node| {
                node.put("opt/bin/one", PLUGIN);
                fs::remove_dir(node.at("etc")).unwrap();
            },
            &|node| node.put_list("etc/net.d/10.conflist", "net-a", &["one"]),
            "net-a",
        ),
        (
            "a directory deleted and made again",
            &usual,
            &|node| {
                fs::remove_dir_all(node.at("etc/net.d")).unwrap();
                net_b(node);
            },
            "net-b",
        ),
        (
            "with the one above it",
            &usual,
            &|node| {
                fs::remove_dir_all(node.at("etc")).unwrap();
                net_b(node);
            },
            "net-b",
        ),
        (
            "a directory that is gone",
            &usual,
            &|node| fs::remove_dir_all(node.at("etc")).unwrap(),
            "no networks found in",
        ),
        (
            "a file where the directory belongs",
            &|node| {
                node.put("opt/bin/one", PLUGIN);
                node.put("etc/net.d", "");
            },
            &|node| {
                fs::remove_file(node.at("etc/net.d")).unwrap();
                node.put_list("etc/net.d/10.conflist", "net-a", &["one"]);
            },
            "net-a",
        ),
        ("..data swapped", &config_map, &|node| node.link("etc/net.d/..data", "..2"), "net-b"),
        (
            "the directory swapped",
            &|node| {
                usual(node);
                fs::rename(node.at("etc/net.d"), node.at("v1")).unwrap();
                node.link("etc/net.d", "../v1");
                node.put_list("v2/10.conflist", "net-b", &["two"]);
            },
            &|node| node.link("etc/net.d", "../v2"),
            "net-b",
        ),
    ]);
}

#[test]
fn files_that_are_repaired_make_a_node_ready() {
    all_are_seen(&[
        (
            "a broken file repaired",
            &|node| {
                usual(node);
                node.put("etc/net.d/10.conflist", "{");
            },
            &|node| node.put_list("etc/net.d/10.conflist", "net-a", &["one"]),
            "net-a",
        ),
        (
            "a broken file repaired in place",
            &|node| {
                usual(node);
                node.put("etc/net.d/10.conflist", "{");
            },
            &|node| fs::write(node.at("etc/net.d/10.conflist"), list("net-a", &["one"]).to_string()).unwrap(),
            "net-a",
        ),
        (
            "an empty file that is filled",
            &|node| {
                usual(node);
                node.put("etc/net.d/10.conflist", "");
            },
            &|node| net_b(node),
            "net-b",
        ),
        (
            "a fifo that becomes a file",
            &|node| {
                usual(node);
                fs::remove_file(node.at("etc/net.d/10.conflist")).unwrap();
                rustix::fs::mkfifoat(rustix::fs::CWD, node.at("etc/net.d/10.conflist"), 0o600.into()).unwrap();
            },
            &|node| net_b(node),
            "net-b",
        ),
        (
            "plugins in files of their own",
            &|node| {
                node.put("opt/bin/one", PLUGIN);
                node.put("etc/net.d/10.conflist", r#"{"name": "net-a", "cniVersion": "1.1.0"}"#);
            },
            &|node| node.put("etc/net.d/net-a/1.conf", r#"{"type": "one"}"#),
            "net-a",
        ),
    ]);
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
fn what_must_not_be_read_is_read_when_it_may_be() {
    let shut = |path: &'static str| {
        move |node: &Node| {
            usual(node);
            node.mode(path, 0);
        }
    };
    as_anybody(|| {
        all_are_seen(&[
            ("a directory", &shut("etc/net.d"), &|node| node.mode("etc/net.d", 0o755), "net-a"),
            ("the one above it", &shut("etc"), &|node| node.mode("etc", 0o755), "net-a"),
            ("a file", &shut("etc/net.d/10.conflist"), &|node| node.mode("etc/net.d/10.conflist", 0o644), "net-a"),
            ("the binaries", &shut("opt/bin"), &|node| node.mode("opt/bin", 0o755), "net-a"),
            ("a directory that is shut", &usual, &|node| node.mode("etc/net.d", 0), "permission denied"),
        ]);
    });
}

/// The network that a status is about, every part of which must be of one version of the files.
fn whole(status: &Status) -> &str {
    assert!(status.ready && status.last_load.ok && status.networks.len() == 1, "{status:?}");
    let network = &status.networks[0];
    let types: Vec<&str> = network.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect();
    let expected: &[&str] = if network.name == "net-a" { &["one", "one"] } else { &["two", "two"] };
    assert!(network.valid && types == expected, "{status:?}");
    assert_eq!(status.default_network.as_deref(), Some(network.name.as_str()), "{status:?}");
    &network.name
}

#[test]
fn a_file_that_is_replaced_without_end_is_always_whole() {
    let node = Node::new();
    usual(&node);
    // Long enough that reading takes more than one system call.
    let text = |name: &str, plugin_type: &str| {
        let mut text = list(name, &[plugin_type, plugin_type]);
        text["padding"] = json!("x".repeat(300_000));
        text.to_string()
    };
    let texts = [text("net-a", "one"), text("net-b", "two")];
    node.put("etc/net.d/10.conflist", &texts[0]);
    let (manager, ended) = (node.manager(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut times = 0;
            for text in texts.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                node.put("etc/net.d/10.conflist", text);
                times += 1;
            }
            times
        });
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut seen = [0, 0];
            while seen[0] < 20 || seen[1] < 20 {
                for status in [manager.status(), manager.reload()] {
                    seen[usize::from(whole(&status.unwrap()) == "net-b")] += 1;
                }
            }
            seen
        }));
        ended.store(true, Ordering::Relaxed);
        let times = writer.join().unwrap();
        let seen = seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("{times} replacements, {seen:?} seen");
    });
}

#[test]
fn files_that_are_swapped_together_are_read_together() {
    let node = Node::new();
    node.put("opt/bin/one", PLUGIN);
    node.put("opt/bin/two", PLUGIN);
    // The list in one file, its second plugin in another, each version in a directory that goes with it.
    let version = |number: usize| {
        let (name, plugin_type) = if number.is_multiple_of(2) { ("net-a", "one") } else { ("net-b", "two") };
        node.put_list(&format!("v{number}/10.conflist"), name, &[plugin_type]);
        node.put(&format!("v{number}/{name}/1.conf"), &json!({"type": plugin_type}).to_string());
        node.link("etc/net.d", &format!("../v{number}"));
        if number > 0 {
            fs::remove_dir_all(node.at(&format!("v{}", number - 1))).unwrap();
        }
    };
    version(0);
    let manager = node.manager();
    for number in 1..60 {
        std::thread::scope(|scope| {
            let swap = scope.spawn(|| version(number));
            while !swap.is_finished() {
                whole(&manager.reload().unwrap());
            }
        });
        assert_eq!(whole(&manager.status().unwrap()), ["net-a", "net-b"][number % 2]);
    }
}

#[test]
fn a_status_that_fails_and_a_set_up_keep_the_loop_awake() {
    let node = Node::new();
    usual(&node);
    let manager = node.manager();
    let request = |netns: &str| {
        let request = json!({"id": "pod", "netns": netns});
        cnirt::pod::PodRequest::from_json(&request.to_string()).unwrap()
    };
    assert!(!is_quiet(&manager));
    let _ = manager.setup_pod(&request("/nonexistent"));
    assert!(!is_quiet(&manager), "a set-up tells nothing of the configuration");
    manager.status().unwrap();
    assert!(is_quiet(&manager));

    let options = json!({"confDir": node.at("etc/net.d"), "binDirs": [node.at("opt/bin")], "timeoutMs": 1,
                         "cacheDir": node.at("cache")});
    node.put("opt/bin/one", "#!/bin/sh\nexec sleep 600\n");
    let slow = PluginManager::new(PluginOptions::from_json(&options.to_string()).unwrap(), Hooks::default()).unwrap();
    assert!(!is_quiet(&slow));
    for _ in 0..2 {
        assert_eq!(slow.status().unwrap_err().class(), cnirt::ErrorClass::Timeout);
        assert!(!is_quiet(&slow), "what a call could not tell is still to be told");
    }
}
