//! libcni with JSON in and out: what `cni_runtime` is in C, and what a background call runs.
//!
//! Adds to the verbs nothing but reading and writing, limits and cancellation: no lock, no intent record, no owner. Before
//! the first ADD the temporary files of killed hosts go.

mod answer;
mod options;
mod request;
mod running;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use self::request::{Attachment, Subject};
use self::running::Running;
use crate::call::Call;
use crate::conf::NetworkConf;
use crate::error::{Error, Result};
use crate::invoke::{self, Environ, PluginCallbacks};
use crate::names::ContainerId;
use crate::network::{Cni, CniConfig, RuntimeConf};
use crate::op::{Op, Pool};
use crate::result::CniResult;

pub use options::RuntimeOptions;
pub use request::Request;

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
    running: Running,
    pool: Pool,
    swept: AtomicBool,
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
        Ok(Self::with(cni, options.timeout, options.op_threads))
    }

    fn with(cni: CniConfig, timeout: Duration, op_threads: NonZeroUsize) -> Self {
        let (running, pool, swept) = (Running::default(), Pool::new(op_threads), AtomicBool::new(false));
        Self { cni, timeout, running, pool, swept }
    }

    /// Does one operation: [`Request::parse`], [`call`](Self::call) and [`perform`](Self::perform) in one.
    ///
    /// # Errors
    /// What the request cannot be, then whatever the operation says.
    pub fn run(&self, outer: &Call, operation: Operation, conf: &str, rt: Option<&str>) -> Result<Value> {
        let request = Request::parse(operation, conf, rt)?;
        self.perform(&self.call(outer, &request), &request)
    }

    /// The call for a request, whose time begins now. The cancellation, deadline, environment and name of `outer` hold
    /// too.
    pub fn call(&self, outer: &Call, request: &Request) -> Call {
        request.call(outer, self.timeout)
    }

    /// Does what was asked for, with a call that was made for it; answers JSON.
    pub fn perform(&self, call: &Call, request: &Request) -> Result<Value> {
        let _registered = self.running.register(call);
        let nothing = |()| json!({});
        match &request.subject {
            Subject::Add(Attachment { conf, rt }) => {
                if !self.swept.swap(true, Ordering::Relaxed) {
                    self.cni.cache(rt).sweep();
                }
                self.cni.add(call, conf.into(), rt).map(|result| result.to_value())
            }
            Subject::Del(Attachment { conf, rt }) => self.cni.del_as_libcni(call, conf.into(), rt).map(nothing),
            Subject::Check(Attachment { conf, rt }) => self.cni.check(call, conf.into(), rt).map(nothing),
            Subject::Cached(Attachment { conf, rt }) => Ok(self.cached(conf, rt)),
            Subject::Gc { conf, args } => self.cni.gc(call, conf.into(), args.as_ref()).map(nothing),
            Subject::Status(conf) => self.cni.status(call, conf.into()).map(nothing),
            Subject::Validate(conf) => {
                self.cni.validate(call, conf.into()).map(|capabilities| json!({"capabilities": capabilities}))
            }
            Subject::PluginVersion { plugin_type } => {
                self.cni.get_version_info(call, plugin_type).map(|info| answer::plugin_info(&info))
            }
            Subject::Attachments { container_id } => self.attachments(container_id).map(Value::from),
        }
    }

    /// Starts an operation in the background. Its time begins now; it waits for a thread and for nothing else. `owner` is
    /// kept until it has ended.
    ///
    /// # Errors
    /// `CNI_E_IO` where no thread can be started; what the operation says is [`Op::finish`]'s to tell.
    pub fn start(owner: impl AsRef<Self> + Send + 'static, request: Request) -> Result<Op> {
        let runtime = owner.as_ref();
        let call = runtime.call(&Call::default(), &request);
        let (running, entry) = (runtime.running.clone(), runtime.pool.entry());
        let registered = running.register(&call);
        let number = registered.number;
        let op = entry.call(call, move |call, verdict| {
            let answer = verdict.and_then(|()| owner.as_ref().perform(call, &request)).map(|value| value.to_string());
            // The owner last: what it owns may end with it.
            drop(registered);
            drop(owner);
            answer
        })?;
        running.attach(number, op.job());
        op.job().queue()?;
        Ok(op)
    }

    /// Cancels every call, running or waiting for a thread.
    pub fn cancel_all(&self) {
        self.running.cancel_all();
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
