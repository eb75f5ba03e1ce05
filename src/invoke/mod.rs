//! Runs one plugin once (libcni's `pkg/invoke`): finds it, makes its environment, starts it, gathers its answer.
//!
//! Knows nothing of lists, results or caches. The trait [`Exec`] is the seam: the process engine behind it, or callbacks.

pub mod callback;
pub mod env;
pub mod find;
pub mod process;
mod quote;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::call::Call;
use crate::error::Result;

pub use callback::{CallbackExec, PluginCallbacks};
pub use env::{Args, Environ};
pub use process::{Nursery, ProcessExec};

/// Finds plugins and runs them (libcni's `invoke.Exec`).
pub trait Exec: Send + Sync {
    /// The path of the plugin of this type in these directories.
    fn find_in_path(&self, call: &Call, plugin_type: &str, dirs: &[PathBuf]) -> Result<PathBuf>;

    /// Runs the plugin with this standard input and exactly this environment (`KEY=VALUE`); answers its standard output.
    /// The plugins of a list share a `nursery`.
    fn exec_plugin(
        &self,
        call: &Call,
        nursery: &mut Nursery,
        path: &Path,
        stdin: &[u8],
        env: &[CString],
    ) -> Result<Vec<u8>>;
}

/// The process engine, behind the host's callbacks where there are any. `max_output` is in bytes.
pub fn engine(kill_grace: Duration, max_output: usize, callbacks: Option<Arc<dyn PluginCallbacks>>) -> Arc<dyn Exec> {
    let native = ProcessExec { kill_grace, max_output, ..ProcessExec::default() };
    match callbacks {
        Some(callbacks) => Arc::new(CallbackExec { callbacks, native }),
        None => Arc::new(native),
    }
}
