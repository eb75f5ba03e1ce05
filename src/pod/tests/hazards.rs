//! Sequences in which an address could leak for ever, or what is in use be taken away.

use std::time::Duration;

use super::unfinished::{c1, torn_intent};
use super::*;
use crate::store::{CacheEntry, Intended, Intent, Key, Recorded};

fn two_networks(version: &str) -> [(&'static str, Value); 2] {
    [("10.conflist", list("a", version, &["x"])), ("20.conflist", list("b", version, &["y"]))]
}

fn both() -> PodRequest {
    pod(&json!([{"name": "a"}, {"name": "b"}]))
}

fn intended(network: &str, if_name: &str, list: &Value) -> Intended {
    let entry = CacheEntry {
        key: Key::parse(network, "c1", if_name).unwrap(),
        config: list.to_string().into_bytes(),
        netns: NETNS.to_owned(),
        netns_id: None,
        cni_args: None,
        capability_args: serde_json::Map::new(),
        result: None,
        owner: Some("cnirt".to_owned()),
    };
    Intended { entry, started: None, refused: false }
}

fn intent(loopback: bool, attachments: Vec<Intended>) -> Intent {
    Intent { container_id: c1(), loopback, owner: Some("cnirt".to_owned()), of_earlier_boot: false, attachments }
}

/// As after a power cut: what was noted does not count.
fn of_another_boot(node: &Node) {
    let path = node.dir.path().join("cache/cnirt/intents/c1");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    value["holder"]["bootId"] = json!("another");
    std::fs::write(&path, value.to_string()).unwrap();
}

fn collect(node: &Node, valid: &Value) -> Result<Collected> {
    node.manager.gc(&GcRequest::from_json(&json!({"validPods": valid}).to_string()).unwrap())
}

#[test]
fn a_plugin_that_hangs_at_del_keeps_no_other_from_its_del() {
    let options = json!({"rollbackTimeoutMs": 500});
    let node = node_with(&options, None, &[("10.conflist", list("a", "1.0.0", &["x", "y"]))]);
    node.answer("y ADD", failing(999, "no"));
    *node.plugins.hangs.lock().unwrap() = Some("y DEL");
    node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    let rolled_back = node.ran();
    let mut teardown = pod(&Value::Null);
    teardown.timeout = Some(Duration::from_millis(500));
    node.manager.teardown_pod(&teardown).unwrap_err();
    let torn_down = node.ran();
    assert!(rolled_back.iter().chain(&torn_down).any(|ran| ran == "x DEL eth0"), "{rolled_back:?} {torn_down:?}");
}

#[test]
fn a_forced_teardown_forgets_nothing_that_it_has_not_tried() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&both()).unwrap();
    node.ran();
    *node.plugins.hangs.lock().unwrap() = Some("y DEL");
    let mut forced = pod(&Value::Null);
    (forced.force, forced.timeout) = (true, Some(Duration::from_millis(100)));
    let _ = node.manager.teardown_pod(&forced);
    let tried = node.ran().contains(&"x DEL eth0".to_owned());
    assert!(tried || node.cache_files().contains(&"a-c1-eth0".to_owned()), "a healthy network is forgotten untried");
}

#[test]
fn gc_spares_what_a_valid_pod_has_where_its_entry_cannot_be_read() {
    let node = node(&two_networks("1.1.0"));
    node.manager.setup_pod(&both()).unwrap();
    std::fs::write(node.dir.path().join("cache/results/b-c1-eth1"), "").unwrap();
    node.runs();
    let _ = collect(&node, &json!([{"id": "c1"}]));
    for run in node.runs().iter().filter(|run| run.what == "y GC") {
        assert_eq!(run.stdin["cni.dev/valid-attachments"], json!([{"containerID": "c1", "ifname": "eth1"}]));
    }
}

#[test]
fn plugins_that_are_not_there_yet_after_a_power_cut_do_not_make_an_intent_forgotten() {
    let node = node(&[]);
    node.cache().intents().begin(&intent(false, vec![intended("a", "eth0", &list("a", "1.0.0", &["x"]))])).unwrap();
    of_another_boot(&node);
    node.plugins.missing.lock().unwrap().push("x");
    let torn_down = node.manager.teardown_pod(&pod(&Value::Null)).is_ok();
    assert!(node.ran().is_empty());
    assert!(!torn_down && node.intent().is_some(), "no DEL ran, and nothing is recorded any more");
}

