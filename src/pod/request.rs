//! The pod request: what an operation on a pod is told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::conf::NetworkConfigList;
use crate::error::Result;
use crate::json::Object;
use crate::names::{ContainerId, IfName};
use crate::pod::PodIdentity;

/// A port of the host that leads to one of the pod (capability `portMappings`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The host's port.
    pub host_port: i32,
    /// The pod's port.
    pub container_port: i32,
    /// `tcp`, `udp` or `sctp`, in lower case.
    pub protocol: String,
    /// The host's address, or empty for all.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
}

/// Limits of the pod's traffic (capability `bandwidth`): rates in bits per second, bursts in bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// Into the pod.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingress_rate: u64,
    /// Into the pod, at once.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingress_burst: u64,
    /// Out of the pod.
    #[serde(skip_serializing_if = "is_zero")]
    pub egress_rate: u64,
    /// Out of the pod, at once.
    #[serde(skip_serializing_if = "is_zero")]
    pub egress_burst: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The pod's resolver (capability `dns`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// Which network a pod is attached to.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkChoice {
    /// The default network.
    Default,
    /// The network of this name in the configuration directory.
    Name(String),
    /// This configuration, given inline.
    Config(Box<NetworkConfigList>),
}

/// One network of a pod request.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRequest {
    /// Which network.
    pub choice: NetworkChoice,
    /// The interface in the pod; else the first free `ethN`.
    pub if_name: Option<IfName>,
    /// Wanted addresses.
    pub ips: Vec<String>,
    /// Wanted hardware address.
    pub mac: Option<String>,
    /// Merged into each plugin's `args`.
    pub args: Map<String, Value>,
    /// More `CNI_ARGS`.
    pub cni_args: Vec<(String, String)>,
    /// Capability arguments, over the pod's.
    pub capability_args: Map<String, Value>,
}

/// One operation on one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodRequest {
    /// The container ID of the pod's sandbox.
    pub id: ContainerId,
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: String,
    /// The path of the network namespace; else the host is asked.
    pub netns: Option<String>,
    /// The default network's interface; else the option's.
    pub if_name: Option<IfName>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Port mappings; `None`: the host is asked.
    pub port_mappings: Option<Vec<PortMapping>>,
    /// Traffic limits; else those of the annotations.
    pub bandwidth: Option<Bandwidth>,
    /// Address ranges (capability `ipRanges`); else the pod CIDR's.
    pub ip_ranges: Option<Vec<Vec<Map<String, Value>>>>,
    /// The resolver.
    pub dns: Option<Dns>,
    /// Wanted addresses, for the first network.
    pub ips: Vec<String>,
    /// Wanted hardware address, for the first network.
    pub mac: Option<String>,
    /// Capability `aliases`.
    pub aliases: Option<Value>,
    /// Capability `cgroupPath`.
    pub cgroup_path: Option<String>,
    /// More `CNI_ARGS`, in order, after the kubelet's.
    pub cni_args: Vec<(String, String)>,
    /// Capability arguments, over all of the above.
    pub capability_args: Map<String, Value>,
    /// The networks; `None`: the default network.
    pub networks: Option<Vec<NetworkRequest>>,
    /// The limit of this call; else the option's.
    pub timeout: Option<Duration>,
    /// Environment for every plugin of this call.
    pub env: BTreeMap<String, String>,
    /// The caller's name for this call.
    pub call_id: Option<String>,
    /// Set-up: remove what is attached first.
    pub replace: bool,
    /// Teardown: go on after errors, and drop the entry in any case.
    pub force: bool,
}

impl PodRequest {
    /// A request with nothing but the container ID.
    pub fn new(id: ContainerId) -> Self {
        Self {
            id,
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            netns: None,
            if_name: None,
            annotations: BTreeMap::new(),
            port_mappings: None,
            bandwidth: None,
            ip_ranges: None,
            dns: None,
            ips: Vec::new(),
            mac: None,
            aliases: None,
            cgroup_path: None,
            cni_args: Vec::new(),
            capability_args: Map::new(),
            networks: None,
            timeout: None,
            env: BTreeMap::new(),
            call_id: None,
            replace: false,
            force: false,
        }
    }

    /// Which pod, for answers.
    pub fn identity(&self) -> PodIdentity {
        PodIdentity { namespace: self.namespace.clone(), name: self.name.clone(), id: self.id.to_string() }
    }

    /// Reads a request's JSON; every refusal names the key.
    pub fn from_json(text: &str) -> Result<Self> {
        Object::parse("pod request", text)?.read(Self::read)
    }

