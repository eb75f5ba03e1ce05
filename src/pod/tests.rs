//! The pod level over plugins that exist in the host's callbacks only. Real plugins are in `tests/scenarios`.

mod gc;
mod hazards;
mod teardown;
mod unfinished;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::error::{Cause, Error, ErrorClass};
use crate::invoke::callback::PluginCallbacks;

/// A namespace that every process has.
const NETNS: &str = "/proc/self/ns/net";

/// Finds every plugin but the missing ones; answers by "type COMMAND" and remembers what was asked.
#[derive(Default)]
struct FakePlugins {
    answers: Mutex<HashMap<&'static str, Result<Value>>>,
    missing: Mutex<Vec<&'static str>>,
    runs: Mutex<Vec<Run>>,
    /// A key of its configuration with which a plugin succeeds whatever `answers` say.
    pardons: Mutex<Option<&'static str>>,
    /// Hangs until its call's time is over: "type COMMAND".
    hangs: Mutex<Option<&'static str>>,
    /// Done once, in the midst of a DEL.
    at_del: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[derive(Clone, Debug)]
struct Run {
    what: String,
    env: HashMap<String, String>,
    stdin: Value,
}

/// What `exec_plugin` is told: the plugin, its environment, its input.
pub(super) fn read_exec(call: &Value) -> (String, HashMap<String, String>, Value) {
    let lines = call["env"].as_array().unwrap().iter();
    let pairs = lines.filter_map(|line| line.as_str().unwrap().split_once('='));
    let env = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let plugin = Path::new(call["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
    (plugin, env, serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap())
}

impl PluginCallbacks for FakePlugins {
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let call: Value = serde_json::from_str(call).unwrap();
        let plugin_type = call["type"].as_str().unwrap();
        if self.missing.lock().unwrap().contains(&plugin_type) {
            let words = format!("failed to find plugin {plugin_type:?} in path []");
            return Some(Err(Error::new(ErrorClass::PluginNotFound, words)));
        }
        Some(Ok(format!("/fake/{plugin_type}").into()))
    }

    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let call: Value = serde_json::from_str(call).unwrap();
        let (plugin, env, stdin) = read_exec(&call);
        let what = format!("{plugin} {}", env["CNI_COMMAND"]);
        let version = stdin["cniVersion"].clone();
        let if_name = env.get("CNI_IFNAME").cloned().unwrap_or_default();
        let command = env["CNI_COMMAND"].clone();
        if command == "DEL" {
            let at_del = self.at_del.lock().unwrap().take();
            if let Some(at_del) = at_del {
                at_del();
            }
        }
        let pardoned = self.pardons.lock().unwrap().is_some_and(|key| stdin.get(key).is_some());
        if command != "VERSION" {
            self.runs.lock().unwrap().push(Run { what: what.clone(), env, stdin });
        }
        if *self.hangs.lock().unwrap() == Some(what.as_str()) {
            std::thread::sleep(std::time::Duration::from_millis(call["timeoutMs"].as_u64().unwrap()));
            return Some(Err(Error::new(ErrorClass::Timeout, "hung")));
        }
        let known = self.answers.lock().unwrap().get(what.as_str()).cloned().filter(|_| !pardoned);
        let answer = known.unwrap_or_else(|| match command.as_str() {
            "VERSION" => Ok(json!({"cniVersion": "1.1.0", "supportedVersions": crate::version::ALL})),
            "ADD" => Ok(json!({"cniVersion": version, "interfaces": [{"name": if_name, "sandbox": NETNS}],
                               "ips": [{"version": "6", "address": "fd00::2/64", "interface": 0},
                                       {"version": "4", "address": "10.0.0.2/24"}]})),
            _ => Ok(Value::Null),
        });
        Some(answer.map(|value| value.to_string().into_bytes()))
    }
}

/// A node with a configuration directory, a cache, and fake plugins.
struct Node {
    dir: TempDir,
    plugins: Arc<FakePlugins>,
    manager: PluginManager,
}

/// Options on top of what every test needs.
fn node_with(options: &Value, host: Option<Arc<dyn Host>>, files: &[(&str, Value)]) -> Node {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("net.d")).unwrap();
    for (name, content) in files {
        let file = dir.path().join("net.d").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content.to_string()).unwrap();
    }
    let mut all = json!({"confDir": dir.path().join("net.d"), "cacheDir": dir.path().join("cache"), "binDirs": [],
                         "loopback": false, "durability": "atomic", "env": {}});
    for (key, value) in options.as_object().unwrap() {
        all[key] = value.clone();
    }
    let plugins = Arc::new(FakePlugins::default());
    let hooks = Hooks { host, plugins: Some(plugins.clone()) };
    let manager = PluginManager::new(PluginOptions::from_json(&all.to_string()).unwrap(), hooks).unwrap();
    Node { dir, plugins, manager }
}

