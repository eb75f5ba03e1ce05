//! Configurations in a directory: which files count, and load by name.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::conf::{NetworkConfigList, PluginConfig};
use crate::error::{Error, ErrorClass, Result};
use crate::listing;
use crate::names::NetworkName;

/// The extensions of lists and of single configurations.
const LISTS: [&str; 1] = [".conflist"];
const SINGLES: [&str; 2] = [".conf", ".json"];

/// libcni's `ConfFiles`, sorted: anything but a directory with exactly one of these extensions (with the dot). A missing
/// directory is an empty list.
///
/// A symbolic link is not a directory, whatever it leads to: reading shows that.
pub fn conf_files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let entries = match listing::entries(dir, usize::MAX) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => {
            return Err(Error::os(ErrorClass::Config, format_args!("open {}", dir.display()), &errno.into()));
        }
        Ok(entries) => entries,
    };
    let is_wanted = |(name, kind): &(OsString, FileType)| {
        !kind.is_dir() && extensions.iter().any(|wanted| wanted.as_bytes() == extension(name.as_bytes()))
    };
    let mut files: Vec<_> = entries.into_iter().filter(is_wanted).map(|(name, _)| dir.join(name)).collect();
    files.sort();
    Ok(files)
}

/// Go's `filepath.Ext`: from the last dot on, which may be the first letter.
fn extension(name: &[u8]) -> &[u8] {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    dot.map_or(b"", |dot| &name[dot..])
}

/// libcni's `LoadConf`: the first `.conf` or `.json` with this network name. A file before it that cannot be read is an
/// error that names it; none of this name is `CNI_E_NOT_FOUND`.
pub fn load_conf(dir: &Path, name: &str) -> Result<PluginConfig> {
    let files = conf_files(dir, &SINGLES)?;
    let found = find_single(&files, name)?;
    found.map(|(_, plugin)| plugin).ok_or_else(|| not_found(dir, name, files.is_empty()))
}

/// libcni's `LoadNetworkConf`: a `.conflist` of this name, else a `.conf` or `.json` turned into a list. Errors as for
/// [`load_conf`].
pub fn load_network_conf(dir: &Path, name: &str) -> Result<NetworkConfigList> {
    find_network_conf(dir, name).map(|(_, list)| list)
}

/// [`load_network_conf`], and the file that it was found in.
pub fn find_network_conf(dir: &Path, name: &str) -> Result<(PathBuf, NetworkConfigList)> {
    let lists = conf_files(dir, &LISTS)?;
    if let Some(found) = find_list(&lists, name)? {
        return Ok(found);
    }
    let files = conf_files(dir, &SINGLES)?;
    let found = find_single(&files, name)?;
    let (path, plugin) = found.ok_or_else(|| not_found(dir, name, files.is_empty() && lists.is_empty()))?;
    Ok((path, NetworkConfigList::from_plugin(&plugin)?))
}

fn find_list(files: &[PathBuf], name: &str) -> Result<Option<(PathBuf, NetworkConfigList)>> {
    for path in files {
        let list = NetworkConfigList::inlined_from_file(path)?;
        // libcni passes over another network with a bad name too; its name must not become a path here.
        if list.name != name && !list.plugins.is_empty() && NetworkName::parse(list.name.as_str()).is_err() {
            continue;
        }
        let list = list.with_file_plugins_beside(path)?;
        if list.name == name {
            return Ok(Some((path.clone(), list)));
        }
    }
    Ok(None)
}

fn find_single(files: &[PathBuf], name: &str) -> Result<Option<(PathBuf, PluginConfig)>> {
    for path in files {
        let plugin = PluginConfig::from_file(path)?;
        if plugin.name == name {
            return Ok(Some((path.clone(), plugin)));
        }
    }
    Ok(None)
}

