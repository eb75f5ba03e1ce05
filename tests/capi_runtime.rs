//! libcni's operations through the C functions, with a plugin that is a real process.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::ptr;

use cnirt::capi::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Writes down what it is asked; fails where a file says so.
const PLUGIN: &str = r#"#!/bin/sh
dir=$(dirname "$0")
stdin=$(cat)
echo $CNI_COMMAND $CNI_CONTAINERID $CNI_ARGS $EXTRA >>"$dir/log"
printf %s "$stdin" >"$dir/$CNI_COMMAND"
if [ -e "$dir/fail-$CNI_COMMAND" ]; then
    cat "$dir/fail-$CNI_COMMAND"
    exit 1
fi
case $CNI_COMMAND in
ADD) echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}],"unknown":1}' ;;
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0","1.1.0"]}' ;;
esac
"#;
const CONF: &str = r#"{"name":"net","cniVersion":"1.1.0","plugins":[{"type":"test","capabilities":{"ports":true}}]}"#;
const SINGLE: &str = r#"{"name":"net","cniVersion":"1.1.0","type":"test"}"#;
const RT: &str = r#"{"containerID":"c1","netns":"/ns","ifName":"eth0","args":[["K","V"]],"env":{"EXTRA":"x"}}"#;

/// The string that a call put into its `out`, freed.
fn taken(out: *mut c_char) -> String {
    // SAFETY: every call writes a string of the library's.
    let text = unsafe { CStr::from_ptr(out) }.to_str().unwrap().to_owned();
    // SAFETY: as above, and it is used no more.
    unsafe { cni_string_free(out) };
    text
}

/// What a call says.
fn said(call: impl FnOnce(*mut *mut c_char) -> cni_rc) -> (cni_rc, Value) {
    let mut out = ptr::null_mut();
    let rc = call(&raw mut out);
    (rc, serde_json::from_str(&taken(out)).unwrap())
}

struct Node {
    dir: TempDir,
    runtime: *mut cni_runtime,
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: made by `node`, freed once.
        unsafe { cni_runtime_free(self.runtime) };
    }
}

fn node(options: &Value) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("test");
    fs::write(&plugin, PLUGIN).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let mut all = json!({"binDirs": [dir.path()], "cacheDir": dir.path().join("cache"), "durability": "atomic"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let (options, mut runtime) = (c(&all.to_string()), ptr::null_mut());
    // SAFETY: a string, no callbacks, and places of this test's.
    let rc = unsafe { cni_runtime_new(options.as_ptr(), ptr::null(), &raw mut runtime, ptr::null_mut()) };
    assert_eq!(rc, cni_rc::CNI_OK);
    Node { dir, runtime }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

type OnContainer = unsafe extern "C" fn(*mut cni_runtime, *const c_char, *const c_char, *mut *mut c_char) -> cni_rc;
type OnNetwork = unsafe extern "C" fn(*mut cni_runtime, *const c_char, *mut *mut c_char) -> cni_rc;

impl Node {
    fn two(&self, function: OnContainer, conf: &str, rt: &str) -> (cni_rc, Value) {
        let (conf, rt) = (c(conf), c(rt));
        // SAFETY: the handle lives; the strings, too.
        said(|out| unsafe { function(self.runtime, conf.as_ptr(), rt.as_ptr(), out) })
    }

    fn one(&self, function: OnNetwork, text: &str) -> (cni_rc, Value) {
        let text = c(text);
        // SAFETY: as above.
        said(|out| unsafe { function(self.runtime, text.as_ptr(), out) })
    }

    /// What the plugin was asked since the last time.
    fn log(&self) -> String {
        let path = self.dir.path().join("log");
        let log = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        log.trim_end().replace('\n', ", ")
    }

    fn stdin(&self, command: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.dir.path().join(command)).unwrap()).unwrap()
    }
}

const OK: cni_rc = cni_rc::CNI_OK;

