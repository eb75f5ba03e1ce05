//! What the operations answer, as JSON shapes.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

/// Which pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodIdentity {
    /// The pod's Kubernetes namespace, or empty.
    pub namespace: String,
    /// The pod's name, or empty.
    pub name: String,
    /// The container ID of its sandbox.
    pub id: String,
}

/// One attachment's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkName {
    /// The network.
    pub network: String,
    /// The interface in the pod.
    pub if_name: String,
}

/// The answer of a set-up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodResult {
    /// Which pod.
    pub pod: PodIdentity,
    /// The addresses of the first network's interface, without prefix.
    pub ips: Vec<IpAddr>,
    /// The networks, in the order in which they were attached.
    pub networks: Vec<NetworkResult>,
}

/// One network's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkResult {
    /// Which attachment.
    #[serde(flatten)]
    pub name: NetworkName,
    /// The last plugin's result, in the network's version; null where the cache has none.
    pub result: Value,
}

/// Where a pod's addresses were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// From the pod's namespace.
    Netlink,
    /// From the cached result: the namespace is gone or unknown.
    Cache,
}

/// The answer of a pod status.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodStatus {
    /// As a set-up answers it.
    #[serde(flatten)]
    pub result: PodResult,
    /// Where `ips` come from.
    pub source: Source,
}

/// The answer of a teardown: what was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodAttachments {
    /// Which pod.
    pub pod: PodIdentity,
    /// The attachments.
    pub networks: Vec<NetworkName>,
    /// Error objects, only where the removal was forced: what may be left behind although its record is gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Value>,
}

/// The answer of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodChecks {
    /// Which pod.
    pub pod: PodIdentity,
    /// The attachments.
    pub networks: Vec<CheckedNetwork>,
}

/// One attachment in the answer of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedNetwork {
    /// Which attachment.
    #[serde(flatten)]
    pub name: NetworkName,
    /// False where the version has no CHECK (below 0.4.0) or the list says `disableCheck`.
    pub checked: bool,
}

/// One pod in the list of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownPod {
    /// Which pod, with the names from its recorded `CNI_ARGS`.
    pub pod: PodIdentity,
    /// Its attachments.
    pub networks: Vec<KnownNetwork>,
}

/// One attachment in the list of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownNetwork {
    /// Which attachment.
    #[serde(flatten)]
    pub name: NetworkName,
    /// The recorded path of the namespace, or empty.
    pub netns: String,
    /// Who made it; null where another runtime did.
    pub owner: Option<String>,
    /// A set-up that neither finished nor was undone.
    pub unfinished: bool,
}

/// The answer of a GC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// The attachments that were deleted.
    pub deleted: Vec<CollectedNetwork>,
}

/// One attachment in the answer of a GC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollectedNetwork {
    /// The container ID of the pod's sandbox.
    pub id: String,
    /// Which attachment of it.
    #[serde(flatten)]
    pub name: NetworkName,
}

/// The answer of a status.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether pods can be set up on the default network.
    pub ready: bool,
    /// Why not, or what is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The CNI code behind `reason` (50, 51, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u64>,
    /// Plugins answered STATUS with code 51.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub limited_connectivity: bool,
    /// The default network's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_network: Option<String>,
    /// The node's pod CIDR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<String>,
    /// How the last reading of the directory went.
    pub last_load: LastLoad,
    /// Every network file, valid or not.
    pub networks: Vec<NetworkStatus>,
}

/// How the last reading of the configuration went.
#[derive(Clone, Debug, Serialize)]
pub struct LastLoad {
    /// Whether it found a default network.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One network file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// The network's name, empty where the file cannot be read.
    pub name: String,
    /// The file's path.
    pub file: String,
    /// The version that its plugins run with.
    pub cni_version: String,
    /// Whether it could serve as default network.
    pub valid: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The capabilities that its plugins declare, sorted.
    pub capabilities: Vec<String>,
    /// Its plugins, in order.
    pub plugins: Vec<PluginStatus>,
}

/// One plugin of a network.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// The plugin's type.
    #[serde(rename = "type")]
    pub plugin_type: String,
    /// The file that configures it.
    pub file: String,
    /// The binary, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Who runs it: `process`, or `builtin`.
    pub engine: &'static str,
}
