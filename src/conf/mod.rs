//! Network lists and plugin configurations: parsed, found in a directory, made ready for one plugin (libcni's `conf.go`).
//!
//! Runs nothing, caches nothing, knows nobody above it. Numbers and unknown keys go through as they were written.

mod dir;
mod inject;
mod list;
mod plugin;

pub use dir::{conf_files, load_conf, load_network_conf};
pub use inject::build_one_config;
pub use list::NetworkConfigList;
pub use plugin::PluginConfig;
