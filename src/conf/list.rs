//! A network list (libcni's `NetworkConfigList`).

use std::path::Path;

use crate::conf::PluginConfig;
use crate::error::Result;

/// One network: an ordered list of plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfigList {
    /// The network's name, as written: checked where it becomes part of a path.
    pub name: String,
    /// The specification version that all plugins are run with; empty means 0.1.0.
    pub cni_version: String,
    /// CHECK does nothing.
    pub disable_check: bool,
    /// GC does nothing.
    pub disable_gc: bool,
    /// Plugins in files beside the list are not loaded.
    pub load_only_inlined_plugins: bool,
    /// The plugins in the order of ADD.
    pub plugins: Vec<PluginConfig>,
    /// The text as it was given.
    pub bytes: Vec<u8>,
}

impl NetworkConfigList {
    /// libcni's `NetworkConfFromBytes`: inlined plugins only.
    pub fn from_bytes(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// A list (has `plugins`) or a single configuration (has `type`), which becomes a list of one.
    pub fn from_any(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// libcni's `NetworkConfFromFile`: with the plugins of `<directory of the file>/<name>/*.conf`.
    pub fn from_file(_path: &Path) -> Result<Self> {
        todo!()
    }

    /// libcni's `ConfListFromConf`: a list of one.
    pub fn from_plugin(_plugin: &PluginConfig) -> Result<Self> {
        todo!()
    }

    /// The text with every plugin inlined, so that plugins from files are found again without the directory.
    pub fn inlined(&self) -> Vec<u8> {
        todo!()
    }
}
