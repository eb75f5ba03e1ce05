//! DEL.

use crate::call::Call;
use crate::conf::{NetworkConfigList, PluginConfig};
use crate::error::{Error, ErrorClass, Result, code};
use crate::network::run::{Command, describe};
use crate::network::{CniConfig, RuntimeConf, key};
use crate::result::CniResult;
use crate::version;

/// How a DEL takes what its plugins answer. The default is libcni's way: it halts at the first error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelPolicy {
    /// A plugin that answers code 3 or "no such file or directory" has nothing left to delete: the list goes on.
    pub gone_is_done: bool,
}

impl CniConfig {
    /// libcni's `DelNetworkList`. Unlike there, the cache entry goes only after every plugin is done.
    pub fn del(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf, policy: DelPolicy) -> Result<()> {
        let prev_result = if del_takes_prev_result(list)? {
            // An entry that cannot be read or converted does not stop a DEL; without it plugins get no prevResult.
            match self.cached_result(list, rt) {
                Ok(cached) => cached,
                // Nothing is wrong with the entry: this process is out of descriptors or memory.
                Err(error) if error.class() == ErrorClass::Io => return Err(error),
                Err(error) => {
                    tracing::warn!(target: "cnirt::network", network = list.name, %error, "DEL goes on without the cached result");
                    None
                }
            }
        } else {
            None
        };
        for plugin in list.plugins.iter().rev() {
            match self.del_plugin(call, list, plugin, prev_result.as_ref(), rt) {
                Err(error) if policy.gone_is_done && is_gone(&error) => {
                    tracing::info!(target: "cnirt::network", network = list.name, plugin = plugin.plugin_type, %error, "nothing left to delete");
                }
                done => done?,
            }
        }
        match key(list, rt) {
            Ok(key) => self.cache(rt).remove(&key),
            // No entry can have a name that is not allowed.
            Err(_) => Ok(()),
        }
    }

    /// One plugin's DEL, with libcni's words around its error.
    pub(super) fn del_plugin(
        &self,
        call: &Call,
        list: &NetworkConfigList,
        plugin: &PluginConfig,
        prev_result: Option<&CniResult>,
        rt: &RuntimeConf,
    ) -> Result<()> {
        self.run_plugin(call, list, plugin, prev_result, Command::Del, rt).map_err(|error| {
            let error = error.context(format!("plugin {} failed (delete)", plugin.description()));
            describe(error, list, plugin, Command::Del, rt)
        })
    }
}

/// Whether the list's version has `prevResult` at DEL (0.4.0 and newer).
pub(super) fn del_takes_prev_result(list: &NetworkConfigList) -> Result<bool> {
    version::at_least(&list.cni_version, version::CHECK)
        .map_err(|error| error.with_network(&list.name, "", &list.cni_version))
}

/// Whether a plugin says that there is nothing (any more) to delete: CNI's code 3, or the words that the kubelet looks for.
fn is_gone(error: &Error) -> bool {
    error.cause().is_some_and(|cause| cause.code == code::UNKNOWN_CONTAINER)
        || error.to_string().contains("no such file or directory")
}
