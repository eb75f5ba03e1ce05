//! What calls are told, read from JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::json::Object;
use crate::network::{GcArgs, GcAttachment, RuntimeConf};

/// What every call may be told.
#[derive(Debug, Default)]
pub(super) struct CallOptions {
    /// `timeoutMs`: the limit of this call; else the option's. 0 is none.
    pub(super) timeout: Option<Duration>,
    /// `callId`: the caller's name for this call, passed on to callbacks.
    pub(super) call_id: Option<String>,
    /// `env`: environment for every plugin of this call.
    pub(super) env: BTreeMap<String, String>,
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
pub(super) fn runtime_conf(text: &str) -> Result<(RuntimeConf, CallOptions)> {
    Object::parse("rt", text)?.read(|object| {
        let rt = RuntimeConf {
            container_id: object.or_default("containerID")?,
            netns: object.or_default("netns")?,
            if_name: object.or_default("ifName")?,
            args: object.or_default("args")?,
            capability_args: object.map("capabilityArgs")?,
            cache_dir: object.optional::<PathBuf>("cacheDir")?.filter(|dir| !dir.as_os_str().is_empty()),
        };
        Ok((rt, CallOptions::read(object)?))
    })
}

/// Reads `{callId?, env?, timeoutMs?}`.
pub(super) fn call_options(text: Option<&str>) -> Result<CallOptions> {
    text.map_or_else(|| Ok(CallOptions::default()), |text| Object::parse("rt", text)?.read(CallOptions::read))
}

/// Reads `{validAttachments: [{containerID, ifname}], callId?, env?, timeoutMs?}`. `validAttachments` must be there, as
/// without it everything would be deleted; null is libcni's nil.
pub(super) fn gc_args(text: Option<&str>) -> Result<(Option<GcArgs>, CallOptions)> {
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
