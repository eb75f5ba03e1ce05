//! A configuration as callers from other languages give it, and as they get it back when it was parsed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::conf::text;
use crate::conf::{NetworkConfigList, PluginConfig};
use crate::error::Result;
use crate::json::Object;

/// What parsed configurations have and texts do not: the text.
const BYTES: &str = "bytes";

/// A network list, or a single network.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkConf {
    /// A list of plugins.
    List(NetworkConfigList),
    /// One plugin, with the network's name and version of its own.
    Single(PluginConfig),
}

impl NetworkConf {
    /// Reads a configuration's text: with `plugins` it is a list, else with `type` a single network, else a list without
    /// plugins (libcni's `NetworkConfFromBytes` or `NetworkPluginConfFromBytes`).
    ///
    /// An object with the string `bytes` is a parsed configuration, as [`NetworkConfigList::to_value`] makes it, and is
    /// taken as it is: fields that were changed count, not the text. A parsed single network is `{type, name, cniVersion,
    /// capabilities, bytes}`. A plugin's key that is absent is as in its `bytes`.
    ///
    /// Errors are `CNI_E_CONFIG`; in a parsed configuration, `CNI_E_INVALID_ARGUMENT` for keys that are wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let object = text::parse(text.as_bytes()).map_err(|error| error.context("error parsing configuration"))?;
        match (object.contains_key("plugins"), is_parsed(&object)) {
            (true, true) => Object::parse("conf", text)?.read(read_list).map(Self::List),
            (false, true) => Object::parse("conf", text)?.read(read_plugin).map(Self::Single),
            (false, false) if is_single(&object) => PluginConfig::from_bytes(text.as_bytes()).map(Self::Single),
            (_, false) => NetworkConfigList::from_bytes(text.as_bytes()).map(Self::List),
        }
    }

    /// Reads a configuration's text as a list: a single network becomes a list of one, and with `dir` a list gets the
    /// plugins of `<dir>/<name>/*.conf` (libcni's `NetworkConfFromFile`). A parsed list stays as it is.
    pub fn parse_list(text: &str, dir: Option<&Path>) -> Result<NetworkConfigList> {
        match (Self::parse(text)?, dir) {
            (Self::Single(plugin), _) => NetworkConfigList::from_plugin(&plugin),
            (Self::List(list), Some(dir)) if !text::parse(text.as_bytes()).is_ok_and(|object| is_parsed(&object)) => {
                list.with_file_plugins(dir)
            }
            (Self::List(list), _) => Ok(list),
        }
    }
}

impl NetworkConfigList {
    /// The parsed list: `{name, cniVersion, disableCheck, disableGC, loadOnlyInlinedPlugins, plugins: [{type, name?,
    /// capabilities, bytes}], bytes, file?}`.
    pub fn to_value(&self, file: Option<&Path>) -> Value {
        let mut value = json!({
            "name": self.name,
            "cniVersion": self.cni_version,
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "loadOnlyInlinedPlugins": self.load_only_inlined_plugins,
            "plugins": self.plugins.iter().map(plugin_to_value).collect::<Vec<_>>(),
            BYTES: String::from_utf8_lossy(&self.bytes),
        });
        if let Some(file) = file {
            value["file"] = file.to_string_lossy().into();
        }
        value
    }
}

fn plugin_to_value(plugin: &PluginConfig) -> Value {
    let mut value = json!({
        "type": plugin.plugin_type,
        "capabilities": plugin.capabilities,
        BYTES: String::from_utf8_lossy(&plugin.bytes),
    });
    if !plugin.name.is_empty() {
        value["name"] = plugin.name.as_str().into();
    }
    value
}

fn is_parsed(object: &Map<String, Value>) -> bool {
    object.get(BYTES).is_some_and(Value::is_string)
}

/// As for Go, a plugin's keys are found in any case.
fn is_single(object: &Map<String, Value>) -> bool {
    object.keys().any(|key| key.eq_ignore_ascii_case("type"))
}

fn read_list(object: &mut Object) -> Result<NetworkConfigList> {
    // Where it came from does not matter any more.
    object.optional::<String>("file")?;
    Ok(NetworkConfigList {
        name: object.or_default("name")?,
        cni_version: object.or_default("cniVersion")?,
        disable_check: object.or_default("disableCheck")?,
        disable_gc: object.or_default("disableGC")?,
        load_only_inlined_plugins: object.or_default("loadOnlyInlinedPlugins")?,
        plugins: object.objects("plugins", read_plugin)?,
        bytes: object.required::<String>(BYTES)?.into_bytes(),
    })
}

