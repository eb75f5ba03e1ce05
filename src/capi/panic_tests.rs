//! A panic at every entry point: it is the answer, and what there is stays usable.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use super::guard::panic::injected;
use super::*;

/// The functions that no guard is around: they read a field, a constant or an argument.
const UNGUARDED: [&str; 7] = [
    "cni_abi_version",
    "cni_op_fd",
    "cni_plugin_name",
    "cni_rc_name",
    "cni_reply_set",
    "cni_string_free",
    "cni_version",
];

const POD: *const c_char = c"{\"id\": \"pod\"}".as_ptr();
const CONF: *const c_char = c"{\"cniVersion\": \"1.0.0\", \"name\": \"net\", \"type\": \"x\"}".as_ptr();
const RT: *const c_char = c"{\"containerID\": \"pod\", \"ifName\": \"eth0\"}".as_ptr();
const EMPTY: *const c_char = c"{}".as_ptr();

type Out = *mut *mut c_char;

/// What a function is called with.
struct Given {
    plugin: *mut cni_plugin,
    runtime: *mut cni_runtime,
    op: *mut cni_op,
}

impl Given {
    fn new() -> Self {
        let mut given = Self { plugin: ptr::null_mut(), runtime: ptr::null_mut(), op: ptr::null_mut() };
        let options = c"{\"plugin\": \"noop\"}".as_ptr();
        // SAFETY: strings and places of this test's.
        let rcs = unsafe {
            [
                cni_plugin_new(options, ptr::null(), &raw mut given.plugin, ptr::null_mut()),
                cni_runtime_new(EMPTY, ptr::null(), &raw mut given.runtime, ptr::null_mut()),
                cni_plugin_start(given.plugin, c"list_pods".as_ptr(), EMPTY, &raw mut given.op, ptr::null_mut()),
                cni_op_wait(given.op, -1),
            ]
        };
        assert_eq!(rcs, [cni_rc::CNI_OK; 4]);
        given
    }

    /// Uses and frees all but what `name` has ended.
    fn end(self, name: &str) {
        // SAFETY: alive, as only these functions end them.
        unsafe {
            if name != "cni_op_finish" {
                assert_eq!(cni_op_finish(self.op, ptr::null_mut()), cni_rc::CNI_OK, "after {name}");
            }
            if name != "cni_plugin_free" {
                assert_eq!(cni_list_pods(self.plugin, ptr::null_mut()), cni_rc::CNI_OK, "after {name}");
                cni_plugin_free(self.plugin);
            }
            if name != "cni_runtime_free" {
                let rc = cni_runtime_validate(self.runtime, c"{".as_ptr(), ptr::null_mut());
                assert_eq!(rc, cni_rc::CNI_E_CONFIG, "after {name}");
                cni_runtime_free(self.runtime);
            }
        }
    }
}

/// What a function says.
trait Said {
    /// Whether that is how it fails when it panics.
    fn says_panic(self) -> bool;
}

impl Said for cni_rc {
    fn says_panic(self) -> bool {
        self == Self::CNI_E_PANIC
    }
}

/// A descriptor.
impl Said for c_int {
    fn says_panic(self) -> bool {
        self == -1
    }
}

impl Said for () {
    fn says_panic(self) -> bool {
        true
    }
}