fn node(files: &[(&str, Value)]) -> Node {
    node_with(&json!({}), None, files)
}

fn list(name: &str, version: &str, types: &[&str]) -> Value {
    let plugins: Vec<Value> = types.iter().map(|plugin_type| json!({"type": plugin_type})).collect();
    json!({"name": name, "cniVersion": version, "plugins": plugins})
}

fn request(value: &Value) -> PodRequest {
    PodRequest::from_json(&value.to_string()).unwrap()
}

/// The pod `c1`, with these networks or the default one.
fn pod(networks: &Value) -> PodRequest {
    let mut pod = json!({"id": "c1", "namespace": "ns", "name": "po", "netns": NETNS});
    if !networks.is_null() {
        pod["networks"] = networks.clone();
    }
    request(&pod)
}

fn failing(code: u64, msg: &str) -> Result<Value> {
    Err(Error::from_cause(Cause { code, msg: msg.to_owned(), details: String::new() }))
}

impl Node {
    fn runs(&self) -> Vec<Run> {
        std::mem::take(&mut *self.plugins.runs.lock().unwrap())
    }

    /// What ran since the last time: "type COMMAND interface".
    fn ran(&self) -> Vec<String> {
        let if_name = |run: &Run| run.env.get("CNI_IFNAME").cloned().unwrap_or_default();
        self.runs().iter().map(|run| format!("{} {}", run.what, if_name(run)).trim_end().to_owned()).collect()
    }

    fn answer(&self, what: &'static str, answer: Result<Value>) {
        self.plugins.answers.lock().unwrap().insert(what, answer);
    }

    fn write(&self, file: &str, content: &str) {
        std::fs::write(self.dir.path().join("net.d").join(file), content).unwrap();
    }

    fn cache_files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("cache/results")) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn default_network(&self) -> Option<String> {
        self.manager.status().unwrap().default_network
    }
}

#[test]
fn the_default_network_is_the_first_file_that_can_be_used() {
    for (name, files, missing, expected) in [
        (
            "first by name",
            vec![("20.conflist", list("b", "1.0.0", &["x"])), ("10.conflist", list("a", "1.0.0", &["x"]))],
            None,
            Some("a"),
        ),
        (
            "a single configuration counts",
            vec![("10.conf", json!({"name": "single", "type": "x"}))],
            None,
            Some("single"),
        ),
        ("so does .json", vec![("10.json", json!({"name": "json", "type": "x"}))], None, Some("json")),
        ("another extension does not", vec![("10.yaml", list("a", "1.0.0", &["x"]))], None, None),
        (
            "broken ones are skipped",
            vec![("10.conflist", json!("no")), ("20.conflist", list("b", "1.0.0", &["x"]))],
            None,
            Some("b"),
        ),
        (
            "a list in a .conf is skipped",
            vec![("10.conf", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["x"]))],
            None,
            Some("b"),
        ),
        (
            "a plugin must exist",
            vec![("10.conflist", list("a", "1.0.0", &["x", "y"])), ("20.conflist", list("b", "1.0.0", &["x"]))],
            Some("y"),
            Some("b"),
        ),
        (
            "and support the version",
            vec![("10.conflist", list("a", "9.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["x"]))],
            None,
            Some("b"),
        ),
        ("nothing is there", vec![], None, None),
    ] {
        let node = node(&[]);
        node.plugins.missing.lock().unwrap().extend(missing);
        for (file, content) in files {
            node.write(file, &content.to_string());
        }
        assert_eq!(node.default_network().as_deref(), expected, "{name}");
    }
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["x"]))];
    let chosen = node_with(&json!({"defaultNetwork": "b"}), None, &files);
    assert_eq!(chosen.default_network().as_deref(), Some("b"));
}

