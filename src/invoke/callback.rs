//! Plugins found and run by the host instead of by this library.

use crate::error::Result;

/// What a host can do itself. `None`: it has no such function, the built-in way is used.
pub trait PluginCallbacks: Send + Sync {
    /// `{callId?, type, dirs}` → the path.
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>>;

    /// `{callId?, path, env, stdin, timeoutMs}` → standard output.
    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>>;
}
