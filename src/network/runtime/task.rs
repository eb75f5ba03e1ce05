//! One operation with what it is told, read before anything is done.

use serde_json::{Value, json};

use crate::call::Call;
use crate::conf::NetworkConf;
use crate::error::{Error, Result};
use crate::network::runtime::request::{self, CallOptions};
use crate::network::runtime::{Operation, Runtime, answer};
use crate::network::{Cni, GcArgs, RuntimeConf};

/// What a call does.
pub(super) enum Task {
    Add(NetworkConf, RuntimeConf),
    Del(NetworkConf, RuntimeConf),
    Check(NetworkConf, RuntimeConf),
    Cached(NetworkConf, RuntimeConf),
    Gc(NetworkConf, Option<GcArgs>),
    Status(NetworkConf),
    Validate(NetworkConf),
    PluginVersion(String),
    Attachments(String),
}

impl Task {
    /// Reads what [`Runtime::run`] is told.
    pub(super) fn read(operation: Operation, conf: &str, rt: Option<&str>) -> Result<(Self, CallOptions)> {
        let on_container = |task: fn(NetworkConf, RuntimeConf) -> Self| {
            let rt = rt.ok_or_else(|| Error::invalid("rt: the operation needs one"))?;
            let (rt, options) = request::runtime_conf(rt)?;
            Ok((task(NetworkConf::parse(conf)?, rt), options))
        };
        Ok(match operation {
            Operation::Add => return on_container(Self::Add),
            Operation::Del => return on_container(Self::Del),
            Operation::Check => return on_container(Self::Check),
            Operation::Cached => return on_container(Self::Cached),
            Operation::Gc => {
                let (args, options) = request::gc_args(rt)?;
                (Self::Gc(NetworkConf::parse(conf)?, args), options)
            }
            Operation::Status => {
                let options = request::call_options(rt)?;
                (Self::Status(NetworkConf::parse(conf)?), options)
            }
            Operation::Validate => {
                let options = request::call_options(rt)?;
                (Self::Validate(NetworkConf::parse(conf)?), options)
            }
            Operation::PluginVersion => (Self::PluginVersion(conf.to_owned()), request::call_options(rt)?),
            Operation::Attachments => (Self::Attachments(conf.to_owned()), request::call_options(rt)?),
        })
    }

    /// Does it.
    pub(super) fn run(&self, runtime: &Runtime, call: &Call) -> Result<Value> {
        let cni = &runtime.cni;
        match self {
            Self::Add(conf, rt) => cni.add(call, conf.into(), rt).map(|result| result.to_value()),
            Self::Del(conf, rt) => cni.del_as_libcni(call, conf.into(), rt).map(|()| json!({})),
            Self::Check(conf, rt) => cni.check(call, conf.into(), rt).map(|()| json!({})),
            Self::Cached(conf, rt) => Ok(runtime.cached(conf, rt)),
            Self::Gc(conf, args) => cni.gc(call, conf.into(), args.as_ref()).map(|()| json!({})),
            Self::Status(conf) => cni.status(call, conf.into()).map(|()| json!({})),
            Self::Validate(conf) => {
                cni.validate(call, conf.into()).map(|capabilities| json!({"capabilities": capabilities}))
            }
            Self::PluginVersion(plugin_type) => {
                cni.get_version_info(call, plugin_type).map(|info| answer::plugin_info(&info))
            }
            Self::Attachments(container_id) => runtime.attachments(container_id).map(Value::from),
        }
    }
}
