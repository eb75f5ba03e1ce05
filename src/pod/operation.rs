//! The operations by name, for those who start one in the background: what each is told, and what it answers as JSON.

use serde::Serialize;
use serde_json::json;

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result};
use crate::json::Object;
use crate::pod::metrics::Metrics;
use crate::pod::{GcRequest, NetworkPlugin, PodRequest};

/// One operation, with what it is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// `setup_pod`: attaches a pod to its networks.
    SetupPod(Box<PodRequest>),
    /// `teardown_pod`: detaches a pod from its networks.
    TeardownPod(Box<PodRequest>),
    /// `check_pod`: asks the plugins whether the pod's networks are as they were made.
    CheckPod(Box<PodRequest>),
    /// `pod_status`: a pod's addresses.
    PodStatus(Box<PodRequest>),
    /// `list_pods`: every pod that is recorded.
    ListPods,
    /// `plugin_status`: whether pods can be set up, and what is configured.
    PluginStatus,
    /// `plugin_reload`: reads the configuration again, then as a status.
    PluginReload,
    /// `plugin_capabilities`: what the default network's plugins declare.
    PluginCapabilities,
    /// `plugin_metrics`: Prometheus text.
    PluginMetrics,
    /// `plugin_gc`: deletes what no valid pod has.
    PluginGc(GcRequest),
    /// `plugin_event`: tells of an event.
    PluginEvent {
        /// Its name.
        name: String,
        /// Its details as JSON.
        details: String,
    },
}

/// Reads what an operation is told.
type Read = fn(&'static str, Option<&str>) -> Result<Operation>;

/// Every operation, by the name of its function in C, without the prefix.
const OPERATIONS: [(&str, Read); 11] = [
    ("setup_pod", |name, request| pod(name, request).map(Operation::SetupPod)),
    ("teardown_pod", |name, request| pod(name, request).map(Operation::TeardownPod)),
    ("check_pod", |name, request| pod(name, request).map(Operation::CheckPod)),
    ("pod_status", |name, request| pod(name, request).map(Operation::PodStatus)),
    ("list_pods", |_, request| nothing(request).map(|()| Operation::ListPods)),
    ("plugin_status", |_, request| nothing(request).map(|()| Operation::PluginStatus)),
    ("plugin_reload", |_, request| nothing(request).map(|()| Operation::PluginReload)),
    ("plugin_capabilities", |_, request| nothing(request).map(|()| Operation::PluginCapabilities)),
    ("plugin_metrics", |_, request| nothing(request).map(|()| Operation::PluginMetrics)),
    ("plugin_gc", |name, request| GcRequest::from_json(needed(name, request)?).map(Operation::PluginGc)),
    ("plugin_event", event),
];

impl Operation {
    /// The operation of this name ("`setup_pod`"), with its request read: that of a pod, of a GC; of an event `{name, details?}`;
    /// of all others nothing, or an empty object.
    pub fn parse(name: &str, request: Option<&str>) -> Result<Self> {
        if let Some((name, read)) = OPERATIONS.iter().find(|(known, _)| *known == name) {
            return read(name, request);
        }
        let known = OPERATIONS.map(|(known, _)| known).join(", ");
        Err(Error::invalid(format!("operation: {name:?} is none of {known}")))
    }

    /// The request, where it is about one pod.
    pub(super) fn pod_request(&self) -> Option<&PodRequest> {
        match self {
            Self::SetupPod(request)
            | Self::TeardownPod(request)
            | Self::CheckPod(request)
            | Self::PodStatus(request) => Some(request),
            _ => None,
        }
    }

    /// The request and the operation's name, where it waits for others on its pod.
    pub(super) fn in_turn(&self) -> Option<(&PodRequest, &'static str)> {
        if let Self::PodStatus(_) = self { None } else { self.pod_request().zip(self.counter()) }
    }

    /// What it is counted as, like the manager's method.
    pub(super) fn counter(&self) -> Option<&'static str> {
        match self {
            Self::SetupPod(_) => Some("setup_pod"),
            Self::TeardownPod(_) => Some("teardown_pod"),
            Self::CheckPod(_) => Some("check_pod"),
            Self::PodStatus(_) => Some("pod_status"),
            Self::ListPods => Some("list_pods"),
            Self::PluginStatus => Some("status"),
            Self::PluginReload => Some("reload"),
            Self::PluginCapabilities => Some("capabilities"),
            Self::PluginGc(_) => Some("gc"),
            Self::PluginEvent { .. } => Some("event"),
            Self::PluginMetrics => None,
        }
    }

    /// Does it; the answer is JSON, save for metrics.
    pub(super) fn run(&self, call: &Call, plugin: &dyn NetworkPlugin, metrics: &Metrics) -> Result<String> {
        match self {
            Self::SetupPod(request) => json(plugin.setup_pod(call, request)),
            Self::TeardownPod(request) => json(plugin.teardown_pod(call, request)),
            Self::CheckPod(request) => json(plugin.check_pod(call, request)),
            Self::PodStatus(request) => json(plugin.pod_status(call, request)),
            Self::ListPods => json(plugin.list_pods()),
            Self::PluginStatus => json(plugin.status(call)),
            Self::PluginReload => json(plugin.reload(call)),
            Self::PluginCapabilities => json(plugin.capabilities(call)),
            Self::PluginMetrics => metrics.text(),
            Self::PluginGc(request) => json(plugin.gc(call, request)),
            Self::PluginEvent { name, details } => json(plugin.event(name, details).map(|()| json!({}))),
        }
    }
}

