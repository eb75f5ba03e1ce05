//! GC.

use super::*;
use crate::network::{GcArgs, GcAttachment};

fn valid(pairs: &[(&str, &str)]) -> GcArgs {
    let attachment =
        |(id, name): &(&str, &str)| GcAttachment { container_id: (*id).to_owned(), if_name: (*name).to_owned() };
    GcArgs { valid_attachments: Some(pairs.iter().map(attachment).collect()) }
}

/// Three attachments of the network, and one of another.
fn used(exec: FakeExec) -> Node {
    let node = node(exec);
    for (name, id, if_name) in
        [("net", "c1", "eth0"), ("net", "c1", "eth1"), ("net", "c2", "eth0"), ("other", "c1", "eth0")]
    {
        let list = NetworkConfigList { name: name.to_owned(), ..list("1.0.0") };
        let args = vec![("ID".to_owned(), id.to_owned())];
        let rt = RuntimeConf { container_id: id.to_owned(), if_name: if_name.to_owned(), args, ..rt() };
        node.cni.add_network_list(&Call::default(), &list, &rt).unwrap();
    }
    node.ran();
    node
}

fn one(version: &str) -> NetworkConfigList {
    let text = format!(r#"{{"name":"net","cniVersion":"{version}","plugins":[{{"type":"a"}}]}}"#);
    NetworkConfigList::from_bytes(text.as_bytes()).unwrap()
}

#[test]
fn what_is_not_valid_is_deleted_and_plugins_are_told_what_is() {
    let keys = |value: Value| json!({"cni.dev/valid-attachments": value, "cni.dev/attachments": value});
    for (row, version, args, ran, left, told) in [
        (
            "some are valid",
            "1.1.0",
            Some(valid(&[("c1", "eth0"), ("c2", "eth1")])),
            "a DEL, a DEL, a GC",
            &["net-c1-eth0", "other-c1-eth0"][..],
            keys(json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth1"}])),
        ),
        ("none is valid", "1.1.0", Some(valid(&[])), "a DEL, a DEL, a DEL, a GC", &["other-c1-eth0"], keys(json!([]))),
        (
            "Go's nil slice",
            "1.1.0",
            Some(GcArgs::default()),
            "a DEL, a DEL, a DEL, a GC",
            &["other-c1-eth0"],
            keys(json!(null)),
        ),
        ("no arguments", "1.1.0", None, "a DEL, a DEL, a DEL, a GC", &["other-c1-eth0"], json!({})),
        (
            "before the command",
            "1.0.0",
            Some(valid(&[("c1", "eth0")])),
            "a DEL, a DEL",
            &["net-c1-eth0", "other-c1-eth0"],
            json!({}),
        ),
    ] {
        let node = used(FakeExec::default());
        node.cni.gc_network_list(&Call::default(), &one(version), args.as_ref()).unwrap();
        let runs = node.runs();
        assert_eq!(node.ran(), ran, "{row}");
        let mut files = node.cache_files();
        files.sort();
        assert_eq!(files, left, "{row}");
        let stale = &runs[0];
        assert_eq!((stale.env["CNI_NETNS"].as_str(), stale.stdin["prevResult"].is_object()), ("/ns", true), "{row}");
        assert_eq!(stale.env["CNI_ARGS"], format!("ID={}", stale.env["CNI_CONTAINERID"]), "{row}");
        for run in runs.into_iter().filter(|run| run.what.ends_with("GC")) {
            let mut expected = json!({"name": "net", "cniVersion": version, "type": "a"});
            expected.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
            assert_eq!(run.stdin, expected, "{row}");
            assert_eq!((run.env["CNI_CONTAINERID"].as_str(), run.env["CNI_IFNAME"].as_str()), ("", ""), "{row}");
        }
    }
}

#[test]
fn nothing_happens_where_the_list_wants_none() {
    let node = used(FakeExec::default());
    let list = NetworkConfigList { disable_gc: true, ..one("1.1.0") };
    node.cni.gc_network_list(&Call::default(), &list, Some(&valid(&[]))).unwrap();
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("", 4));
}

#[test]
fn every_error_is_kept_and_stops_nothing() {
    let answers = HashMap::from([(("c", "DEL"), failing(11, "busy")), (("b", "GC"), failing(999, "stuck"))]);
    let node = used(FakeExec { answers, ..FakeExec::default() });
    let args = valid(&[("c1", "eth0")]);
    let error = node.cni.gc_network_list(&Call::default(), &list("1.1.0"), Some(&args)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to delete stale attachment c1 eth1: plugin type=\"c\" failed (delete): busy\n\
         failed to delete stale attachment c2 eth0: plugin type=\"c\" failed (delete): busy\n\
         failed to GC plugin b: stuck"
    );
    assert_eq!(error.errors().len(), 3);
    assert_eq!(error.errors()[0].cause().unwrap().code, 11);
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("c DEL, c DEL, a GC, b GC, c GC", 4));
}

#[test]
fn a_cache_that_cannot_be_read_is_an_error() {
    let mut node = node(FakeExec::default());
    let file = node.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    node.cni.cache_dir = Some(file);
    let error = node.cni.gc_network_list(&Call::default(), &list("1.1.0"), None).unwrap_err();
    assert_eq!((error.class(), node.ran().as_str()), (ErrorClass::Cache, ""));
}
