//! The text that one plugin gets on its standard input.

use serde_json::{Map, Value};

use crate::conf::PluginConfig;

/// libcni's `buildOneConfig`: the plugin's own keys with `name`, `cniVersion`, `prevResult` (if there is one) and
/// `runtimeConfig` (if a declared capability got arguments) put in. Keys come out sorted.
pub fn build_one_config(
    _name: &str,
    _cni_version: &str,
    _plugin: &PluginConfig,
    _prev_result: Option<&Value>,
    _capability_args: &Map<String, Value>,
) -> Vec<u8> {
    todo!()
}
