//! One network list: ADD, DEL, CHECK, STATUS, VALIDATE, a file a verb (libcni's `CNIConfig`).
//!
//! Knows nothing of pods: what a runtime wants for its container comes as a [`RuntimeConf`]. Plugins are run through
//! `invoke`, attachments recorded through `store`.

mod add;
mod cached;
mod check;
mod del;
mod run;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::Result;
use crate::invoke::{Environ, Exec};
use crate::names::{ContainerId, IfName, NetworkName};
use crate::result::CniResult;
use crate::store::{Cache, CacheEntry, Durability, Key};
use crate::version::PluginInfo;

pub use add::AddFailure;
pub use del::DelPolicy;
pub(crate) use validate::capabilities;

/// What a runtime tells about one container (libcni's `RuntimeConf`).
///
/// The names are as the runtime gave them: they are checked where they become part of a path or of an ADD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeConf {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`: the path of the network namespace, or empty.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// Capability arguments; a plugin gets those that it declares.
    pub capability_args: Map<String, Value>,
    /// The cache directory, where [`CniConfig::cache_dir`] says none.
    pub cache_dir: Option<PathBuf>,
}

/// The operations on one network list (the list half of libcni's interface `CNI`).
pub trait Cni {
    /// Runs ADD of every plugin and caches the last result.
    fn add_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<CniResult>;

    /// Runs DEL of every plugin in reverse order and forgets the attachment.
    fn del_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()>;

    /// Runs CHECK of every plugin; an error below 0.4.0, nothing with `disableCheck`.
    fn check_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()>;

    /// Runs STATUS of every plugin; nothing below 1.1.0.
    fn get_status_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<()>;

    /// Whether every plugin exists and supports the list's version; answers the capabilities, sorted.
    fn validate_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<Vec<String>>;

    /// What the plugin of this type answers to VERSION.
    fn get_version_info(&self, call: &Call, plugin_type: &str) -> Result<PluginInfo>;

    /// The cached result in the list's version; `None` where there is none.
    fn get_network_list_cached_result(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<Option<CniResult>>;

    /// Every recorded attachment, of one container or of all.
    fn get_cached_attachments(&self, container_id: Option<&ContainerId>) -> Result<Vec<CacheEntry>>;
}

/// One run of a plugin, for who counts them.
#[derive(Clone, Copy, Debug)]
pub struct PluginRun<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The plugin's type.
    pub plugin_type: &'a str,
    /// The CNI command.
    pub command: &'a str,
    /// How long it took.
    pub duration: Duration,
    /// Whether the plugin succeeded.
    pub ok: bool,
}

/// Is told of every run of a plugin.
pub trait Observer: Send + Sync {
    /// A plugin ran. Called with no lock held.
    fn plugin_ran(&self, run: &PluginRun<'_>);
}

/// libcni's `CNIConfig`: how plugins are found and run, and where attachments are recorded.
#[derive(Clone)]
pub struct CniConfig {
    /// `CNI_PATH`: where plugin binaries are, first wins.
    pub path: Vec<PathBuf>,
    /// The cache directory; `None`: the runtime configuration's, else `/var/lib/cni`.
    pub cache_dir: Option<PathBuf>,
    /// What a cache entry survives.
    pub durability: Durability,
    /// The tag on cache entries; libcni writes none.
    pub owner: Option<String>,
    /// Undo a failed ADD within this limit; libcni does not.
    pub rollback: Option<Duration>,
    /// Finds and runs plugins.
    pub exec: Arc<dyn Exec>,
    /// What plugins find in their environment.
    pub environ: Environ,
    /// Is told of every run.
    pub observer: Option<Arc<dyn Observer>>,
}

impl CniConfig {
    /// The default of `cache_dir`.
    pub const CACHE_DIR: &'static str = "/var/lib/cni";

    /// The cache for this runtime configuration.
    pub fn cache(&self, rt: &RuntimeConf) -> Cache {
        let dir = self.cache_dir.as_ref().or(rt.cache_dir.as_ref());
        Cache::new(dir.map_or(std::path::Path::new(Self::CACHE_DIR), PathBuf::as_path), self.durability)
    }
}

/// The checked names of an attachment. libcni's order of checks: container, network, interface.
fn key(list: &NetworkConfigList, rt: &RuntimeConf) -> Result<Key> {
    let container_id = ContainerId::parse(&rt.container_id)?;
    let network = NetworkName::parse(&list.name)?;
    let if_name = IfName::parse(&rt.if_name)?;
    Ok(Key { network, container_id, if_name })
}
