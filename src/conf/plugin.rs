//! One plugin's configuration (libcni's `PluginConfig`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;

/// One plugin's configuration: what the library itself looks at, and the whole text.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// The file name of the plugin binary; never empty.
    pub plugin_type: String,
    /// The network's name in a single configuration; usually empty inside a list.
    pub name: String,
    /// The version in a single configuration; usually empty inside a list.
    pub cni_version: String,
    /// The declared capabilities.
    pub capabilities: BTreeMap<String, bool>,
    /// The text as it was given.
    pub bytes: Vec<u8>,
    /// The text, parsed.
    pub(super) object: Map<String, Value>,
}

impl PluginConfig {
    /// libcni's `NetworkPluginConfFromBytes`.
    pub fn from_bytes(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// libcni's `ConfFromFile`.
    pub fn from_file(_path: &Path) -> Result<Self> {
        todo!()
    }

    /// The parsed text.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// libcni's `pluginDescription`: `type="bridge" name="net"`.
    pub fn description(&self) -> String {
        todo!()
    }
}
