//! A network list (libcni's `NetworkConfigList`).

use std::path::Path;

use serde_json::{Map, Value};

use crate::conf::text::{self, go_type, refused};
use crate::conf::{PluginConfig, dir, file};
use crate::error::Result;
use crate::names::NetworkName;
use crate::version::{self, SpecVersion};

/// What libcni puts before every complaint about a list.
const PARSING: &str = "error parsing configuration list";

/// One network: an ordered list of plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfigList {
    /// The network's name, as written: checked where it becomes part of a path.
    pub name: String,
    /// The specification version that all plugins are run with; empty means 0.1.0.
    pub cni_version: String,
    /// CHECK does nothing.
    pub disable_check: bool,
    /// GC does nothing.
    pub disable_gc: bool,
    /// Plugins in files beside the list are not loaded.
    pub load_only_inlined_plugins: bool,
    /// The plugins in the order of ADD.
    pub plugins: Vec<PluginConfig>,
    /// The text as it was given.
    pub bytes: Vec<u8>,
}

impl NetworkConfigList {
    /// libcni's `NetworkConfFromBytes`: inlined plugins only, and none where the text has no `plugins`.
    ///
    /// Errors are `CNI_E_CONFIG`, in libcni's words.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut object = text::parse(bytes).map_err(|error| error.context(PARSING))?;
        let head = Head::read(&object).map_err(|error| error.context(PARSING))?;
        let plugins = match object.remove("plugins") {
            Some(Value::Array(plugins)) if plugins.is_empty() => Err(refused("no plugins in list")),
            Some(Value::Array(plugins)) => Ok(plugins),
            Some(other) => Err(refused(format!("invalid 'plugins' type {}", go_type(&other)))),
            None if head.load_only_inlined_plugins => {
                Err(refused("`loadOnlyInlinedPlugins` is true, and no 'plugins' key"))
            }
            None => Ok(Vec::new()),
        };
        let plugins = plugins.map_err(|error| error.context(PARSING))?.into_iter().enumerate();
        let plugins = plugins.map(|(index, value)| inlined_plugin(index, value)).collect::<Result<_>>()?;
        let Head { name, cni_version, disable_check, disable_gc, load_only_inlined_plugins } = head;
        let bytes = bytes.to_vec();
        Ok(Self { name, cni_version, disable_check, disable_gc, load_only_inlined_plugins, plugins, bytes })
    }

    /// libcni's `NetworkConfFromFile`: with the plugins of `<directory of the file>/<name>/*.conf`. Errors name the file.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::inlined_from_file(path)?.with_file_plugins_beside(path)
    }

    /// The list in a file, without the plugins beside it.
    pub(super) fn inlined_from_file(path: &Path) -> Result<Self> {
        Self::from_bytes(&file::read(path)?).map_err(|error| error.context(path.display()))
    }

    /// Adds the plugins in the directory of the file that the list came from.
    pub(super) fn with_file_plugins_beside(self, path: &Path) -> Result<Self> {
        let conf_dir = path.parent().unwrap_or(Path::new(""));
        self.with_file_plugins(conf_dir).map_err(|error| error.context(path.display()))
    }

    /// Appends the plugins of `<conf_dir>/<name>/*.conf`, sorted by file name, unless only inlined ones are wanted; a list
    /// that still has none is an error. What libcni's `NetworkConfFromFile` does after parsing.
    ///
    /// The name becomes part of a path here, so one that libcni would refuse at ADD is an error already.
    pub fn with_file_plugins(mut self, conf_dir: &Path) -> Result<Self> {
        if !self.load_only_inlined_plugins {
            let name = NetworkName::parse(self.name.as_str())?;
            self.plugins.extend(plugins_from_files(conf_dir, &name)?);
        }
        if self.plugins.is_empty() {
            return Err(refused("no plugin configs found"));
        }
        Ok(self)
    }

    /// libcni's `ConfListFromConf`: a list of one.
    pub fn from_plugin(plugin: &PluginConfig) -> Result<Self> {
        let mut object = Map::new();
        object.insert("name".to_owned(), plugin.name.clone().into());
        object.insert("cniVersion".to_owned(), plugin.cni_version.clone().into());
        object.insert("plugins".to_owned(), vec![Value::Object(plugin.object.clone())].into());
        Self::from_bytes(&text::print(object))
    }

    /// Reads a configuration given inline: with `plugins` it is a list, else a single plugin turned into one.
    pub fn from_any(bytes: &[u8]) -> Result<Self> {
        let object = text::parse(bytes).map_err(|error| error.context("error parsing configuration"))?;
        if object.contains_key("plugins") {
            return Self::from_bytes(bytes);
        }
        let plugin = PluginConfig::from_bytes(bytes);
        plugin.and_then(|plugin| Self::from_plugin(&plugin)).map_err(|error| {
            error.with_hint("a list of plugins has the key `plugins`, the configuration of a single one has `type`")
        })
    }

    /// The text with every plugin inlined, so that plugins from files are found again without the directory.
    ///
    /// [`from_bytes`](Self::from_bytes) makes the same list of it, fields that were changed since it was read included.
    pub fn inlined(&self) -> Vec<u8> {
        let mut object = text::parse(&self.bytes).unwrap_or_default();
        let head = self.head();
        if Head::read(&object).ok().as_ref() != Some(&head) {
            head.write(&mut object);
        }
        let plugins: Vec<_> = self.plugins.iter().map(|plugin| Value::Object(plugin.object.clone())).collect();
        if plugins.is_empty() {
            object.remove("plugins");
        } else {
            object.insert("plugins".to_owned(), plugins.into());
        }
        text::print(object)
    }

    /// The list with `args` merged into each plugin's `args` (CONVENTIONS.md): objects key by key, else the given value
    /// stands. The text is the inlined one, so that a cache entry has them too.
    pub fn with_args(&self, args: &Map<String, Value>) -> Result<Self> {
        if args.is_empty() {
            return Ok(self.clone());
        }
        let with_args = |plugin: &PluginConfig| {
            let mut object = plugin.object.clone();
            merge(object.entry("args").or_insert(Value::Null), &Value::Object(args.clone()));
            PluginConfig::from_object(object)
        };
        let mut list = self.clone();
        list.plugins = self.plugins.iter().map(with_args).collect::<Result<_>>()?;
        list.bytes = list.inlined();
        Ok(list)
    }

    fn head(&self) -> Head {
        Head {
            name: self.name.clone(),
            cni_version: self.cni_version.clone(),
            disable_check: self.disable_check,
            disable_gc: self.disable_gc,
            load_only_inlined_plugins: self.load_only_inlined_plugins,
        }
    }
}

