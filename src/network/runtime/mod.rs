//! libcni with JSON in and out: what `cni_runtime` is in C, and what a background call runs.
//!
//! Adds to the verbs nothing but reading and writing, limits and cancellation: no lock, no intent record, no owner.

mod answer;
mod options;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use self::request::CallOptions;
use crate::call::{Call, CancelToken};
use crate::conf::NetworkConf;
use crate::error::{Error, Result};
use crate::invoke::{self, Environ, PluginCallbacks};
use crate::names::ContainerId;
use crate::network::{Cni, CniConfig, RuntimeConf};
use crate::result::CniResult;

pub use options::RuntimeOptions;

/// What a [`Runtime`] can do; the names are those of the C functions without `cni_runtime_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// ADD; answers the result.
    Add,
    /// DEL.
    Del,
    /// CHECK.
    Check,
    /// What the cache says: `{result, resultError?, config, configError?, rt}`.
    Cached,
    /// GC; `rt` are its arguments.
    Gc,
    /// STATUS.
    Status,
    /// Whether all plugins are there and new enough: `{capabilities}`.
    Validate,
    /// A plugin's answer to VERSION: `{cniVersion, supportedVersions}`; `conf` is its type.
    PluginVersion,
    /// What is recorded; `conf` is a container ID, or empty for all.
    Attachments,
}

impl Operation {
    /// Every operation with its name.
    const NAMES: [(Self, &'static str); 9] = [
        (Self::Add, "add"),
        (Self::Del, "del"),
        (Self::Check, "check"),
        (Self::Cached, "cached"),
        (Self::Gc, "gc"),
        (Self::Status, "status"),
        (Self::Validate, "validate"),
        (Self::PluginVersion, "plugin_version"),
        (Self::Attachments, "attachments"),
    ];

    /// The operation of this name (`add`, `plugin_version`); none is `CNI_E_INVALID_ARGUMENT`.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name).map(|(operation, _)| *operation);
        found.ok_or_else(|| {
            let names = Self::NAMES.map(|(_, name)| name).join(", ");
            Error::invalid(format!("operation: there is no {name:?}")).with_hint(format!("there are: {names}"))
        })
    }
}

/// libcni's `CNIConfig` for callers that speak JSON. Any number of threads may call it.
pub struct Runtime {
    cni: CniConfig,
    timeout: Duration,
    /// The calls that are under way, by number. Held for a moment, never while a plugin runs.
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    next: u64,
    calls: HashMap<u64, CancelToken>,
}

impl Runtime {
    /// A runtime with these options; `callbacks` find and run plugins in place of the built-in way.
    ///
    /// # Errors
    /// `CNI_E_INVALID_ARGUMENT` for an environment that cannot be.
    pub fn new(options: RuntimeOptions, callbacks: Option<Arc<dyn PluginCallbacks>>) -> Result<Self> {
        let cni = CniConfig {
            path: options.bin_dirs,
            cache_dir: options.cache_dir,
            durability: options.durability,
            owner: None,
            rollback: options.rollback.then_some(options.rollback_timeout),
            exec: invoke::engine(options.kill_grace, options.max_output, callbacks),
            environ: Environ::new(
                options.env.map(|env| env.into_iter().collect()),
                options.plugin_env.into_iter().collect(),
            )?,
            observer: None,
        };
        Ok(Self { cni, timeout: options.timeout, running: Mutex::default() })
    }

