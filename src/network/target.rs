//! What a verb works on: a network list or a single network.

use serde_json::{Map, Value};

use crate::conf::{NetworkConf, NetworkConfigList, PluginConfig};
use crate::error::{Error, ErrorClass, Result};
use crate::names::{ContainerId, IfName, NetworkName};
use crate::network::RuntimeConf;
use crate::network::run::Command;
use crate::store::Key;

/// A network list, or a single network (libcni's `AddNetwork` and its like): a list of one plugin whose errors come
/// without a word about the list.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    pub(super) name: &'a str,
    pub(super) cni_version: &'a str,
    pub(super) plugins: &'a [PluginConfig],
    /// What the cache keeps of it.
    pub(super) bytes: &'a [u8],
    pub(super) disable_check: bool,
    pub(super) disable_gc: bool,
    is_list: bool,
}

impl<'a> From<&'a NetworkConfigList> for Network<'a> {
    fn from(list: &'a NetworkConfigList) -> Self {
        Self {
            name: &list.name,
            cni_version: &list.cni_version,
            plugins: &list.plugins,
            bytes: &list.bytes,
            disable_check: list.disable_check,
            disable_gc: list.disable_gc,
            is_list: true,
        }
    }
}

impl<'a> From<&'a PluginConfig> for Network<'a> {
    fn from(plugin: &'a PluginConfig) -> Self {
        Self {
            name: &plugin.name,
            cni_version: &plugin.cni_version,
            plugins: std::slice::from_ref(plugin),
            bytes: &plugin.bytes,
            disable_check: false,
            disable_gc: false,
            is_list: false,
        }
    }
}

impl<'a> From<&'a NetworkConf> for Network<'a> {
    fn from(conf: &'a NetworkConf) -> Self {
        match conf {
            NetworkConf::List(list) => list.into(),
            NetworkConf::Single(plugin) => plugin.into(),
        }
    }
}

impl Network<'_> {
    pub(super) fn is_list(&self) -> bool {
        self.is_list
    }

    /// The keys that every plugin gets.
    pub(super) fn identity(&self) -> Map<String, Value> {
        let pairs = [("name", self.name), ("cniVersion", self.cni_version)];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    /// An error of one of its plugins, in libcni's words: those of a list say which plugin.
    pub(super) fn plugin_failed(&self, error: Error, plugin: &PluginConfig, verb: &str) -> Error {
        if !self.is_list {
            return error;
        }
        error.context(format_args!("plugin {} failed ({verb})", plugin.description()))
    }

    /// Names plugin, command, network and interface in an error.
    pub(super) fn describe(&self, error: Error, plugin: &PluginConfig, command: Command, rt: &RuntimeConf) -> Error {
        let error = error.with_plugin(&plugin.plugin_type, command.as_str());
        error.with_network(self.name, &rt.if_name, self.cni_version)
    }

    /// The checked names of an attachment that is to be made. libcni's order: container, network, interface.
    pub(super) fn key(&self, rt: &RuntimeConf) -> Result<Key> {
        let container_id = ContainerId::parse(&rt.container_id)?;
        let network = NetworkName::parse(self.name)?;
        let if_name = IfName::parse(&rt.if_name)?;
        Ok(Key { network, container_id, if_name })
    }

    /// The key of an attachment that may have been made. An empty name is an error, as in libcni; other names that ADD
    /// refuses are nobody's: libcni makes paths of them, here nothing unchecked becomes part of one.
    pub(super) fn recorded_key(&self, rt: &RuntimeConf) -> Result<Option<Key>> {
        let (name, id, if_name) = (self.name, &rt.container_id, &rt.if_name);
        if name.is_empty() || id.is_empty() || if_name.is_empty() {
            let words = format!(
                "cache file path requires network name ({name:?}), container ID ({id:?}), and interface name ({if_name:?})"
            );
            return Err(Error::new(ErrorClass::InvalidArgument, words));
        }
        Ok(self.key(rt).ok())
    }
}
