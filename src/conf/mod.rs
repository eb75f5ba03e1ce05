//! Network lists and plugin configurations: parsed, found in a directory, made ready for one plugin (libcni's `conf.go`).
//!
//! Runs nothing, caches nothing, knows nobody above it. Numbers and unknown keys go through as they were written.
//! Below: `text` reads JSON, `file` reads files, both bounded; then `plugin`, `list`, `dir`, `inject` and `parsed`.

mod dir;
mod file;
mod inject;
mod list;
mod parsed;
mod plugin;
mod text;

pub use dir::{conf_files, find_network_conf, load_conf, load_network_conf};
pub use file::MAX_FILE_BYTES;
pub(crate) use inject::inject_any;
pub use inject::{build_one_config, inject};
pub use list::NetworkConfigList;
pub use parsed::NetworkConf;
pub use plugin::PluginConfig;
