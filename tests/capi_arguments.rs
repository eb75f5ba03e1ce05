//! Every string and every pointer of every function: NULL, bad UTF-8, and what the answer then is.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use cnirt::capi::*;
use serde_json::Value;

/// A function with its strings; the others of its parameters are good.
struct Row {
    function: &'static str,
    /// Name, a good value, whether NULL is allowed.
    strings: &'static [(&'static str, &'static CStr, bool)],
    /// The handle's parameter, where there is one.
    handle: Option<&'static str>,
    call: fn(Handles, &[*const c_char], *mut *mut c_char) -> cni_rc,
}

/// One of each type, or NULL.
#[derive(Clone, Copy)]
struct Handles {
    plugin: *mut cni_plugin,
    runtime: *mut cni_runtime,
}

const NO_HANDLES: Handles = Handles { plugin: ptr::null_mut(), runtime: ptr::null_mut() };

const POD: &CStr = c"{\"id\":\"pod1\"}";
/// A list that runs nothing.
const CONF: &CStr = c"{\"name\":\"net\",\"cniVersion\":\"1.0.0\",\"plugins\":[],\"bytes\":\"{}\"}";
const RT: &CStr = c"{\"containerID\":\"c1\",\"ifName\":\"eth0\"}";

macro_rules! row {
    ($function:ident($handle:ident; $($name:ident = $good:expr, $null:expr),*)) => {
        Row {
            function: stringify!($function),
            strings: &[$((stringify!($name), $good, $null)),*],
            handle: Some(stringify!($handle)),
            call: |handles, strings, out| {
                let [$($name),*] = *strings else { unreachable!("as many as the row has") };
                // SAFETY: the handle lives as long as the test; strings and place are the test's.
                unsafe { $function(handles.$handle, $($name,)* out) }
            },
        }
    };
    ($function:ident($($name:ident = $good:expr, $null:expr),*)) => {
        Row {
            function: stringify!($function),
            strings: &[$((stringify!($name), $good, $null)),*],
            handle: None,
            call: |_, strings, out| {
                let [$($name),*] = *strings else { unreachable!("as many as the row has") };
                // SAFETY: as above.
                unsafe { $function($($name,)* out) }
            },
        }
    };
}

