//! DEL.

use crate::call::Call;
use crate::conf::PluginConfig;
use crate::error::{Cause, Error, ErrorClass, Result, code};
use crate::network::run::{Command, ListRun};
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::result::CniResult;
use crate::version;

/// How a DEL takes what its plugins answer. The default is libcni's way: it halts at the first error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelPolicy {
    /// A plugin that answers code 3 or "no such file or directory" has nothing left to delete: the list goes on.
    pub gone_is_done: bool,
    /// Every plugin gets its DEL, and time for it, whatever the others answer.
    pub keep_going: bool,
}

impl CniConfig {
    /// DEL of every plugin, then of the cache entry, which stays where one fails; unlike in libcni, an entry that cannot be
    /// removed is an error. Answers what failed: an empty list is success.
    pub fn del<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
        policy: DelPolicy,
    ) -> Vec<Error> {
        let network = network.into();
        let mut list = self.list_run(network, Command::Del, rt);
        let mut errors = list.del_plugins(call, policy);
        if errors.is_empty() {
            errors.extend(self.forget(network, rt).err());
        }
        errors
    }

    /// libcni's `DelNetworkList` and `DelNetwork`. Unlike there, the cache entry goes only after every plugin is done.
    pub(super) fn del_as_libcni(&self, call: &Call, network: Network<'_>, rt: &RuntimeConf) -> Result<()> {
        let mut list = self.list_run(network, Command::Del, rt);
        if let Some(error) = list.del_plugins(call, DelPolicy::default()).pop() {
            return Err(error);
        }
        if let Err(error) = self.forget(network, rt) {
            tracing::warn!(target: "cnirt::network", network = network.name, %error, "a cache entry stays after its DEL");
        }
        Ok(())
    }

    /// The cached result, where the network's version has it at DEL.
    fn prev_result_for_del(&self, network: Network<'_>, rt: &RuntimeConf) -> Result<Option<CniResult>> {
        if !del_takes_prev_result(network)? {
            return Ok(None);
        }
        // An entry that cannot be read or converted does not stop a DEL; without it plugins get no prevResult.
        self.cached_result(network, rt).or_else(|error| {
            // Nothing is wrong with the entry: this process is out of descriptors or memory.
            if error.class() == ErrorClass::Io {
                return Err(error);
            }
            tracing::warn!(target: "cnirt::network", network = network.name, %error, "DEL goes on without the cached result");
            Ok(None)
        })
    }

    /// Removes the cache entry; no entry can have a name that is not allowed.
    pub(super) fn forget(&self, network: Network<'_>, rt: &RuntimeConf) -> Result<()> {
        match network.key(rt) {
            Ok(key) => self.cache(rt).remove(&key),
            Err(_) => Ok(()),
        }
    }
}

impl ListRun<'_> {
    /// Answers what failed; an empty list is success.
    fn del_plugins(&mut self, call: &Call, policy: DelPolicy) -> Vec<Error> {
        let Self { cni, network, rt, .. } = *self;
        let prev_result = match cni.prev_result_for_del(network, rt) {
            Ok(prev_result) => prev_result,
            Err(error) if !policy.keep_going => return vec![error],
            Err(_) => None,
        };
        let mut errors = Vec::new();
        for (index, plugin) in network.plugins.iter().enumerate().rev() {
            let call = call.share(policy.keep_going && index > 0);
            match self.del_plugin(&call, plugin, prev_result.as_ref()) {
                Ok(()) => {}
                Err(error) if policy.gone_is_done && is_gone(&error) => {
                    tracing::info!(target: "cnirt::network", network = network.name, plugin = plugin.plugin_type, %error, "nothing left to delete");
                }
                Err(error) => {
                    errors.push(error);
                    if !policy.keep_going {
                        break;
                    }
                }
            }
        }
        errors
    }

    /// One plugin's DEL, with libcni's words around its error.
    pub(super) fn del_plugin(
        &mut self,
        call: &Call,
        plugin: &PluginConfig,
        prev_result: Option<&CniResult>,
    ) -> Result<()> {
        let network = self.network;
        self.run_plugin(call, plugin, prev_result).map_err(|error| network.plugin_failed(error, plugin, "delete"))
    }
}

/// Whether the network's version has `prevResult` at DEL (0.4.0 and newer).
pub(super) fn del_takes_prev_result(network: Network<'_>) -> Result<bool> {
    version::at_least(network.cni_version, version::CHECK)
        .map_err(|error| error.with_network(network.name, "", network.cni_version))
}

/// Whether a plugin says that there is nothing (any more) to delete: CNI's code 3, or the words that the kubelet looks for.
pub(super) fn is_gone(error: &Error) -> bool {
    let says = |cause: &Cause| {
        cause.code == code::UNKNOWN_CONTAINER || cause.to_string().contains("no such file or directory")
    };
    // A plugin that could not be started says nothing.
    !error.never_ran() && error.cause().is_some_and(says)
}
