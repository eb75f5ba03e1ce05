//! ADD, and the undoing of one that failed.

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, Result, Rollback};
use crate::network::del::del_takes_prev_result;
use crate::network::run::{Command, describe, read_result};
use crate::network::{CniConfig, RuntimeConf, key};
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
    /// libcni's `AddNetworkList`; with [`rollback`](CniConfig::rollback) a failure is undone and the error says how that went.
    pub(super) fn add(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<CniResult> {
        self.try_add(call, list, rt).map_err(|failure| match self.rollback {
            Some(limit) if failure.started > 0 => {
                let errors = self.undo(&call.for_rollback(limit), list, rt, &failure);
                failure.error.with_rollback(Rollback { done: errors.is_empty(), errors })
            }
            _ => failure.error,
        })
    }

    /// ADD without the undoing.
    ///
    /// # Errors
    /// Whatever a plugin answers, with how far it got. What is refused before any plugin runs has `started` 0.
    pub fn try_add(
        &self,
        call: &Call,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Box<AddFailure>> {
        let mut last_result: Option<CniResult> = None;
        let mut started = 0;
        match self.add_plugins(call, list, rt, &mut started, &mut last_result) {
            Ok(result) => Ok(result),
            Err(error) => Err(Box::new(AddFailure { error, started, last_result })),
        }
    }

    fn add_plugins(
        &self,
        call: &Call,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
        started: &mut usize,
        last_result: &mut Option<CniResult>,
    ) -> Result<CniResult> {
        let cache = self.cache(rt);
        let mut recorded = None;
        for plugin in &list.plugins {
            let mut run = || {
                let prepared = self.prepare(call, list, plugin, last_result.as_ref(), rt)?;
                // libcni's order: first the plugin is found, then the names are checked.
                if recorded.is_none() {
                    let key = key(list, rt)?;
                    cache.prepare(&key)?;
                    recorded = Some(key);
                }
                call.check()?;
                *started += 1;
                let stdout = self.run(call, list, &prepared, Command::Add, rt).inspect_err(|error| {
                    *started -= usize::from(error.never_ran());
                })?;
                read_result(list, &stdout)
            };
            let result = run().map_err(|error| {
                describe(
                    error.context(format!("plugin {} failed (add)", plugin.description())),
                    list,
                    plugin,
                    Command::Add,
                    rt,
                )
            })?;
            *last_result = Some(result);
        }
        let key = match recorded {
            Some(key) => key,
            None => key(list, rt)?,
        };
        let entry = CacheEntry {
            key,
            config: list.bytes.clone(),
            netns: rt.netns.clone(),
            cni_args: Some(rt.args.clone()),
            capability_args: rt.capability_args.clone(),
            result: last_result.as_ref().map(CniResult::to_value),
            owner: self.owner.clone(),
        };
        cache.add(&entry).map_err(|error| {
            let error = error.context(format!("failed to set network {:?} cached result", list.name));
            error.with_network(&list.name, &rt.if_name, &list.cni_version)
        })?;
        last_result.clone().ok_or_else(|| Error::new(crate::ErrorClass::Config, "no plugins in list"))
    }

    /// Runs DEL, in reverse, of the plugins that a failed ADD had started. Does not stop at an error: each plugin gets
    /// its chance, and the last result as `prevResult`. Answers what failed.
    pub fn undo(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf, failure: &AddFailure) -> Vec<Error> {
        let prev_result =
            if del_takes_prev_result(list).unwrap_or(false) { failure.last_result.as_ref() } else { None };
        let started = list.plugins.iter().take(failure.started);
        let undone = started.rev().map(|plugin| self.del_plugin(call, list, plugin, prev_result, rt));
        undone.filter_map(Result::err).collect()
    }
}