fn json(answer: Result<impl Serialize>) -> Result<String> {
    serde_json::to_string(&answer?)
        .map_err(|error| Error::new(ErrorClass::Unsupported, format!("the answer does not fit JSON: {error}")))
}

fn pod(name: &str, request: Option<&str>) -> Result<Box<PodRequest>> {
    PodRequest::from_json(needed(name, request)?).map(Box::new)
}

fn needed<'a>(name: &str, request: Option<&'a str>) -> Result<&'a str> {
    request.ok_or_else(|| Error::invalid(format!("request: missing, and {name} needs one")))
}

fn nothing(request: Option<&str>) -> Result<()> {
    request.map_or(Ok(()), |request| Object::parse("request", request)?.read(|_| Ok(())))
}

fn event(name: &'static str, request: Option<&str>) -> Result<Operation> {
    Object::parse("event request", needed(name, request)?)?.read(|request| {
        let name = request.required("name")?;
        let details = request.map("details")?;
        Ok(Operation::PluginEvent { name, details: serde_json::Value::Object(details).to_string() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_names_and_their_requests_are_read() {
        let pod = r#"{"id":"a"}"#;
        for (name, request, words) in [
            ("setup_pod", Some(pod), None),
            ("teardown_pod", Some(pod), None),
            ("check_pod", Some(pod), None),
            ("pod_status", Some(pod), None),
            ("list_pods", None, None),
            ("plugin_status", Some("{}"), None),
            ("plugin_reload", None, None),
            ("plugin_capabilities", None, None),
            ("plugin_metrics", None, None),
            ("plugin_event", Some(r#"{"name":"pod-cidr-change","details":{"pod-cidr":"10.0.0.0/8"}}"#), None),
            ("plugin_event", Some(r#"{"name":"x"}"#), None),
            ("plugin_gc", Some(r#"{"validPods":[]}"#), None),
            ("plugin_gc", Some("{}"), Some("GC request: missing key \"validPods\"")),
            ("setup_pod", None, Some("request: missing, and setup_pod needs one")),
            ("setup_pod", Some("{"), Some("pod request is not JSON: ")),
            ("setup_pod", Some("{}"), Some("pod request: missing key \"id\"")),
            ("list_pods", Some(pod), Some("request: unknown key \"id\"")),
            ("plugin_event", Some("{}"), Some("event request: missing key \"name\"")),
            (
                "cni_setup_pod",
                Some(pod),
                Some("operation: \"cni_setup_pod\" is none of setup_pod, teardown_pod, check_"),
            ),
        ] {
            let read = Operation::parse(name, request).map_err(|error| error.to_string());
            match (words, &read) {
                (None, Ok(_)) => {}
                (Some(words), Err(said)) if said.starts_with(words) => {}
                _ => panic!("{name}: {read:?}"),
            }
        }
    }

    #[test]
    fn only_those_that_change_a_pod_wait_for_their_turn() {
        let turn = |name| Operation::parse(name, Some(r#"{"id":"a"}"#)).unwrap().in_turn().is_some();
        assert!(turn("setup_pod") && turn("teardown_pod") && turn("check_pod") && !turn("pod_status"));
        assert!(Operation::parse("list_pods", None).unwrap().in_turn().is_none());
    }
}
