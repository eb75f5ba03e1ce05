//! Set-ups that did not end, and what is asked for on top of them: `replace`, `force`, the lock.

use std::collections::HashMap as Map;
use std::time::Duration;

use super::*;
use crate::names::ContainerId;
use crate::store::{Cache, Durability, Recorded};

impl Node {
    pub(super) fn cache(&self) -> Cache {
        Cache::new(self.dir.path().join("cache"), Durability::Atomic)
    }

    /// Of the pod `c1`: the network of each attachment, and how many of its plugins were started.
    pub(super) fn intent(&self) -> Option<Vec<(String, Option<usize>)>> {
        match self.cache().intents().read(&c1()).unwrap() {
            Recorded::Nothing => None,
            Recorded::Intent(intent) => {
                Some(intent.attachments.iter().map(|one| (one.entry.key.network.to_string(), one.started)).collect())
            }
            Recorded::Torn(error) => panic!("{error}"),
        }
    }

    fn let_succeed(&self, what: &str) {
        self.plugins.answers.lock().unwrap().remove(what);
    }

    fn teardown(&self) -> Result<PodAttachments> {
        self.manager.teardown_pod(&pod(&Value::Null))
    }

    /// Whether nothing is recorded any more.
    fn is_clean(&self) -> bool {
        self.intent().is_none() && self.cache_files().is_empty()
    }
}

pub(super) fn c1() -> ContainerId {
    ContainerId::parse("c1").unwrap()
}

/// Leaves an intent of the pod `c1` that cannot be read.
pub(super) fn torn_intent(node: &Node) -> std::path::PathBuf {
    let path = node.dir.path().join("cache/cnirt/intents/c1");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "").unwrap();
    path
}

