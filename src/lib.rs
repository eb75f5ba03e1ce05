//! cnirt is the container-runtime side of CNI, the Container Network Interface: it reads a node's network configuration,
//! runs the CNI plugins for a pod's network namespace, records what they did, and undoes it.
//!
//! Programs in C, Go and Python use it through the C ABI (`include/cnirt.h`, feature `capi`); Rust programs use this
//! crate with `default-features = false`. It is a guest in its host's process: it takes no signal, prints nothing, its
//! plugins are children that the host never sees, and only background calls leave threads, which end with their handle.
//!
//! # Map
//!
//! Each module knows those below it and nobody above.
//!
//! | module | what it is for |
//! |---|---|
//! | `capi` | the C ABI: parse, call, convert |
//! | [`pod`] | the kubelet's view: set-up, teardown, check and status of pods |
//! | [`op`] | calls in the background: a pool of threads, and one call's handle |
//! | [`network`] | one network list or single network: a verb a file; libcni for callers that speak JSON |
//! | [`invoke`] | one plugin, run once |
//! | [`store`] | what is on disk; serves `network` and `pod` |
//! | [`conf`] | network lists, parsed and found |
//! | [`result`] | results of every specification version, and conversion |
//! | [`netns`] | network namespaces, and netlink inside one |
//! | [`call`] | limits of one call: deadline, cancellation, environment |
//! | [`names`], [`version`], [`error`], `json`, `thread`, `fds` | the floor |
//!
//! # Where the reference's parts live
//!
//! | Go (the kubelet's dockershim, libcni) | here |
//! |---|---|
//! | `network.PluginManager` | [`pod::PluginManager`] |
//! | `network.NetworkPlugin`, `NoopNetworkPlugin` | [`pod::NetworkPlugin`], [`pod::NoopNetworkPlugin`] |
//! | `cniNetworkPlugin`, `cniNetwork` | [`pod::CniNetworkPlugin`], [`pod::CniNetwork`] |
//! | `loNetwork` | `pod::loopback`: the list `cni-loopback`, by the plugin or built in |
//! | `sync.RWMutex` and `defaultNetwork` | a snapshot, built aside and swapped |
//! | `network.Host`, `execer`, `nsenterPath` | [`pod::Host`]; addresses come from netlink |
//! | `ProbeNetworkPlugins`, `Init`, `syncNetworkConfig` | [`pod::PluginManager::new`], [`pod::PluginManager::reload`] |
//! | `Status`, `Event`, `Capabilities`, `Name` | the methods of these names |
//! | `SetUpPod`, `addToNetwork`, `buildCNIRuntimeConf` | `pod::setup`, `pod::runtime_conf` |
//! | `TearDownPod`, `deleteFromNetwork` | `pod::teardown` |
//! | `GetPodNetworkStatus` | [`pod::PluginManager::pod_status`] |
//! | `libcni.CNI`, `CNIConfig` | [`network::Cni`], [`network::CniConfig`]; with JSON in and out [`network::Runtime`] |
//! | `libcni.RuntimeConf`, `GCArgs` | [`network::RuntimeConf`], [`network::GcArgs`] |
//! | `libcni.NetworkConfigList`, `PluginConfig` | [`conf::NetworkConfigList`], [`conf::PluginConfig`] |
//! | `types.Result` and its versions | [`result::CniResult`] |
//! | `invoke.Exec`, `RawExec`, `FindInPath`, `Args` | [`invoke::Exec`], [`invoke::process`], [`invoke::find`], [`invoke::env`] |
//!
//! The kubelet's `Init` also loads a kernel module and sets bridge sysctls; a library does not.
//!
//! # Example
//!
//! ```no_run
//! use cnirt::pod::{Hooks, PluginManager, PluginOptions, PodRequest};
//!
//! # fn main() -> cnirt::Result<()> {
//! let plugin = PluginManager::new(PluginOptions::default(), Hooks::default())?;
//! let request = PodRequest::from_json(r#"{"id": "pod1", "netns": "/run/netns/pod1"}"#)?;
//! println!("{:?}", plugin.setup_pod(&request)?.ips);
//! plugin.teardown_pod(&request)?;
//! # Ok(())
//! # }
//! ```

pub mod call;
#[cfg(feature = "capi")]
pub mod capi;
pub mod conf;
pub mod error;
mod fds;
pub mod invoke;
mod json;
mod listing;
pub mod names;
pub mod netns;
pub mod network;
pub mod op;
pub mod pod;
pub mod result;
pub mod store;
#[cfg(test)]
mod testing;
mod thread;
pub mod version;

pub use error::{Error, ErrorClass, Result};