    fn read(object: &mut Object) -> Result<Self> {
        let id = ContainerId::parse(object.required::<String>("id")?)
            .map_err(|error| error.context("pod request, key \"id\""))?;
        let bandwidth = object.object("bandwidth", read_bandwidth)?;
        let dns = object.object("dns", |dns| {
            Ok(Dns {
                servers: dns.or_default("servers")?,
                searches: dns.or_default("searches")?,
                options: dns.or_default("options")?,
            })
        })?;
        Ok(Self {
            id,
            namespace: object.or_default("namespace")?,
            name: object.or_default("name")?,
            uid: object.or_default("uid")?,
            netns: read_netns(object)?,
            if_name: read_if_name(object)?,
            annotations: object.or_default("annotations")?,
            port_mappings: object.optional_objects("portMappings", read_port_mapping)?.map(usable_port_mappings),
            bandwidth,
            ip_ranges: object.optional("ipRanges")?,
            dns,
            ips: read_ips(object)?,
            mac: read_mac(object)?,
            aliases: object.optional::<Vec<String>>("aliases")?.map(Value::from),
            cgroup_path: object.optional("cgroupPath")?,
            cni_args: object.or_default("cniArgs")?,
            capability_args: object.map("capabilityArgs")?,
            networks: object.optional_objects("networks", read_network)?,
            timeout: object.milliseconds("timeoutMs")?,
            env: object.or_default("env")?,
            call_id: object.optional("callId")?,
            replace: object.or_default("replace")?,
            force: object.or_default("force")?,
        })
    }
}

/// Reads what the host answered about port mappings: a list as in a request.
pub(super) fn port_mappings_from_json(text: &str) -> Result<Vec<PortMapping>> {
    let wrapped = format!("{{\"portMappings\":{text}}}");
    let list = Object::parse("the host's port mappings", &wrapped)?
        .read(|object| object.objects("portMappings", read_port_mapping))?;
    Ok(usable_port_mappings(list))
}

/// The kubelet drops mappings without a port of the host.
fn usable_port_mappings(list: Vec<PortMapping>) -> Vec<PortMapping> {
    list.into_iter().filter(|mapping| mapping.host_port > 0).collect()
}

fn read_port_mapping(object: &mut Object) -> Result<PortMapping> {
    let host_port = object.or_default("hostPort")?;
    let container_port = object.required("containerPort")?;
    for (key, port, least) in [("hostPort", host_port, i32::MIN), ("containerPort", container_port, 1)] {
        if !(least..=i32::from(u16::MAX)).contains(&port) {
            return Err(object.refused(key, format!("{port} is not a port")));
        }
    }
    let protocol = object.optional::<String>("protocol")?.filter(|protocol| !protocol.is_empty());
    let host_ip: String = object.or_default("hostIP")?;
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(object.refused("hostIP", format!("{host_ip:?} is not an IP address")));
    }
    let protocol = protocol.map_or_else(|| "tcp".to_owned(), |protocol| protocol.to_lowercase());
    Ok(PortMapping { host_port, container_port, protocol, host_ip })
}

fn read_bandwidth(object: &mut Object) -> Result<Bandwidth> {
    Ok(Bandwidth {
        ingress_rate: object.or_default("ingressRate")?,
        ingress_burst: object.or_default("ingressBurst")?,
        egress_rate: object.or_default("egressRate")?,
        egress_burst: object.or_default("egressBurst")?,
    })
}

fn read_netns(object: &mut Object) -> Result<Option<String>> {
    match object.optional::<String>("netns")? {
        Some(path) if path.contains('\0') => Err(object.refused("netns", "there is a NUL in it")),
        path => Ok(path.filter(|path| !path.is_empty())),
    }
}

fn read_if_name(object: &mut Object) -> Result<Option<IfName>> {
    let Some(name) = object.optional::<String>("ifName")? else { return Ok(None) };
    IfName::parse(name).map(Some).map_err(|error| object.refused("ifName", error))
}

fn read_ips(object: &mut Object) -> Result<Vec<String>> {
    let ips: Vec<String> = object.or_default("ips")?;
    for ip in &ips {
        if ip.parse::<IpAddr>().is_err() && ip.parse::<IpNet>().is_err() {
            return Err(object.refused("ips", format!("{ip:?} is not an IP address, with or without prefix")));
        }
    }
    Ok(ips)
}

fn read_mac(object: &mut Object) -> Result<Option<String>> {
    let Some(mac) = object.optional::<String>("mac")? else { return Ok(None) };
    let bytes: Vec<&str> = mac.split([':', '-']).collect();
    let is_byte = |byte: &&str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    // Ethernet has 6 bytes, EUI-64 has 8, InfiniBand has 20.
    if matches!(bytes.len(), 6 | 8 | 20) && bytes.iter().all(is_byte) {
        return Ok(Some(mac));
    }
    Err(object.refused("mac", format!("{mac:?} is not a hardware address")))
}

fn read_network(object: &mut Object) -> Result<NetworkRequest> {
    let name: Option<String> = object.optional("name")?;
    let default: bool = object.or_default("default")?;
    let config = object.optional_map("config")?;
    let choice = match (name, default, config) {
        (Some(name), false, None) => NetworkChoice::Name(name),
        (None, true, None) => NetworkChoice::Default,
        (None, false, Some(config)) => {
            let bytes = Value::Object(config).to_string();
            let list = NetworkConfigList::from_any(bytes.as_bytes());
            NetworkChoice::Config(Box::new(list.map_err(|error| {
                let class = error.class();
                object.refused("config", error).with_class(class)
            })?))
        }
        _ => {
            return Err(
                object.refused("name", "exactly one of \"name\", \"default\": true and \"config\" must be given")
            );
        }
    };
    Ok(NetworkRequest {
        choice,
        if_name: read_if_name(object)?,
        ips: read_ips(object)?,
        mac: read_mac(object)?,
        args: object.map("args")?,
        cni_args: object.or_default("cniArgs")?,
        capability_args: object.map("capabilityArgs")?,
    })
}
