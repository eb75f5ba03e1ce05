//! The network plugin that does nothing (the kubelet's `NoopNetworkPlugin`), for pods on the host's network and for tests.

use std::ffi::CStr;

use crate::call::Call;
use crate::error::Result;
use crate::pod::{
    Collected, GcRequest, KnownPod, LastLoad, NetworkPlugin, PodAttachments, PodChecks, PodRequest, PodResult,
    PodStatus, Source, Status,
};

/// Every operation succeeds and does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopNetworkPlugin;

impl NetworkPlugin for NoopNetworkPlugin {
    fn name(&self) -> &'static CStr {
        c"kubernetes.io/no-op"
    }

    fn setup_pod(&self, _call: &Call, request: &PodRequest) -> Result<PodResult> {
        Ok(PodResult { pod: request.identity(), ips: Vec::new(), networks: Vec::new() })
    }

    fn teardown_pod(&self, _call: &Call, request: &PodRequest) -> Result<PodAttachments> {
        Ok(PodAttachments { pod: request.identity(), networks: Vec::new(), errors: Vec::new() })
    }

    fn check_pod(&self, _call: &Call, request: &PodRequest) -> Result<PodChecks> {
        Ok(PodChecks { pod: request.identity(), networks: Vec::new() })
    }

    fn pod_status(&self, call: &Call, request: &PodRequest) -> Result<PodStatus> {
        Ok(PodStatus { result: self.setup_pod(call, request)?, source: Source::Cache })
    }

    fn list_pods(&self) -> Result<Vec<KnownPod>> {
        Ok(Vec::new())
    }

    fn status(&self, _call: &Call) -> Result<Status> {
        Ok(Status {
            ready: true,
            reason: None,
            code: None,
            limited_connectivity: false,
            default_network: None,
            pod_cidr: None,
            last_load: LastLoad { ok: true, error: None },
            networks: Vec::new(),
        })
    }

    fn reload(&self, call: &Call) -> Result<Status> {
        self.status(call)
    }

    fn capabilities(&self, _call: &Call) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn gc(&self, _call: &Call, _request: &GcRequest) -> Result<Collected> {
        Ok(Collected::default())
    }

    fn event(&self, _name: &str, _details: &str) -> Result<()> {
        Ok(())
    }
}
