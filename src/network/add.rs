//! ADD, and the undoing of one that failed.

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result, Rollback};
use crate::network::del::{del_takes_prev_result, is_gone};
use crate::network::run::{Command, read_result};
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::result::CniResult;
use crate::store::CacheEntry;

/// An ADD that failed on its way, with what [`CniConfig::undo`] needs.
#[derive(Debug)]
pub struct AddFailure {
    /// Why.
    pub error: Error,
    /// How many plugins were started, the failing one included.
    pub started: usize,
    /// The result of the last plugin that succeeded.
    pub last_result: Option<CniResult>,
}

impl CniConfig {
    /// libcni's `AddNetworkList` and `AddNetwork`; with [`rollback`](CniConfig::rollback) a failure is undone and the
    /// error says how that went.
    pub(super) fn add(&self, call: &Call, network: Network<'_>, rt: &RuntimeConf) -> Result<CniResult> {
        self.try_add(call, network, rt).map_err(|failure| match self.rollback {
            Some(limit) if failure.started > 0 => {
                let errors = self.undo(&call.for_rollback(limit), network, rt, &failure);
                failure.error.with_rollback(Rollback { done: errors.is_empty(), errors })
            }
            _ => failure.error,
        })
    }

    /// ADD without the undoing.
    ///
    /// # Errors
    /// Whatever a plugin answers, with how far it got. What is refused before any plugin runs has `started` 0.
    pub fn try_add<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Box<AddFailure>> {
        let (mut last_result, mut started) = (None, 0);
        match self.add_plugins(call, network.into(), rt, &mut started, &mut last_result) {
            Ok(result) => Ok(result),
            Err(error) => Err(Box::new(AddFailure { error, started, last_result })),
        }
    }

    fn add_plugins(
        &self,
        call: &Call,
        network: Network<'_>,
        rt: &RuntimeConf,
        started: &mut usize,
        last_result: &mut Option<CniResult>,
    ) -> Result<CniResult> {
        let cache = self.cache(rt);
        let mut recorded = None;
        for plugin in network.plugins {
            let mut run = || {
                let prepared = self.prepare(call, network, plugin, last_result.as_ref(), rt)?;
                // libcni's order: first the plugin is found, then the names are checked.
                if recorded.is_none() {
                    let key = network.key(rt)?;
                    cache.prepare(&key)?;
                    recorded = Some(key);
                }
                call.check()?;
                *started += 1;
                let stdout = self.run(call, network, &prepared, Command::Add, rt).inspect_err(|error| {
                    *started -= usize::from(error.never_ran());
                })?;
                read_result(network.cni_version, &stdout)
            };
            let result = run().map_err(|error| {
                network.describe(network.plugin_failed(error, plugin, "add"), plugin, Command::Add, rt)
            })?;
            *last_result = Some(result);
        }
        let (Some(key), Some(result)) = (recorded, last_result.clone()) else {
            let error = Error::new(ErrorClass::Config, "no plugins in list");
            return Err(error.with_network(network.name, &rt.if_name, network.cni_version));
        };
        let entry = CacheEntry {
            key,
            config: network.bytes.to_vec(),
            netns: rt.netns.clone(),
            cni_args: Some(rt.args.clone()),
            capability_args: rt.capability_args.clone(),
            result: Some(result.to_value()),
            owner: self.owner.clone(),
        };
        cache.add(&entry).map_err(|error| {
            let error = error.context(format!("failed to set network {:?} cached result", network.name));
            error.with_network(network.name, &rt.if_name, network.cni_version)
        })?;
        Ok(result)
    }

    /// Runs DEL, in reverse, of the plugins that a failed ADD had started. Does not stop at an error: each plugin gets
    /// its chance, and the last result as `prevResult`. Then the cache entry goes. Answers what failed.
    pub fn undo<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
        failure: &AddFailure,
    ) -> Vec<Error> {
        let network = network.into();
        let prev_result =
            if del_takes_prev_result(network).unwrap_or(false) { failure.last_result.as_ref() } else { None };
        let started = network.plugins.iter().take(failure.started);
        let undone = started.rev().map(|plugin| self.del_plugin(call, network, plugin, prev_result, rt));
        let mut errors: Vec<Error> = undone.filter_map(Result::err).filter(|error| !is_gone(error)).collect();
        // Writing the entry may have failed when it was there already, on its way to the disk.
        if errors.is_empty() {
            errors.extend(self.forget(network, rt).err());
        }
        errors
    }
}