fn read_plugin(object: &mut Object) -> Result<PluginConfig> {
    let written = PluginConfig::from_bytes(object.required::<String>(BYTES)?.as_bytes())?;
    Ok(PluginConfig {
        plugin_type: object.optional("type")?.unwrap_or(written.plugin_type),
        name: object.optional("name")?.unwrap_or(written.name),
        cni_version: object.optional("cniVersion")?.unwrap_or(written.cni_version),
        capabilities: object.optional::<BTreeMap<_, _>>("capabilities")?.unwrap_or(written.capabilities),
        ..written
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    const LIST: &str = r#"{"name":"n","cniVersion":"1.1.0","disableCheck":"true","x":1.50,
                           "plugins":[{"type":"t","name":"p","capabilities":{"a":true},"n":12345678901234567890}]}"#;

    #[test]
    fn a_text_is_a_list_or_a_single_network() {
        for (text, list) in [
            (LIST, true),
            (r#"{"name":"n","type":"t","plugins":[{"type":"u"}]}"#, true),
            (r#"{"name":"n"}"#, true),
            (r#"{"name":"n","type":"t"}"#, false),
            (r#"{"Type":"t"}"#, false),
            (r#"{"type":"t","bytes":1}"#, false),
        ] {
            let is_list = matches!(NetworkConf::parse(text).unwrap(), NetworkConf::List(_));
            assert_eq!(is_list, list, "{text}");
        }
    }

    #[test]
    fn a_parsed_list_comes_back_as_it_was() {
        let list = NetworkConf::parse_list(LIST, None).unwrap();
        let value = list.to_value(Some(Path::new("/d/f.conflist")));
        assert_eq!(
            value,
            json!({
                "name": "n", "cniVersion": "1.1.0", "disableCheck": true, "disableGC": false,
                "loadOnlyInlinedPlugins": false, "bytes": LIST, "file": "/d/f.conflist",
                "plugins": [{"type": "t", "name": "p", "capabilities": {"a": true},
                    "bytes": r#"{"capabilities":{"a":true},"n":12345678901234567890,"name":"p","type":"t"}"#}],
            })
        );
        assert_eq!(NetworkConf::parse(&value.to_string()).unwrap(), NetworkConf::List(list));
    }

    #[test]
    fn changed_values_count_and_the_text_does_not() {
        let mut value = NetworkConf::parse_list(LIST, None).unwrap().to_value(None);
        value["name"] = "m".into();
        value["disableCheck"] = false.into();
        value["disableGC"] = true.into();
        value["plugins"][0]["type"] = "u".into();
        value["plugins"][0]["name"] = "".into();
        value["plugins"][0]["capabilities"] = json!({});
        value["bytes"] = "anything".into();
        let NetworkConf::List(list) = NetworkConf::parse(&value.to_string()).unwrap() else { panic!("{value}") };
        assert_eq!((list.name.as_str(), list.disable_check, list.disable_gc), ("m", false, true));
        assert_eq!(list.bytes, b"anything");
        let plugin = &list.plugins[0];
        assert_eq!((plugin.plugin_type.as_str(), plugin.name.as_str(), plugin.capabilities.len()), ("u", "", 0));
        assert_eq!(plugin.object()["type"], "t");
        let single = r#"{"type":"u","name":"m","cniVersion":"0.4.0","bytes":"{\"type\":\"t\",\"name\":\"n\"}"}"#;
        let NetworkConf::Single(single) = NetworkConf::parse(single).unwrap() else { panic!("{single}") };
        assert_eq!((single.plugin_type.as_str(), single.name.as_str()), ("u", "m"));
        assert_eq!(
            (single.cni_version.as_str(), single.bytes.as_slice()),
            ("0.4.0", &br#"{"type":"t","name":"n"}"#[..])
        );
    }

    #[test]
    fn plugins_in_files_are_added_to_texts_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("n")).unwrap();
        std::fs::write(dir.path().join("n/x.conf"), r#"{"type":"x"}"#).unwrap();
        let types = |text: &str, dir: Option<&Path>| {
            let list = NetworkConf::parse_list(text, dir).unwrap();
            list.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect::<Vec<_>>().join(" ")
        };
        let parsed = NetworkConf::parse_list(LIST, Some(dir.path())).unwrap().to_value(None).to_string();
        for (row, text, with_dir, without) in [
            ("a list", LIST, "t x", "t"),
            ("a list of files only", r#"{"name":"n"}"#, "x", ""),
            ("a single network", r#"{"name":"n","type":"s"}"#, "s", "s"),
            ("a parsed list", &parsed, "t x", "t x"),
        ] {
            assert_eq!((types(text, Some(dir.path())), types(text, None)), (with_dir.into(), without.into()), "{row}");
        }
        let error = NetworkConf::parse_list(r#"{"name":"other"}"#, Some(dir.path())).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Config, "no plugin configs found"));
    }

    #[test]
    fn wrong_keys_of_a_parsed_configuration_are_named() {
        for (text, class, words) in [
            (r#"{"plugins":[],"bytes":"","nme":"n"}"#, ErrorClass::InvalidArgument, "conf: unknown key \"nme\""),
            (
                r#"{"plugins":[{"type":"t"}],"bytes":""}"#,
                ErrorClass::InvalidArgument,
                "conf, key \"plugins[0]\": missing key \"bytes\"",
            ),
            (
                r#"{"plugins":[{"bytes":"{}"}],"bytes":""}"#,
                ErrorClass::Config,
                "error parsing configuration: missing 'type'",
            ),
        ] {
            let error = NetworkConf::parse(text).unwrap_err();
            assert_eq!((error.class(), error.to_string().as_str()), (class, words));
        }
    }
}
