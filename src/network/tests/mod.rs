//! The verbs over plugins that exist in memory only: what each is asked, in which order, and what comes of its answers.

mod del;
mod gc;
mod single;

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Cause, Error, ErrorClass, Result};
use crate::invoke::Nursery;
use crate::store::{Cached, journal};
use crate::version;

/// Answers by type and command, and remembers what was asked.
#[derive(Default)]
pub(super) struct FakeExec {
    pub(super) answers: HashMap<(&'static str, &'static str), Result<Value>>,
    pub(super) missing: Vec<&'static str>,
    pub(super) runs: Mutex<Vec<Run>>,
}

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) what: String,
    pub(super) env: HashMap<String, String>,
    pub(super) stdin: Value,
    /// Whether the engine was told that no other plugin follows.
    pub(super) last: bool,
}

impl Exec for FakeExec {
    fn find_in_path(&self, _: &Call, plugin_type: &str, dirs: &[PathBuf]) -> Result<PathBuf> {
        if self.missing.contains(&plugin_type) {
            let words = format!("failed to find plugin {plugin_type:?} in path [/bin/cni]");
            return Err(Error::new(ErrorClass::PluginNotFound, words));
        }
        Ok(dirs[0].join(plugin_type))
    }

    fn exec_plugin(
        &self,
        _: &Call,
        nursery: &mut Nursery,
        path: &Path,
        stdin: &[u8],
        env: &[CString],
    ) -> Result<Vec<u8>> {
        let pairs = env.iter().filter_map(|pair| pair.to_str().unwrap().split_once('='));
        let env: HashMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let plugin = path.file_name().unwrap().to_str().unwrap();
        let command = env["CNI_COMMAND"].clone();
        let stdin = serde_json::from_slice(stdin).unwrap();
        let last = nursery.expects_none();
        self.runs.lock().unwrap().push(Run { what: format!("{plugin} {command}"), env, stdin, last });
        let answers = self.answers.iter();
        let known = answers.into_iter().find(|((kind, verb), _)| *kind == plugin && *verb == command);
        match known {
            Some((_, answer)) => answer.clone().map(|value| value.to_string().into_bytes()),
            None if command == "ADD" => {
                Ok(json!({"cniVersion": "1.0.0", "interfaces": [{"name": plugin}]}).to_string().into())
            }
            None if command == "VERSION" => {
                Ok(json!({"cniVersion": "1.1.0", "supportedVersions": version::ALL}).to_string().into())
            }
            None => Ok(Vec::new()),
        }
    }
}

pub(super) struct Node {
    pub(super) dir: TempDir,
    pub(super) exec: Arc<FakeExec>,
    pub(super) cni: CniConfig,
}

pub(super) fn node(exec: FakeExec) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let exec = Arc::new(exec);
    let cni = CniConfig {
        path: vec!["/bin/cni".into(), "/opt".into()],
        cache_dir: Some(dir.path().to_owned()),
        durability: Durability::Atomic,
        owner: None,
        rollback: None,
        exec: exec.clone(),
        environ: Environ::new(Some(Vec::new()), Vec::new()).unwrap(),
        observer: None,
    };
    Node { dir, exec, cni }
}