#[test]
fn the_interface_of_an_unreadable_entry_is_not_free() {
    let files = [
        ("10.conflist", list("a", "1.0.0", &["x"])),
        ("20.conflist", list("b", "1.0.0", &["y"])),
        ("30.conflist", list("c", "1.0.0", &["z"])),
    ];
    let node = node(&files);
    node.manager.setup_pod(&both()).unwrap();
    std::fs::write(node.dir.path().join("cache/results/b-c1-eth1"), "").unwrap();
    node.runs();
    // As the kernel answers; the undoing then takes the other network's eth1 away.
    node.answer("z ADD", failing(999, "container veth name \"eth1\" already exists"));
    let _ = node.manager.setup_pod(&pod(&json!([{"name": "c"}])));
    assert_eq!(node.ran(), ["z ADD eth2", "z DEL eth2"], "eth1 is in use by network b");
}

#[test]
fn gc_ends_an_intent_without_attachments() {
    let node = node(&[]);
    // A set-up with `networks: []` that was killed, or that failed with `rollback: false` behind its loopback.
    node.cache().intents().begin(&intent(true, Vec::new())).unwrap();
    collect(&node, &json!([])).unwrap();
    assert_eq!(node.intent(), None);
}

#[test]
fn a_configuration_that_was_changed_does_not_undo_what_the_recorded_one_made() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
    node.answer("x ADD", failing(999, "no"));
    // Nothing is wrong with the recorded configuration.
    node.answer("x DEL", Err(Error::new(ErrorClass::Timeout, "timed out")));
    node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    let elsewhere = json!({"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "x", "dataDir": "/elsewhere"}]});
    node.write("10.conflist", &elsewhere.to_string());
    *node.plugins.pardons.lock().unwrap() = Some("dataDir");
    let _ = node.teardown_again();
    assert!(node.intent().is_some(), "the reservation in the old dataDir is forgotten");
}

impl Node {
    fn teardown_again(&self) -> Result<PodAttachments> {
        self.manager.teardown_pod(&pod(&Value::Null))
    }
}

#[test]
fn undoing_gives_the_result_in_the_networks_version_as_a_teardown_does() {
    let node = node(&two_networks("1.0.0"));
    node.answer("x ADD", Ok(json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.2/24"}]})));
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    node.runs();
    node.manager.teardown_pod(&pod(&Value::Null)).unwrap();
    let torn_down = node.runs()[0].stdin["prevResult"]["cniVersion"].clone();
    node.answer("y ADD", failing(999, "no"));
    node.manager.setup_pod(&both()).unwrap_err();
    let undone = node.runs().into_iter().find(|run| run.what == "x DEL").unwrap();
    assert_eq!((&torn_down, &undone.stdin["prevResult"]["cniVersion"]), (&json!("1.0.0"), &json!("1.0.0")));
}

#[test]
fn a_torn_intent_waits_for_a_configuration() {
    let node = node(&[]);
    let path = torn_intent(&node);
    let _ = node.teardown_again();
    assert!(path.exists(), "forgotten although no plugin was asked");
}

#[test]
fn replace_takes_nothing_away_for_a_set_up_that_cannot_be() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    node.runs();
    let mut replacing = pod(&json!([{"name": "nope", "ifName": "eth0"}]));
    replacing.replace = true;
    node.manager.setup_pod(&replacing).unwrap_err();
    assert_eq!((node.ran().len(), node.cache_files().len()), (0, 1));
}

#[test]
fn replace_means_the_requests_interface_for_the_default_network() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&pod(&json!([{"name": "b", "ifName": "eth5"}]))).unwrap();
    let mut replacing = pod(&json!([{"default": true}]));
    replacing.replace = true;
    replacing.if_name = Some(crate::names::IfName::parse("eth5").unwrap());
    assert_eq!(node.manager.setup_pod(&replacing).map(drop).map_err(|error| error.to_string()), Ok(()));
}

#[test]
fn replace_takes_a_bare_result_away() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    std::fs::write(node.dir.path().join("cache/results/a-c1-eth0"), r#"{"cniVersion":"1.0.0"}"#).unwrap();
    let mut replacing = pod(&Value::Null);
    replacing.replace = true;
    assert_eq!(node.manager.setup_pod(&replacing).map(drop).map_err(|error| error.to_string()), Ok(()));
}

