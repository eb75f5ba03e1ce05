//! The result of 1.0.0 and 1.1.0 (libcni's `types100`). The keys that 1.1.0 added are read and written in both.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::decode::{self, Node, Read};
use super::types::{Dns, Route, cidr, is_zero};

/// The versions of this shape.
pub(super) const VERSIONS: &[&str] = &["1.0.0", "1.1.0"];

/// A result of 1.0.0 or 1.1.0. An element of a list is `None` where the plugin printed null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Result100 {
    /// "1.0.0" or "1.1.0".
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// The interfaces that the attachment made, on both sides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Option<Interface100>>,
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<Option<IpConfig100>>,
    /// The routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Option<Route>>,
    /// Left out when empty, unlike before 1.0.0.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface100 {
    /// Its name.
    pub name: String,
    /// Its hardware address; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU in bytes; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: i64,
    /// The path of its network namespace; empty on the host's side.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The path of a socket that stands for it (vhost-user); empty is none.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// The PCI device behind it; empty is none.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpConfig100 {
    /// The index of its interface in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<i64>,
    /// The address with its prefix length; `None` where the plugin left it out, which libcni writes as `<nil>`.
    #[serde(serialize_with = "cidr")]
    pub address: Option<IpNet>,
    /// The default gateway of the address's subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl Result100 {
    pub(super) fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            cni_version: fields.get("cniVersion", decode::string)?,
            interfaces: fields.get("interfaces", decode::list(decode::optional(Interface100::decode)))?,
            ips: fields.get("ips", decode::list(decode::optional(IpConfig100::decode)))?,
            routes: fields.get("routes", decode::list(decode::optional(Route::decode)))?,
            dns: fields.get("dns", Dns::decode)?,
        })
    }
}

impl Interface100 {
    fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            name: fields.get("name", decode::string)?,
            mac: fields.get("mac", decode::string)?,
            mtu: fields.get("mtu", decode::int)?,
            sandbox: fields.get("sandbox", decode::string)?,
            socket_path: fields.get("socketPath", decode::string)?,
            pci_id: fields.get("pciID", decode::string)?,
        })
    }
}

impl IpConfig100 {
    fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            interface: fields.get("interface", decode::optional(decode::int))?,
            address: fields.get("address", decode::cidr)?,
            gateway: fields.get("gateway", decode::ip)?,
        })
    }
}
