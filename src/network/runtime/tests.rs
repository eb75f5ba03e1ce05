//! JSON in and out, over plugins that exist in memory only.

use serde_json::json;

use std::sync::Mutex;

use super::*;
use crate::error::ErrorClass;
use crate::network::tests::{FakeExec, Node, node};

const CONF: &str = r#"{"name":"net","cniVersion":"1.0.0","plugins":[{"type":"a","capabilities":{"ports":true}}]}"#;
const SINGLE: &str = r#"{"name":"net","cniVersion":"1.0.0","type":"a"}"#;
const RT: &str = r#"{"containerID":"c1","netns":"/ns","ifName":"eth0","args":[["K","V"]],"capabilityArgs":{"ports":[1.50]},
                     "callId":"x","env":{"T":"1"},"timeoutMs":60000}"#;

fn runtime() -> (Node, Runtime) {
    let node = node(FakeExec::default());
    let runtime = Runtime::with(node.cni.clone(), Duration::ZERO, NonZeroUsize::MIN);
    (node, runtime)
}

fn run(runtime: &Runtime, operation: &str, conf: &str, rt: Option<&str>) -> Result<Value> {
    runtime.run(&Call::default(), Operation::parse(operation)?, conf, rt)
}

#[test]
fn every_operation_reads_and_writes_json() {
    let (node, runtime) = runtime();
    let result = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "a"}]});
    let attachment = json!({
        "containerID": "c1", "network": "net", "ifName": "eth0", "config": CONF, "netns": "/ns", "cniArgs": [["K", "V"]],
        "capabilityArgs": serde_json::from_str::<Value>(r#"{"ports":[1.50]}"#).unwrap(),
    });
    let rt = json!({
        "containerID": "c1", "netns": "/ns", "ifName": "eth0", "args": [["K", "V"]],
        "capabilityArgs": attachment["capabilityArgs"],
    });
    let nothing = json!({"result": null, "config": null, "rt": null});
    for (operation, conf, argument, answer, ran) in [
        ("cached", CONF, Some(RT), nothing.clone(), ""),
        ("add", CONF, Some(RT), result.clone(), "a ADD"),
        ("cached", CONF, Some(RT), json!({"result": result, "config": CONF, "rt": rt}), ""),
        ("attachments", "", None, json!([attachment]), ""),
        ("attachments", "c1", Some("{}"), json!([attachment]), ""),
        ("attachments", "c2", None, json!([]), ""),
        ("attachments", "../c1", None, json!([]), ""),
        ("check", CONF, Some(RT), json!({}), "a CHECK"),
        ("del", CONF, Some(RT), json!({}), "a DEL"),
        ("cached", CONF, Some(RT), nothing, ""),
        ("add", SINGLE, Some(RT), result.clone(), "a ADD"),
        ("gc", CONF, Some(r#"{"validAttachments":[{"containerID":"c1","ifname":"eth0"}]}"#), json!({}), ""),
        ("gc", CONF, Some(r#"{"validAttachments":null}"#), json!({}), "a DEL"),
        ("gc", CONF, None, json!({}), ""),
        ("status", r#"{"name":"net","cniVersion":"1.1.0","type":"a"}"#, None, json!({}), "a STATUS"),
        ("validate", CONF, Some(r#"{"timeoutMs":1000}"#), json!({"capabilities": ["ports"]}), "a VERSION"),
        ("validate", SINGLE, None, json!({"capabilities": []}), "a VERSION"),
        (
            "plugin_version",
            "a",
            None,
            json!({"cniVersion": "1.1.0", "supportedVersions": crate::version::ALL}),
            "a VERSION",
        ),
    ] {
        let said = run(&runtime, operation, conf, argument).unwrap();
        assert_eq!((said, node.ran().as_str()), (answer, ran), "{operation} {conf} {argument:?}");
    }
    assert!(runtime.running.is_empty());
}

#[test]
fn the_first_add_removes_what_killed_hosts_were_writing() {
    let (node, runtime) = runtime();
    let dir = node.dir.path().join("cnirt");
    std::fs::create_dir(&dir).unwrap();
    let killed = dir.join("tmp-1-2-3");
    std::fs::write(&killed, "").unwrap();
    run(&runtime, "add", CONF, Some(RT)).unwrap();
    assert!(!killed.exists());
}

#[test]
fn a_halves_error_does_not_hide_the_other() {
    let (node, runtime) = runtime();
    run(&runtime, "add", CONF, Some(RT)).unwrap();
    let file = node.dir.path().join("results/net-c1-eth0");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"cniVersion\":\"1.0.0\"", "\"cniVersion\":\"7.0.0\"")).unwrap();
    let cached = run(&runtime, "cached", CONF, Some(RT)).unwrap();
    assert_eq!((&cached["result"], &cached["config"]), (&Value::Null, &json!(CONF)));
    assert_eq!(cached["resultError"]["msg"], "unsupported CNI result version \"7.0.0\"");
    std::fs::write(&file, r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24"}}"#).unwrap();
    let cached = run(&runtime, "cached", CONF, Some(RT)).unwrap();
    assert_eq!(
        (&cached["result"]["cniVersion"], &cached["config"], &cached["rt"]),
        (&json!("1.0.0"), &Value::Null, &Value::Null)
    );
    assert_eq!(cached["configError"]["class"], "CNI_E_CACHE");
}

#[test]
fn what_cannot_be_read_is_refused_by_its_key() {
    let (node, runtime) = runtime();
    for (operation, conf, argument, class, words) in [
        ("add", CONF, None, ErrorClass::InvalidArgument, "rt: the operation needs one"),
        ("add", CONF, Some("[]"), ErrorClass::InvalidArgument, "rt: expected an object, found a list"),
        ("add", CONF, Some(r#"{"ifname":"a"}"#), ErrorClass::InvalidArgument, "rt: unknown key \"ifname\""),
        (
            "del",
            "{",
            Some("{}"),
            ErrorClass::Config,
            "error parsing configuration: not JSON: EOF while parsing an object at line 1 column 1",
        ),
        ("check", "{}", Some("{}"), ErrorClass::Config, "error parsing configuration list: no name"),
        ("gc", CONF, Some("{}"), ErrorClass::InvalidArgument, "args: missing key \"validAttachments\""),
        (
            "gc",
            CONF,
            Some(r#"{"validAttachments":[{"ifName":"a"}]}"#),
            ErrorClass::InvalidArgument,
            "args, key \"validAttachments[0]\": unknown key \"ifName\"",
        ),
        ("status", CONF, Some(r#"{"netns":""}"#), ErrorClass::InvalidArgument, "rt: unknown key \"netns\""),
        ("ADD", CONF, Some(RT), ErrorClass::InvalidArgument, "operation: there is no \"ADD\""),
    ] {
        let error = run(&runtime, operation, conf, argument).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (class, words));
    }
    assert_eq!(node.ran(), "");
}

#[test]
fn a_call_has_the_limits_and_the_environment_of_both_sides() {
    let (node, mut runtime) = runtime();
    let outer = Call { env: vec![("O".into(), "1".into()), ("T".into(), "0".into())], ..Call::default() };
    runtime.run(&outer, Operation::Add, CONF, Some(RT)).unwrap();
    let env = &node.runs()[0].env;
    assert_eq!((env["O"].as_str(), env["T"].as_str()), ("1", "1"));
    node.ran();
    runtime.timeout = Duration::from_nanos(1);
    let hasty = run(&runtime, "status", r#"{"name":"net","cniVersion":"1.1.0","type":"a"}"#, None).unwrap_err();
    assert_eq!((hasty.class(), node.ran().as_str()), (ErrorClass::Timeout, ""));
    run(&runtime, "add", CONF, Some(&RT.replace("60000", "0"))).unwrap();
    outer.cancel.cancel();
    let cancelled = runtime.run(&outer, Operation::Add, CONF, Some(RT)).unwrap_err();
    assert_eq!(cancelled.class(), ErrorClass::Cancelled);
}

#[test]
fn all_running_calls_are_cancelled_at_once() {
    let (_node, runtime) = runtime();
    let call = Call::default();
    let registered = runtime.running.register(&call);
    runtime.cancel_all();
    assert!(call.cancel.is_cancelled());
    drop(registered);
    assert!(runtime.running.is_empty());
}

#[test]
fn the_cache_directory_is_the_options_then_the_calls() {
    let (node, mut runtime) = runtime();
    let other = tempfile::tempdir().unwrap();
    let mut rt: Value = serde_json::from_str(RT).unwrap();
    rt["cacheDir"] = other.path().to_str().unwrap().into();
    run(&runtime, "add", CONF, Some(&rt.to_string())).unwrap();
    assert_eq!(node.cache_files().len(), 1);
    runtime.cni.cache_dir = None;
    run(&runtime, "add", CONF, Some(&rt.to_string())).unwrap();
    assert!(other.path().join("results/net-c1-eth0").is_file());
    let cached = run(&runtime, "cached", CONF, Some(&rt.to_string())).unwrap();
    assert_eq!(cached["rt"]["cacheDir"], rt["cacheDir"]);
}

#[test]
fn options_are_read_and_those_of_pods_are_unknown() {
    let options = RuntimeOptions::from_json(
        r#"{"binDirs":["/a","","/b"],"cacheDir":"/k","timeoutMs":1,"killGraceMs":2,"rollback":true,"rollbackTimeoutMs":3,
            "durability":"atomic","maxOutputBytes":4,"env":{"A":"b"},"pluginEnv":{"C":"d"}}"#,
    )
    .unwrap();
    assert_eq!(options.bin_dirs, ["/a", "/b"].map(std::path::PathBuf::from));
    assert_eq!((options.cache_dir.unwrap().to_str(), options.timeout.as_millis()), (Some("/k"), 1));
    assert_eq!((options.kill_grace.as_millis(), options.rollback_timeout.as_millis(), options.max_output), (2, 3, 4));
    assert!(options.rollback && options.durability == crate::store::Durability::Atomic);
    assert_eq!((options.env.unwrap()["A"].as_str(), options.plugin_env["C"].as_str()), ("b", "d"));
    let none = RuntimeOptions::from_json("{}").unwrap();
    assert!(!none.rollback && none.timeout.is_zero() && none.cache_dir.is_none());
    for key in ["confDir", "owner", "loopback", "plugin", "ifName", "defaultNetwork"] {
        let error = RuntimeOptions::from_json(&format!("{{\"{key}\":\"x\"}}")).unwrap_err();
        assert_eq!(error.to_string(), format!("runtime options: unknown key {key:?}"));
    }
}

/// A host whose plugins do not exist on disk.
#[derive(Default)]
struct Host(Mutex<Vec<String>>);

impl PluginCallbacks for Host {
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let call: Value = serde_json::from_str(call).unwrap();
        Some(Ok(format!("/nowhere/{}", call["type"].as_str().unwrap()).into_bytes()))
    }

    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
        let call: Value = serde_json::from_str(call).unwrap();
        let command =
            call["env"].as_array().unwrap().iter().find_map(|line| line.as_str()?.strip_prefix("CNI_COMMAND="));
        let command = command.unwrap();
        self.0.lock().unwrap().push(format!("{} {command} {}", call["path"].as_str().unwrap(), call["callId"]));
        let answer = match command {
            "VERSION" => r#"{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}"#,
            _ => r#"{"cniVersion":"1.1.0"}"#,
        };
        Some(Ok(answer.into()))
    }
}

#[test]
fn callbacks_find_and_run_plugins_for_every_operation() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(Host::default());
    let options = RuntimeOptions { cache_dir: Some(dir.path().to_owned()), ..RuntimeOptions::default() };
    let runtime = Runtime::new(options, Some(host.clone())).unwrap();
    let (conf, named) = (r#"{"name":"net","cniVersion":"1.1.0","plugins":[{"type":"a"}]}"#, r#"{"callId":"x"}"#);
    for (operation, conf, argument, ran) in [
        ("add", conf, RT, "ADD"),
        ("check", conf, RT, "CHECK"),
        ("del", conf, RT, "DEL"),
        ("status", conf, named, "STATUS"),
        ("validate", conf, named, "VERSION"),
        ("plugin_version", "a", named, "VERSION"),
        ("gc", conf, r#"{"validAttachments":[],"callId":"x"}"#, "GC"),
    ] {
        run(&runtime, operation, conf, Some(argument)).unwrap();
        let ran = format!("/nowhere/a {ran} \"x\"");
        assert_eq!(std::mem::take(&mut *host.0.lock().unwrap()), [ran], "{operation}");
    }
}

#[test]
fn in_the_background_an_operation_answers_alike_and_is_read_at_once() {
    let (node, runtime) = runtime();
    let runtime = Arc::new(runtime);
    let start = |operation, conf, rt| Runtime::start(Arc::clone(&runtime), Request::parse(operation, conf, rt)?);
    let said = start(Operation::Add, CONF, Some(RT)).unwrap().finish().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&said).unwrap(),
        run(&runtime, "cached", CONF, Some(RT)).unwrap()["result"]
    );
    assert_eq!(node.ran(), "a ADD");
    let late = start(Operation::Validate, CONF, Some(r#"{"timeoutMs":60000}"#)).unwrap();
    assert_eq!(late.finish().unwrap(), r#"{"capabilities":["ports"]}"#);
    for (operation, conf, rt) in
        [(Operation::Add, CONF, None), (Operation::Del, "{", Some(RT)), (Operation::Gc, CONF, Some("{}"))]
    {
        start(operation, conf, rt).unwrap_err();
    }
    assert!(runtime.running.is_empty());
}

#[test]
fn an_end_reaches_what_waits_for_a_thread() {
    let (_node, runtime) = runtime();
    let runtime = Arc::new(runtime);
    let ((begun, has_begun), (end, may_end)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let held = runtime.pool.entry().call(Call::default(), move |_, _| {
        begun.send(()).unwrap();
        may_end.recv().unwrap();
        Ok(String::new())
    });
    let held = held.unwrap();
    held.job().queue().unwrap();
    has_begun.recv().unwrap();
    let waiting =
        Runtime::start(Arc::clone(&runtime), Request::parse(Operation::Attachments, "", None).unwrap()).unwrap();
    runtime.cancel_all();
    assert_eq!(waiting.finish().unwrap_err().class(), ErrorClass::Cancelled);
    assert!(runtime.running.is_empty());
    end.send(()).unwrap();
    held.finish().unwrap();
}