#[test]
fn a_node_becomes_ready_when_the_file_or_the_plugin_appears_and_keeps_the_last_good_network() {
    let node = node(&[]);
    let error = node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::NotReady, "cni config uninitialized"));
    assert!(error.hint().unwrap().starts_with("no networks found in "), "{error:?}");

    node.plugins.missing.lock().unwrap().push("x");
    node.write("10.conflist", &list("a", "1.0.0", &["x"]).to_string());
    let error = node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    assert!(error.hint().unwrap().contains("failed to find plugin \"x\""), "{error:?}");
    node.plugins.missing.lock().unwrap().clear();
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();

    node.write("10.conflist", "{");
    let status = node.manager.status().unwrap();
    assert!(status.ready && !status.last_load.ok && status.default_network.as_deref() == Some("a"), "{status:?}");
    assert!(
        !status.networks[0].valid && status.networks[0].reason.as_ref().unwrap().contains("10.conflist"),
        "{status:?}"
    );
}

#[test]
fn status_asks_the_default_networks_plugins() {
    for (name, answer, ready, limited, code) in [
        ("ready", Ok(Value::Null), true, false, None),
        ("not available", failing(50, "later"), false, false, Some(50)),
        ("limited", failing(51, "some"), true, true, Some(51)),
    ] {
        let node = node(&[("10.conflist", list("a", "1.1.0", &["x"]))]);
        node.answer("x STATUS", answer);
        let status = node.manager.status().unwrap();
        assert_eq!((status.ready, status.limited_connectivity, status.code), (ready, limited, code), "{name}");
        assert_eq!(status.networks[0].plugins[0].plugin_type, "x", "{name}");
    }
}

