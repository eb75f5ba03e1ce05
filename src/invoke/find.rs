//! Where a plugin's file is.

use std::path::PathBuf;

use crate::error::Result;

/// libcni's `FindInPath`: the first directory that has a regular file of this name; a type with `/` is refused.
pub fn find_in_path(_plugin_type: &str, _dirs: &[PathBuf]) -> Result<PathBuf> {
    todo!()
}