impl Node {
    /// What ran since the last time, as "plugin COMMAND" with blanks between.
    pub(super) fn ran(&self) -> String {
        let runs = std::mem::take(&mut *self.exec.runs.lock().unwrap());
        runs.iter().map(|run| run.what.clone()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        self.exec.runs.lock().unwrap().clone()
    }

    pub(super) fn cache_files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("results")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub(super) fn failing(code: u64, msg: &str) -> Result<Value> {
    Err(Error::from_cause(Cause { code, msg: msg.to_owned(), details: String::new() }))
}

pub(super) fn list(version: &str) -> NetworkConfigList {
    let plugins = r#"[{"type":"a","keep":1.50},{"type":"b","capabilities":{"ports":true}},{"type":"c"}]"#;
    let text = format!(r#"{{"name":"net","cniVersion":"{version}","plugins":{plugins}}}"#);
    NetworkConfigList::from_bytes(text.as_bytes()).unwrap()
}

pub(super) fn rt() -> RuntimeConf {
    RuntimeConf {
        container_id: "c1".to_owned(),
        netns: "/ns".to_owned(),
        netns_id: None,
        if_name: "eth0".to_owned(),
        args: vec![("K".to_owned(), "V".to_owned()), ("L".to_owned(), "W".to_owned())],
        capability_args: json!({"ports": [1], "other": 2}).as_object().unwrap().clone(),
        cache_dir: None,
    }
}

#[test]
fn add_runs_every_plugin_in_order_and_caches_the_last_result() {
    let node = node(FakeExec::default());
    let result = node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    assert_eq!(result.to_value(), json!({"cniVersion": "1.0.0", "interfaces": [{"name": "c"}]}));
    let runs = node.runs();
    assert_eq!(node.ran(), "a ADD, b ADD, c ADD");
    let env = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/ns"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "K=V;L=W"),
        ("CNI_PATH", "/bin/cni:/opt"),
    ];
    assert_eq!(runs[1].env, env.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(runs[0].stdin.to_string(), r#"{"cniVersion":"1.0.0","keep":1.50,"name":"net","type":"a"}"#);
    assert_eq!(
        runs[1].stdin,
        json!({"cniVersion": "1.0.0", "name": "net", "type": "b", "capabilities": {"ports": true},
               "runtimeConfig": {"ports": [1]}, "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "a"}]}})
    );
    assert_eq!(node.cache_files(), ["net-c1-eth0"]);
    let cached = node.cni.get_network_list_cached_result(&list("0.4.0"), &rt()).unwrap().unwrap();
    assert_eq!(cached.version(), "0.4.0");
    let attachments = node.cni.get_cached_attachments(None).unwrap();
    assert_eq!((attachments.len(), &attachments[0].config), (1, &list("1.0.0").bytes));
}

#[test]
fn a_failing_add_stops_there_and_leaves_what_was_made_as_libcni_does() {
    let answers = HashMap::from([(("b", "ADD"), failing(11, "busy"))]);
    let node = node(FakeExec { answers, ..FakeExec::default() });
    let error = node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"b\" failed (add): busy");
    assert_eq!((error.class(), error.code()), (ErrorClass::Retry, 11));
    let object = error.to_json();
    for (key, value) in
        [("plugin", "b"), ("command", "ADD"), ("network", "net"), ("ifName", "eth0"), ("cniVersion", "1.0.0")]
    {
        assert_eq!(object[key], value);
    }
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("a ADD, b ADD", 0));
    assert!(error.rollback().is_none());
}

#[test]
fn an_environment_that_is_refused_leaves_nothing_to_undo() {
    let mut node = node(FakeExec::default());
    node.cni.rollback = Some(Duration::from_secs(9));
    let call = Call { env: vec![("A=B".to_owned(), "x".to_owned())], ..Call::default() };
    let error = node.cni.add_network_list(&call, &list("1.0.0"), &rt()).unwrap_err();
    assert_eq!((error.class(), node.ran().as_str()), (ErrorClass::InvalidArgument, ""));
    assert!(error.rollback().is_none_or(|rollback| rollback.errors.is_empty()), "{error:?}");
}

#[test]
fn names_are_refused_before_any_plugin_runs() {
    for (container_id, network, if_name, words) in [
        ("", "net", "eth0", "plugin type=\"a\" failed (add): missing containerID"),
        ("a/b", "net", "eth0", "plugin type=\"a\" failed (add): invalid characters in containerID; a/b"),
        ("c", "../x", "eth0", "plugin type=\"a\" failed (add): invalid characters found in network name; ../x"),
        ("c", "net", "a/b", "plugin type=\"a\" failed (add): interface name contains / or : or whitespace characters"),
    ] {
        let node = node(FakeExec::default());
        let list = NetworkConfigList { name: network.to_owned(), ..list("1.0.0") };
        let rt = RuntimeConf { container_id: container_id.to_owned(), if_name: if_name.to_owned(), ..rt() };
        let error = node.cni.add_network_list(&Call::default(), &list, &rt).unwrap_err();
        assert_eq!((error.to_string().as_str(), node.ran().as_str()), (words, ""));
    }
    let node = node(FakeExec::default());
    let rt = RuntimeConf { container_id: "x".repeat(5000), ..rt() };
    let error = node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt).unwrap_err();
    assert_eq!((error.class(), node.ran().as_str()), (ErrorClass::InvalidArgument, ""));
}

#[test]
fn check_follows_the_version_and_the_lists_wish() {
    let node =
        node(FakeExec { answers: HashMap::from([(("b", "CHECK"), failing(999, "drift"))]), ..FakeExec::default() });
    let check = |list: &NetworkConfigList| node.cni.check_network_list(&Call::default(), list, &rt());
    let old = check(&list("0.3.1")).unwrap_err();
    assert_eq!(old.to_string(), "configuration version \"0.3.1\" does not support the CHECK command");
    assert_eq!((old.class(), node.ran().as_str()), (ErrorClass::Unsupported, ""));
    check(&NetworkConfigList { disable_check: true, ..list("0.4.0") }).unwrap();
    assert_eq!(node.ran(), "");
    let failed = check(&list("0.4.0")).unwrap_err();
    assert_eq!(
        (failed.to_string().as_str(), failed.plugin(), node.ran().as_str()),
        ("drift", Some("b"), "a CHECK, b CHECK")
    );
}

#[test]
fn status_is_asked_from_1_1_0_on_and_stops_at_the_first_that_is_not_ready() {
    let node =
        node(FakeExec { answers: HashMap::from([(("b", "STATUS"), failing(50, "not yet"))]), ..FakeExec::default() });
    node.cni.get_status_network_list(&Call::default(), &list("1.0.0")).unwrap();
    assert_eq!(node.ran(), "");
    let error = node.cni.get_status_network_list(&Call::default(), &list("1.1.0")).unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::NotReady, 50));
    let runs = node.runs();
    assert_eq!(node.ran(), "a STATUS, b STATUS");
    assert_eq!(runs[0].stdin.to_string(), r#"{"cniVersion":"1.1.0","keep":1.50,"name":"net","type":"a"}"#);
    assert_eq!((runs[0].env["CNI_CONTAINERID"].as_str(), runs[0].env["CNI_PATH"].as_str()), ("", "/bin/cni:/opt"));
}

#[test]
fn validate_joins_what_is_wrong_with_every_plugin() {
    let old = Ok(json!({"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}));
    let exec =
        FakeExec { answers: HashMap::from([(("b", "VERSION"), old)]), missing: vec!["a"], ..FakeExec::default() };
    let node = node(exec);
    let error = node.cni.validate_network_list(&Call::default(), &list("1.0.0")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[failed to find plugin \"a\" in path [/bin/cni] plugin b does not support config version \"1.0.0\"]"
    );
    assert_eq!(error.errors().len(), 2);
    let runs = node.runs();
    assert_eq!(node.ran(), "b VERSION, c VERSION");
    assert_eq!(runs[0].stdin, json!({"cniVersion": "1.1.0"}));
    for key in ["CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
        assert_eq!(runs[0].env[key], "dummy");
    }
}

#[test]
fn validate_answers_the_declared_capabilities_and_takes_plugins_from_before_the_command() {
    let exec = FakeExec {
        answers: HashMap::from([(("b", "VERSION"), failing(4, "unknown CNI_COMMAND: VERSION"))]),
        ..FakeExec::default()
    };
    let node = node(exec);
    assert_eq!(node.cni.validate_network_list(&Call::default(), &list("")).unwrap(), ["ports"]);
    assert!(node.cni.validate_network_list(&Call::default(), &list("0.2.0")).is_err());
    assert_eq!(node.cni.get_version_info(&Call::default(), "b").unwrap().supported_versions, ["0.1.0"]);
}

#[test]
fn a_call_that_is_over_starts_no_plugin() {
    let node = node(FakeExec::default());
    let call = Call::default();
    call.cancel.cancel();
    let error = node.cni.add_network_list(&call, &list("1.0.0"), &rt()).unwrap_err();
    assert_eq!((error.class(), node.ran().as_str()), (ErrorClass::Cancelled, ""));
}

#[test]
fn a_cache_that_cannot_be_written_is_refused_before_any_plugin_runs() {
    let mut node = node(FakeExec::default());
    let file = node.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    node.cni.cache_dir = Some(file);
    let error = node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap_err();
    assert_eq!((error.class(), node.ran().as_str()), (ErrorClass::Cache, ""));
    assert!(matches!(
        node.cni.cache(&rt()).get(&Network::from(&list("1.0.0")).key(&rt()).unwrap()),
        Cached::Missing | Cached::Unreadable(_)
    ));
}

#[test]
fn a_list_without_plugins_makes_nothing() {
    let node = node(FakeExec::default());
    let empty = NetworkConfigList { plugins: Vec::new(), ..list("1.0.0") };
    let error = node.cni.add_network_list(&Call::default(), &empty, &rt()).unwrap_err();
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Config, "no plugins in list"));
    assert!(node.cache_files().is_empty());
    node.cni.del_network_list(&Call::default(), &empty, &rt()).unwrap();
}

#[test]
fn names_that_add_refuses_have_no_cache_but_plugins_run() {
    for (row, container_id, if_name, check) in [
        ("a path", "../../etc/x", "eth0", Ok(())),
        ("no interface", "c1", "a/b", Ok(())),
        (
            "an empty name",
            "",
            "eth0",
            Err("failed to get network \"net\" cached result: cache file path requires network name (\"net\"), \
                 container ID (\"\"), and interface name (\"eth0\")"),
        ),
    ] {
        let node = node(FakeExec::default());
        let rt = RuntimeConf { container_id: container_id.to_owned(), if_name: if_name.to_owned(), ..rt() };
        node.cni.del_network_list(&Call::default(), &list("1.0.0"), &rt).unwrap();
        assert_eq!(node.ran(), "c DEL, b DEL, a DEL", "{row}");
        let checked = node.cni.check_network_list(&Call::default(), &list("1.0.0"), &rt);
        assert_eq!(checked.map_err(|error| error.to_string()), check.map_err(str::to_owned), "{row}");
        assert_eq!(node.ran(), if check.is_ok() { "a CHECK, b CHECK, c CHECK" } else { "" }, "{row}");
        let cached = node.cni.get_network_list_cached_config(&list("1.0.0"), &rt);
        assert_eq!(cached.is_ok_and(|cached| cached.is_none()), check.is_ok(), "{row}");
    }
}

#[test]
fn the_cached_configuration_comes_with_what_the_runtime_said_then() {
    let node = node(FakeExec::default());
    let asked = RuntimeConf { netns: "/other".to_owned(), args: vec![("X".into(), "Y".into())], ..rt() };
    let cached = || node.cni.get_network_list_cached_config(&list("1.0.0"), &asked);
    assert_eq!(cached().unwrap(), None);
    node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    let (config, recorded) = cached().unwrap().unwrap();
    assert_eq!((config, &recorded), (list("1.0.0").bytes, &RuntimeConf { netns: "/other".to_owned(), ..rt() }));
    for (row, content, args, words) in [
        ("no args recorded", r#"{"kind":"cniCacheV1","config":"e30="}"#, Some(&asked.args), ""),
        ("a bare result", r#"{"cniVersion":"0.2.0"}"#, None, "read cached network \"net\" config has wrong kind: "),
        ("torn", "{", None, "failed to unmarshal cached network \"net\" config: "),
    ] {
        std::fs::write(node.dir.path().join("results/net-c1-eth0"), content).unwrap();
        match (cached(), args) {
            (Ok(Some((config, rt))), Some(args)) => {
                assert_eq!((config.as_slice(), &rt.args, rt.capability_args.len()), (&b"{}"[..], args, 0), "{row}");
            }
            (Err(error), None) => assert!(error.to_string().starts_with(words), "{row}: {error}"),
            (other, _) => panic!("{row}: {other:?}"),
        }
    }
}

#[test]
fn only_the_texts_own_capabilities_get_arguments() {
    let node = node(FakeExec::default());
    let mut list = list("1.0.0");
    list.plugins[0].capabilities.insert("ports".to_owned(), true);
    list.plugins[1].capabilities.clear();
    node.cni.add_network_list(&Call::default(), &list, &rt()).unwrap();
    let told: Vec<_> = node.runs().iter().map(|run| run.stdin.get("runtimeConfig").is_some()).collect();
    assert_eq!(told, [false, true, false]);
    assert_eq!(node.cni.validate_network_list(&Call::default(), &list).unwrap(), ["ports"]);
}

#[test]
fn the_engine_is_told_which_plugin_is_the_last() {
    let answers = [(("b", "DEL"), failing(7, "no"))].into();
    let node = node(FakeExec { answers, ..FakeExec::default() });
    let (call, list, rt) = (Call::default(), list("1.1.0"), rt());
    let unfinished = Unfinished { started: Some(2), ..Unfinished::default() };
    let keep_going = DelPolicy { keep_going: true, ..DelPolicy::default() };
    let mut commands: [(&str, &mut dyn FnMut() -> bool); 7] = [
        ("a ADD, b ADD, c ADD.", &mut || node.cni.add_network_list(&call, &list, &rt).is_ok()),
        ("a CHECK, b CHECK, c CHECK.", &mut || node.cni.check_network_list(&call, &list, &rt).is_ok()),
        ("b DEL, a DEL.", &mut || node.cni.undo(&call, &list, &rt, &unfinished).len() == 1),
        ("b DEL.", &mut || node.cni.undo_last(&call, &list, &rt, &unfinished).is_err()),
        ("c DEL, b DEL, a DEL.", &mut || node.cni.del(&call, &list, &rt, keep_going).len() == 1),
        ("a STATUS, b STATUS, c STATUS.", &mut || node.cni.get_status_network_list(&call, &list).is_ok()),
        ("a GC, b GC, c GC.", &mut || node.cni.gc_plugins(&call, &list, None).is_empty()),
    ];
    for (expected, command) in &mut commands {
        assert!(command(), "{expected}");
        let runs = std::mem::take(&mut *node.exec.runs.lock().unwrap());
        let said = runs.iter().map(|run| format!("{}{}", run.what, if run.last { "." } else { "" }));
        assert_eq!(said.collect::<Vec<_>>().join(", "), *expected);
    }
}