#[test]
fn ip_ranges_need_the_pod_cidr_which_is_set_once() {
    let network =
        json!({"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "x", "capabilities": {"ipRanges": true}}]});
    let node = node(&[("10.conflist", network)]);
    assert_eq!(node.manager.capabilities().unwrap(), ["ipRanges"]);
    let error = node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    assert_eq!(error.to_string(), "cni config needs ipRanges but no PodCIDR set");
    assert!(!node.manager.status().unwrap().ready);
    let event = |details: &str| node.manager.event("pod-cidr-change", details);
    assert!(event("{}").unwrap_err().to_string().contains("missing key \"pod-cidr\""));
    assert!(event(r#"{"pod-cidr":"x"}"#).is_err());
    node.manager.event("something-else", "{").unwrap();
    event(r#"{"pod-cidr":"10.1.0.0/24"}"#).unwrap();
    event(r#"{"pod-cidr":"10.2.0.0/24"}"#).unwrap();
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    assert_eq!(node.runs()[0].stdin["runtimeConfig"]["ipRanges"], json!([[{"subnet": "10.1.0.0/24"}]]));
}

#[test]
fn a_set_up_answers_addresses_in_the_preferred_order() {
    for (preference, ips) in
        [("cni", ["fd00::2", "10.0.0.2"]), ("ipv4", ["10.0.0.2", "fd00::2"]), ("ipv6", ["fd00::2", "10.0.0.2"])]
    {
        let node =
            node_with(&json!({"ipPreference": preference}), None, &[("10.conflist", list("a", "1.0.0", &["x"]))]);
        let answer = serde_json::to_value(node.manager.setup_pod(&pod(&Value::Null)).unwrap()).unwrap();
        assert_eq!(answer["ips"], json!(ips), "{preference}");
        assert_eq!(answer["pod"], json!({"namespace": "ns", "name": "po", "id": "c1"}));
        assert_eq!(
            (&answer["networks"][0]["network"], &answer["networks"][0]["ifName"]),
            (&json!("a"), &json!("eth0"))
        );
    }
}

#[test]
fn interfaces_are_given_or_counted() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y"]))];
    for (name, networks, expected) in [
        (
            "counted",
            json!([{"default": true}, {"name": "b"}, {"name": "b"}]),
            Ok(vec!["x ADD eth0", "y ADD eth1", "y ADD eth2"]),
        ),
        (
            "around given ones",
            json!([{"name": "b"}, {"name": "b", "ifName": "eth0"}]),
            Ok(vec!["y ADD eth1", "y ADD eth0"]),
        ),
        (
            "twice the same",
            json!([{"name": "b", "ifName": "n"}, {"name": "a", "ifName": "n"}]),
            Err("pod request, key \"networks\": the interface n is given twice"),
        ),
        ("inline", json!([{"config": {"name": "c", "type": "z", "cniVersion": "1.0.0"}}]), Ok(vec!["z ADD eth0"])),
        ("none", json!([]), Ok(vec![])),
        ("unknown", json!([{"name": "nope"}]), Err("networks[0]: no net configuration with name \"nope\" in ")),
    ] {
        let node = node(&files);
        let answer = node.manager.setup_pod(&pod(&networks));
        match expected {
            Ok(ran) => assert_eq!(
                (answer.map(|_| ()).map_err(|error| error.to_string()), node.ran()),
                (Ok(()), ran.iter().map(ToString::to_string).collect()),
                "{name}"
            ),
            Err(words) => {
                let error = answer.unwrap_err().to_string();
                assert!(error.starts_with(words) && node.ran().is_empty(), "{name}: {error}");
            }
        }
    }
}

#[test]
fn an_interface_that_is_attached_is_refused_and_a_further_network_finds_a_free_one() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y"]))];
    let node = node(&files);
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    node.runs();
    for networks in [Value::Null, json!([{"name": "b", "ifName": "eth0"}])] {
        let error = node.manager.setup_pod(&pod(&networks)).unwrap_err();
        assert_eq!((error.class(), node.ran().len()), (ErrorClass::Exists, 0), "{networks}");
    }
    node.manager.setup_pod(&pod(&json!([{"name": "b"}]))).unwrap();
    assert_eq!(
        (node.ran(), node.cache_files()),
        (vec!["y ADD eth1".to_owned()], vec!["a-c1-eth0".to_owned(), "b-c1-eth1".to_owned()])
    );
}

#[test]
fn a_failed_set_up_is_undone_over_all_networks() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y", "z"]))];
    let networks = json!([{"name": "a"}, {"name": "b"}]);
    let node = node(&files);
    node.answer("z ADD", failing(999, "no"));
    let error = node.manager.setup_pod(&pod(&networks)).unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"z\" failed (add): no");
    assert_eq!(node.ran(), ["x ADD eth0", "y ADD eth1", "z ADD eth1", "z DEL eth1", "y DEL eth1", "x DEL eth0"]);
    let rollback = error.rollback().unwrap();
    assert!(rollback.done && rollback.errors.is_empty() && node.cache_files().is_empty());

    node.answer("y DEL", failing(999, "stuck"));
    let error = node.manager.setup_pod(&pod(&networks)).unwrap_err();
    let rollback = error.rollback().unwrap();
    assert_eq!((rollback.done, rollback.errors.len()), (false, 1));
    assert_eq!(node.ran().last().unwrap(), "x DEL eth0");

    let node = node_with(&json!({"rollback": false}), None, &files);
    node.answer("z ADD", failing(999, "no"));
    assert!(node.manager.setup_pod(&pod(&networks)).unwrap_err().rollback().is_none());
    assert_eq!((node.ran().len(), node.cache_files()), (3, vec!["a-c1-eth0".to_owned()]));
}

#[test]
fn a_plugin_that_fails_to_answer_once_does_not_lose_its_network_the_default() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y"]))];
    let node = node(&[]);
    node.answer("x VERSION", failing(999, "not now"));
    for (file, content) in &files {
        node.write(file, &content.to_string());
    }
    assert_eq!(node.manager.reload().unwrap().default_network.as_deref(), Some("b"));
    node.answer("x VERSION", Ok(json!({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]})));
    let ended = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while node.default_network().as_deref() != Some("a") {
        assert!(std::time::Instant::now() < ended, "it was not looked for again");
        std::thread::yield_now();
    }
}