fn two_networks() -> [(&'static str, Value); 2] {
    [("10.conflist", list("a", "1.0.0", &["x", "y"])), ("20.conflist", list("b", "1.0.0", &["z", "w"]))]
}

fn both() -> PodRequest {
    pod(&json!([{"name": "a"}, {"name": "b"}]))
}

#[test]
fn what_cannot_be_undone_is_finished_by_the_next_teardown_or_set_up() {
    for next in ["teardown", "set-up"] {
        let node = node(&two_networks());
        node.answer("w ADD", failing(999, "no"));
        node.answer("z DEL", failing(999, "stuck"));
        let error = node.manager.setup_pod(&both()).unwrap_err();
        assert!(!error.rollback().unwrap().done, "{error:?}");
        assert_eq!(
            node.ran(),
            [
                "x ADD eth0",
                "y ADD eth0",
                "z ADD eth1",
                "w ADD eth1",
                "w DEL eth1",
                "z DEL eth1",
                "y DEL eth0",
                "x DEL eth0"
            ]
        );
        assert_eq!(node.intent(), Some(vec![("b".to_owned(), Some(2))]));
        let listed = serde_json::to_value(node.manager.list_pods().unwrap()).unwrap();
        assert_eq!(
            listed,
            json!([{"pod": {"namespace": "ns", "name": "po", "id": "c1"}, "networks": [
            {"network": "b", "ifName": "eth1", "netns": NETNS, "owner": "cnirt", "unfinished": true}]}])
        );

        let again: Box<dyn Fn() -> Result<()>> = match next {
            "teardown" => Box::new(|| node.teardown().map(drop)),
            _ => Box::new(|| node.manager.setup_pod(&both()).map(drop)),
        };
        let error = again().unwrap_err();
        assert_eq!(
            (error.cause().unwrap().msg.as_str(), node.ran()),
            ("stuck", vec!["w DEL eth1".into(), "z DEL eth1".into()])
        );
        assert_eq!(error.to_string().starts_with("an earlier set-up of pod c1 cannot be undone: "), next == "set-up");
        node.let_succeed("z DEL");
        node.let_succeed("w ADD");
        again().unwrap();
        let runs = node.runs();
        let prev_results: Vec<_> = runs[..2].iter().map(|run| run.stdin.get("prevResult").is_some()).collect();
        assert_eq!((runs[0].what.as_str(), runs[1].what.as_str(), prev_results), ("w DEL", "z DEL", vec![true, true]));
        assert_eq!((runs.len(), node.is_clean()), if next == "teardown" { (2, true) } else { (6, false) });
        assert_eq!(node.intent(), None);
    }
}

#[test]
fn without_rollback_everything_stays_for_the_next_one() {
    let node = node_with(&json!({"rollback": false}), None, &two_networks());
    node.answer("z ADD", failing(999, "no"));
    let error = node.manager.setup_pod(&both()).unwrap_err();
    assert!(error.rollback().is_none());
    assert_eq!(node.ran(), ["x ADD eth0", "y ADD eth0", "z ADD eth1"]);
    assert_eq!(node.intent(), Some(vec![("a".to_owned(), Some(2)), ("b".to_owned(), Some(1))]));
    assert_eq!(node.cache_files(), ["a-c1-eth0"]);
    assert_eq!(node.teardown().unwrap().networks.len(), 2);
    assert_eq!(node.ran(), ["z DEL eth1", "y DEL eth0", "x DEL eth0"]);
    assert!(node.is_clean());
}

/// What a killed host leaves: the intent as it was written, and what it noted.
#[test]
fn a_killed_set_up_is_undone_as_far_as_it_was() {
    let node = node(&two_networks());
    node.manager.setup_pod(&both()).unwrap();
    let cache = node.cache();
    let entries = cache.attachments(Some(&c1())).unwrap();
    let attachments = entries.iter().map(|entry| crate::store::Intended {
        entry: crate::store::CacheEntry { result: None, ..entry.clone() },
        started: None,
        refused: false,
    });
    let intent = crate::store::Intent {
        container_id: c1(),
        loopback: false,
        owner: Some("cnirt".to_owned()),
        of_earlier_boot: false,
        attachments: attachments.collect(),
    };
    let mut progress = cache.intents().begin(&intent).unwrap();
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.9/24"}]});
    progress.note(0, 1, None).unwrap();
    progress.note(0, 2, None).unwrap();
    progress.note(1, 1, None).unwrap();
    progress.note(1, 2, Some(&result)).unwrap();
    cache.remove(&entries[1].key).unwrap();
    node.runs();
    node.teardown().unwrap();
    let runs = node.runs();
    let told: Vec<_> =
        runs.iter().map(|run| (run.what.as_str(), run.stdin["prevResult"]["ips"][0]["address"].as_str())).collect();
    assert_eq!(
        told,
        [
            ("w DEL", Some("10.9.9.9/24")),
            ("z DEL", Some("10.9.9.9/24")),
            ("y DEL", Some("fd00::2/64")),
            ("x DEL", Some("fd00::2/64")),
        ]
    );
    assert!(node.is_clean());
}

#[test]
fn a_teardown_of_one_network_leaves_the_intent_of_the_other() {
    let node = node_with(&json!({"rollback": false}), None, &two_networks());
    node.answer("z ADD", failing(999, "no"));
    node.manager.setup_pod(&both()).unwrap_err();
    node.runs();
    node.manager.teardown_pod(&pod(&json!([{"name": "a"}]))).unwrap();
    assert_eq!((node.ran().len(), node.intent()), (2, Some(vec![("b".to_owned(), Some(1))])));
    node.teardown().unwrap();
    assert_eq!(node.ran(), ["z DEL eth1"]);
    assert!(node.is_clean());
}

#[test]
fn a_corrected_configuration_undoes_what_the_recorded_one_cannot() {
    for (row, corrected, done) in [
        ("the same plugins", json!({"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "x", "good": 1}]}), true),
        ("other plugins", list("a", "1.0.0", &["y"]), false),
        ("the same text", list("a", "1.0.0", &["x"]), false),
    ] {
        let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
        node.answer("x ADD", failing(7, "bad key"));
        node.answer("x DEL", failing(999, "bad key"));
        node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
        node.write("10.conflist", &corrected.to_string());
        *node.plugins.pardons.lock().unwrap() = Some("good");
        assert_eq!(node.teardown().is_ok(), done, "{row}");
        assert_eq!(node.is_clean(), done, "{row}");
    }
}

#[test]
fn a_torn_intent_and_a_torn_entry_stop_nobody() {
    for (row, torn) in [("intent", "cnirt/intents/c1"), ("entry", "results/a-c1-eth0")] {
        for next in ["teardown", "set-up"] {
            let node = node(&[("10.conflist", list("a", "1.0.0", &["x", "y"]))]);
            let path = node.dir.path().join("cache").join(torn);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
            if next == "set-up" {
                node.manager.setup_pod(&pod(&Value::Null)).unwrap();
                assert_eq!(node.ran(), ["y DEL eth0", "x DEL eth0", "x ADD eth0", "y ADD eth0"], "{row}");
                node.teardown().unwrap();
            } else {
                node.teardown().unwrap();
                assert_eq!(node.ran(), ["y DEL eth0", "x DEL eth0"], "{row}");
            }
            assert!(node.is_clean(), "{row}, {next}");
        }
    }
}

#[test]
fn a_torn_intent_stays_until_its_teardown_succeeds() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
    let path = torn_intent(&node);
    assert_eq!(node.manager.list_pods().unwrap()[0].pod.id, "c1");
    node.answer("x DEL", failing(999, "stuck"));
    node.teardown().unwrap_err();
    assert!(path.exists());
    node.let_succeed("x DEL");
    node.teardown().unwrap();
    assert!(!path.exists());
}

#[test]
fn replace_removes_what_is_in_the_way_and_nothing_else() {
    let replacing = |networks: Value| {
        let mut request = pod(&networks);
        request.replace = true;
        request
    };
    for (row, networks, ran) in [
        (
            "the same network",
            json!([{"name": "a", "ifName": "eth0"}]),
            vec!["y DEL eth0", "x DEL eth0", "x ADD eth0", "y ADD eth0"],
        ),
        (
            "another network on the interface",
            json!([{"name": "b", "ifName": "eth0"}]),
            vec!["y DEL eth0", "x DEL eth0", "z ADD eth0", "w ADD eth0"],
        ),
        (
            "a network without an interface",
            json!([{"name": "b"}]),
            vec!["w DEL eth1", "z DEL eth1", "z ADD eth1", "w ADD eth1"],
        ),
        ("a free interface", json!([{"name": "b", "ifName": "eth7"}]), vec!["z ADD eth7", "w ADD eth7"]),
        ("the default network", Value::Null, vec!["y DEL eth0", "x DEL eth0", "x ADD eth0", "y ADD eth0"]),
    ] {
        let node = node(&two_networks());
        node.manager.setup_pod(&both()).unwrap();
        node.runs();
        node.manager.setup_pod(&replacing(networks)).unwrap();
        assert_eq!(node.ran(), ran, "{row}");
    }
    let node = node(&two_networks());
    node.manager.setup_pod(&both()).unwrap();
    node.answer("y DEL", failing(999, "stuck"));
    node.runs();
    let error = node.manager.setup_pod(&replacing(Value::Null)).unwrap_err();
    assert!(error.to_string().starts_with("cannot replace what pod c1 has: "), "{error}");
    assert_eq!((node.ran(), node.cache_files().len()), (vec!["y DEL eth0".to_owned()], 2));
}

#[test]
fn a_forced_teardown_drops_every_record_and_says_what_failed() {
    let forced = || {
        let mut request = pod(&Value::Null);
        request.force = true;
        request
    };
    let node = node(&two_networks());
    node.manager.setup_pod(&both()).unwrap();
    for plugin in ["w DEL", "y DEL"] {
        node.answer(plugin, failing(999, "stuck"));
    }
    node.runs();
    assert!(node.teardown().unwrap_err().to_string().contains("stuck"));
    assert_eq!((node.ran(), node.cache_files().len()), (vec!["w DEL eth1".to_owned(), "y DEL eth0".to_owned()], 2));
    let answer = serde_json::to_value(node.manager.teardown_pod(&forced()).unwrap()).unwrap();
    assert_eq!(node.ran(), ["w DEL eth1", "z DEL eth1", "y DEL eth0", "x DEL eth0"]);
    assert_eq!((answer["networks"].as_array().unwrap().len(), answer["errors"][1]["plugin"].as_str()), (2, Some("y")));
    assert!(node.is_clean());

    // An entry without a configuration that anybody could use; an unfinished attachment.
    node.answer("x ADD", failing(999, "no"));
    node.answer("x DEL", failing(999, "stuck"));
    node.manager.setup_pod(&pod(&Value::Null)).unwrap_err();
    std::fs::write(node.dir.path().join("cache/results/gone-c1-eth5"), "torn").unwrap();
    let entry = r#"{"kind":"cniCacheV1","networkName":"gone","containerId":"c1","ifName":"eth6","config":"e30="}"#;
    std::fs::write(node.dir.path().join("cache/results/gone-c1-eth6"), entry).unwrap();
    node.teardown().unwrap_err();
    let answer = node.manager.teardown_pod(&forced()).unwrap();
    assert_eq!(answer.errors.len(), 2, "{answer:?}");
    assert!(node.is_clean(), "{:?}", node.cache_files());
}

#[test]
fn a_plugin_that_is_missing_or_knows_no_version_keeps_no_pod() {
    let row = |missing: Option<&'static str>| {
        let node = node(&[("10.conflist", list("a", "1.0.0", &["x", "y"]))]);
        node.manager.status().unwrap();
        node.plugins.missing.lock().unwrap().extend(missing);
        node
    };
    let inline = || pod(&json!([{"config": list("a", "1.0.0", &["x", "y"])}]));
    let missing = row(Some("y"));
    let error = missing.manager.setup_pod(&inline()).unwrap_err();
    let words = "plugin type=\"y\" failed (add): failed to find plugin \"y\" in path []";
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::PluginNotFound, words));
    assert!(missing.is_clean() && missing.ran().is_empty());
    let old = row(None);
    old.answer("y ADD", failing(1, "incompatible CNI versions"));
    old.answer("y DEL", failing(1, "incompatible CNI versions"));
    let error = old.manager.setup_pod(&inline()).unwrap_err();
    assert!(error.rollback().unwrap().done && old.is_clean(), "{error:?}");
}

