//! A power cut at any moment of a set-up, a teardown or a GC: from every disk that it may leave, each of the three ends
//! with nothing left.
//!
//! The plugins' own state survives as they wrote it, which is the worst case: what they hold must be known.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tests::read_exec;
use super::*;
use crate::error::{Cause, Error, ErrorClass};
use crate::invoke::callback::PluginCallbacks;
use crate::store::journal::{self, Op};
use crate::store::power_cut::{self, Disk, State};
use crate::testing;

const NETNS: &str = "/proc/self/ns/net";

/// Plugins that hold a file for each attachment until its DEL, as host-local does.
struct Plugins {
    ledger: PathBuf,
    /// "type COMMAND" of those that fail.
    failing: &'static [&'static str],
}

impl Plugins {
    fn fails(&self, plugin: &str, command: &str) -> bool {
        self.failing.contains(&format!("{plugin} {command}").as_str())
    }

    fn run(&self, plugin: &str, env: &HashMap<String, String>, stdin: &Value) -> Result<Value> {
        let fails =
            |msg: &str| Err(Error::from_cause(Cause { code: 999, msg: msg.to_owned(), details: String::new() }));
        let variable = |key: &str| env[key].as_str();
        let (network, version) = (stdin["name"].as_str().unwrap(), &stdin["cniVersion"]);
        let file = format!("{network}-{plugin}-{}-{}", variable("CNI_CONTAINERID"), variable("CNI_IFNAME"));
        let claim = self.ledger.join(file);
        match variable("CNI_COMMAND") {
            "ADD" => {
                if claim.exists() {
                    return fails("duplicate allocation is not allowed");
                }
                std::fs::write(&claim, "").unwrap();
                journal::record(|| Op::Claim(claim, true));
                if self.fails(plugin, "ADD") {
                    return fails("no");
                }
                Ok(json!({"cniVersion": version, "ips": [{"version": "4", "address": "10.0.0.2/24"}]}))
            }
            "DEL" if self.fails(plugin, "DEL") => fails("no"),
            "DEL" => {
                if std::fs::remove_file(&claim).is_ok() {
                    journal::record(|| Op::Claim(claim, false));
                }
                Ok(Value::Null)
            }
            _ => Ok(Value::Null),
        }
    }
}

impl PluginCallbacks for Plugins {
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let call: Value = serde_json::from_str(call).unwrap();
        Some(Ok(format!("/fake/{}", call["type"].as_str().unwrap()).into()))
    }

    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let (plugin, env, stdin) = read_exec(&serde_json::from_str(call).unwrap());
        let answer = if env["CNI_COMMAND"] == "VERSION" {
            Ok(json!({"cniVersion": "1.1.0", "supportedVersions": crate::version::ALL}))
        } else {
            self.run(&plugin, &env, &stdin)
        };
        Some(answer.map(|value| value.to_string().into_bytes()))
    }
}

/// The configuration, which no power cut touches: two networks of two plugins each. 1.0.0 has no GC of the plugins' own,
/// which would do the work of the GC here.
fn configuration() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, name, types) in [("10.conflist", "a", ["a1", "a2"]), ("20.conflist", "b", ["b1", "b2"])] {
        let plugins = types.map(|plugin_type| json!({"type": plugin_type}));
        let list = json!({"name": name, "cniVersion": "1.0.0", "plugins": plugins});
        std::fs::write(dir.path().join(file), list.to_string()).unwrap();
    }
    dir
}

/// A manager over the disk at `root`.
fn manager(conf: &TempDir, root: &Path, durability: &str, failing: &'static [&'static str]) -> PluginManager {
    let options = json!({"confDir": conf.path(), "cacheDir": root.join("cache"), "binDirs": [], "loopback": false,
                         "durability": durability, "env": {}});
    let plugins = Arc::new(Plugins { ledger: root.join("ledger"), failing });
    let hooks = Hooks { host: None, plugins: Some(plugins) };
    PluginManager::new(PluginOptions::from_json(&options.to_string()).unwrap(), hooks).unwrap()
}

fn request(networks: bool) -> PodRequest {
    let mut request = json!({"id": "c1", "netns": NETNS});
    if networks {
        request["networks"] = json!([{"name": "a"}, {"name": "b"}]);
    }
    PodRequest::from_json(&request.to_string()).unwrap()
}

fn set_up(manager: &PluginManager) -> Result<()> {
    manager.setup_pod(&request(true)).map(drop)
}

fn set_up_if_possible(manager: &PluginManager) -> Result<()> {
    match set_up(manager) {
        Err(error) if error.class() == ErrorClass::Exists => Ok(()),
        done => done,
    }
}

fn replace(manager: &PluginManager) -> Result<()> {
    let mut request = request(true);
    request.replace = true;
    manager.setup_pod(&request).map(drop)
}

fn set_up_in_vain(manager: &PluginManager) -> Result<()> {
    match set_up(manager) {
        Err(error) if error.to_string() == "plugin type=\"b2\" failed (add): no" => Ok(()),
        Err(error) => Err(error),
        Ok(()) => panic!("it was to fail"),
    }
}

fn tear_down(manager: &PluginManager) -> Result<()> {
    manager.teardown_pod(&request(false)).map(drop)
}

fn set_up_and_tear_down(manager: &PluginManager) -> Result<()> {
    set_up_if_possible(manager)?;
    tear_down(manager)
}

