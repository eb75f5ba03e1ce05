//! The trait that puts the verbs together, as libcni's interface `CNI` does.

use crate::call::Call;
use crate::conf::{NetworkConfigList, PluginConfig};
use crate::error::Result;
use crate::invoke::Nursery;
use crate::names::ContainerId;
use crate::network::{CniConfig, GcArgs, RuntimeConf};
use crate::result::CniResult;
use crate::store::CacheEntry;
use crate::version::PluginInfo;

/// libcni's interface `CNI`: the operations on a network list, and on a single network, whose name and version are its
/// own and whose errors do not say which plugin of a list failed.
pub trait Cni {
    /// Runs ADD of every plugin, each with the result of the one before, and caches the last result, which is answered
    /// in the version that the plugin chose.
    fn add_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<CniResult>;

    /// Runs DEL of every plugin in reverse order and forgets the attachment; halts at the first error.
    fn del_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()>;

    /// Runs CHECK of every plugin; `CNI_E_UNSUPPORTED` below 0.4.0, nothing with `disableCheck`.
    fn check_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()>;

    /// Deletes the recorded attachments of this network that are not valid, then runs GC of every plugin where the
    /// list's version is 1.1.0 or newer; nothing with `disableGC`. No `args`: nothing is valid, plugins are not told.
    fn gc_network_list(&self, call: &Call, list: &NetworkConfigList, args: Option<&GcArgs>) -> Result<()>;

    /// Runs STATUS of every plugin; nothing below 1.1.0.
    fn get_status_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<()>;

    /// Whether every plugin exists and supports the list's version; answers the capabilities, sorted.
    fn validate_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<Vec<String>>;

    /// The cached result in the list's version; `None` where there is none.
    fn get_network_list_cached_result(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<Option<CniResult>>;

    /// The cached text of the configuration, and `rt` with the recorded `args` and `capability_args`; `None` where there
    /// is none.
    fn get_network_list_cached_config(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>>;

    /// [`add_network_list`](Self::add_network_list) of a single network.
    fn add_network(&self, call: &Call, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<CniResult>;

    /// [`del_network_list`](Self::del_network_list) of a single network.
    fn del_network(&self, call: &Call, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<()>;

    /// [`check_network_list`](Self::check_network_list) of a single network, which has no `disableCheck`.
    fn check_network(&self, call: &Call, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<()>;

    /// [`validate_network_list`](Self::validate_network_list) of a single network.
    fn validate_network(&self, call: &Call, plugin: &PluginConfig) -> Result<Vec<String>>;

    /// [`get_network_list_cached_result`](Self::get_network_list_cached_result) of a single network.
    fn get_network_cached_result(&self, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<Option<CniResult>>;

    /// [`get_network_list_cached_config`](Self::get_network_list_cached_config) of a single network.
    fn get_network_cached_config(
        &self,
        plugin: &PluginConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>>;

    /// Every recorded attachment, of one container or of all.
    fn get_cached_attachments(&self, container_id: Option<&ContainerId>) -> Result<Vec<CacheEntry>>;

    /// What the plugin of this type answers to VERSION.
    fn get_version_info(&self, call: &Call, plugin_type: &str) -> Result<PluginInfo>;
}

impl Cni for CniConfig {
    fn add_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<CniResult> {
        self.add(call, list.into(), rt)
    }

    fn del_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        self.del_as_libcni(call, list.into(), rt)
    }

    fn check_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        self.check(call, list.into(), rt)
    }

    fn gc_network_list(&self, call: &Call, list: &NetworkConfigList, args: Option<&GcArgs>) -> Result<()> {
        self.gc(call, list.into(), args)
    }

    fn get_status_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<()> {
        self.status(call, list.into())
    }

    fn validate_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<Vec<String>> {
        self.validate(call, list.into())
    }

    fn get_network_list_cached_result(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<Option<CniResult>> {
        self.cached_result(list.into(), rt)
    }

    fn get_network_list_cached_config(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>> {
        self.cached_config(list.into(), rt)
    }

    fn add_network(&self, call: &Call, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<CniResult> {
        self.add(call, plugin.into(), rt)
    }

    fn del_network(&self, call: &Call, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<()> {
        self.del_as_libcni(call, plugin.into(), rt)
    }

    fn check_network(&self, call: &Call, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<()> {
        self.check(call, plugin.into(), rt)
    }

    fn validate_network(&self, call: &Call, plugin: &PluginConfig) -> Result<Vec<String>> {
        self.validate(call, plugin.into())
    }

    fn get_network_cached_result(&self, plugin: &PluginConfig, rt: &RuntimeConf) -> Result<Option<CniResult>> {
        self.cached_result(plugin.into(), rt)
    }

    fn get_network_cached_config(
        &self,
        plugin: &PluginConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>> {
        self.cached_config(plugin.into(), rt)
    }

    fn get_cached_attachments(&self, container_id: Option<&ContainerId>) -> Result<Vec<CacheEntry>> {
        self.cache(&RuntimeConf::default()).attachments(container_id)
    }

    fn get_version_info(&self, call: &Call, plugin_type: &str) -> Result<PluginInfo> {
        let mut nursery = Nursery::default();
        nursery.none_follows();
        self.version_info(call, &mut nursery, plugin_type)
    }
}