type Operation = fn(&PluginManager, &PodRequest) -> Result<()>;

#[test]
fn a_pod_that_another_process_works_on_is_waited_for_and_holds_nobody_else() {
    let node = node(&two_networks());
    // A description of its own is to the kernel what another process is.
    let other = node.cache().locks().pod(&Call::default(), &c1(), "setup_pod").unwrap();
    let mut hasty = pod(&Value::Null);
    hasty.timeout = Some(Duration::from_millis(5));
    let words = format!("waiting for pod c1, which this process, {} (setup_pod c1) works on: ", std::process::id());
    let operations: Map<&str, Operation> = Map::from([
        ("set-up", (|manager, request| manager.setup_pod(request).map(drop)) as Operation),
        ("teardown", |manager, request| manager.teardown_pod(request).map(drop)),
        ("check", |manager, request| manager.check_pod(request).map(drop)),
    ]);
    for (name, operation) in operations {
        let error = operation(&node.manager, &hasty).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Timeout, "{name}");
        assert!(error.to_string().starts_with(&words), "{name}: {error}");
    }
    assert!(node.ran().is_empty());
    node.manager.status().unwrap();
    node.manager.list_pods().unwrap();
    node.manager.pod_status(&pod(&Value::Null)).unwrap();
    let others = request(&json!({"id": "c2", "netns": NETNS, "timeoutMs": 5000}));
    node.manager.setup_pod(&others).unwrap();
    drop(other);
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
}

#[test]
fn what_cannot_be_recorded_is_refused_before_any_plugin_runs() {
    let long = "n".repeat(252);
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list(&long, "1.0.0", &["x"]))];
    let node = node(&files);
    let error = node.manager.setup_pod(&pod(&json!([{"name": "a"}, {"name": long}]))).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
    assert!(error.to_string().contains("a file name has at most 255"), "{error}");
    assert!(node.ran().is_empty() && node.is_clean());
}
