//! The kubelet's view: pods get their networks, keep them, and lose them.
//!
//! [`PluginManager`] wraps a [`NetworkPlugin`] (the CNI one, or the one that does nothing), gives each pod one operation
//! at a time, and counts. Below it are `network`, `store`, `conf` and `netns`; above it only the C ABI.

mod answer;
mod attached;
mod bandwidth;
mod calls;
mod check;
mod cni;
mod gc;
mod list;
mod loopback;
mod manager;
mod metrics;
mod noop;
mod notify;
mod operation;
mod options;
#[cfg(test)]
mod power_cut_tests;
mod request;
mod runtime_conf;
mod setup;
mod status;
mod teardown;
#[cfg(test)]
mod tests;
mod watch;

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result};

pub use answer::{
    CheckedNetwork, Collected, CollectedNetwork, KnownNetwork, KnownPod, LastLoad, NetworkName, NetworkResult,
    NetworkStatus, PluginStatus, PodAttachments, PodChecks, PodIdentity, PodResult, PodStatus, Source, Status,
};
pub use cni::{CniNetwork, CniNetworkPlugin};
pub use gc::GcRequest;
pub use manager::{Hooks, PluginManager};
pub use noop::NoopNetworkPlugin;
pub use operation::Operation;
pub use options::{Builtin, IpPreference, PluginKind, PluginOptions};
pub use request::{Bandwidth, Dns, NetworkChoice, NetworkRequest, PodRequest, PortMapping};

/// A network plugin (the kubelet's interface of this name). The manager calls it with one operation a pod at a time.
pub trait NetworkPlugin: Send + Sync {
    /// Its name, as the kubelet knows it.
    fn name(&self) -> &'static CStr;

    /// Attaches a pod to its networks.
    fn setup_pod(&self, call: &Call, request: &PodRequest) -> Result<PodResult>;

    /// Detaches a pod from its networks.
    fn teardown_pod(&self, call: &Call, request: &PodRequest) -> Result<PodAttachments>;

    /// Asks the plugins whether the pod's networks are as they were made.
    fn check_pod(&self, call: &Call, request: &PodRequest) -> Result<PodChecks>;

    /// A pod's addresses (the kubelet's `GetPodNetworkStatus`).
    fn pod_status(&self, call: &Call, request: &PodRequest) -> Result<PodStatus>;

    /// Every pod that is recorded.
    fn list_pods(&self) -> Result<Vec<KnownPod>>;

    /// Whether pods can be set up, and what is configured.
    fn status(&self, call: &Call) -> Result<Status>;

    /// Reads the configuration again, then as [`status`](Self::status).
    fn reload(&self, call: &Call) -> Result<Status>;

    /// The capabilities that the default network's plugins declare, sorted.
    fn capabilities(&self, call: &Call) -> Result<Vec<String>>;

    /// Deletes what no valid pod has, and runs the plugins' own GC.
    fn gc(&self, call: &Call, request: &GcRequest) -> Result<Collected>;

    /// Tells of an event; unknown names are ignored.
    fn event(&self, name: &str, details: &str) -> Result<()>;

    /// A descriptor that is readable where the configuration may have changed, until a status or a reload succeeds.
    /// `E_UNSUPPORTED` where there is no configuration.
    fn changes(&self) -> Result<BorrowedFd<'_>> {
        let name = self.name().to_string_lossy();
        Err(Error::new(ErrorClass::Unsupported, format!("network plugin {name}: there is no configuration to watch")))
    }
}

/// What the host tells about its pods (the kubelet's `network.Host`). `None`: the host has no such function.
pub trait Host: Send + Sync {
    /// The path of the pod's network namespace; asked only where a request omits it.
    fn get_netns(&self, pod: &str) -> Option<Result<String>>;

    /// The pod's port mappings as a JSON list; asked only where a request omits them.
    fn get_pod_port_mappings(&self, pod: &str) -> Option<Result<String>>;
}