/// libcni's `NotFoundError`, or `NoConfigsFoundError` where there are no files at all.
fn not_found(dir: &Path, name: &str, no_files: bool) -> Error {
    let dir = dir.display();
    let words = if no_files {
        format!("no net configurations found in {dir}")
    } else {
        format!("no net configuration with name \"{name}\" in {dir}")
    };
    Error::new(ErrorClass::NotFound, words)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with these files.
    fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn files_count_by_their_exact_extension() {
        let dir = dir_with(&[
            ("b.conf", ""),
            ("a.conf", ""),
            ("B.conf", ""),
            (".conf", ""),
            ("a.b.conf", ""),
            ("a.conflist", ""),
            ("a.json", ""),
            ("a.CONF", ""),
            ("conf", ""),
            ("a.conf.bak", ""),
            ("a.conf~", ""),
            ("sub.conf/x.conf", ""),
        ]);
        symlink("/", dir.path().join("link-to-dir.conf")).unwrap();
        symlink("missing", dir.path().join("dangling.conf")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo.conf"), 0o600.into()).unwrap();
        std::fs::write(dir.path().join(OsStr::from_bytes(b"\xff.conf")), "").unwrap();
        let names = |extensions: &[&str]| {
            let files = conf_files(dir.path(), extensions).unwrap();
            assert!(files.iter().all(|file| file.parent() == Some(dir.path())));
            files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let conf = [".conf", "B.conf", "a.b.conf", "a.conf", "b.conf", "dangling.conf", "fifo.conf"];
        let conf: Vec<_> = conf.into_iter().chain(["link-to-dir.conf", "\u{fffd}.conf"]).collect();
        assert_eq!(names(&[".conf"]), conf);
        assert_eq!(names(&[".json", ".conflist", ".json"]), ["a.conflist", "a.json"]);
        assert_eq!(names(&[""]), ["conf"]);
        assert_eq!(names(&["conf", ".b.conf"]), Vec::<String>::new());
        assert_eq!(names(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_missing_directory_is_empty_and_another_error_names_it() {
        let dir = dir_with(&[("file", "")]);
        symlink("missing", dir.path().join("dangling")).unwrap();
        assert_eq!(conf_files(&dir.path().join("missing"), &[".conf"]).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(conf_files(&dir.path().join("dangling"), &[".conf"]).unwrap(), Vec::<PathBuf>::new());
        let error = conf_files(&dir.path().join("file"), &[".conf"]).unwrap_err();
        let words = format!("open {}/file: not a directory", dir.path().display());
        assert_eq!((error.to_string(), error.class()), (words, ErrorClass::Config));
    }

    #[test]
    fn a_network_is_loaded_by_name_lists_first() {
        const NONE: &str = "CNI_E_NOT_FOUND no net configurations found in DIR";
        const OTHER: &str = "CNI_E_NOT_FOUND no net configuration with name \"n\" in DIR";
        let list = |plugin_type: &str| format!(r#"{{"name":"n","plugins":[{{"type":"{plugin_type}"}}]}}"#);
        let (one, two) = (&*list("one"), &*list("two"));
        let single = r#"{"name":"n","type":"single"}"#;
        let other = r#"{"name":"other","plugins":[{"type":"t"}]}"#;
        let other_single = r#"{"name":"other","type":"t"}"#;
        for (row, files, expected) in [
            ("nothing", &[][..], Err(NONE)),
            ("files that do not count", &[("x", "{")], Err(NONE)),
            ("the first of two lists", &[("2.conflist", two), ("1.conflist", one)], Ok("one")),
            ("a list before a single one", &[("1.conf", single), ("2.conflist", two)], Ok("two")),
            ("a single one after other lists", &[("1.conflist", other), ("2.conf", single)], Ok("single")),
            ("a .json", &[("1.conf", other_single), ("2.json", single)], Ok("single")),
            ("another list only", &[("1.conflist", other)], Err(OTHER)),
            ("another single one only", &[("1.conf", other_single)], Err(OTHER)),
            (
                "a broken list before the match",
                &[("1.conflist", "{}"), ("2.conflist", two)],
                Err("CNI_E_CONFIG DIR/1.conflist: error parsing configuration list: no name"),
            ),
            ("a broken list after the match", &[("1.conflist", one), ("2.conflist", "{}")], Ok("one")),
            (
                "a broken list, and a single one",
                &[("1.conf", single), ("2.conflist", "{}")],
                Err("CNI_E_CONFIG DIR/2.conflist: error parsing configuration list: no name"),
            ),
            (
                "a broken single one before the match",
                &[("1.conf", r#"{"name":"n"}"#), ("2.conf", single)],
                Err("CNI_E_CONFIG DIR/1.conf: error parsing configuration: missing 'type'"),
            ),
            ("a broken single one after a list", &[("1.conf", "{}"), ("2.conflist", two)], Ok("two")),
            (
                "another list without plugins",
                &[("1.conflist", r#"{"name":"other"}"#), ("2.conflist", two)],
                Err("CNI_E_CONFIG DIR/1.conflist: no plugin configs found"),
            ),
            (
                "a broken plugin file of another list",
                &[("1.conflist", other), ("2.conflist", two), ("other/x.conf", "{}")],
                Err("CNI_E_CONFIG DIR/1.conflist: DIR/other/x.conf: error parsing configuration: missing 'type'"),
            ),
            ("plugins in files", &[("1.conflist", one), ("n/x.conf", r#"{"type":"x"}"#)], Ok("one x")),
            (
                "another network with a bad name",
                &[("1.conflist", r#"{"name":"a/b","plugins":[{"type":"t"}]}"#), ("2.conflist", two)],
                Ok("two"),
            ),
            (
                "another network with a bad name and no plugins",
                &[("1.conflist", r#"{"name":"a/b"}"#), ("2.conflist", two)],
                Err("CNI_E_CONFIG DIR/1.conflist: invalid characters found in network name; a/b"),
            ),
        ] {
            let dir = dir_with(files);
            let loaded = load_network_conf(dir.path(), "n").map(|list| {
                let types: Vec<_> = list.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect();
                types.join(" ")
            });
            let shown = dir.path().to_str().unwrap();
            let loaded = loaded.map_err(|error| format!("{} {error}", error.class().name()).replace(shown, "DIR"));
            assert_eq!(loaded, expected.map(str::to_owned).map_err(str::to_owned), "{row}");
        }
    }

    #[test]
    fn a_bad_name_finds_nothing_and_is_no_path() {
        let dir = dir_with(&[("1.conflist", r#"{"name":"a/b","plugins":[{"type":"t"}]}"#)]);
        for (name, class) in [("a/b", ErrorClass::Config), ("../a", ErrorClass::NotFound), ("", ErrorClass::NotFound)] {
            assert_eq!(load_network_conf(dir.path(), name).unwrap_err().class(), class, "{name:?}");
        }
    }

    #[test]
    fn a_single_configuration_is_loaded_by_name() {
        let dir = dir_with(&[
            ("1.conf", r#"{"name":"a","type":"1"}"#),
            ("2.json", r#"{"name":"b","type":"2"}"#),
            ("3.conf", r#"{"name":"b","type":"3"}"#),
            ("4.conflist", r#"{"name":"c","plugins":[{"type":"t"}]}"#),
        ]);
        assert_eq!(load_conf(dir.path(), "b").unwrap().plugin_type, "2");
        let shown = dir.path().display();
        let error = load_conf(dir.path(), "c").unwrap_err();
        assert_eq!(error.to_string(), format!("no net configuration with name \"c\" in {shown}"));
        let missing = dir.path().join("missing");
        for error in [load_conf(&missing, "c").unwrap_err(), load_network_conf(&missing, "c").unwrap_err()] {
            assert_eq!(error.to_string(), format!("no net configurations found in {shown}/missing"));
            assert_eq!(error.class(), ErrorClass::NotFound);
        }
    }
}