fn inlined_plugin(index: usize, value: Value) -> Result<PluginConfig> {
    text::into_object(value)
        .map_err(|error| error.context("error parsing configuration"))
        .and_then(PluginConfig::from_object)
        .map_err(|error| error.context(format_args!("failed to parse plugin config {index}")))
}

/// libcni's `NetworkPluginConfsFromFiles`.
fn plugins_from_files(conf_dir: &Path, name: &NetworkName) -> Result<Vec<PluginConfig>> {
    let plugin_dir = conf_dir.join(name.as_str());
    let files = dir::conf_files(&plugin_dir, &[".conf"]).map_err(|error| {
        error.context(format_args!("failed to read plugin config files in {}", plugin_dir.display()))
    })?;
    files.iter().map(|path| PluginConfig::from_file(path)).collect()
}

/// Puts `given` into `own`.
fn merge(own: &mut Value, given: &Value) {
    match (own, given) {
        (Value::Object(own), Value::Object(given)) => {
            for (key, value) in given {
                merge(own.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (own, given) => *own = given.clone(),
    }
}

/// A list's keys without its plugins.
#[derive(PartialEq)]
struct Head {
    name: String,
    cni_version: String,
    disable_check: bool,
    disable_gc: bool,
    load_only_inlined_plugins: bool,
}

impl Head {
    /// Unlike in a plugin, only the exact keys count, and null is a value of the wrong type: libcni looks them up in a map.
    fn read(object: &Map<String, Value>) -> Result<Self> {
        let name = match object.get("name") {
            Some(Value::String(name)) => name.clone(),
            Some(other) => return Err(refused(format!("invalid name type {}", go_type(other)))),
            None => return Err(refused("no name")),
        };
        Ok(Self {
            name,
            cni_version: chosen_version(object)?,
            disable_check: boolean(object, "disableCheck")?,
            disable_gc: boolean(object, "disableGC")?,
            load_only_inlined_plugins: boolean(object, "loadOnlyInlinedPlugins")?,
        })
    }

    fn write(self, object: &mut Map<String, Value>) {
        // Another version could be chosen from it.
        object.remove("cniVersions");
        object.insert("name".to_owned(), self.name.into());
        object.insert("cniVersion".to_owned(), self.cni_version.into());
        object.insert("disableCheck".to_owned(), self.disable_check.into());
        object.insert("disableGC".to_owned(), self.disable_gc.into());
        object.insert("loadOnlyInlinedPlugins".to_owned(), self.load_only_inlined_plugins.into());
    }
}

/// The highest of `cniVersions` and `cniVersion` that this library implements; where there is none, or no `cniVersions`,
/// `cniVersion` as it is.
fn chosen_version(object: &Map<String, Value>) -> Result<String> {
    let written = match object.get("cniVersion") {
        Some(Value::String(version)) => version.as_str(),
        Some(other) => return Err(refused(format!("invalid cniVersion type {}", go_type(other)))),
        None => "",
    };
    let listed = match object.get("cniVersions") {
        Some(Value::Array(versions)) => versions,
        Some(other) => return Err(refused(format!("invalid type for cniVersions: {}", go_type(other)))),
        None => return Ok(written.to_owned()),
    };
    let mut versions = Vec::new();
    for (index, value) in listed.iter().enumerate() {
        let Value::String(text) = value else {
            return Err(refused(format!("invalid type for cniVersions index {index}: {}", go_type(value))));
        };
        let version = SpecVersion::parse(text)
            .map_err(|error| error.context(format_args!("invalid cniVersions entry {text} at index {index}")))?;
        versions.push((version, text.as_str()));
    }
    if !written.is_empty() {
        let version = SpecVersion::parse(written);
        let version = version.map_err(|error| error.context(format_args!("invalid cniVersion {written}")))?;
        versions.push((version, written));
    }
    let current = SpecVersion::parse(version::CURRENT)?;
    // Of "1" and "1.0.0" the first one is it, for libcni too.
    let usable = versions.into_iter().rev().filter(|(version, _)| *version <= current);
    Ok(usable.max_by_key(|(version, _)| *version).map_or(written, |(_, text)| text).to_owned())
}

/// A boolean, or one written as a string in any case; false where the key is absent.
fn boolean(object: &Map<String, Value>, key: &str) -> Result<bool> {
    match object.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) => match text.to_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(refused(format!("invalid value {other:?} for {key}"))),
        },
        Some(other) => Err(refused(format!("invalid type {} for {key}", go_type(other)))),
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
