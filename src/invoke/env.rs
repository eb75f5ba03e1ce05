//! What a plugin finds in its environment: the process's, what options and call add, and `CNI_*`, which win.

use std::ffi::CString;
use std::path::PathBuf;

use crate::call::Call;
use crate::error::Result;

/// libcni's `invoke.Args`.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_ARGS`, in order.
    pub plugin_args: Vec<(String, String)>,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
}

/// The environment that every plugin of a handle gets, read once when the handle is made.
#[derive(Clone, Debug, Default)]
pub struct Environ {}

impl Environ {
    /// The process's environment, or `exact` in its place, with `added` over it.
    pub fn new(_exact: Option<Vec<(String, String)>>, _added: Vec<(String, String)>) -> Result<Self> {
        todo!()
    }

    /// `KEY=VALUE` for one plugin of one call, without duplicates; later wins: this, the call's `env`, `CNI_*`.
    /// A NUL, or a `=` in a key, is `E_INVALID_ARGUMENT`.
    pub fn for_plugin(&self, _call: &Call, _args: &Args) -> Result<Vec<CString>> {
        todo!()
    }
}