const ROWS: [Row; 31] = [
    row!(cni_setup_pod(plugin; request = POD, false)),
    row!(cni_teardown_pod(plugin; request = POD, false)),
    row!(cni_check_pod(plugin; request = POD, false)),
    row!(cni_pod_status(plugin; request = POD, false)),
    row!(cni_list_pods(plugin;)),
    row!(cni_plugin_status(plugin;)),
    row!(cni_plugin_reload(plugin;)),
    row!(cni_plugin_capabilities(plugin;)),
    row!(cni_plugin_metrics(plugin;)),
    row!(cni_plugin_gc(plugin; request = c"{\"validPods\":[]}", false)),
    row!(cni_plugin_event(plugin; name = c"some-event", false, details = c"{}", true)),
    row!(cni_runtime_add(runtime; conf = CONF, false, rt = RT, false)),
    row!(cni_runtime_del(runtime; conf = CONF, false, rt = RT, false)),
    row!(cni_runtime_check(runtime; conf = CONF, false, rt = RT, false)),
    row!(cni_runtime_cached(runtime; conf = CONF, false, rt = RT, false)),
    row!(cni_runtime_gc(runtime; conf = CONF, false, args = c"{\"validAttachments\":[]}", true)),
    row!(cni_runtime_status(runtime; conf = CONF, false)),
    row!(cni_runtime_validate(runtime; conf = CONF, false)),
    row!(cni_runtime_plugin_version(runtime; r#type = c"none", false)),
    row!(cni_runtime_attachments(runtime; container_id = c"c1", true)),
    row!(cni_confdir_files(dir = c"/nonexistent", false, extensions = c"[\".conf\"]", false)),
    row!(cni_confdir_load(dir = c"/nonexistent", false, name = c"net", false)),
    row!(cni_conf_parse(json = CONF, false, dir = c"/nonexistent", true)),
    row!(cni_result_convert(result = c"{}", false, version = c"0.2.0", false)),
    row!(plugin_op(plugin; operation = c"setup_pod", false, request = POD, false)),
    row!(runtime_op(runtime; operation = c"del", false, conf = CONF, false, rt = RT, false)),
    row!(cni_json_get(json = c"{}", false, pointer = c"", false)),
    row!(cni_json_set(json = c"{}", true, pointer = c"/a", false, value = c"1", false)),
    row!(cni_json_set_string(json = c"{}", true, pointer = c"/a", false, value = c"1", false)),
    row!(cni_netns_create(path = c"", false)),
    row!(cni_netns_remove(path = c"", false)),
];

/// A call that is started and finished, as one function: what is refused at once or later comes to the same place.
unsafe fn plugin_op(
    plugin: *mut cni_plugin,
    operation: *const c_char,
    request: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    let mut op = ptr::without_provenance_mut(1);
    // SAFETY: the caller's promise, and a place of the test's.
    let rc = unsafe { cni_plugin_start(plugin, operation, request, &raw mut op, out) };
    if rc != cni_rc::CNI_OK {
        assert!(op.is_null());
        return rc;
    }
    // SAFETY: the place is NULL or writable.
    assert!(unsafe { out.as_ref() }.is_none_or(|out| out.is_null()), "no error");
    // SAFETY: started above, finished once.
    unsafe { cni_op_finish(op, out) }
}

/// Like [`plugin_op`].
unsafe fn runtime_op(
    runtime: *mut cni_runtime,
    operation: *const c_char,
    conf: *const c_char,
    rt: *const c_char,
    out: *mut *mut c_char,
) -> cni_rc {
    let mut op = ptr::without_provenance_mut(1);
    // SAFETY: the caller's promise, and a place of the test's.
    let rc = unsafe { cni_runtime_start(runtime, operation, conf, rt, &raw mut op, out) };
    if rc != cni_rc::CNI_OK {
        assert!(op.is_null());
        return rc;
    }
    // SAFETY: started above, finished once.
    unsafe { cni_op_finish(op, out) }
}

/// What a call with good strings answers: those that need a plugin, a file or a good path find none here.
fn answer(function: &str) -> cni_rc {
    match function {
        // No plugin in the list, so no result.
        "cni_runtime_add" => cni_rc::CNI_E_CONFIG,
        "cni_runtime_plugin_version" => cni_rc::CNI_E_PLUGIN_NOT_FOUND,
        "cni_confdir_load" => cni_rc::CNI_E_NOT_FOUND,
        "cni_netns_create" => cni_rc::CNI_E_IO,
        _ => cni_rc::CNI_OK,
    }
}

fn handle() -> *mut cni_plugin {
    let mut plugin = ptr::null_mut();
    // SAFETY: a string and a place of the test's.
    let rc =
        unsafe { cni_plugin_new(c"{\"plugin\":\"noop\"}".as_ptr(), ptr::null(), &raw mut plugin, ptr::null_mut()) };
    assert_eq!(rc, cni_rc::CNI_OK);
    plugin
}

fn runtime() -> *mut cni_runtime {
    let options = c"{\"binDirs\":[\"/nonexistent\"],\"cacheDir\":\"/nonexistent\"}";
    let mut runtime = ptr::null_mut();
    // SAFETY: a string and a place of the test's.
    let rc = unsafe { cni_runtime_new(options.as_ptr(), ptr::null(), &raw mut runtime, ptr::null_mut()) };
    assert_eq!(rc, cni_rc::CNI_OK);
    runtime
}

/// Calls with an `out` that must be overwritten.
fn call(row: &Row, handles: Handles, strings: &[*const c_char]) -> (cni_rc, String) {
    let mut out = ptr::without_provenance_mut(1);
    let rc = (row.call)(handles, strings, &raw mut out);
    assert!(!out.is_null(), "{} says nothing", row.function);
    // SAFETY: every function writes a string or NULL.
    let text = unsafe { CStr::from_ptr(out) }.to_str().unwrap().to_owned();
    // SAFETY: the string is the library's and is freed once.
    unsafe { cni_string_free(out) };
    let without_out = (row.call)(handles, strings, ptr::null_mut());
    assert_eq!(without_out, rc, "{} without out", row.function);
    (rc, text)
}

/// Asserts that the answer is an error object of that class whose message begins with the parameter's name.
fn refused(what: &str, (rc, text): (cni_rc, String), parameter: &str) {
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (rc, error["class"].as_str()),
        (cni_rc::CNI_E_INVALID_ARGUMENT, Some("CNI_E_INVALID_ARGUMENT")),
        "{what}: {text}"
    );
    assert!(error["msg"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{what}: {text}");
    assert!(error["code"].is_u64() && error["cniVersion"].is_string(), "{what}: {text}");
}

#[test]
fn null_and_bad_utf8_are_refused_by_name() {
    let handles = Handles { plugin: handle(), runtime: runtime() };
    let bad = CString::new(b"{\"id\":\"\xff\"}").unwrap();
    for row in &ROWS {
        let good: Vec<_> = row.strings.iter().map(|(_, good, _)| good.as_ptr()).collect();
        let (rc, text) = call(row, handles, &good);
        assert_eq!(rc, answer(row.function), "{}: {text}", row.function);
        for (index, (name, _, null_is_allowed)) in row.strings.iter().enumerate() {
            let (what, name) = (format!("{}({name})", row.function), name.trim_start_matches("r#"));
            let mut strings = good.clone();
            strings[index] = bad.as_ptr();
            refused(&what, call(row, handles, &strings), name);
            strings[index] = ptr::null();
            match null_is_allowed {
                true => assert_eq!(call(row, handles, &strings).0, answer(row.function), "{what}"),
                false => refused(&what, call(row, handles, &strings), name),
            }
        }
        if let Some(parameter) = row.handle {
            refused(row.function, call(row, NO_HANDLES, &good), parameter);
        }
    }
    // SAFETY: the handles are not used again.
    unsafe {
        cni_plugin_free(handles.plugin);
        cni_runtime_free(handles.runtime);
        cni_runtime_free(ptr::null_mut());
    }
}

#[test]
fn cancel_takes_null_for_all_and_no_bad_utf8() {
    let plugin = handle();
    // SAFETY: a handle that lives, and strings.
    unsafe {
        assert_eq!(cni_plugin_cancel(plugin, ptr::null()), cni_rc::CNI_OK);
        assert_eq!(cni_plugin_cancel(plugin, c"nobody".as_ptr()), cni_rc::CNI_OK);
        assert_eq!(cni_plugin_cancel(plugin, c"\xff".as_ptr()), cni_rc::CNI_E_INVALID_ARGUMENT);
        assert_eq!(cni_plugin_cancel(ptr::null_mut(), ptr::null()), cni_rc::CNI_E_INVALID_ARGUMENT);
        cni_plugin_free(plugin);
        cni_plugin_free(ptr::null_mut());
        cni_string_free(ptr::null_mut());
        assert_eq!(CStr::from_ptr(cni_plugin_name(ptr::null())), c"");
    }
}

#[test]
fn a_call_needs_a_place_and_a_known_operation_and_its_functions_take_no_null() {
    let plugin = handle();
    let mut error = ptr::null_mut();
    // SAFETY: a handle that lives, strings and places of the test's.
    unsafe {
        let rc = cni_plugin_start(plugin, c"setup_pod".as_ptr(), POD.as_ptr(), ptr::null_mut(), &raw mut error);
        let text = CStr::from_ptr(error).to_str().unwrap().to_owned();
        cni_string_free(error);
        refused("cni_plugin_start(op)", (rc, text), "op");
        let mut op = ptr::null_mut();
        for (operation, request, words) in
            [(c"cni_setup_pod", POD, "operation"), (c"setup_pod", c"{", "pod request"), (c"list_pods", POD, "request")]
        {
            let rc = cni_plugin_start(plugin, operation.as_ptr(), request.as_ptr(), &raw mut op, &raw mut error);
            let text = CStr::from_ptr(error).to_str().unwrap().to_owned();
            cni_string_free(error);
            assert!(rc == cni_rc::CNI_E_INVALID_ARGUMENT && op.is_null() && text.contains(words), "{text}");
        }
        let rc = cni_plugin_start(plugin, c"list_pods".as_ptr(), ptr::null(), &raw mut op, ptr::null_mut());
        assert_eq!((rc, cni_op_wait(op, -1)), (cni_rc::CNI_OK, cni_rc::CNI_OK));
        assert_eq!(cni_op_finish(op, ptr::null_mut()), cni_rc::CNI_OK);

        assert_eq!(cni_op_fd(ptr::null()), -1);
        assert_eq!(cni_op_wait(ptr::null_mut(), 0), cni_rc::CNI_E_INVALID_ARGUMENT);
        assert_eq!(cni_op_cancel(ptr::null_mut()), cni_rc::CNI_E_INVALID_ARGUMENT);
        let rc = cni_op_finish(ptr::null_mut(), &raw mut error);
        let text = CStr::from_ptr(error).to_str().unwrap().to_owned();
        cni_string_free(error);
        refused("cni_op_finish(op)", (rc, text), "op");
        cni_plugin_free(plugin);
    }
}

#[test]
fn a_new_handle_has_defaults_or_says_which_option_is_wrong() {
    for (options, refusal) in [
        (Some(c"{\"plugin\":\"noop\"}"), None),
        (Some(c"{\"bindirs\":[]}"), Some("the nearest known key is \"binDirs\"")),
        (Some(c"\xff"), Some("")),
    ] {
        let (mut plugin, mut error) = (ptr::without_provenance_mut(1), ptr::without_provenance_mut(1));
        let options = options.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: a string, no callbacks, and places of the test's.
        let rc = unsafe { cni_plugin_new(options, ptr::null(), &raw mut plugin, &raw mut error) };
        let Some(hint) = refusal else {
            assert!(rc == cni_rc::CNI_OK && error.is_null() && !plugin.is_null());
            // SAFETY: made above, used no more.
            unsafe { cni_plugin_free(plugin) };
            continue;
        };
        assert!(rc == cni_rc::CNI_E_INVALID_ARGUMENT && plugin.is_null());
        // SAFETY: a failure writes the error object.
        let text = unsafe { CStr::from_ptr(error) }.to_str().unwrap().to_owned();
        assert!(text.contains(&serde_json::to_string(hint).unwrap()[1..]) || text.contains("options: "), "{text}");
        // SAFETY: the string is the library's and is freed once.
        unsafe { cni_string_free(error) };
    }
}

#[test]
fn a_new_runtime_takes_its_options_and_no_other() {
    // SAFETY: NULL is allowed for all but the place.
    let rc = unsafe { cni_runtime_new(ptr::null(), ptr::null(), ptr::null_mut(), ptr::null_mut()) };
    assert_eq!(rc, cni_rc::CNI_E_INVALID_ARGUMENT);
    for (options, rc) in [
        (Some(c"{\"rollback\":true,\"timeoutMs\":5}"), cni_rc::CNI_OK),
        (None, cni_rc::CNI_OK),
        (Some(c"{\"confDir\":\"/x\"}"), cni_rc::CNI_E_INVALID_ARGUMENT),
        (Some(c"{\"pluginEnv\":{\"A=B\":\"\"}}"), cni_rc::CNI_E_INVALID_ARGUMENT),
        (Some(c"\xff"), cni_rc::CNI_E_INVALID_ARGUMENT),
    ] {
        let mut runtime = ptr::without_provenance_mut(1);
        let options_pointer = options.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: a string, no callbacks, and a place of the test's.
        let got = unsafe { cni_runtime_new(options_pointer, ptr::null(), &raw mut runtime, ptr::null_mut()) };
        assert_eq!((got, runtime.is_null()), (rc, rc != cni_rc::CNI_OK), "{options:?}");
        // SAFETY: made above or NULL, used no more.
        unsafe { cni_runtime_free(runtime) };
    }
}