type Row = (&'static str, fn(&Given, Out) -> bool);

macro_rules! rows {
    (|$given:ident, $out:ident| $($name:ident($($argument:expr),*);)*) => {
        // SAFETY: strings that live for ever, NULL where it is allowed, what `Given` has made and places of the test's.
        vec![$((stringify!($name), |$given, $out| unsafe { $name($($argument),*).says_panic() })),*]
    };
}

#[allow(unused_variables, reason = "not every function takes all of it")]
fn rows() -> Vec<Row> {
    rows! { |given, out|
        cni_plugin_new(EMPTY, ptr::null(), &mut ptr::null_mut(), out);
        cni_plugin_free(given.plugin);
        cni_setup_pod(given.plugin, POD, out);
        cni_teardown_pod(given.plugin, POD, out);
        cni_check_pod(given.plugin, POD, out);
        cni_pod_status(given.plugin, POD, out);
        cni_list_pods(given.plugin, out);
        cni_plugin_status(given.plugin, out);
        cni_plugin_reload(given.plugin, out);
        cni_plugin_capabilities(given.plugin, out);
        cni_plugin_metrics(given.plugin, out);
        cni_plugin_gc(given.plugin, c"{\"validPods\": []}".as_ptr(), out);
        cni_plugin_fd(given.plugin);
        cni_plugin_event(given.plugin, c"x".as_ptr(), EMPTY, out);
        cni_plugin_cancel(given.plugin, ptr::null());
        cni_plugin_start(given.plugin, c"list_pods".as_ptr(), EMPTY, &mut ptr::null_mut(), out);

        cni_runtime_new(EMPTY, ptr::null(), &mut ptr::null_mut(), out);
        cni_runtime_free(given.runtime);
        cni_runtime_add(given.runtime, CONF, RT, out);
        cni_runtime_del(given.runtime, CONF, RT, out);
        cni_runtime_check(given.runtime, CONF, RT, out);
        cni_runtime_cached(given.runtime, CONF, RT, out);
        cni_runtime_gc(given.runtime, CONF, ptr::null(), out);
        cni_runtime_status(given.runtime, CONF, out);
        cni_runtime_validate(given.runtime, CONF, out);
        cni_runtime_plugin_version(given.runtime, c"x".as_ptr(), out);
        cni_runtime_attachments(given.runtime, ptr::null(), out);
        cni_runtime_start(given.runtime, c"status".as_ptr(), CONF, EMPTY, &mut ptr::null_mut(), out);

        cni_op_wait(given.op, 0);
        cni_op_cancel(given.op);
        cni_op_finish(given.op, out);

        cni_confdir_files(c"/nonexistent".as_ptr(), c"[]".as_ptr(), out);
        cni_confdir_load(c"/nonexistent".as_ptr(), c"net".as_ptr(), out);
        cni_conf_parse(CONF, ptr::null(), out);
        cni_result_convert(EMPTY, c"1.0.0".as_ptr(), out);
        cni_json_get(EMPTY, c"".as_ptr(), out);
        cni_json_set(EMPTY, c"/a".as_ptr(), EMPTY, out);
        cni_json_set_string(EMPTY, c"/a".as_ptr(), EMPTY, out);
        cni_netns_create(c"/nonexistent/netns".as_ptr(), out);
        cni_netns_remove(c"/nonexistent/netns".as_ptr(), out);
    }
}

#[test]
fn a_panic_at_any_entry_point_is_its_answer() {
    for (name, call) in rows() {
        let given = Given::new();
        let mut out = ptr::null_mut();
        injected::arm();
        let panicked = call(&given, &raw mut out);
        assert!(!injected::disarm(), "{name} has no guard");
        assert!(panicked, "{name} says something else");
        if !out.is_null() {
            // SAFETY: a string that the call handed out, and that is freed once.
            let words = unsafe {
                let words = CStr::from_ptr(out).to_string_lossy().into_owned();
                cni_string_free(out);
                words
            };
            assert!(words.contains("\"class\":\"CNI_E_PANIC\"") && words.contains("injected"), "{name}: {words}");
        }
        given.end(name);
    }
}

#[test]
fn every_function_of_the_header_is_tried_or_has_nothing_that_could_panic() {
    let header = include_str!("../../include/cnirt.h");
    let declared = |line: &str| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        (line.starts_with(|first: char| first.is_ascii_alphabetic()) && name.starts_with("cni_"))
            .then(|| name.to_owned())
    };
    let mut declared: Vec<_> = header.lines().filter_map(declared).collect();
    declared.sort_unstable();
    let mut known: Vec<_> = rows().into_iter().map(|(name, _)| name).chain(UNGUARDED).collect();
    known.sort_unstable();
    assert_eq!(known, declared);
}
