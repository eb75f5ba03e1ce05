//! The process engine: an [`Exec`](crate::invoke::Exec) that starts plugin binaries.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::call::Call;
use crate::error::Result;
use crate::invoke::Exec;

/// Starts plugin binaries.
#[derive(Clone, Debug)]
pub struct ProcessExec {
    /// Between TERM and KILL.
    pub kill_grace: Duration,
    /// The most that is read of standard output, and kept of standard error.
    pub max_output: usize,
}

impl ProcessExec {
    /// An engine with these limits.
    pub fn new(kill_grace: Duration, max_output: usize) -> Self {
        Self { kill_grace, max_output }
    }
}

impl Default for ProcessExec {
    fn default() -> Self {
        Self { kill_grace: Duration::from_millis(2000), max_output: 4 << 20 }
    }
}

impl Exec for ProcessExec {
    fn find_in_path(&self, _call: &Call, plugin_type: &str, dirs: &[PathBuf]) -> Result<PathBuf> {
        crate::invoke::find::find_in_path(plugin_type, dirs)
    }

    fn exec_plugin(&self, _call: &Call, _path: &Path, _stdin: &[u8], _env: &[CString]) -> Result<Vec<u8>> {
        todo!()
    }
}