#[test]
fn a_container_is_attached_looked_at_and_detached() {
    let node = node(&json!({}));
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]});
    for conf in [CONF, SINGLE] {
        assert_eq!(node.two(cni_runtime_add, conf, RT), (OK, result.clone()), "{conf}");
        assert_eq!(node.log(), "ADD c1 K=V x");
        let (rc, cached) = node.two(cni_runtime_cached, conf, RT);
        assert_eq!((rc, &cached["config"]), (OK, &json!(conf)));
        assert_eq!((&cached["result"]["cniVersion"], &cached["rt"]["args"]), (&json!("1.1.0"), &json!([["K", "V"]])));
        // SAFETY: NULL is allowed.
        let (rc, all) = said(|out| unsafe { cni_runtime_attachments(node.runtime, ptr::null(), out) });
        assert_eq!((rc, &all[0]["containerID"], &all[0]["config"]), (OK, &json!("c1"), &json!(conf)));
        assert_eq!(node.one(cni_runtime_attachments, "c2"), (OK, json!([])));
        assert_eq!(node.two(cni_runtime_check, conf, RT), (OK, json!({})));
        assert_eq!(node.stdin("CHECK")["prevResult"]["cniVersion"], "1.1.0");
        assert_eq!(node.two(cni_runtime_del, conf, RT), (OK, json!({})));
        assert_eq!(node.log(), "CHECK c1 K=V x, DEL c1 K=V x");
        assert_eq!(node.one(cni_runtime_attachments, "c1"), (OK, json!([])));
    }
}

