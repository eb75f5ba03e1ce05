//! Plugins found and run by the host instead of by this library.

use crate::error::Result;

/// What a host can do itself. `None`: it has no such function, the built-in way is used.
pub trait PluginCallbacks: Send + Sync {
    /// `{callId?, type, dirs}` → the path.
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>>;

    /// `{callId?, path, env, stdin, timeoutMs}` → standard output.
    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>>;
}

/// Plugins by callbacks, by the process engine where there are none.
pub struct CallbackExec {
    /// What the host does.
    pub callbacks: std::sync::Arc<dyn PluginCallbacks>,
    /// What the library does.
    pub native: crate::invoke::process::ProcessExec,
}

impl crate::invoke::Exec for CallbackExec {
    fn find_in_path(&self, _: &crate::call::Call, _: &str, _: &[std::path::PathBuf]) -> Result<std::path::PathBuf> {
        todo!()
    }

    fn exec_plugin(
        &self,
        _: &crate::call::Call,
        _: &std::path::Path,
        _: &[u8],
        _: &[std::ffi::CString],
    ) -> Result<Vec<u8>> {
        todo!()
    }
}
