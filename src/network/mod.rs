//! One network: ADD, DEL, CHECK, GC, STATUS, VALIDATE, a file a verb (libcni's `CNIConfig`).
//!
//! Knows nothing of pods: what a runtime wants for its container comes as a [`RuntimeConf`]. Plugins are run through
//! `invoke`, attachments recorded through `store`. Above the verbs is [`Runtime`]: the same with JSON in and out.

mod add;
mod cached;
mod check;
mod cni;
mod del;
mod gc;
mod run;
mod runtime;
mod status;
mod target;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::invoke::{Environ, Exec};
use crate::store::{Cache, Durability};

pub(crate) use add::netns_id;
pub use add::{AddFailure, Unfinished};
pub use cni::Cni;
pub use del::DelPolicy;
pub use gc::{GcArgs, GcAttachment};
pub use runtime::{Operation, Request, Runtime, RuntimeOptions};
pub use target::Network;
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
    /// Which namespace is there, to be recorded with the attachment; libcni knows no such thing.
    pub netns_id: Option<String>,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// Capability arguments; a plugin gets those that it declares.
    pub capability_args: Map<String, Value>,
    /// The cache directory, where [`CniConfig::cache_dir`] says none.
    pub cache_dir: Option<PathBuf>,
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
