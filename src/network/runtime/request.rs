//! What calls are told, read from JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Operation;
use crate::call::Call;
use crate::conf::NetworkConf;
use crate::error::{Error, Result};
use crate::json::Object;
use crate::network::{GcArgs, GcAttachment, RuntimeConf};

/// One operation with what it is told, read and ready to run, now or in the background.
#[derive(Debug)]
pub struct Request {
    pub(super) subject: Subject,
    options: CallOptions,
}

/// What an operation is about.
#[derive(Debug)]
pub(super) enum Subject {
    Add(Attachment),
    Del(Attachment),
    Check(Attachment),
    Cached(Attachment),
    Gc { conf: NetworkConf, args: Option<GcArgs> },
    Status(NetworkConf),
    Validate(NetworkConf),
    PluginVersion { plugin_type: String },
    Attachments { container_id: String },
}

/// A container on a network.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) conf: NetworkConf,
    pub(super) rt: RuntimeConf,
}

impl Request {
    /// Reads what an operation is told.
    ///
    /// `conf` and `rt` are JSON as the C functions take it. Add, del, check and cached need `rt`; for gc it is the
    /// arguments; for the others it may hold `callId`, `env` and `timeoutMs`.
    ///
    /// # Errors
    /// `CNI_E_INVALID_ARGUMENT` and `CNI_E_CONFIG`.
    pub fn parse(operation: Operation, conf: &str, rt: Option<&str>) -> Result<Self> {
        let container = |make: fn(Attachment) -> Subject| {
            let rt = rt.ok_or_else(|| Error::invalid("rt: the operation needs one"))?;
            let (rt, options) = runtime_conf(rt)?;
            Ok(Self { subject: make(Attachment { conf: NetworkConf::parse(conf)?, rt }), options })
        };
        let other = |subject: Result<Subject>| Ok(Self { options: call_options(rt)?, subject: subject? });
        match operation {
            Operation::Add => container(Subject::Add),
            Operation::Del => container(Subject::Del),
            Operation::Check => container(Subject::Check),
            Operation::Cached => container(Subject::Cached),
            Operation::Gc => {
                let (args, options) = gc_args(rt)?;
                Ok(Self { subject: Subject::Gc { conf: NetworkConf::parse(conf)?, args }, options })
            }
            Operation::Status => other(NetworkConf::parse(conf).map(Subject::Status)),
            Operation::Validate => other(NetworkConf::parse(conf).map(Subject::Validate)),
            Operation::PluginVersion => other(Ok(Subject::PluginVersion { plugin_type: conf.to_owned() })),
            Operation::Attachments => other(Ok(Subject::Attachments { container_id: conf.to_owned() })),
        }
    }

    /// The call to run it with, which begins now: `outer` with the request's name, environment and limit, which is
    /// `timeout` unless the request says another.
    pub(super) fn call(&self, outer: &Call, timeout: Duration) -> Call {
        let limit = self.options.timeout.unwrap_or(timeout);
        let mut call = if limit.is_zero() { outer.clone() } else { outer.limited(limit) };
        call.id = self.options.call_id.clone().or(call.id);
        call.env.extend(self.options.env.clone());
        call
    }
}

/// What every call may be told.
#[derive(Debug, Default)]
struct CallOptions {
    /// `timeoutMs`: the limit of this call; else the option's. 0 is none.
    timeout: Option<Duration>,
    /// `callId`: the caller's name for this call, passed on to callbacks.
    call_id: Option<String>,
    /// `env`: environment for every plugin of this call.
    env: BTreeMap<String, String>,
}

impl CallOptions {
    fn read(object: &mut Object) -> Result<Self> {
        Ok(Self {
            timeout: object.milliseconds("timeoutMs")?,
            call_id: object.optional("callId")?,
            env: object.or_default("env")?,
        })
    }
}

/// Reads `{containerID, netns, ifName, args, capabilityArgs, cacheDir?, callId?, env?, timeoutMs?}`.
fn runtime_conf(text: &str) -> Result<(RuntimeConf, CallOptions)> {
    Object::parse("rt", text)?.read(|object| {
        let rt = RuntimeConf {
            container_id: object.or_default("containerID")?,
            netns: object.or_default("netns")?,
            netns_id: None,
            if_name: object.or_default("ifName")?,
            args: object.or_default("args")?,
            capability_args: object.map("capabilityArgs")?,
            cache_dir: object.optional::<PathBuf>("cacheDir")?.filter(|dir| !dir.as_os_str().is_empty()),
        };
        Ok((rt, CallOptions::read(object)?))
    })
}

/// Reads `{callId?, env?, timeoutMs?}`.
fn call_options(text: Option<&str>) -> Result<CallOptions> {
    text.map_or_else(|| Ok(CallOptions::default()), |text| Object::parse("rt", text)?.read(CallOptions::read))
}

/// Reads `{validAttachments: [{containerID, ifname}], callId?, env?, timeoutMs?}`. `validAttachments` must be there, as
/// without it everything would be deleted; null is libcni's nil.
fn gc_args(text: Option<&str>) -> Result<(Option<GcArgs>, CallOptions)> {
    const VALID: &str = "validAttachments";
    let Some(text) = text else { return Ok((None, CallOptions::default())) };
    Object::parse("args", text)?.read(|object| {
        if !object.has(VALID) {
            return Err(object.missing(VALID).with_hint("[] means that no attachment is valid"));
        }
        let valid_attachments = object.optional_objects(VALID, |one| {
            Ok(GcAttachment { container_id: one.or_default("containerID")?, if_name: one.or_default("ifname")? })
        })?;
        Ok((Some(GcArgs { valid_attachments }), CallOptions::read(object)?))
    })
}
