//! Plugins that do what no plugin should, and real ones that are told what they cannot do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::face::{ON_POD, OnPod, refused};
use crate::node::{Node, isolated, isolated_with};

const SETUP: OnPod = ON_POD[0].1;
const TEARDOWN: OnPod = ON_POD[1].1;

/// A plugin, and what is said of it.
struct Row {
    name: &'static str,
    /// What its ADD does; everything else that it is asked succeeds.
    add: &'static str,
    class: &'static str,
    /// In the message or the hint, besides the plugin's type.
    words: &'static [&'static str],
    /// CNI's code in `cause`, where the plugin has an error object.
    cause: Option<u64>,
}

const fn row(name: &'static str, add: &'static str, class: &'static str, words: &'static [&'static str]) -> Row {
    Row { name, add, class, words, cause: None }
}

/// The time limit of what hangs, and what the node gives it beyond that.
const LIMIT: Duration = Duration::from_millis(700);
const GRACE: Duration = Duration::from_millis(300);

const PLUGIN: &str = "CNI_E_PLUGIN";

const ROWS: [Row; 26] = [
    row("prints nothing", "exit 0", PLUGIN, &["unexpected end of JSON input"]),
    row("prints half a JSON", r#"printf '{"cniVersion":"1.0.0","ips":['"#, PLUGIN, &["unexpected end of JSON input"]),
    row("prints no JSON", "echo done", PLUGIN, &[]),
    row("prints two results", r#"echo '{"cniVersion":"1.0.0"} {}'"#, PLUGIN, &["trailing characters"]),
    row("prints a list", "echo '[]'", PLUGIN, &[]),
    row("prints a string", r#"echo '"x"'"#, PLUGIN, &[]),
    row("prints nesting", "head -c 100000 /dev/zero | tr '\\0' '['", PLUGIN, &[]),
    row(
        "prints nesting in a result",
        "printf '{\"cniVersion\":\"1.0.0\",\"x\":'; head -c 100000 /dev/zero | tr '\\0' '['",
        PLUGIN,
        &[],
    ),
    row("prints bad UTF-8", r#"printf '{"cniVersion":"1.0.0","ips":[{"address":"\377"}]}'"#, PLUGIN, &[]),
    row("prints addresses of a wrong type", r#"echo '{"cniVersion":"1.0.0","ips":7}'"#, PLUGIN, &["ips"]),
    row("prints an address that is none", r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"x"}]}'"#, PLUGIN, &["x"]),
    row("prints an unknown version", r#"echo '{"cniVersion":"9.9.9"}'"#, "CNI_E_UNSUPPORTED", &["9.9.9"]),
    row("prints 1 GiB", "exec head -c 1073741824 /dev/zero", PLUGIN, &["1048576 bytes", "maxOutputBytes"]),
    row("prints 128 MiB of errors", "head -c 134217728 /dev/zero >&2; exit 1", PLUGIN, &["exit status 1"]),
    row("prints without end", "exec yes", PLUGIN, &["1048576 bytes", "maxOutputBytes"]),
    row("fails silently", "exit 1", PLUGIN, &["netplugin failed with no error message: exit status 1"]),
    row("fails with words", "echo 'no luck' >&2; exit 7", PLUGIN, &["no luck", "exit status 7"]),
    row("fails with half an object", "printf '{\"code\":7'; exit 1", PLUGIN, &["error parsing its diagnostic message"]),
    Row {
        cause: Some(100),
        ..row(
            "fails with an error object",
            r#"echo '{"code":100,"msg":"no","details":"luck"}'; exit 1"#,
            PLUGIN,
            &["no; luck"],
        )
    },
    Row {
        cause: Some(11),
        ..row("asks for patience", r#"echo '{"code":11,"msg":"later"}'; exit 1"#, "CNI_E_RETRY", &["later"])
    },
    row("is killed", "kill -KILL $$", PLUGIN, &["signal: killed"]),
    row("crashes", "ulimit -c 0; kill -SEGV $$", PLUGIN, &["signal: segmentation fault"]),
    row("hangs", "sleep 1000", "CNI_E_TIMEOUT", &["700 ms"]),
    row(
        "hangs with children, deaf to TERM",
        "trap '' TERM; sleep 1001 & (sleep 1002 & sleep 1003) & sleep 1004; sleep 1005",
        "CNI_E_TIMEOUT",
        &["700 ms"],
    ),
    row("hangs without output", "exec <&- >&- 2>&-; sleep 1000", "CNI_E_TIMEOUT", &["700 ms"]),
    row("stops itself", "kill -STOP $$", "CNI_E_TIMEOUT", &["700 ms"]),
];

/// The most memory that this process had since the last question, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn config(plugin: &str) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "type": plugin})
}

#[test]
fn a_plugin_that_misbehaves_is_named_and_leaves_nothing() {
    isolated("plugins::a_plugin_that_misbehaves_is_named_and_leaves_nothing", misbehave);
}

#[test]
fn a_plugin_that_misbehaves_as_a_child_of_the_host_leaves_nothing_either() {
    let name = "plugins::a_plugin_that_misbehaves_as_a_child_of_the_host_leaves_nothing_either";
    isolated_with(&[("CNIRT_SPAWN", "direct")], name, misbehave);
}

fn misbehave() {
    let node = Node::new(&json!({"maxOutputBytes": 1 << 20}));
    let before = node.settled_things();
    peak_memory();
    for Row { name, add, class, words, cause } in ROWS {
        let script = format!("#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\n{add}\n");
        node.plugin("bad", script.as_bytes());
        let mut request: Value = serde_json::from_str(&node.request("pod", &config("bad"))).unwrap();
        if class == "CNI_E_TIMEOUT" {
            request["timeoutMs"] = json!(700);
        }
        let (begun, peak) = (Instant::now(), peak_memory());
        let error = refused(name, node.handle.call(SETUP, &request.to_string()), class, words);
        let (took, growth) = (begun.elapsed(), peak_memory().saturating_sub(peak));
        // The limit, the grace, and as much again for a machine that is busy.
        assert!(class != "CNI_E_TIMEOUT" || took < 2 * (LIMIT + GRACE), "{name}: {took:?}");
        assert!(growth < 16 << 10, "{name}: {growth} KiB more");
        assert_eq!((&error["plugin"], &error["command"]), (&json!("bad"), &json!("ADD")), "{name}: {error}");
        assert!(error["msg"].as_str().unwrap().contains("type=\"bad\""), "{name}: {error}");
        assert_eq!(error["rollback"], json!({"done": true, "errors": []}), "{name}: {error}");
        if let Some(code) = cause {
            assert_eq!((&error["code"], &error["cause"]["code"]), (&json!(code), &json!(code)), "{name}: {error}");
        }
        node.has_only(&before, name);
    }
}

#[test]
fn a_plugin_that_cannot_be_run_is_named_and_leaves_nothing() {
    isolated("plugins::a_plugin_that_cannot_be_run_is_named_and_leaves_nothing", || {
        let node = Node::new(&json!({}));
        node.plugin("no-interpreter", b"#!/nowhere/sh\n");
        node.plugin("no-program", b"\x7fELF and nothing more");
        node.plugin("no-mode", b"#!/bin/sh\n");
        std::fs::set_permissions(node.path("bin/no-mode"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        std::fs::create_dir(node.path("bin/directory")).unwrap();
        let before = node.settled_things();
        let bin = node.path("bin").display().to_string();
        for (plugin, class, words) in [
            ("missing", "CNI_E_PLUGIN_NOT_FOUND", vec!["failed to find plugin \"missing\" in path", &bin]),
            ("directory", "CNI_E_PLUGIN_NOT_FOUND", vec!["failed to find plugin \"directory\" in path"]),
            ("no-mode", PLUGIN, vec!["/no-mode: permission denied", "must be executable"]),
            ("no-interpreter", PLUGIN, vec!["/no-interpreter: no such file or directory", "interpreter"]),
            ("no-program", PLUGIN, vec!["/no-program: exec format error"]),
        ] {
            // Alone, and behind a plugin whose work must be undone.
            let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "good"}, {"type": plugin}]});
            for config in [config(plugin), list] {
                let what = format!("{plugin} in {config}");
                let error = refused(&what, node.handle.call(SETUP, &node.request("pod", &config)), class, &words);
                assert_eq!(error["plugin"], plugin, "{what}: {error}");
                // One that is missing is known before anything runs.
                let begun = if class == PLUGIN { json!(true) } else { Value::Null };
                assert_eq!(error["rollback"]["done"], begun, "{what}: {error}");
                node.has_only(&before, &what);
            }
        }
    });
}

#[test]
fn a_plugin_that_hangs_in_del_too_is_killed_again_and_said_so() {
    isolated("plugins::a_plugin_that_hangs_in_del_too_is_killed_again_and_said_so", || {
        let node = Node::new(&json!({"rollbackTimeoutMs": 500}));
        node.plugin("bad", b"#!/bin/sh\ntrap '' TERM\nsleep 1000 &\nsleep 1000; sleep 1000\n");
        let before = node.settled_things();
        let mut request: Value = serde_json::from_str(&node.request("pod", &config("bad"))).unwrap();
        request["timeoutMs"] = json!(500);
        let begun = Instant::now();
        let error =
            refused("set-up", node.handle.call(SETUP, &request.to_string()), "CNI_E_TIMEOUT", &["type=\"bad\""]);
        assert!(begun.elapsed() < 4 * (Duration::from_millis(500) + GRACE), "{:?}", begun.elapsed());
        let undoing = &error["rollback"];
        assert_eq!(
            (&undoing["done"], &undoing["errors"][0]["class"]),
            (&json!(false), &json!("CNI_E_TIMEOUT")),
            "{error}"
        );
        assert_eq!(undoing["errors"][0]["command"], "DEL", "{error}");
        node.forget("pod");
        node.has_only(&before, "a plugin that hangs in both");
    });
}

#[test]
fn real_plugins_say_what_is_wrong_with_what_they_are_told() {
    isolated("plugins::real_plugins_say_what_is_wrong_with_what_they_are_told", || {
        let node = Node::new(&json!({}));
        let bridge = |changes: Value| {
            let mut config = json!({
                "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "bridge0", "ipam": {
                    "type": "host-local", "dataDir": node.path("ipam"),
                    "ranges": [[{"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.9"}]],
                },
            });
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            config
        };
        // The one address is taken by another pod in a namespace of its own, and stays taken.
        let other = node.path("other");
        crate::face::netns_create(other.to_str().unwrap());
        let holder = json!({"id": "holder", "netns": other, "networks": [{"config": bridge(json!({}))}]}).to_string();
        assert_eq!(node.handle.call(SETUP, &holder).unwrap()["ips"], json!(["10.77.0.9"]));
        // What host-local remembers of the last address it gave is there from now on.
        let before = node.settled_things();
        for (what, changes, words) in [
            ("an exhausted range", json!({}), "no IP addresses available in range set"),
            (
                "a subnet that is none",
                json!({"ipam": {"type": "host-local", "subnet": "x"}}),
                "invalid CIDR address: x",
            ),
            ("no IPAM plugin", json!({"ipam": {"type": "nowhere"}}), "failed to find plugin \"nowhere\""),
            ("a key of the wrong type", json!({"isGateway": "x"}), "isGateway"),
            (
                "both modes",
                json!({"promiscMode": true, "hairpinMode": true}),
                "cannot set hairpin mode and promiscuous mode",
            ),
            ("a VLAN that is none", json!({"vlan": 5000}), "5000"),
        ] {
            let request = node.request("pod", &bridge(changes));
            let error = refused(what, node.handle.call(SETUP, &request), PLUGIN, &["type=\"bridge\"", words]);
            assert!(error["cause"]["msg"].as_str().unwrap().contains(words), "{what}: {error}");
            // What a plugin does not take at ADD, it may not take at DEL either.
            if error["rollback"]["done"] == json!(false) {
                node.forget("pod");
            }
            node.has_only(&before, what);
        }
        assert_eq!(node.handle.call(TEARDOWN, &holder).unwrap()["networks"][0]["network"], "net");
    });
}