#[test]
fn an_intent_can_be_read_whatever_a_request_may_hold() {
    let node = node_with(&json!({"rollback": false}), None, &two_networks("1.0.0"));
    node.answer("x ADD", failing(999, "no"));
    let deep = format!("{}{}", "[".repeat(124), "]".repeat(124));
    let text = format!(r#"{{"id":"c1","netns":"{NETNS}","capabilityArgs":{{"x":{deep}}}}}"#);
    let request = PodRequest::from_json(&text).unwrap();
    let error = node.manager.setup_pod(&request).unwrap_err();
    let recorded = node.cache().intents().read(&c1()).unwrap();
    assert!(!matches!(recorded, Recorded::Torn(_)), "{error}: {recorded:?}");
    assert_eq!(error.class(), ErrorClass::InvalidArgument, "{error}");
}

#[test]
fn a_namespace_of_an_earlier_boot_is_nobodys() {
    let node = node(&[]);
    // As dockershim gives it: /proc/<pid>/ns/net is another process's after the boot, perhaps the node's own.
    node.cache().intents().begin(&intent(false, vec![intended("a", "eth0", &list("a", "1.0.0", &["x"]))])).unwrap();
    of_another_boot(&node);
    collect(&node, &json!([])).unwrap();
    assert_eq!(node.runs()[0].env.get("CNI_NETNS").map_or("", String::as_str), "");
}

#[test]
fn a_teardown_of_one_network_finds_its_unreadable_entry() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&both()).unwrap();
    std::fs::write(node.dir.path().join("cache/results/b-c1-eth1"), "").unwrap();
    node.runs();
    node.manager.teardown_pod(&pod(&json!([{"name": "b"}]))).unwrap();
    assert_eq!((node.ran(), node.cache_files()), (vec!["y DEL eth1".to_owned()], vec!["a-c1-eth0".to_owned()]));
}

#[test]
fn gc_does_not_collect_what_was_made_anew_meanwhile() {
    let node = Arc::new(node(&two_networks("1.0.0")));
    for id in ["c1", "c2"] {
        node.manager.setup_pod(&request(&json!({"id": id, "netns": NETNS}))).unwrap();
    }
    let meanwhile = Arc::downgrade(&node);
    // While GC deletes c1, c2 is replaced: what it has now is not what GC saw.
    *node.plugins.at_del.lock().unwrap() = Some(Box::new(move || {
        let replacing = request(&json!({"id": "c2", "netns": NETNS, "replace": true}));
        meanwhile.upgrade().unwrap().manager.setup_pod(&replacing).unwrap();
    }));
    collect(&node, &json!([])).unwrap();
    assert_eq!(node.cache_files(), ["a-c2-eth0"]);
}

#[test]
fn of_two_files_with_one_name_gc_takes_the_first() {
    let mut second = list("a", "1.1.0", &["x"]);
    second["plugins"][0]["old"] = true.into();
    let node = node(&[("10.conflist", list("a", "1.1.0", &["x"])), ("20.conflist", second)]);
    collect(&node, &json!([])).unwrap();
    assert_eq!(node.runs()[0].stdin.get("old"), None);
}

#[test]
fn a_plugin_that_hangs_keeps_gc_from_no_other_pod_and_its_error_is_told() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&request(&json!({"id": "c1", "netns": NETNS}))).unwrap();
    node.manager.setup_pod(&request(&json!({"id": "c2", "netns": NETNS, "networks": [{"name": "b"}]}))).unwrap();
    *node.plugins.hangs.lock().unwrap() = Some("x DEL");
    let mut collect = GcRequest::from_json(r#"{"validPods": []}"#).unwrap();
    collect.timeout = Some(Duration::from_millis(500));
    let errors: Vec<_> = (0..2).map(|_| node.manager.gc(&collect).unwrap_err().to_string()).collect();
    assert_eq!(node.cache_files(), ["a-c1-eth0"], "{errors:?}");
    assert!(errors.iter().all(|error| error.contains("pod c1")), "{errors:?}");
}

#[test]
fn a_plugin_that_made_something_is_not_done_because_it_knows_no_version_now() {
    let node = node_with(&json!({"rollback": false}), None, &[("10.conflist", list("a", "1.0.0", &["x", "y"]))]);
    node.answer("y ADD", failing(999, "no"));
    node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    // Replaced by an older one while the host was down.
    node.answer("x DEL", failing(1, "incompatible CNI versions"));
    let _ = node.teardown_again();
    assert!(node.intent().is_some(), "x succeeded at ADD, and nothing of it is undone");
}

#[test]
fn where_the_progress_is_missing_nobody_knows_how_far_it_was() {
    let node = node(&[]);
    let intent = intent(false, vec![intended("a", "eth0", &list("a", "1.0.0", &["x"]))]);
    let mut progress = node.cache().intents().begin(&intent).unwrap();
    progress.note(0, 1, None).unwrap();
    // The file was never synced: a file system that was shut down and mounted again has lost it, in the same boot.
    std::fs::remove_file(node.dir.path().join("cache/cnirt/progress/c1")).unwrap();
    node.teardown_again().unwrap();
    assert_eq!(node.ran(), ["x DEL eth0"]);
}

