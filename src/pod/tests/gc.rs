//! GC of a node's pods.

use super::unfinished::c1;
use super::*;

fn collect(node: &Node, valid: &Value) -> Result<Value> {
    let request = GcRequest::from_json(&json!({"validPods": valid}).to_string())?;
    node.manager.gc(&request).map(|collected| serde_json::to_value(collected).unwrap())
}

fn of(id: &str, networks: &Value) -> PodRequest {
    let mut request = json!({"id": id, "netns": NETNS});
    if !networks.is_null() {
        request["networks"] = networks.clone();
    }
    super::request(&request)
}

fn two_networks(version: &str) -> [(&'static str, Value); 2] {
    [("10.conflist", list("a", version, &["x"])), ("20.conflist", list("b", version, &["y"]))]
}

#[test]
fn what_no_valid_pod_has_is_deleted() {
    let all = || json!([{"name": "a"}, {"name": "b"}]);
    for (row, valid, deleted, ran) in [
        ("nothing is valid", json!([]), vec![("c1", "b"), ("c1", "a"), ("c2", "a")], 3),
        ("all that a pod has", json!([{"id": "c1"}]), vec![("c2", "a")], 1),
        (
            "one network of a pod",
            json!([{"id": "c1", "networks": [{"network": "a", "ifName": "eth0"}]}, {"id": "c2"}]),
            vec![("c1", "b")],
            1,
        ),
        (
            "a pod without networks",
            json!([{"id": "c1", "networks": []}, {"id": "c2"}]),
            vec![("c1", "b"), ("c1", "a")],
            2,
        ),
        ("a pod that nobody knows", json!([{"id": "c1"}, {"id": "c2"}, {"id": "c3"}]), vec![], 0),
    ] {
        let node = node(&two_networks("1.0.0"));
        node.manager.setup_pod(&of("c1", &all())).unwrap();
        node.manager.setup_pod(&of("c2", &Value::Null)).unwrap();
        node.runs();
        let answer = collect(&node, &valid).unwrap();
        let answer = answer["deleted"].as_array().unwrap().iter();
        let answer: Vec<_> =
            answer.map(|one| (one["id"].as_str().unwrap(), one["network"].as_str().unwrap())).collect();
        assert_eq!(answer, deleted, "{row}");
        assert_eq!((node.ran().len(), node.cache_files().len()), (ran, 3 - deleted.len()), "{row}");
    }
}

#[test]
fn what_others_made_stays_and_plugins_are_told_of_it() {
    let node = node(&two_networks("1.1.0"));
    node.manager.setup_pod(&of("c1", &Value::Null)).unwrap();
    let results = node.dir.path().join("cache/results");
    let entry = std::fs::read_to_string(results.join("a-c1-eth0")).unwrap();
    for (id, owner) in [("other", r#""owner":"other""#), ("nobody", r#""unknown":"""#)] {
        let entry = entry.replace("\"c1\"", &format!("{id:?}")).replace(r#""owner":"cnirt""#, owner);
        std::fs::write(results.join(format!("a-{id}-eth0")), entry).unwrap();
    }
    node.runs();
    let named = json!([{"id": "named", "networks": [{"network": "b", "ifName": "net1"}]}, {"id": "lost"}]);
    assert_eq!(collect(&node, &named).unwrap()["deleted"], json!([{"id": "c1", "network": "a", "ifName": "eth0"}]));
    assert_eq!(node.cache_files(), ["a-nobody-eth0", "a-other-eth0"]);
    let runs = node.runs();
    let told: Vec<_> = runs.iter().map(|run| (run.what.as_str(), &run.stdin["cni.dev/valid-attachments"])).collect();
    let valid = |ids: &[&str], if_name: &str| {
        ids.iter().map(|id| json!({"containerID": id, "ifname": if_name})).collect::<Value>()
    };
    // Of a valid pod without a record the default network's interface is spared.
    let (of_a, of_b) = (valid(&["lost", "nobody", "other"], "eth0"), valid(&["named"], "net1"));
    assert_eq!(told, [("x DEL", &Value::Null), ("x GC", &of_a), ("y GC", &of_b)]);
}

#[test]
fn a_network_with_disable_gc_is_left_alone_save_what_is_unfinished() {
    let disabled = json!({"name": "a", "cniVersion": "1.1.0", "disableGC": true, "plugins": [{"type": "x"}]});
    let node = node_with(&json!({"rollback": false}), None, &[("10.conflist", disabled)]);
    node.manager.setup_pod(&of("c1", &Value::Null)).unwrap();
    node.answer("x ADD", failing(999, "no"));
    node.manager.setup_pod(&of("c2", &Value::Null)).unwrap_err();
    node.runs();
    assert_eq!(collect(&node, &json!([])).unwrap()["deleted"][0]["id"], "c2");
    assert_eq!((node.ran(), node.cache_files()), (vec!["x DEL eth0".to_owned()], vec!["a-c1-eth0".to_owned()]));
}

#[test]
fn what_did_not_end_is_undone_where_its_pod_is_gone() {
    let node = node_with(&json!({"rollback": false}), None, &two_networks("1.0.0"));
    node.answer("y ADD", failing(999, "no"));
    node.manager.setup_pod(&of("c1", &json!([{"name": "a"}, {"name": "b"}]))).unwrap_err();
    node.runs();
    assert_eq!(collect(&node, &json!([{"id": "c1"}])).unwrap()["deleted"], json!([]));
    assert_eq!(node.intent().unwrap().len(), 2);
    assert_eq!(collect(&node, &json!([])).unwrap()["deleted"].as_array().unwrap().len(), 2);
    assert_eq!((node.ran(), node.intent()), (vec!["y DEL eth1".to_owned(), "x DEL eth0".to_owned()], None));
}

#[test]
fn a_pod_that_is_set_up_meanwhile_stays() {
    let node = Arc::new(node(&two_networks("1.0.0")));
    node.manager.setup_pod(&of("c1", &Value::Null)).unwrap();
    let meanwhile = Arc::downgrade(&node);
    *node.plugins.at_del.lock().unwrap() = Some(Box::new(move || {
        meanwhile.upgrade().unwrap().manager.setup_pod(&of("c2", &Value::Null)).unwrap();
    }));
    assert_eq!(collect(&node, &json!([])).unwrap()["deleted"].as_array().unwrap().len(), 1);
    assert_eq!(node.cache_files(), ["a-c2-eth0"]);
}

#[test]
fn one_error_stops_nothing_and_a_busy_pod_comes_last() {
    let node = node(&two_networks("1.1.0"));
    for id in ["c1", "c2", "c3"] {
        node.manager.setup_pod(&of(id, &Value::Null)).unwrap();
    }
    let other = node.cache().locks().pod(&Call::default(), &c1(), "setup_pod").unwrap();
    node.answer("y GC", failing(999, "no"));
    let request = GcRequest::from_json(r#"{"validPods": [], "callId": "gc"}"#).unwrap();
    let error = std::thread::scope(|scope| {
        let gc = scope.spawn(|| node.manager.gc(&request).unwrap_err());
        while node.cache_files().len() > 1 {
            assert!(!gc.is_finished());
            std::thread::yield_now();
        }
        node.manager.cancel(Some("gc"));
        gc.join().unwrap()
    });
    assert_eq!(error.class(), ErrorClass::Cancelled);
    let (words, pid) = (error.to_string(), std::process::id());
    let said = format!("waiting for pod c1, which this process, {pid} (setup_pod c1) works on: the call was cancelled");
    assert!(words.starts_with(&said), "{words}");
    assert!(words.contains("waiting until nobody works on a pod; this process"), "{words}");
    assert_eq!(node.cache_files(), ["a-c1-eth0"]);
    drop(other);
    let error = collect(&node, &json!([])).unwrap_err().to_string();
    assert_eq!(error, "failed to GC plugin y: no");
    assert!(node.cache_files().is_empty());
}

#[test]
fn a_request_names_its_wrong_keys() {
    for (text, words) in [
        ("{}", "GC request: missing key \"validPods\""),
        (r#"{"validPods": {}}"#, "GC request, key \"validPods\": expected a list, found an object"),
        (r#"{"validPods": [{}]}"#, "GC request, key \"validPods[0]\": missing key \"id\""),
        (
            r#"{"validPods": [{"id": "/"}]}"#,
            "GC request, key \"validPods[0].id\": invalid characters in containerID; /",
        ),
        (r#"{"validPods": [{"id": "a"}, {"id": "a"}]}"#, "GC request, key \"validPods\": pod a is given twice"),
        (
            r#"{"validPods": [{"id": "a", "networks": [{"network": "n", "ifName": ""}]}]}"#,
            "GC request, key \"validPods[0].networks[0].ifName\": interface name is empty",
        ),
        (r#"{"validPods": [], "pods": []}"#, "GC request: unknown key \"pods\""),
    ] {
        assert_eq!(GcRequest::from_json(text).unwrap_err().to_string(), words);
    }
}
