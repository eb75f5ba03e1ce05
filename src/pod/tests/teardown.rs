//! Teardown: from what was recorded, past every error.

use super::*;

#[test]
fn a_teardown_uses_what_was_recorded_in_reverse_order() {
    let file = json!({"name": "a", "cniVersion": "1.0.0"});
    let node = node(&[
        ("10.conflist", file),
        ("a/1.conf", json!({"type": "x", "was": 1})),
        ("20.conflist", list("b", "1.0.0", &["y"])),
    ]);
    node.manager.setup_pod(&pod(&json!([{"name": "a", "cniArgs": [["K", "V"]]}, {"name": "b"}]))).unwrap();
    node.runs();
    std::fs::remove_dir_all(node.dir.path().join("net.d")).unwrap();
    let answer = node.manager.teardown_pod(&request(&json!({"id": "c1"}))).unwrap();
    let names: Vec<&str> = answer.networks.iter().map(|name| name.network.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    let runs = node.runs();
    assert_eq!((runs[1].what.as_str(), &runs[1].stdin["was"]), ("x DEL", &json!(1)));
    assert!(runs[1].env["CNI_ARGS"].ends_with(";K=V") && runs[1].stdin["prevResult"].is_object());
    assert!(node.cache_files().is_empty());

    let again = node.manager.teardown_pod(&request(&json!({"id": "c1"}))).unwrap();
    assert_eq!((again.networks.len(), node.ran().len()), (1, 1), "the default network as it was last known");
}

#[test]
fn a_teardown_of_nothing_with_nothing_configured_is_done() {
    let node = node(&[]);
    for networks in [Value::Null, json!([{"name": "nope"}]), json!([])] {
        assert!(node.manager.teardown_pod(&pod(&networks)).unwrap().networks.is_empty(), "{networks}");
    }
    assert!(node.ran().is_empty());
}

#[test]
fn a_teardown_tries_every_network_and_keeps_what_failed() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y", "z"]))];
    let networks = json!([{"name": "a"}, {"name": "b"}]);
    let node = node(&files);
    node.manager.setup_pod(&pod(&networks)).unwrap();
    node.answer("z DEL", failing(3, "unknown container"));
    node.answer("y DEL", failing(999, "stuck"));
    node.runs();
    let error = node.manager.teardown_pod(&pod(&Value::Null)).unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"y\" failed (delete): stuck");
    assert_eq!(node.ran(), ["z DEL eth1", "y DEL eth1", "x DEL eth0"]);
    assert_eq!(node.cache_files(), ["b-c1-eth1"]);
    node.answer("y DEL", Ok(Value::Null));
    let left = node.manager.teardown_pod(&pod(&Value::Null)).unwrap();
    assert_eq!((left.networks.len(), left.networks[0].network.as_str()), (1, "b"));
}

#[test]
fn the_loopback_comes_first_and_goes_with_the_last_network() {
    let options = json!({"loopback": true, "builtin": []});
    let node = node_with(
        &options,
        None,
        &[("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y"]))],
    );
    node.manager.setup_pod(&pod(&json!([{"name": "a"}, {"name": "b"}]))).unwrap();
    assert_eq!(node.ran(), ["loopback ADD lo", "x ADD eth0", "y ADD eth1"]);
    assert_eq!(node.manager.list_pods().unwrap()[0].networks.len(), 2, "it is never shown");
    node.manager.teardown_pod(&pod(&json!([{"name": "b"}]))).unwrap();
    assert_eq!(node.ran(), ["y DEL eth1"]);
    node.answer("loopback DEL", failing(999, "its failure is only logged"));
    node.manager.teardown_pod(&pod(&Value::Null)).unwrap();
    assert_eq!(node.ran(), ["x DEL eth0", "loopback DEL lo"]);

    node.manager.setup_pod(&request(&json!({"id": "c2", "netns": NETNS, "networks": []}))).unwrap();
    assert_eq!(node.ran(), ["loopback ADD lo"], "a pod without networks has one too");
}

#[test]
fn a_broken_entry_of_any_network_does_not_stop_a_teardown() {
    let files = [("10.conflist", list("a", "1.0.0", &["x"])), ("20.conflist", list("b", "1.0.0", &["y"]))];
    for (name, broken, content) in [
        ("the default network's", "a-c1-eth0", ""),
        ("another's, torn", "b-c1-eth1", "{\"kind\":\"cni"),
        ("a bare result", "b-c1-eth1", r#"{"cniVersion":"1.0.0"}"#),
    ] {
        let node = node(&files);
        node.manager.setup_pod(&pod(&json!([{"name": "a"}, {"name": "b"}]))).unwrap();
        std::fs::write(node.dir.path().join("cache/results").join(broken), content).unwrap();
        node.runs();
        node.manager.teardown_pod(&pod(&Value::Null)).unwrap();
        let mut ran = node.ran();
        ran.sort();
        assert_eq!(
            (ran, node.cache_files().len()),
            (vec!["x DEL eth0".to_owned(), "y DEL eth1".to_owned()], 0),
            "{name}"
        );
    }
    let node = node(&files);
    node.manager.setup_pod(&pod(&json!([{"name": "a"}, {"name": "b"}]))).unwrap();
    std::fs::write(node.dir.path().join("cache/results/b-c1-eth1"), "").unwrap();
    std::fs::remove_file(node.dir.path().join("net.d/20.conflist")).unwrap();
    node.runs();
    let answer = node.manager.teardown_pod(&pod(&Value::Null)).unwrap();
    assert_eq!((answer.networks.len(), node.ran()), (1, vec!["x DEL eth0".to_owned()]));
    assert_eq!(node.cache_files(), ["b-c1-eth1"], "it waits for the network's configuration");
}

#[test]
fn a_teardown_takes_the_recorded_namespace_where_the_given_one_is_gone() {
    let node = node(&[("10.conflist", list("a", "1.0.0", &["x"]))]);
    node.manager.setup_pod(&pod(&Value::Null)).unwrap();
    node.runs();
    node.manager.teardown_pod(&request(&json!({"id": "c1", "netns": "/gone"}))).unwrap();
    assert_eq!(node.runs()[0].env["CNI_NETNS"], NETNS);
}