fn gc(manager: &PluginManager) -> Result<()> {
    manager.gc(&GcRequest::from_json(r#"{"validPods": []}"#)?).map(drop)
}

/// Every file but the configuration and the file of the locks.
fn left(root: &Path) -> Vec<String> {
    let files = power_cut::read(root).into_iter().filter(|(_, content)| content.is_some());
    files.map(|(path, _)| path.display().to_string()).filter(|path| path != "cache/cnirt/lock").collect()
}

/// What is written by a machine that has been started anew since.
fn of_another_boot(disk: &mut Disk) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for content in disk.values_mut().flatten() {
        if let Ok(text) = std::str::from_utf8(content) {
            *content = text.replace(boot.trim(), "00000000-0000-0000-0000-000000000000").into_bytes();
        }
    }
}

type Run = fn(&PluginManager) -> Result<()>;

/// What may be tried after a power cut; each alone must end with nothing left.
const RECOVERIES: [(&str, Run); 3] = [("teardown", tear_down), ("set-up, teardown", set_up_and_tear_down), ("GC", gc)];

/// One operation, with what was done before.
struct Cut {
    name: &'static str,
    before: Option<Run>,
    run: Run,
    failing: &'static [&'static str],
}

const CUTS: [Cut; 6] = [
    Cut { name: "set-up", before: None, run: set_up, failing: &[] },
    Cut { name: "set-up that fails", before: None, run: set_up_in_vain, failing: &["b2 ADD"] },
    Cut {
        name: "set-up that fails and is not undone",
        before: None,
        run: set_up_in_vain,
        failing: &["b2 ADD", "a2 DEL"],
    },
    Cut { name: "set-up in place of another", before: Some(set_up), run: replace, failing: &[] },
    Cut { name: "teardown", before: Some(set_up), run: tear_down, failing: &[] },
    Cut { name: "GC", before: Some(set_up), run: gc, failing: &[] },
];

/// A machine whose changes of the disk are recorded.
struct Machine {
    temp: TempDir,
    conf: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { temp: testing::memory_dir(), conf: configuration() };
        std::fs::create_dir(machine.root().join("ledger")).unwrap();
        machine
    }

    fn root(&self) -> PathBuf {
        self.temp.path().canonicalize().unwrap()
    }

    /// Runs an operation; answers the disk before and what became of it.
    fn record(&self, cut: &Cut) -> (Disk, Vec<Op>) {
        let root = self.root();
        if let Some(before) = cut.before {
            before(&manager(&self.conf, &root, "full", &[])).unwrap();
        }
        let disk = power_cut::read(&root);
        let manager = manager(&self.conf, &root, "full", cut.failing);
        let (done, ops) = journal::recorded(|| (cut.run)(&manager));
        done.unwrap();
        assert!(ops.len() > 5, "{}: {ops:?}", cut.name);
        (disk, ops)
    }

    /// Puts another disk in the place of this one's.
    fn replace(&self, disk: &Disk) {
        for entry in std::fs::read_dir(self.root()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        power_cut::write(&self.root(), disk);
    }

    /// Starts anew with the disk of a power cut, and tries a recovery; answers what is wrong then.
    fn recover(&self, mut state: State, (how, recover): (&str, Run)) -> Option<String> {
        of_another_boot(&mut state.disk);
        let temp = testing::memory_dir();
        power_cut::write(temp.path(), &state.disk);
        let there = left(temp.path());
        let done = recover(&manager(&self.conf, temp.path(), "atomic", &[]));
        let left = left(temp.path());
        if done.is_ok() && left.is_empty() {
            return None;
        }
        let State { after, lost, .. } = state;
        Some(format!("cut after {after} operations, lost {lost}, there was {there:?}; {how}: {done:?}, left {left:?}"))
    }
}

#[test]
fn nothing_is_left_after_a_power_cut_at_any_moment() {
    let (mut count, mut wrong) = (0, Vec::new());
    for cut in CUTS {
        let machine = Machine::new();
        let (disk, ops) = machine.record(&cut);
        let states = power_cut::states(&machine.root(), &disk, &ops);
        println!("{}: {} operations, {} states", cut.name, ops.len(), states.len());
        count += states.len();
        for state in states {
            for recovery in RECOVERIES {
                let failed = machine.recover(state.clone(), recovery);
                wrong.extend(failed.map(|failed| format!("{}, {failed}", cut.name)));
            }
        }
    }
    println!("{count} states, each recovered from in {} ways", RECOVERIES.len());
    assert!(wrong.is_empty(), "{} of them left something:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "{count}");
}

/// What a killed process did not sync, nobody may take for durable.
#[test]
fn nothing_is_left_after_a_power_cut_when_a_process_was_killed_before() {
    let (mut count, mut wrong) = (0, Vec::new());
    for cut in CUTS.into_iter().filter(|cut| ["set-up", "teardown"].contains(&cut.name)) {
        let machine = Machine::new();
        let (disk, ops) = machine.record(&cut);
        let root = machine.root();
        for after in 0..=ops.len() {
            let killed = power_cut::killed(&root, &disk, &ops[..after]);
            for (how, next) in [("teardown", tear_down as Run), ("set-up", set_up_if_possible), ("GC", gc)] {
                machine.replace(&killed);
                let manager = manager(&machine.conf, &root, "full", &[]);
                let (done, more) = journal::recorded(|| next(&manager));
                done.unwrap();
                let all: Vec<Op> = ops[..after].iter().chain(&more).cloned().collect();
                for state in power_cut::ends(&root, &disk, &all) {
                    count += 1;
                    let failed = machine.recover(state, RECOVERIES[0]);
                    wrong.extend(failed.map(|failed| format!("{}, killed after {after}, {how}, {failed}", cut.name)));
                }
            }
        }
    }
    println!("{count} states");
    assert!(wrong.is_empty(), "{} of them left something:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "{count}");
}
