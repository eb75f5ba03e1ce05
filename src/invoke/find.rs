//! Where a plugin's file is.

use std::path::PathBuf;

use super::quote::quote;
use crate::error::{Error, ErrorClass, Result};

/// libcni's `FindInPath`: the first directory that has a regular file of this name; a type with `/` is refused.
///
/// An unusable type is `E_CONFIG`, as it comes from a network list; no file of that name is `E_PLUGIN_NOT_FOUND`.
pub fn find_in_path(plugin_type: &str, dirs: &[PathBuf]) -> Result<PathBuf> {
    if plugin_type.is_empty() {
        return Err(Error::new(ErrorClass::Config, "no plugin name provided"));
    }
    if plugin_type.contains('/') {
        return Err(Error::new(ErrorClass::Config, format!("invalid plugin name: {plugin_type}")));
    }
    if dirs.is_empty() {
        return Err(Error::new(ErrorClass::PluginNotFound, "no paths provided"));
    }
    for path in dirs.iter().map(|dir| dir.join(plugin_type)) {
        match path.metadata() {
            Ok(found) if found.is_file() => return Ok(path),
            // That says something about the process, nothing about the plugin.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                return Err(Error::os(ErrorClass::Io, format_args!("stat {}", path.display()), &error));
            }
            _ => {}
        }
    }
    Err(not_found(plugin_type, dirs))
}

/// libcni's words for a plugin that is nowhere.
pub(super) fn not_found(plugin_type: &str, dirs: &[PathBuf]) -> Error {
    let dirs = dirs.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let msg = format!("failed to find plugin {} in path [{dirs}]", quote(plugin_type.as_bytes()));
    Error::new(ErrorClass::PluginNotFound, msg)
        .with_hint("install the plugin binary in one of these directories, or name its directory")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn refusals_have_libcnis_words() {
        let dirs = [PathBuf::from("/nowhere/a"), PathBuf::from("/nowhere/b")];
        for (plugin_type, dirs, class, words) in [
            ("", &dirs[..], ErrorClass::Config, "no plugin name provided"),
            ("a/b", &dirs[..], ErrorClass::Config, "invalid plugin name: a/b"),
            ("../x", &dirs[..], ErrorClass::Config, "invalid plugin name: ../x"),
            ("x", &[], ErrorClass::PluginNotFound, "no paths provided"),
            ("x", &dirs[..], ErrorClass::PluginNotFound, "failed to find plugin \"x\" in path [/nowhere/a /nowhere/b]"),
            ("x\0", &dirs[..1], ErrorClass::PluginNotFound, "failed to find plugin \"x\\x00\" in path [/nowhere/a]"),
            ("..", &dirs[..1], ErrorClass::PluginNotFound, "failed to find plugin \"..\" in path [/nowhere/a]"),
        ] {
            let error = find_in_path(plugin_type, dirs).unwrap_err();
            assert_eq!((error.class(), error.to_string().as_str()), (class, words), "{plugin_type:?}");
        }
    }

    #[test]
    fn the_first_directory_with_a_regular_file_wins() {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<_> = ["1", "2", "3", "4"].iter().map(|name| root.path().join(name)).collect();
        for dir in &dirs[1..] {
            std::fs::create_dir(dir).unwrap();
        }
        std::fs::create_dir(dirs[1].join("p")).unwrap();
        std::fs::write(dirs[3].join("p"), "").unwrap();
        assert_eq!(find_in_path("p", &dirs).unwrap(), dirs[3].join("p"));
        symlink(dirs[3].join("p"), dirs[2].join("p")).unwrap();
        assert_eq!(find_in_path("p", &dirs).unwrap(), dirs[2].join("p"));
    }
}
