//! Answers as JSON.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::network::RuntimeConf;
use crate::store::CacheEntry;
use crate::version::PluginInfo;

pub(super) fn plugin_info(info: &PluginInfo) -> Value {
    json!({"cniVersion": info.cni_version, "supportedVersions": info.supported_versions})
}

/// Both halves, as libcni has two functions: one may be readable where the other is not.
pub(super) fn cached(result: Result<Option<Value>>, config: Result<Option<(Vec<u8>, RuntimeConf)>>) -> Value {
    let mut answer = json!({"result": null, "config": null, "rt": null});
    match result {
        Ok(result) => answer["result"] = result.into(),
        Err(error) => answer["resultError"] = Error::to_json(&error),
    }
    match config {
        Ok(None) => {}
        Ok(Some((config, rt))) => {
            answer["config"] = text(&config);
            answer["rt"] = runtime_conf(&rt);
        }
        Err(error) => answer["configError"] = Error::to_json(&error),
    }
    answer
}

pub(super) fn attachment(entry: CacheEntry) -> Value {
    let mut answer = json!({
        "containerID": entry.key.container_id.as_str(),
        "network": entry.key.network.as_str(),
        "ifName": entry.key.if_name.as_str(),
        "config": text(&entry.config),
        "netns": entry.netns,
        "cniArgs": entry.cni_args.unwrap_or_default(),
        "capabilityArgs": entry.capability_args,
    });
    if let Some(owner) = entry.owner {
        answer["owner"] = owner.into();
    }
    answer
}

fn runtime_conf(rt: &RuntimeConf) -> Value {
    let mut answer = json!({
        "containerID": rt.container_id,
        "netns": rt.netns,
        "ifName": rt.if_name,
        "args": rt.args,
        "capabilityArgs": rt.capability_args,
    });
    if let Some(dir) = &rt.cache_dir {
        answer["cacheDir"] = dir.to_string_lossy().into();
    }
    answer
}

/// A configuration's text; whatever wrote the entry may have put other bytes there.
fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into()
}
