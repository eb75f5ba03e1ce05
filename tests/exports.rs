//! The shared library as the linker sees it: its symbols, its name, and that it can be loaded again and again.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use common::{run, shared_library};

/// Every exported symbol. A name never goes away and never changes its signature.
const EXPORTS: [&str; 47] = [
    "cni_abi_version",
    "cni_check_pod",
    "cni_conf_parse",
    "cni_confdir_files",
    "cni_confdir_load",
    "cni_json_get",
    "cni_json_set",
    "cni_json_set_string",
    "cni_list_pods",
    "cni_netns_create",
    "cni_netns_remove",
    "cni_op_cancel",
    "cni_op_fd",
    "cni_op_finish",
    "cni_op_wait",
    "cni_plugin_cancel",
    "cni_plugin_capabilities",
    "cni_plugin_event",
    "cni_plugin_fd",
    "cni_plugin_free",
    "cni_plugin_gc",
    "cni_plugin_metrics",
    "cni_plugin_name",
    "cni_plugin_new",
    "cni_plugin_reload",
    "cni_plugin_start",
    "cni_plugin_status",
    "cni_pod_status",
    "cni_rc_name",
    "cni_reply_set",
    "cni_result_convert",
    "cni_runtime_add",
    "cni_runtime_attachments",
    "cni_runtime_cached",
    "cni_runtime_check",
    "cni_runtime_del",
    "cni_runtime_free",
    "cni_runtime_gc",
    "cni_runtime_new",
    "cni_runtime_plugin_version",
    "cni_runtime_start",
    "cni_runtime_status",
    "cni_runtime_validate",
    "cni_setup_pod",
    "cni_string_free",
    "cni_teardown_pod",
    "cni_version",
];

/// What openEuler's clibcni exports, with other signatures: a process may have both.
const CLIBCNI: [&str; 16] = [
    "cni_add_network_list",
    "cni_check_network_list",
    "cni_cache_read",
    "cni_conf_files",
    "cni_conf_from_file",
    "cni_conflist_from_bytes",
    "cni_conflist_from_conf",
    "cni_conflist_from_file",
    "cni_del_network_list",
    "cni_free_result",
    "cni_get_cached_result",
    "cni_get_version_info",
    "cni_load_conf",
    "cni_load_conflist",
    "cni_add_network",
    "cni_del_network",
];

#[test]
fn the_library_exports_the_header_and_nothing_else() {
    let symbols = run(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(shared_library()));
    let mut names: Vec<_> = symbols.lines().map(|line| line.split([' ', '@']).next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, EXPORTS);
    let header = std::fs::read_to_string(common::root().join("include/cnirt.h")).unwrap();
    for name in EXPORTS {
        assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
        assert!(!CLIBCNI.contains(&name), "{name} is also clibcni's");
    }
}

#[test]
fn the_library_has_its_abis_name_and_stays_loaded() {
    let dynamic = run(Command::new("readelf").arg("-dW").arg(shared_library()));
    let soname = format!("[libcnirt.so.{}]", cnirt::capi::cni_abi_version());
    assert!(dynamic.lines().any(|line| line.contains("(SONAME)") && line.contains(&soname)), "{dynamic}");
    assert!(dynamic.lines().any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE")), "{dynamic}");
    assert!(!dynamic.contains("(TEXTREL)"), "{dynamic}");
}

#[test]
fn loading_again_and_again_leaves_nothing_behind() {
    type Get = unsafe extern "C" fn(*const c_char, *const c_char, *mut *mut c_char) -> i32;

    let path = CString::new(shared_library().as_os_str().as_bytes()).unwrap();
    let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("libcnirt.so").count();
    let mut first = None;
    for _ in 0..50 {
        // SAFETY: the library has no constructor but the runtime's own.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null());
        // SAFETY: the library was loaded just now.
        let get = unsafe { libc::dlsym(library, c"cni_json_get".as_ptr()) };
        // SAFETY: the function of that name has this signature.
        let get: Get = unsafe { std::mem::transmute(get) };
        // SAFETY: strings, and a NULL that the header allows. Run on a thread of its own that ends before the unload.
        let call = move || unsafe { get(c"[1]".as_ptr(), c"/0".as_ptr(), std::ptr::null_mut()) };
        assert_eq!(std::thread::spawn(call).join().unwrap(), 0);
        // SAFETY: nothing of it is used any more.
        assert_eq!(unsafe { libc::dlclose(library) }, 0);
        assert_eq!(mapped(), *first.get_or_insert_with(mapped));
    }
    assert_ne!(first, Some(0));
}