#[test]
fn a_loopback_plugin_that_fails_is_undone() {
    let node =
        node_with(&json!({"loopback": true, "builtin": []}), None, &[("10.conflist", list("a", "1.0.0", &["x"]))]);
    node.answer("loopback ADD", failing(999, "no"));
    let error = node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    assert!(error.rollback().unwrap().done, "{error:?}");
    assert_eq!(node.ran(), ["loopback ADD lo", "loopback DEL lo"]);
}

#[test]
fn check_says_what_it_checked() {
    let mut unchecked = list("c", "1.0.0", &["z"]);
    unchecked["disableCheck"] = true.into();
    let node = node(&[
        ("1.conflist", list("a", "1.0.0", &["x"])),
        ("2.conflist", list("b", "0.3.1", &["y"])),
        ("3.conflist", unchecked),
    ]);
    let unknown = node.manager.check_pod(&pod(&Value::Null)).unwrap_err();
    assert_eq!(unknown.class(), ErrorClass::NotFound);
    node.manager.setup_pod(&pod(&json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]))).unwrap();
    node.runs();
    let answer = node.manager.check_pod(&pod(&Value::Null)).unwrap();
    let checked: Vec<_> =
        answer.networks.iter().map(|network| (network.name.network.as_str(), network.checked)).collect();
    assert_eq!((checked, node.ran()), (vec![("a", true), ("b", false), ("c", false)], vec!["x CHECK eth0".to_owned()]));
    assert_eq!(node.manager.check_pod(&pod(&json!([{"name": "b"}]))).unwrap().networks.len(), 1);
    let error = node.manager.check_pod(&pod(&json!([{"name": "nope"}]))).unwrap_err();
    assert_eq!(error.to_string(), "pod c1 is not attached to network \"nope\"");
    node.answer("x CHECK", failing(999, "drift"));
    assert_eq!(node.manager.check_pod(&pod(&Value::Null)).unwrap_err().to_string(), "drift");
}

#[test]
fn pods_are_listed_and_their_status_falls_back_to_the_cache() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
    assert!(node.manager.list_pods().unwrap().is_empty());
    let unknown = node.manager.pod_status(&request(&json!({"id": "c1"}))).unwrap_err();
    assert_eq!(unknown.class(), ErrorClass::NotFound);
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    assert_eq!(
        serde_json::to_value(node.manager.list_pods().unwrap()).unwrap(),
        json!([{"pod": {"namespace": "ns", "name": "po", "id": "c1"},
                "networks": [{"network": "a", "ifName": "eth0", "netns": NETNS, "owner": "cnirt", "unfinished": false}]}])
    );
    let status = node.manager.pod_status(&request(&json!({"id": "c1", "netns": "/gone"}))).unwrap();
    let status = serde_json::to_value(status).unwrap();
    assert_eq!(
        (&status["source"], &status["ips"], &status["pod"]["name"]),
        (&json!("cache"), &json!(["fd00::2", "10.0.0.2"]), &json!("po"))
    );
}

