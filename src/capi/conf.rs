//! The C functions for network configurations and results, which need no handle and run nothing.

use std::ffi::c_char;
use std::path::Path;

use crate::capi::rc::cni_rc;
use crate::capi::{guard, strings};
use crate::conf::{self, NetworkConf};
use crate::result;

/// The configuration files of a directory (libcni's ConfFiles), sorted.
///
/// extensions: a JSON list of the extensions that count, with their dots, such as ".conflist". out: a JSON list of
/// paths. A missing directory is an empty list.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: dir and extensions must not be NULL; out may be.
/// Threads: any, also from a callback.
/// Errors: CNI_E_INVALID_ARGUMENT for extensions that are no list of strings, CNI_E_CONFIG where dir cannot be read,
/// and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_confdir_files(
    dir: *const c_char,
    extensions: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (dir, extensions) = unsafe { (strings::input("dir", dir), strings::input("extensions", extensions)) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe {
        guard::answer_json(out, || {
            let extensions = strings::list("extensions", extensions?)?;
            let extensions: Vec<&str> = extensions.iter().map(String::as_str).collect();
            let files = conf::conf_files(Path::new(dir?), &extensions)?;
            Ok(files.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>())
        })
    }
}

/// Reads the configuration of a network from a directory (libcni's LoadNetworkConf): the first .conflist with this
/// name, else the first .conf or .json, turned into a list.
///
/// name: the network's. out: {name, cniVersion, disableCheck, disableGC, loadOnlyInlinedPlugins, plugins: [{type,
/// name?, capabilities, bytes}], bytes, file}, where bytes is the text and plugins has those in files of their own too.
/// It is a conf for cni_runtime_add and its like, as it is or with other values; bytes at the top is what gets cached,
/// and a plugin is told what its bytes say.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: dir and name must not be NULL; out may be.
/// Threads: any, also from a callback.
/// Errors: CNI_E_NOT_FOUND where no file has this name, CNI_E_CONFIG where a file before it cannot be read, and those
/// of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_confdir_load(dir: *const c_char, name: *const c_char, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (dir, name) = unsafe { (strings::input("dir", dir), strings::input("name", name)) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe {
        guard::answer_json(out, || {
            let (file, list) = conf::find_network_conf(Path::new(dir?), name?)?;
            Ok(list.to_value(Some(&file)))
        })
    }
}

/// Reads the text of a configuration (libcni's NetworkConfFromBytes). The text of a single network becomes a list of
/// one (ConfListFromConf).
///
/// json: the text. dir: the directory that the text's file is in, or would be: the plugins in the .conf files of its
/// subdirectory with the network's name are added to the list, which must have some then (NetworkConfFromFile). NULL is
/// no such files. out: as of cni_confdir_load, without file.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: json must not be NULL; dir and out may be.
/// Threads: any, also from a callback.
/// Errors: CNI_E_CONFIG and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_conf_parse(json: *const c_char, dir: *const c_char, out: *mut *mut c_char) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (json, dir) = unsafe { (strings::input("json", json), strings::optional_input("dir", dir)) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe {
        guard::answer_json(out, || {
            let list = NetworkConf::parse_list(json?, dir?.map(Path::new))?;
            Ok(list.to_value(None))
        })
    }
}

/// Converts the result of an ADD to another version of the CNI specification, by libcni's rules.
///
/// result: the result; without cniVersion it is of 0.1.0. version: "1.0.0"; "" is 0.1.0. out: the result in that
/// version. Going down loses what the older version cannot hold.
///
/// Ownership: the strings are borrowed; free *out with cni_string_free.
/// NULL: result and version must not be NULL; out may be.
/// Threads: any, also from a callback.
/// Errors: CNI_E_INVALID_ARGUMENT where result is none, CNI_E_UNSUPPORTED for a version that is not known and where the
/// result cannot be put into that version, and those of every call.
/// Since: 0.1.0
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cni_result_convert(
    result: *const c_char,
    version: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    // SAFETY: the header asks for strings or NULL, borrowed until this returns.
    let (result, version) = unsafe { (strings::input("result", result), strings::input("version", version)) };
    // SAFETY: the header asks for NULL or a place to write.
    unsafe { guard::answer_json(out, || result::convert_text(result?, version?)) }
}
