//! GC: what no valid attachment needs is removed.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::call::Call;
use crate::conf::inject_any;
use crate::error::{Error, Result};
use crate::network::run::Command;
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::store::CacheEntry;
use crate::version;

/// An attachment that is in use (libcni's `types.GCAttachment`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GcAttachment {
    /// The container.
    pub container_id: String,
    /// Its interface.
    pub if_name: String,
}

/// What GC keeps (libcni's `GCArgs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcArgs {
    /// The attachments of the network that are in use. `None` is Go's nil slice: none are, and plugins get `null`.
    pub valid_attachments: Option<Vec<GcAttachment>>,
}

impl GcArgs {
    /// As plugins get it.
    fn to_value(&self) -> Value {
        let Some(valid) = &self.valid_attachments else { return Value::Null };
        valid.iter().map(|one| json!({"containerID": one.container_id, "ifname": one.if_name})).collect()
    }

    fn keeps(&self) -> HashSet<(&str, &str)> {
        let valid = self.valid_attachments.iter().flatten();
        valid.map(|one| (one.container_id.as_str(), one.if_name.as_str())).collect()
    }
}

impl CniConfig {
    /// libcni's `GCNetworkList`: DEL of the network's recorded attachments that are not valid, with the given list and
    /// what was recorded of the container; then, from 1.1.0 on, the plugins' own GC. Every error is kept, nothing stops
    /// at one. No `args` means that no attachment is valid and that plugins are not told of any.
    ///
    /// Unlike in libcni, a cache directory that cannot be read is an error.
    pub(super) fn gc(&self, call: &Call, network: Network<'_>, args: Option<&GcArgs>) -> Result<()> {
        if network.disable_gc {
            return Ok(());
        }
        let recorded = self.cache(&RuntimeConf::default()).attachments(None);
        let recorded = recorded.map_err(|error| error.with_network(network.name, "", network.cni_version))?;
        let keeps = args.map(GcArgs::keeps).unwrap_or_default();
        let is_stale = |entry: &CacheEntry| {
            let (container_id, if_name) = (entry.key.container_id.as_str(), entry.key.if_name.as_str());
            entry.key.network.as_str() == network.name && !keeps.contains(&(container_id, if_name))
        };
        let stale = recorded.iter().filter(|entry| is_stale(entry)).map(RuntimeConf::from);
        let mut errors: Vec<Error> = stale.filter_map(|rt| self.del_stale(call, network, &rt).err()).collect();
        if Self::has_gc(network) {
            errors.extend(self.gc_plugins(call, network, args));
        }
        Error::joined(errors).map_or(Ok(()), Err)
    }

    fn del_stale(&self, call: &Call, network: Network<'_>, rt: &RuntimeConf) -> Result<()> {
        self.del_as_libcni(call, network, rt).map_err(|error| {
            error.context(format_args!("failed to delete stale attachment {} {}", rt.container_id, rt.if_name))
        })
    }

    /// Whether the network's plugins have a GC that may be run.
    pub(crate) fn has_gc<'a>(network: impl Into<Network<'a>>) -> bool {
        let network = network.into();
        !network.disable_gc && version::at_least(network.cni_version, version::STATUS).unwrap_or(false)
    }

    /// The plugins' own GC; answers what failed.
    pub(crate) fn gc_plugins<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        args: Option<&GcArgs>,
    ) -> Vec<Error> {
        let network = network.into();
        let mut keys = network.identity();
        if let Some(args) = args {
            // The specification had the second name first, by mistake; plugins may look for either.
            for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
                keys.insert(key.to_owned(), args.to_value());
            }
        }
        let no_container = RuntimeConf::default();
        let mut list = self.list_run(network, Command::Gc, &no_container);
        let mut run = |plugin| {
            let injected = inject_any(plugin, &keys).map_err(|error| {
                error.context(format_args!("failed to generate configuration to GC plugin {}", plugin.plugin_type))
            })?;
            list.run_injected(call, &injected)
                .map_err(|error| error.context(format_args!("failed to GC plugin {}", plugin.plugin_type)))
        };
        network.plugins.iter().filter_map(|plugin| run(plugin).err()).collect()
    }
}

impl From<&CacheEntry> for RuntimeConf {
    /// What the runtime told at ADD.
    fn from(entry: &CacheEntry) -> Self {
        Self {
            container_id: entry.key.container_id.to_string(),
            netns: entry.netns.clone(),
            netns_id: entry.netns_id.clone(),
            if_name: entry.key.if_name.to_string(),
            args: entry.cni_args.clone().unwrap_or_default(),
            capability_args: entry.capability_args.clone(),
            cache_dir: None,
        }
    }
}
