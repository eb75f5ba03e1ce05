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
