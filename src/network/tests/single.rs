//! Single networks: libcni's `AddNetwork` and its like.

use super::*;
use crate::conf::PluginConfig;

fn plugin(version: &str) -> PluginConfig {
    let text = format!(r#"{{"name":"net","cniVersion":"{version}","type":"b","capabilities":{{"ports":true}}}}"#);
    PluginConfig::from_bytes(text.as_bytes()).unwrap()
}

#[test]
fn a_single_network_is_attached_checked_and_detached_under_its_own_name_and_version() {
    let node = node(FakeExec::default());
    let (call, plugin) = (Call::default(), plugin("0.4.0"));
    let result = node.cni.add_network(&call, &plugin, &rt()).unwrap();
    assert_eq!(result.version(), "1.0.0", "the plugin's own");
    assert_eq!(node.cache_files(), ["net-c1-eth0"]);
    let cached = node.cni.get_network_cached_result(&plugin, &rt()).unwrap().unwrap();
    assert_eq!(cached.version(), "0.4.0", "the configuration's");
    let (config, recorded) = node.cni.get_network_cached_config(&plugin, &rt()).unwrap().unwrap();
    assert_eq!((config, recorded), (plugin.bytes.clone(), rt()));
    node.cni.check_network(&call, &plugin, &rt()).unwrap();
    node.cni.del_network(&call, &plugin, &rt()).unwrap();
    let runs = node.runs();
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("b ADD, b CHECK, b DEL", 0));
    assert_eq!(
        runs[0].stdin,
        json!({"cniVersion": "0.4.0", "name": "net", "type": "b", "capabilities": {"ports": true},
               "runtimeConfig": {"ports": [1]}})
    );
    for run in &runs[1..] {
        assert_eq!(run.stdin["prevResult"]["cniVersion"], "0.4.0");
    }
}

#[test]
fn its_errors_do_not_speak_of_a_list() {
    let answers = HashMap::from([(("b", "ADD"), failing(11, "busy")), (("b", "DEL"), failing(999, "stuck"))]);
    let mut node = node(FakeExec { answers, ..FakeExec::default() });
    let call = Call::default();
    let error = node.cni.add_network(&call, &plugin("1.0.0"), &rt()).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code(), error.plugin()), ("busy", 11, Some("b")));
    assert_eq!(error.cause().unwrap().msg, "busy");
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("b ADD", 0));
    assert_eq!(node.cni.del_network(&call, &plugin("1.0.0"), &rt()).unwrap_err().to_string(), "stuck");
    let old = node.cni.check_network(&call, &plugin("0.3.1"), &rt()).unwrap_err();
    assert_eq!(old.to_string(), "configuration version \"0.3.1\" does not support the CHECK command");
    node.ran();
    node.cni.rollback = Some(Duration::from_secs(9));
    let error = node.cni.add_network(&call, &plugin("1.0.0"), &rt()).unwrap_err();
    assert_eq!(node.ran(), "b ADD, b DEL");
    assert_eq!(error.rollback().unwrap().errors[0].to_string(), "stuck");
}

#[test]
fn its_names_are_checked_on_add() {
    let nameless = PluginConfig::from_bytes(br#"{"type":"b"}"#).unwrap();
    for (plugin, rt, words) in [
        (plugin("1.0.0"), RuntimeConf { container_id: String::new(), ..rt() }, "missing containerID"),
        (nameless, rt(), "missing network name:"),
        (plugin("1.0.0"), RuntimeConf { if_name: "..".to_owned(), ..rt() }, "interface name is . or .."),
    ] {
        let node = node(FakeExec::default());
        let error = node.cni.add_network(&Call::default(), &plugin, &rt).unwrap_err();
        assert_eq!((error.to_string().as_str(), node.ran().as_str()), (words, ""));
        assert!(error.cause().is_some());
    }
}

#[test]
fn it_is_validated_in_plain_words() {
    let old = Ok(json!({"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}));
    let node = node(FakeExec { answers: HashMap::from([(("b", "VERSION"), old)]), ..FakeExec::default() });
    let validate = |version: &str| node.cni.validate_network(&Call::default(), &plugin(version));
    assert_eq!(validate("0.4.0").unwrap(), ["ports"]);
    assert_eq!(validate("1.0.0").unwrap_err().to_string(), "plugin b does not support config version \"1.0.0\"");
}

#[test]
fn a_lists_validation_keeps_words_and_no_error_object() {
    let answers = HashMap::from([(("b", "VERSION"), failing(7, "broken"))]);
    let node = node(FakeExec { answers, ..FakeExec::default() });
    let error = node.cni.validate_network_list(&Call::default(), &list("1.0.0")).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code(), error.cause()), ("[broken]", 999, None));
    let error = node.cni.validate_network(&Call::default(), &plugin("1.0.0")).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("broken", 7));
}