#[test]
fn the_host_is_asked_for_what_a_request_omits() {
    #[derive(Default)]
    struct Kubelet {
        asked: Mutex<Vec<String>>,
    }
    impl Host for Kubelet {
        fn get_netns(&self, pod: &str) -> Option<Result<String>> {
            self.asked.lock().unwrap().push(pod.to_owned());
            Some(Ok(NETNS.to_owned()))
        }

        fn get_pod_port_mappings(&self, _: &str) -> Option<Result<String>> {
            Some(Ok(r#"[{"hostPort":80,"containerPort":8080}]"#.to_owned()))
        }
    }
    let network =
        json!({"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "x", "capabilities": {"portMappings": true}}]});
    let host = Arc::new(Kubelet::default());
    let node = node_with(&json!({}), Some(host.clone()), &[("10.conflist", network.clone())]);
    node.manager.setup_pod(&request(&json!({"id": "c1", "name": "po", "callId": "n1"}))).unwrap();
    let run = &node.runs()[0];
    assert_eq!(
        (run.env["CNI_NETNS"].as_str(), &run.stdin["runtimeConfig"]["portMappings"][0]["hostPort"]),
        (NETNS, &json!(80))
    );
    let asked: Value = serde_json::from_str(&host.asked.lock().unwrap()[0]).unwrap();
    assert_eq!(asked, json!({"id": "c1", "name": "po", "namespace": "", "uid": "", "callId": "n1"}));

    let alone = node_with(&json!({}), None, &[("10.conflist", network)]);
    let error = alone.manager.setup_pod(&request(&json!({"id": "c1"}))).unwrap_err();
    assert_eq!(
        (error.class(), error.to_string().as_str()),
        (ErrorClass::InvalidArgument, "pod request: missing key \"netns\"")
    );
}

#[test]
fn what_cannot_be_done_runs_nothing() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
    for (extra, class) in [
        (json!({"netns": "/nowhere/ns"}), ErrorClass::Netns),
        (json!({"netns": "/etc/hosts"}), ErrorClass::Netns),
        (json!({"cniArgs": [["a", "b;c"]]}), ErrorClass::InvalidArgument),
        (json!({"annotations": {"kubernetes.io/ingress-bandwidth": "x"}}), ErrorClass::InvalidArgument),
    ] {
        let mut value = json!({"id": "c1", "netns": NETNS});
        for (key, extra) in extra.as_object().unwrap() {
            value[key] = extra.clone();
        }
        let error = node.manager.setup_pod(&request(&value)).unwrap_err();
        assert_eq!((error.class(), node.ran().len()), (class, 0), "{extra}: {error}");
    }
}

#[test]
fn args_of_a_request_reach_every_plugin_and_the_cache() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x", "y"]))]);
    node.manager.setup_pod(&pod(&json!([{"name": "a", "args": {"cni": {"labels": [1]}}}]))).unwrap();
    node.manager.teardown_pod(&pod(&Value::Null)).unwrap();
    let runs = node.runs();
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|run| run.stdin["args"] == json!({"cni": {"labels": [1]}})), "{runs:?}");
}

#[test]
fn the_plugin_that_does_nothing_succeeds_at_everything() {
    let options = PluginOptions::from_json(r#"{"plugin":"noop"}"#).unwrap();
    let manager = PluginManager::new(options, Hooks::default()).unwrap();
    assert_eq!(manager.plugin_name(), c"kubernetes.io/no-op");
    let request = request(&json!({"id": "c1"}));
    assert!(manager.setup_pod(&request).unwrap().networks.is_empty());
    assert!(manager.teardown_pod(&request).unwrap().networks.is_empty());
    assert!(manager.check_pod(&request).unwrap().networks.is_empty());
    assert!(manager.pod_status(&request).unwrap().result.ips.is_empty());
    assert!(manager.status().unwrap().ready && manager.list_pods().unwrap().is_empty());
}
