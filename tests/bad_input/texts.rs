//! Texts that are no JSON or too deep, container IDs and paths that cannot be, and configuration files like that.

use std::path::Path;

use serde_json::{Value, json};

use crate::face::{Handle, ON_POD, json_get, json_set, refused};
use crate::node::{Node, isolated};

const INVALID: &str = "CNI_E_INVALID_ARGUMENT";

/// What is said of a text that is no JSON, or no object.
fn bad_texts() -> Vec<(String, &'static str)> {
    let mut texts = vec![
        (String::new(), "is not JSON"),
        ("{".to_owned(), "is not JSON"),
        ("{\"id\":\"pod\"".to_owned(), "is not JSON"),
        ("{\"id\":\"pod\"} x".to_owned(), "is not JSON"),
        ("{'id':'pod'}".to_owned(), "is not JSON"),
        ("{\"id\":\"\\ud800\"}".to_owned(), "is not JSON"),
        ("\u{feff}{}".to_owned(), "is not JSON"),
        ("null".to_owned(), "expected an object, found null"),
        ("[]".to_owned(), "expected an object, found a list"),
        ("\"{}\"".to_owned(), "expected an object, found a string"),
        ("7".to_owned(), "expected an object, found a number"),
    ];
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        texts.push((open.repeat(100_000), "recursion limit exceeded"));
        texts.push((format!("{}1{}", open.repeat(100_000), close.repeat(100_000)), "recursion limit exceeded"));
        texts.push((format!("{{\"id\":{}", open.repeat(100_000)), "recursion limit exceeded"));
    }
    texts
}