    /// Does one operation.
    ///
    /// `conf` and `rt` are JSON as the C functions take it. Add, del, check and cached need `rt`; for gc it is the
    /// arguments; for the others it may hold `callId`, `env` and `timeoutMs`. `call` is the call around it: its
    /// cancellation, deadline, environment and name hold too.
    ///
    /// # Errors
    /// `CNI_E_INVALID_ARGUMENT` and `CNI_E_CONFIG` for what cannot be read, then whatever the operation says.
    pub fn run(&self, call: &Call, operation: Operation, conf: &str, rt: Option<&str>) -> Result<Value> {
        match operation {
            Operation::Add => self.on_container(call, conf, rt, |call, conf, rt| {
                self.cni.add(call, conf.into(), rt).map(|result| result.to_value())
            }),
            Operation::Del => self.on_container(call, conf, rt, |call, conf, rt| {
                self.cni.del_as_libcni(call, conf.into(), rt).map(|()| json!({}))
            }),
            Operation::Check => self.on_container(call, conf, rt, |call, conf, rt| {
                self.cni.check(call, conf.into(), rt).map(|()| json!({}))
            }),
            Operation::Cached => self.on_container(call, conf, rt, |_, conf, rt| Ok(self.cached(conf, rt))),
            Operation::Gc => {
                let (args, options) = request::gc_args(rt)?;
                self.on_network(call, options, conf, |call, conf| {
                    self.cni.gc(call, conf.into(), args.as_ref()).map(|()| json!({}))
                })
            }
            Operation::Status => self.on_network(call, request::call_options(rt)?, conf, |call, conf| {
                self.cni.status(call, conf.into()).map(|()| json!({}))
            }),
            Operation::Validate => self.on_network(call, request::call_options(rt)?, conf, |call, conf| {
                self.cni.validate(call, conf.into()).map(|capabilities| json!({"capabilities": capabilities}))
            }),
            Operation::PluginVersion => self.limited(call, request::call_options(rt)?, |call| {
                self.cni.get_version_info(call, conf).map(|info| answer::plugin_info(&info))
            }),
            Operation::Attachments => {
                self.limited(call, request::call_options(rt)?, |_| self.attachments(conf).map(Value::from))
            }
        }
    }

    /// Cancels every running call.
    pub fn cancel_all(&self) {
        self.running().calls.values().for_each(CancelToken::cancel);
    }

    fn on_container(
        &self,
        call: &Call,
        conf: &str,
        rt: Option<&str>,
        run: impl FnOnce(&Call, &NetworkConf, &RuntimeConf) -> Result<Value>,
    ) -> Result<Value> {
        let rt = rt.ok_or_else(|| Error::invalid("rt: the operation needs one"))?;
        let (rt, options) = request::runtime_conf(rt)?;
        self.on_network(call, options, conf, |call, conf| run(call, conf, &rt))
    }

    fn on_network(
        &self,
        call: &Call,
        options: CallOptions,
        conf: &str,
        run: impl FnOnce(&Call, &NetworkConf) -> Result<Value>,
    ) -> Result<Value> {
        let conf = NetworkConf::parse(conf)?;
        self.limited(call, options, |call| run(call, &conf))
    }

    /// Runs a call that can be cancelled and ends in time.
    fn limited(&self, outer: &Call, options: CallOptions, run: impl FnOnce(&Call) -> Result<Value>) -> Result<Value> {
        let limit = options.timeout.unwrap_or(self.timeout);
        let mut call = if limit.is_zero() { outer.clone() } else { outer.limited(limit) };
        call.id = options.call_id.or(call.id);
        call.env.extend(options.env);
        let _registered = self.register(&call);
        run(&call)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Changed by single insertions and removals: a panic elsewhere cannot leave it half done.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, call: &Call) -> Registered<'_> {
        let mut running = self.running();
        running.next += 1;
        let number = running.next;
        running.calls.insert(number, call.cancel.clone());
        Registered { runtime: self, number }
    }

    fn cached(&self, conf: &NetworkConf, rt: &RuntimeConf) -> Value {
        let result = self.cni.cached_result(conf.into(), rt).map(|result| result.as_ref().map(CniResult::to_value));
        let config = self.cni.cached_config(conf.into(), rt);
        answer::cached(result, config)
    }

    fn attachments(&self, container_id: &str) -> Result<Vec<Value>> {
        let id = match container_id {
            "" => None,
            id => match ContainerId::parse(id) {
                Ok(id) => Some(id),
                // Nothing can be recorded under a name that is not allowed.
                Err(_) => return Ok(Vec::new()),
            },
        };
        let entries = self.cni.get_cached_attachments(id.as_ref())?;
        Ok(entries.into_iter().map(answer::attachment).collect())
    }
}

/// A call that is registered as long as this lives.
struct Registered<'a> {
    runtime: &'a Runtime,
    number: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.runtime.running().calls.remove(&self.number);
    }
}
