//! Configurations in a directory: which files count, and load by name.

use std::path::{Path, PathBuf};

use crate::conf::{NetworkConfigList, PluginConfig};
use crate::error::Result;

/// libcni's `ConfFiles`, sorted: anything but a directory with exactly one of these extensions (with the dot). A missing
/// directory is an empty list.
pub fn conf_files(_dir: &Path, _extensions: &[&str]) -> Result<Vec<PathBuf>> {
    todo!()
}

/// libcni's `LoadConf`: the first `.conf` or `.json` with this network name.
pub fn load_conf(_dir: &Path, _name: &str) -> Result<PluginConfig> {
    todo!()
}

/// libcni's `LoadNetworkConf`: a `.conflist` of this name, else a `.conf` or `.json` turned into a list.
pub fn load_network_conf(_dir: &Path, _name: &str) -> Result<NetworkConfigList> {
    todo!()
}