#[test]
fn a_text_that_is_no_object_is_refused_by_the_name_of_what_it_should_be() {
    let noop = Handle::new(r#"{"plugin":"noop"}"#).unwrap();
    let cni = Handle::new(r#"{"confDir":"/nowhere","cacheDir":"/nowhere"}"#).unwrap();
    for (text, words) in bad_texts() {
        let what = format!("{text:.40}");
        for (name, function) in ON_POD {
            refused(&format!("{name} {what}"), noop.call(function, &text), INVALID, &["pod request", words]);
        }
        refused(&what, Handle::new(&text).map(|_| Value::Null), INVALID, &["plugin options", words]);
        refused(&what, cni.event(&text), INVALID, &["event details", words]);
        if !words.starts_with("expected") {
            refused(&what, json_get(&text), INVALID, &["json", words.trim_start_matches("is ")]);
            refused(&what, json_set(&text), INVALID, &["value", words.trim_start_matches("is ")]);
        }
    }
}

#[test]
fn an_impossible_container_id_is_refused_by_every_function() {
    let noop = Handle::new(r#"{"plugin":"noop"}"#).unwrap();
    let cut = format!("{}… (5000 bytes)", "/".repeat(128));
    for (id, shown) in [
        ("", "missing containerID"),
        (".", "containerID; ."),
        ("..", "containerID; .."),
        ("../../etc", "containerID; ../../etc"),
        ("a/b", "containerID; a/b"),
        ("a\0b", "containerID; a"),
        ("a b", "containerID; a b"),
        ("-a", "containerID; -a"),
        ("\u{e9}", "containerID; \u{e9}"),
        (&"/".repeat(5000), &cut),
    ] {
        for (name, function) in ON_POD {
            let answer = noop.call(function, &json!({"id": id}).to_string());
            refused(&format!("{name} {id:.10}"), answer, INVALID, &["key \"id\"", shown]);
        }
    }
}

#[test]
fn what_cannot_be_attached_is_refused_before_a_plugin_runs() {
    isolated("texts::what_cannot_be_attached_is_refused_before_a_plugin_runs", || {
        let node = Node::new(&json!({}));
        node.plugin("ran", format!("#!/bin/sh\ntouch {}\n", node.path("ran").display()).as_bytes());
        let list = json!({"cniVersion": "1.0.0", "name": "known", "plugins": [{"type": "ran"}]});
        std::fs::write(node.path("conf/known.conflist"), list.to_string()).unwrap();
        let (file, missing) = (node.path("file"), node.path("missing"));
        std::fs::write(&file, "").unwrap();
        let config = |name: Value| json!({"cniVersion": "1.0.0", "name": name, "type": "ran"});
        let before = node.settled_things();
        let netns = |path: &Path| json!({"netns": path});
        for (what, changes, class, words) in [
            (
                "a missing namespace",
                netns(&missing),
                "CNI_E_NETNS",
                vec![missing.to_str().unwrap(), "no such file or directory"],
            ),
            ("a file for a namespace", netns(&file), "CNI_E_NETNS", vec![file.to_str().unwrap(), "not a namespace"]),
            ("another namespace", netns(Path::new("/proc/self/ns/mnt")), "CNI_E_NETNS", vec!["/proc/self/ns/mnt"]),
            ("no namespace", json!({"netns": null}), INVALID, vec!["netns"]),
            ("a NUL in a path", json!({"netns": "/a\0b"}), INVALID, vec!["key \"netns\""]),
            ("an id of 5000 characters", json!({"id": "a".repeat(5000)}), INVALID, vec!["aaaa", "255"]),
            (
                "an unknown network",
                json!({"networks": [{"name": "none"}]}),
                "CNI_E_NOT_FOUND",
                vec!["networks[0]", "none"],
            ),
            (
                "a path for a network",
                json!({"networks": [{"name": "../x"}]}),
                "CNI_E_NOT_FOUND",
                vec!["networks[0]", "../x"],
            ),
            (
                "a path in a config",
                json!({"networks": [{"config": config(json!("../x"))}]}),
                "CNI_E_CONFIG",
                vec!["networks[0]", "../x"],
            ),
            (
                "a config without a name",
                json!({"networks": [{"config": config(json!(""))}]}),
                "CNI_E_CONFIG",
                vec!["networks[0]", "name"],
            ),
            (
                "a config with a wrong name",
                json!({"networks": [{"config": config(json!(1))}]}),
                "CNI_E_CONFIG",
                vec!["networks[0].config", "name"],
            ),
            (
                "a config without a type",
                json!({"networks": [{"config": {"name": "a"}}]}),
                "CNI_E_CONFIG",
                vec!["networks[0].config", "type"],
            ),
            (
                "plugins that are none",
                json!({"networks": [{"config": {"name": "a", "plugins": {}}}]}),
                "CNI_E_CONFIG",
                vec!["networks[0].config", "plugins"],
            ),
            (
                "a path for a type",
                json!({"networks": [{"config": {"name": "a", "type": "../bin/ran"}}]}),
                "CNI_E_CONFIG",
                vec!["../bin/ran"],
            ),
            (
                "an unknown version",
                json!({"networks": [{"config": {"cniVersion": "x", "name": "a", "type": "ran"}}]}),
                "CNI_E_CONFIG",
                vec!["networks[0]", "cniVersion", "\"x\""],
            ),
            (
                "an interface twice",
                json!({"networks": [{"default": true, "ifName": "i"}, {"config": config(json!("b")), "ifName": "i"}]}),
                INVALID,
                vec!["networks", "i"],
            ),
            ("a separator in an argument", json!({"cniArgs": [["a", "b;c"]]}), INVALID, vec!["CNI_ARGS, key \"a\""]),
            ("an argument twice", json!({"cniArgs": [["a", "b"], ["a", "c"]]}), INVALID, vec!["CNI_ARGS, key \"a\""]),
            ("a NUL in the environment", json!({"env": {"A": "b\0c"}}), INVALID, vec!["env", "A"]),
            ("an equals sign in a variable", json!({"env": {"A=B": "c"}}), INVALID, vec!["env", "A=B"]),
        ] {
            let mut request: Value = serde_json::from_str(&node.request("pod", &config(json!("net")))).unwrap();
            request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            refused(what, node.handle.call(ON_POD[0].1, &request.to_string()), class, &words);
            assert!(!node.path("ran").exists(), "{what}: a plugin ran");
        }
        node.has_only(&before, "what was refused");
    });
}

#[test]
fn a_configuration_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (conf, broken) = (dir.path(), dir.path().join("broken.conflist"));
    let handle =
        Handle::new(&json!({"confDir": conf, "cacheDir": conf.join("cache"), "binDirs": [conf]}).to_string()).unwrap();
    for (content, words) in [
        (String::new(), "not JSON"),
        ("{".to_owned(), "not JSON"),
        ("[]".to_owned(), "expected an object"),
        ("[".repeat(100_000), "recursion limit exceeded"),
        (r#"{"name":1,"plugins":[{"type":"a"}]}"#.to_owned(), "name"),
        (r#"{"name":"a/b","plugins":[{"type":"a"}]}"#.to_owned(), "a/b"),
        (r#"{"name":"a","plugins":{}}"#.to_owned(), "plugins"),
        (r#"{"name":"a","plugins":[]}"#.to_owned(), "no plugins in list"),
        (r#"{"name":"a","plugins":[{}]}"#.to_owned(), "type"),
        (r#"{"name":"a","plugins":[1]}"#.to_owned(), "plugin"),
        (r#"{"name":"a","cniVersion":[],"plugins":[{"type":"a"}]}"#.to_owned(), "cniVersion"),
        (r#"{"name":"a","disableCheck":"x","plugins":[{"type":"a"}]}"#.to_owned(), "disableCheck"),
        (r#"{"name":"a","plugins":[{"type":"nowhere"}]}"#.to_owned(), "nowhere"),
    ] {
        std::fs::write(&broken, &content).unwrap();
        let what = format!("{content:.60}");
        let status = handle.status();
        assert_eq!(
            (&status["ready"], &status["networks"][0]["valid"]),
            (&json!(false), &json!(false)),
            "{what}: {status}"
        );
        assert_eq!(status["networks"][0]["file"], broken.to_str().unwrap(), "{what}: {status}");
        assert!(status["networks"][0]["reason"].as_str().unwrap().contains(words), "{what}: {status}");
        let request = json!({"id": "pod", "netns": "/proc/self/ns/net"}).to_string();
        let file = broken.to_str().unwrap();
        refused(
            &what,
            handle.call(ON_POD[0].1, &request),
            "CNI_E_NOT_READY",
            &["cni config uninitialized", file, words],
        );
        let request = json!({"id": "pod", "netns": "/proc/self/ns/net", "networks": [{"name": "any"}]}).to_string();
        let answer = handle.call(ON_POD[0].1, &request);
        // A list that can be read but not used has a name, another one than is asked for.
        match words {
            "a/b" | "nowhere" => refused(&what, answer, "CNI_E_NOT_FOUND", &["networks[0]", "any"]),
            _ => refused(&what, answer, "CNI_E_CONFIG", &["networks[0]", file, words]),
        };
    }
}
