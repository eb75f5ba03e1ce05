//! The manager around a network plugin.

use std::sync::Arc;

use crate::error::Result;
use crate::invoke::callback::PluginCallbacks;
use crate::pod::{Host, KnownPod, PluginOptions, PodAttachments, PodChecks, PodRequest, PodResult, PodStatus, Status};

/// What a host can do itself instead of the built-in way.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Answers about pods.
    pub host: Option<Arc<dyn Host>>,
    /// Finds and runs plugins.
    pub plugins: Option<Arc<dyn PluginCallbacks>>,
}

/// The kubelet's `PluginManager`: any number of threads may call it.
pub struct PluginManager {}

impl PluginManager {
    /// Makes the network plugin and reads the configuration; a node without one is no error.
    pub fn new(_options: PluginOptions, _hooks: Hooks) -> Result<Self> {
        todo!()
    }

    /// `cni` or `kubernetes.io/no-op`.
    pub fn plugin_name(&self) -> &'static std::ffi::CStr {
        todo!()
    }

    /// Attaches a pod to its networks.
    pub fn setup_pod(&self, _request: &PodRequest) -> Result<PodResult> {
        todo!()
    }

    /// Detaches a pod from all its networks.
    pub fn teardown_pod(&self, _request: &PodRequest) -> Result<PodAttachments> {
        todo!()
    }

    /// Asks the plugins whether the pod's networks are as they were made.
    pub fn check_pod(&self, _request: &PodRequest) -> Result<PodChecks> {
        todo!()
    }

    /// A pod's addresses.
    pub fn pod_status(&self, _request: &PodRequest) -> Result<PodStatus> {
        todo!()
    }

    /// Every pod that is recorded.
    pub fn list_pods(&self) -> Result<Vec<KnownPod>> {
        todo!()
    }

    /// Whether pods can be set up, and what is configured.
    pub fn status(&self) -> Result<Status> {
        todo!()
    }

    /// Reads the configuration again whether it changed or not, then as [`status`](Self::status).
    pub fn reload(&self) -> Result<Status> {
        todo!()
    }

    /// The capabilities that the default network's plugins declare, sorted.
    pub fn capabilities(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// Tells of an event (`pod-cidr-change` with `{"pod-cidr": …}`); unknown names are ignored.
    pub fn event(&self, _name: &str, _details: &str) -> Result<()> {
        todo!()
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        todo!()
    }

    /// Cancels the running and waiting calls whose call id or pod id is `id`; `None`: all. Answers how many.
    pub fn cancel(&self, _id: Option<&str>) -> usize {
        todo!()
    }
}