#[test]
fn an_intent_that_cannot_be_read_just_now_is_not_a_torn_one() {
    let node = node_with(&json!({"rollback": false}), None, &two_networks("1.0.0"));
    node.answer("y ADD", failing(999, "no"));
    node.manager.setup_pod(&both()).unwrap_err();
    node.runs();
    // One that passes: the disk, a network file system, rights.
    let _ = crate::store::journal::refusing("read", rustix::io::Errno::IO, || node.teardown_again());
    node.teardown_again().unwrap();
    assert!(node.ran().contains(&"y DEL eth1".to_owned()), "the intent was thrown away");
}

#[test]
fn a_torn_intent_stays_until_all_that_it_may_be_about_is_undone() {
    let stuck = node(&two_networks("1.0.0"));
    let path = torn_intent(&stuck);
    stuck.answer("x DEL", failing(999, "stuck"));
    stuck.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    assert!(path.exists(), "a set-up could not undo anything");
    let node = node(&two_networks("1.0.0"));
    let path = torn_intent(&node);
    node.manager.teardown_pod(&pod(&json!([{"name": "b"}]))).unwrap();
    assert!(path.exists(), "a teardown was of one network only");
}

#[test]
fn pods_of_a_network_whose_plugin_hangs_leave_gc_time_for_others() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.1.0", &["y"]))];
    let node = node(&files);
    for number in 0..12 {
        node.manager.setup_pod(&request(&json!({"id": format!("c{number}"), "netns": NETNS}))).unwrap();
    }
    node.manager.setup_pod(&request(&json!({"id": "d1", "netns": NETNS, "networks": [{"name": "b"}]}))).unwrap();
    *node.plugins.hangs.lock().unwrap() = Some("x DEL");
    node.runs();
    let collect = GcRequest::from_json(r#"{"validPods": [], "timeoutMs": 3000}"#).unwrap();
    node.manager.gc(&collect).unwrap_err();
    let ran = node.ran();
    assert!(ran.contains(&"y DEL eth0".to_owned()) && ran.contains(&"y GC".to_owned()), "{ran:?}");
}

#[test]
fn an_entry_that_cannot_be_read_just_now_is_not_a_torn_one() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&pod(&json!([{"config": list("z", "1.0.0", &["x"])}]))).unwrap();
    node.runs();
    let error = crate::store::journal::refusing("read", rustix::io::Errno::IO, || node.teardown_again()).unwrap_err();
    assert_eq!((error.class(), node.ran().len()), (ErrorClass::Cache, 0));
    node.teardown_again().unwrap();
    assert_eq!((node.ran(), node.cache_files().len()), (vec!["x DEL eth0".to_owned()], 0));
}

#[test]
fn a_recorded_namespace_is_known_again_and_another_one_in_its_place_is_not_it() {
    let node = node(&two_networks("1.0.0"));
    let path = node.dir.path().join("ns");
    std::os::unix::fs::symlink(NETNS, &path).unwrap();
    let pod = request(&json!({"id": "c1", "netns": path}));
    let netns = || node.runs()[0].env.get("CNI_NETNS").cloned().unwrap_or_default();
    let without = request(&json!({"id": "c1"}));
    node.manager.setup_pod(&pod).unwrap();
    node.runs();
    node.manager.teardown_pod(&without).unwrap();
    assert_eq!(netns(), path.to_str().unwrap());
    node.manager.setup_pod(&pod).unwrap();
    node.runs();
    // The entry of a pod whose namespace was another one.
    let entry = node.dir.path().join("cache/results/a-c1-eth0");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&entry).unwrap()).unwrap();
    value["netnsId"] = json!("boot/4:1");
    std::fs::write(&entry, value.to_string()).unwrap();
    for request in [&without, &pod] {
        node.answer("x DEL", failing(999, "stuck"));
        node.manager.teardown_pod(request).unwrap_err();
        assert_eq!(netns(), "", "{request:?}");
    }
    assert!(node.manager.check_pod(&without).is_err_and(|error| error.class() == ErrorClass::Netns));
    assert_eq!(serde_json::to_value(node.manager.pod_status(&without).unwrap()).unwrap()["source"], "cache");
}

#[test]
fn a_forced_teardown_does_not_say_ok_of_what_it_had_no_time_for() {
    let node = node(&two_networks("1.0.0"));
    node.manager.setup_pod(&both()).unwrap();
    let mut forced = pod(&Value::Null);
    (forced.force, forced.timeout) = (true, Some(Duration::from_millis(500)));
    // As a plugin that takes its grace.
    *node.plugins.at_del.lock().unwrap() = Some(Box::new(|| std::thread::sleep(Duration::from_millis(550))));
    assert_eq!(node.manager.teardown_pod(&forced).unwrap_err().class(), ErrorClass::Timeout);
    assert_eq!(node.cache_files(), ["a-c1-eth0"]);
}
