//! The kubelet's view: pods get their networks, keep them, and lose them.
//!
//! [`PluginManager`] wraps a [`NetworkPlugin`] (the CNI one, or the one that does nothing), gives each pod one operation
//! at a time, and counts. Below it are `network`, `store`, `conf` and `netns`; above it only the C ABI.

mod answer;
mod manager;
mod options;
mod request;

use crate::error::Result;

pub use answer::{
    CheckedNetwork, KnownNetwork, KnownPod, LastLoad, NetworkName, NetworkResult, NetworkStatus, PluginStatus,
    PodAttachments, PodChecks, PodIdentity, PodResult, PodStatus, Source, Status,
};
pub use manager::{Hooks, PluginManager};
pub use options::{Builtin, IpPreference, PluginKind, PluginOptions};
pub use request::{Bandwidth, Dns, NetworkChoice, NetworkRequest, PodRequest, PortMapping};

/// What the host tells about its pods (the kubelet's `network.Host`). `None`: the host has no such function.
pub trait Host: Send + Sync {
    /// The path of the pod's network namespace; asked only where a request omits it.
    fn get_netns(&self, pod: &str) -> Option<Result<String>>;

    /// The pod's port mappings as a JSON list; asked only where a request omits them.
    fn get_pod_port_mappings(&self, pod: &str) -> Option<Result<String>>;
}
