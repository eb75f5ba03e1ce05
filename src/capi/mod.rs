//! The C ABI and nothing else: an entry point parses its arguments, calls the core, and turns the answer into C.
//!
//! Every call goes through `guard`, which stops what must not reach the host: a panic, a little stack, a forked
//! handle, a log line on its terminal. No decision about networks is made here. Below are `pod`, `network`, `op`,
//! `conf`, `result`, `netns` and `error`.
//!
//! `include/cnirt.h` is generated from these files, documentation included, so the comments on C items are written for
//! readers of C: no markup, no Rust. All `unsafe` of the ABI is in this module; each pointer's contract is in the
//! header's words ("NULL:", "Ownership:").
#![allow(clippy::doc_markdown, reason = "these comments become the C header, which has no markup")]
#![allow(clippy::missing_safety_doc, reason = "the header's NULL and Ownership lines are the safety contract")]
#![allow(non_camel_case_types, reason = "the types have their C names")]

mod callbacks;
mod conf;
mod guard;
mod handle;
mod json;
mod library;
mod log;
mod netns;
mod op;
mod plugin;
mod pointer;
mod rc;
mod runtime;
mod strings;

pub use callbacks::{cni_callbacks, cni_reply, cni_reply_set};
pub use conf::{cni_conf_parse, cni_confdir_files, cni_confdir_load, cni_result_convert};
pub use json::{cni_json_get, cni_json_set, cni_json_set_string};
pub use library::{
    CNIRT_VERSION_MAJOR, CNIRT_VERSION_MINOR, CNIRT_VERSION_PATCH, cni_abi_version, cni_rc_name, cni_string_free,
    cni_version,
};
pub use netns::{cni_netns_create, cni_netns_remove};
pub use op::{cni_op, cni_op_cancel, cni_op_fd, cni_op_finish, cni_op_wait, cni_plugin_start, cni_runtime_start};
pub use plugin::{
    cni_check_pod, cni_list_pods, cni_plugin, cni_plugin_cancel, cni_plugin_capabilities, cni_plugin_event,
    cni_plugin_fd, cni_plugin_free, cni_plugin_gc, cni_plugin_metrics, cni_plugin_name, cni_plugin_new,
    cni_plugin_reload, cni_plugin_status, cni_pod_status, cni_setup_pod, cni_teardown_pod,
};
pub use rc::cni_rc;
pub use runtime::{
    cni_runtime, cni_runtime_add, cni_runtime_attachments, cni_runtime_cached, cni_runtime_check, cni_runtime_del,
    cni_runtime_free, cni_runtime_gc, cni_runtime_new, cni_runtime_plugin_version, cni_runtime_status,
    cni_runtime_validate,
};

#[cfg(test)]
mod panic_tests;
