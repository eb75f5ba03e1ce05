//! What a network list is, rule by rule.

use serde_json::json;

use super::*;
use crate::error::ErrorClass;

/// `{"name":"n","plugins":[{"type":"t"}]}` with these keys added.
fn with_keys(keys: &str) -> String {
    format!(r#"{{"name":"n","plugins":[{{"type":"t"}}],{keys}}}"#)
}

fn read(text: &str) -> Result<NetworkConfigList> {
    NetworkConfigList::from_bytes(text.as_bytes())
}

fn types(list: &NetworkConfigList) -> Vec<&str> {
    list.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect()
}

#[test]
fn a_list_keeps_its_text_and_its_plugins_theirs() {
    let text = r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"z":1.50,"type":"a"},{"type":"b"}],"x":1}"#;
    let list = read(text).unwrap();
    assert_eq!((list.name.as_str(), list.cni_version.as_str(), types(&list)), ("n", "1.0.0", vec!["a", "b"]));
    assert_eq!(list.bytes, text.as_bytes());
    assert_eq!(list.plugins[0].bytes, br#"{"type":"a","z":1.50}"#);
    assert!(!list.disable_check && !list.disable_gc && !list.load_only_inlined_plugins);
    // Its plugins may be in files.
    assert_eq!(types(&read(r#"{"name":""}"#).unwrap()), Vec::<&str>::new());
}

#[test]
fn flags_are_booleans_or_their_names_under_the_exact_key() {
    for (keys, check, gc, inlined) in [
        (r#""disableCheck":true"#, true, false, false),
        (r#""disableGC":"true""#, false, true, false),
        (r#""loadOnlyInlinedPlugins":"TRUE""#, false, false, true),
        (r#""disableCheck":"False","disableGC":false"#, false, false, false),
        (r#""disablecheck":true"#, false, false, false),
    ] {
        let list = read(&with_keys(keys)).unwrap();
        let flags = (list.disable_check, list.disable_gc, list.load_only_inlined_plugins);
        assert_eq!(flags, (check, gc, inlined), "{keys}");
    }
}

#[test]
fn the_highest_version_that_is_known_is_chosen() {
    for (row, keys, version) in [
        ("none", r#""x":1"#, ""),
        ("one, known or not", r#""cniVersion":"9.9.9""#, "9.9.9"),
        ("one, not even a version", r#""cniVersion":"x""#, "x"),
        ("the highest, not the last", r#""cniVersions":["0.4.0","1.0.0","0.3.1"]"#, "1.0.0"),
        ("by number, not by letter", r#""cniVersions":["0.4.0","0.10.0"]"#, "0.10.0"),
        ("not above 1.1.0", r#""cniVersions":["1.1.0","1.1.1","2.0.0"]"#, "1.1.0"),
        ("cniVersion counts", r#""cniVersion":"1.1.0","cniVersions":["1.0.0"]"#, "1.1.0"),
        ("cniVersion does not win", r#""cniVersion":"0.4.0","cniVersions":["1.0.0"]"#, "1.0.0"),
        ("cniVersion beyond 1.1.0", r#""cniVersion":"2.0.0","cniVersions":["1.0.0"]"#, "1.0.0"),
        ("nothing usable: cniVersion stays", r#""cniVersion":"2.0.0","cniVersions":["1.2.0"]"#, "2.0.0"),
        ("nothing usable at all", r#""cniVersions":["1.2.0"]"#, ""),
        ("an empty list", r#""cniVersion":"0.4.0","cniVersions":[]"#, "0.4.0"),
        ("empty is 0.1.0", r#""cniVersions":["","0.0.9"]"#, ""),
        ("short forms", r#""cniVersions":["1","0.4"]"#, "1"),
        ("the first of several spellings", r#""cniVersion":"1.0.0","cniVersions":["1.0","1"]"#, "1.0"),
    ] {
        assert_eq!(read(&with_keys(keys)).unwrap().cni_version, version, "{row}");
    }
}

#[test]
fn what_libcni_refuses_is_refused_in_its_words() {
    let list = |words: &str| format!("{PARSING}: {words}");
    for (text, words) in [
        ("{}", list("no name")),
        ("null", list("no name")),
        (r#"{"Name":"n"}"#, list("no name")),
        ("[]", list("expected an object, found []interface {}")),
        ("{", list("not JSON: EOF while parsing an object at line 1 column 1")),
        (r#"{"name":1}"#, list("invalid name type float64")),
        (r#"{"name":null}"#, list("invalid name type <nil>")),
        (r#"{"name":{}}"#, list("invalid name type map[string]interface {}")),
        (&with_keys(r#""cniVersion":1.0"#), list("invalid cniVersion type float64")),
        (&with_keys(r#""cniVersion":null"#), list("invalid cniVersion type <nil>")),
        (&with_keys(r#""cniVersions":"1.0.0""#), list("invalid type for cniVersions: string")),
        (&with_keys(r#""cniVersions":["1.0.0",1]"#), list("invalid type for cniVersions index 1: float64")),
        (
            &with_keys(r#""cniVersions":["1.2.3.4"]"#),
            list("invalid cniVersions entry 1.2.3.4 at index 0: invalid version \"1.2.3.4\": too many parts"),
        ),
        (
            &with_keys(r#""cniVersion":"1.2.3.4","cniVersions":["1.0.0"]"#),
            list("invalid cniVersion 1.2.3.4: invalid version \"1.2.3.4\": too many parts"),
        ),
        (&with_keys(r#""disableCheck":1"#), list("invalid type float64 for disableCheck")),
        (&with_keys(r#""disableGC":null"#), list("invalid type <nil> for disableGC")),
        (&with_keys(r#""loadOnlyInlinedPlugins":"Yes""#), list("invalid value \"yes\" for loadOnlyInlinedPlugins")),
        (
            r#"{"name":"n","loadOnlyInlinedPlugins":true}"#,
            list("`loadOnlyInlinedPlugins` is true, and no 'plugins' key"),
        ),
        (r#"{"name":"n","plugins":{}}"#, list("invalid 'plugins' type map[string]interface {}")),
        (r#"{"name":"n","plugins":null}"#, list("invalid 'plugins' type <nil>")),
        (r#"{"name":"n","plugins":[]}"#, list("no plugins in list")),
        (
            r#"{"name":"n","plugins":[{"type":"t"},{}]}"#,
            "failed to parse plugin config 1: error parsing configuration: missing 'type'".to_owned(),
        ),
        (
            r#"{"name":"n","plugins":[null]}"#,
            "failed to parse plugin config 0: error parsing configuration: missing 'type'".to_owned(),
        ),
        (
            r#"{"name":"n","plugins":["t"]}"#,
            "failed to parse plugin config 0: error parsing configuration: expected an object, found string".to_owned(),
        ),
        (
            r#"{"name":"n","plugins":[{"type":"t","ipam":{"type":1}}]}"#,
            "failed to parse plugin config 0: error parsing configuration: key \"ipam.type\" must be a string"
                .to_owned(),
        ),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!((error.to_string(), error.class()), (words, ErrorClass::Config), "{text}");
    }
}

#[test]
fn plugins_come_inlined_and_from_files() {
    let row = |row: &str, list: &str, files: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("n")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join("n").join(name), text).unwrap();
        }
        let path = dir.path().join("n.conflist");
        std::fs::write(&path, list).unwrap();
        let shown = dir.path().to_str().unwrap().to_owned();
        let read = NetworkConfigList::from_file(&path);
        if let Err(error) = &read {
            assert_eq!(error.class(), ErrorClass::Config, "{row}");
        }
        read.map(|list| types(&list).join(" ")).map_err(|error| error.to_string().replace(&shown, "DIR"))
    };
    let files = [("b.conf", r#"{"type":"b"}"#), ("a.conf", r#"{"type":"a"}"#), ("c.json", "{"), ("d.conflist", "{")];
    for (name, list, files, expected) in [
        ("inlined ones first, files sorted, .conf alone", &*with_keys(r#""x":1"#), &files[..], Ok("t a b")),
        ("files alone", r#"{"name":"n"}"#, &files, Ok("a b")),
        ("inlined ones only", &with_keys(r#""loadOnlyInlinedPlugins":true"#), &files, Ok("t")),
        (
            "a broken file is not looked at then",
            &with_keys(r#""loadOnlyInlinedPlugins":true"#),
            &[("a.conf", "{")],
            Ok("t"),
        ),
        ("no files", &with_keys(r#""x":1"#), &[], Ok("t")),
        ("no directory", r#"{"name":"other","plugins":[{"type":"t"}]}"#, &files, Ok("t")),
        ("nothing", r#"{"name":"n"}"#, &[], Err("DIR/n.conflist: no plugin configs found")),
        ("no name", "{}", &[], Err("DIR/n.conflist: error parsing configuration list: no name")),
        (
            "a broken file",
            &with_keys(r#""x":1"#),
            &[("a.conf", "{}")],
            Err("DIR/n.conflist: DIR/n/a.conf: error parsing configuration: missing 'type'"),
        ),
        (
            "a file in place of the directory",
            r#"{"name":"n.conflist","plugins":[{"type":"t"}]}"#,
            &[],
            Err(
                "DIR/n.conflist: failed to read plugin config files in DIR/n.conflist: open DIR/n.conflist: not a directory",
            ),
        ),
        (
            "a name that leads elsewhere",
            r#"{"name":"../n","plugins":[{"type":"t"}]}"#,
            &[],
            Err("DIR/n.conflist: invalid characters found in network name; ../n"),
        ),
        ("an empty name", r#"{"name":""}"#, &[], Err("DIR/n.conflist: missing network name:")),
        (
            "a name that leads elsewhere, not used as a path",
            r#"{"name":"../n","plugins":[{"type":"t"}],"loadOnlyInlinedPlugins":true}"#,
            &[],
            Ok("t"),
        ),
    ] {
        assert_eq!(row(name, list, files), expected.map(str::to_owned).map_err(str::to_owned), "{name}");
    }
    let list = NetworkConfigList::from_file(Path::new("/nonexistent/x.conflist"));
    let words = "error reading /nonexistent/x.conflist: open /nonexistent/x.conflist: no such file or directory";
    assert_eq!(list.unwrap_err().to_string(), words);
}

#[test]
fn a_single_plugin_becomes_a_list_of_one() {
    for (text, expected) in [
        (
            r#"{"type":"t","name":"n","cniVersion":"1.0.0","disableCheck":true,"x":1.50}"#,
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"cniVersion":"1.0.0","disableCheck":true,"name":"n","type":"t","x":1.50}]}"#,
        ),
        (r#"{"type":"t"}"#, r#"{"cniVersion":"","name":"","plugins":[{"type":"t"}]}"#),
    ] {
        let list = NetworkConfigList::from_plugin(&PluginConfig::from_bytes(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(String::from_utf8(list.bytes.clone()).unwrap(), expected);
        assert_eq!((types(&list), list.disable_check), (vec!["t"], false));
    }
}

#[test]
fn an_inline_configuration_is_a_list_or_a_single_plugin() {
    for (text, expected) in [
        (r#"{"name":"n","plugins":[{"type":"a"},{"type":"b"}]}"#, Ok("n a b")),
        (r#"{"name":"n","type":"x","plugins":[{"type":"a"}]}"#, Ok("n a")),
        (r#"{"name":"n","type":"x"}"#, Ok("n x")),
        (r#"{"name":"n","plugins":[]}"#, Err("error parsing configuration list: no plugins in list")),
        (r#"{"name":"n"}"#, Err("error parsing configuration: missing 'type'")),
        ("x", Err("error parsing configuration: not JSON: expected value at line 1 column 1")),
    ] {
        let read = NetworkConfigList::from_any(text.as_bytes());
        let read = read.map(|list| format!("{} {}", list.name, types(&list).join(" ")));
        assert_eq!(read.map_err(|error| error.to_string()), expected.map(str::to_owned).map_err(str::to_owned));
    }
}

#[test]
fn the_inlined_text_makes_the_same_list() {
    let from_file =
        |name: &str| PluginConfig::from_bytes(format!(r#"{{"z":1.50,"type":"{name}"}}"#).as_bytes()).unwrap();
    let row = |text: &str, change: fn(&mut NetworkConfigList), files: &[&str]| {
        let mut list = read(text).unwrap();
        list.plugins.extend(files.iter().map(|name| from_file(name)));
        change(&mut list);
        let text = String::from_utf8(list.inlined()).unwrap();
        let again = read(&text).unwrap();
        let objects = |list: &NetworkConfigList| list.plugins.iter().map(|one| one.object.clone()).collect::<Vec<_>>();
        assert_eq!(objects(&again), objects(&list), "{text}");
        assert!(again.head() == list.head(), "{text}");
        text
    };
    for (name, text, change, files, expected) in [
        (
            "nothing to add",
            r#"{"name":"n","plugins":[{"type":"t"}],"x":12345678901234567890}"#,
            (|_| ()) as fn(&mut NetworkConfigList),
            &[][..],
            r#"{"name":"n","plugins":[{"type":"t"}],"x":12345678901234567890}"#,
        ),
        (
            "plugins from files beside inlined ones",
            r#"{"name":"n","cniVersions":["1.0.0","9.0.0"],"disableGC":"true","plugins":[{"type":"t"}]}"#,
            |_| (),
            &["a", "b"],
            r#"{"cniVersions":["1.0.0","9.0.0"],"disableGC":"true","name":"n","plugins":[{"type":"t"},{"type":"a","z":1.50},{"type":"b","z":1.50}]}"#,
        ),
        (
            "plugins from files alone",
            r#"{"name":"n"}"#,
            |_| (),
            &["a"],
            r#"{"name":"n","plugins":[{"type":"a","z":1.50}]}"#,
        ),
        ("no plugins", r#"{"name":"n"}"#, |_| (), &[], r#"{"name":"n"}"#),
        (
            "changed fields",
            r#"{"name":"n","cniVersions":["1.0.0","0.4.0"]}"#,
            |list| (list.name, list.cni_version, list.disable_gc) = ("m".into(), "0.4.0".into(), true),
            &["a"],
            r#"{"cniVersion":"0.4.0","disableCheck":false,"disableGC":true,"loadOnlyInlinedPlugins":false,"name":"m","plugins":[{"type":"a","z":1.50}]}"#,
        ),
        (
            "no text",
            r#"{"name":"n"}"#,
            |list| list.bytes.clear(),
            &["a"],
            r#"{"cniVersion":"","disableCheck":false,"disableGC":false,"loadOnlyInlinedPlugins":false,"name":"n","plugins":[{"type":"a","z":1.50}]}"#,
        ),
    ] {
        assert_eq!(row(text, change, files), expected, "{name}");
    }
}

#[test]
fn args_are_merged_into_every_plugin_and_the_text() {
    for (row, own, args, expected) in [
        ("none before", r#"{"type":"t"}"#, json!({"cni": {"ips": ["10.0.0.1"]}}), r#"{"cni":{"ips":["10.0.0.1"]}}"#),
        (
            "objects by key, the given one wins",
            r#"{"type":"t","args":{"cni":{"ips":["x"],"labels":[1]},"own":1.50}}"#,
            json!({"cni": {"ips": []}}),
            r#"{"cni":{"ips":[],"labels":[1]},"own":1.50}"#,
        ),
        (
            "an object in place of another type",
            r#"{"type":"t","args":{"a":1}}"#,
            json!({"a": {"b": 2}}),
            r#"{"a":{"b":2}}"#,
        ),
        ("another type in place of an object", r#"{"type":"t","args":{"a":{"b":1}}}"#, json!({"a": 2}), r#"{"a":2}"#),
        ("args that are no object", r#"{"type":"t","args":7}"#, json!({"a": 2}), r#"{"a":2}"#),
    ] {
        let list = read(&format!(r#"{{"name":"n","plugins":[{own},{own}]}}"#)).unwrap();
        let list = list.with_args(args.as_object().unwrap()).unwrap();
        let plugin = format!(r#"{{"args":{expected},"type":"t"}}"#);
        assert_eq!(
            String::from_utf8(list.bytes.clone()).unwrap(),
            format!(r#"{{"name":"n","plugins":[{plugin},{plugin}]}}"#),
            "{row}"
        );
        assert_eq!(read(std::str::from_utf8(&list.bytes).unwrap()).unwrap(), list, "{row}");
    }
}

#[test]
fn without_args_a_list_stays_and_too_deep_ones_are_refused() {
    let list = read(r#"{"plugins":[{"z":1,"type":"t"}],"name":"n"}"#).unwrap();
    assert_eq!(list.with_args(&Map::new()).unwrap(), list);
    let deep = (0..130).fold(json!(1), |inner, _| json!([inner]));
    let error = list.with_args(json!({"a": deep}).as_object().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "error parsing configuration: nested deeper than 125 levels");
}