#[test]
fn a_network_is_asked_about_and_cleaned_up() {
    let node = node(&json!({}));
    assert_eq!(node.one(cni_runtime_status, CONF), (OK, json!({})));
    assert_eq!(node.one(cni_runtime_validate, CONF), (OK, json!({"capabilities": ["ports"]})));
    let versions = json!({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", "1.1.0"]});
    assert_eq!(node.one(cni_runtime_plugin_version, "test"), (OK, versions));
    assert_eq!(node.log(), "STATUS, VERSION, VERSION");
    node.two(cni_runtime_add, CONF, RT);
    node.log();
    let valid = r#"{"validAttachments":[{"containerID":"c1","ifname":"eth0"}]}"#;
    assert_eq!(node.two(cni_runtime_gc, CONF, valid), (OK, json!({})));
    assert_eq!(node.log(), "GC");
    assert_eq!(node.stdin("GC")["cni.dev/attachments"], json!([{"containerID": "c1", "ifname": "eth0"}]));
    let conf = c(CONF);
    // SAFETY: NULL is allowed for the arguments.
    let swept = said(|out| unsafe { cni_runtime_gc(node.runtime, conf.as_ptr(), ptr::null(), out) });
    assert_eq!((swept, node.log().as_str()), ((OK, json!({})), "DEL c1 K=V, GC"));
    fs::write(node.dir.path().join("fail-STATUS"), r#"{"code":50,"msg":"not yet"}"#).unwrap();
    let (rc, error) = node.one(cni_runtime_status, CONF);
    assert_eq!((rc, &error["code"], &error["msg"]), (cni_rc::CNI_E_NOT_READY, &json!(50), &json!("not yet")));
}

#[test]
fn a_failed_add_is_undone_only_where_that_is_asked() {
    for (options, ran) in [(json!({}), "ADD c1 K=V x"), (json!({"rollback": true}), "ADD c1 K=V x, DEL c1 K=V x")] {
        let node = node(&options);
        fs::write(node.dir.path().join("fail-ADD"), r#"{"code":11,"msg":"busy","details":"d"}"#).unwrap();
        let (rc, error) = node.two(cni_runtime_add, CONF, RT);
        assert_eq!((rc, &error["msg"]), (cni_rc::CNI_E_RETRY, &json!("plugin type=\"test\" failed (add): busy; d")));
        assert_eq!(error["cause"], json!({"code": 11, "msg": "busy", "details": "d"}));
        let (_, error) = node.two(cni_runtime_add, SINGLE, RT);
        assert_eq!(error["msg"], "busy; d");
        assert_eq!(node.log(), format!("{ran}, {ran}"));
    }
}

#[test]
fn a_plugin_that_hangs_is_stopped_at_the_calls_limit() {
    let node = node(&json!({"killGraceMs": 0}));
    // A FIFO that nobody writes to.
    rustix::fs::mkfifoat(rustix::fs::CWD, node.dir.path().join("fail-ADD"), 0o600.into()).unwrap();
    let (rc, error) = node.two(cni_runtime_add, CONF, &RT.replace("\"netns\"", "\"timeoutMs\":200,\"netns\""));
    assert_eq!(rc, cni_rc::CNI_E_TIMEOUT, "{error}");
}

#[test]
fn a_free_cancels_what_runs_and_waits_for_it() {
    let node = node(&json!({"killGraceMs": 0}));
    let fifo = node.dir.path().join("fail-ADD");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let (runtime, conf, rt) = (node.runtime.expose_provenance(), c(CONF), c(RT));
    let call = std::thread::spawn(move || {
        let runtime = ptr::with_exposed_provenance_mut(runtime);
        // SAFETY: the handle lives until this call has ended; the strings, too.
        unsafe { cni_runtime_add(runtime, conf.as_ptr(), rt.as_ptr(), ptr::null_mut()) }
    });
    // Opened when the plugin has opened the other end, and held, so that the plugin stays.
    let _held = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    drop(node);
    assert_eq!(call.join().unwrap(), cni_rc::CNI_E_CANCELLED);
}

#[test]
fn a_directorys_network_is_loaded_changed_and_used() {
    let node = node(&json!({}));
    let conf_dir = node.dir.path().join("net.d");
    let write = |name: &str, text: &str| {
        let path = conf_dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    };
    write("1.conflist", r#"{"name":"other","plugins":[{"type":"test"}]}"#);
    write("2.conflist", r#"{"name":"net","cniVersion":"1.0.0"}"#);
    write("net/a.conf", r#"{"type":"test","mtu":9000}"#);
    write("3.conf", r#"{"name":"single","type":"test"}"#);
    let text = |path: &Path| c(path.to_str().unwrap());
    let (dir, extensions) = (text(&conf_dir), c(r#"[".conf",".conflist"]"#));
    // SAFETY: strings that live.
    let (rc, files) = said(|out| unsafe { cni_confdir_files(dir.as_ptr(), extensions.as_ptr(), out) });
    let expected = ["1.conflist", "2.conflist", "3.conf"].map(|name| conf_dir.join(name));
    assert_eq!((rc, files), (OK, json!(expected)));
    // SAFETY: as above.
    let load = |name: &CStr| said(|out| unsafe { cni_confdir_load(dir.as_ptr(), name.as_ptr(), out) });
    assert_eq!(load(c"single").1["plugins"][0]["type"], "test");
    assert_eq!(load(c"missing").0, cni_rc::CNI_E_NOT_FOUND);
    let (rc, mut list) = load(c"net");
    assert_eq!((rc, &list["file"]), (OK, &json!(conf_dir.join("2.conflist"))));
    let (json, dir) = (c(r#"{"name":"net","cniVersion":"1.0.0"}"#), &dir);
    // SAFETY: as above.
    let (rc, parsed) = said(|out| unsafe { cni_conf_parse(json.as_ptr(), dir.as_ptr(), out) });
    assert_eq!((rc, &parsed["plugins"]), (OK, &list["plugins"]));
    list["cniVersion"] = "1.1.0".into();
    assert_eq!(node.two(cni_runtime_add, &list.to_string(), RT).0, OK);
    assert_eq!(node.stdin("ADD"), json!({"cniVersion": "1.1.0", "name": "net", "type": "test", "mtu": 9000}));
}

#[test]
fn a_result_is_converted() {
    let convert = |result: &CStr, version: &CStr| {
        // SAFETY: strings that live.
        said(|out| unsafe { cni_result_convert(result.as_ptr(), version.as_ptr(), out) })
    };
    let old = c"{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.2/24\"}}";
    let new = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}]});
    assert_eq!(convert(old, c"1.1.0"), (OK, new));
    assert_eq!(convert(c"{", c"1.1.0").0, cni_rc::CNI_E_INVALID_ARGUMENT);
    assert_eq!(convert(old, c"1.2.0").0, cni_rc::CNI_E_UNSUPPORTED);
}
