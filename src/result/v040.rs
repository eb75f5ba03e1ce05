//! The result of 0.3.0, 0.3.1 and 0.4.0: interfaces and any number of addresses (libcni's `types040`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::decode::{self, Node, Read};
use super::types::{Dns, Route, cidr};

/// The versions of this shape.
pub(super) const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0"];

/// A result of 0.3.0, 0.3.1 or 0.4.0. An element of a list is `None` where the plugin printed null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Result040 {
    /// "0.3.0", "0.3.1" or "0.4.0".
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// The interfaces that the attachment made, on both sides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Option<Interface040>>,
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<Option<IpConfig040>>,
    /// The routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Option<Route>>,
    /// Written even when empty, as Go does.
    pub dns: Dns,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface040 {
    /// Its name.
    pub name: String,
    /// Its hardware address; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// The path of its network namespace; empty on the host's side.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpConfig040 {
    /// "4" or "6" as the plugin says; nobody compares it with the address.
    pub version: String,
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

impl Result040 {
    pub(super) fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            cni_version: fields.get("cniVersion", decode::string)?,
            interfaces: fields.get("interfaces", decode::list(decode::optional(Interface040::decode)))?,
            ips: fields.get("ips", decode::list(decode::optional(IpConfig040::decode)))?,
            routes: fields.get("routes", decode::list(decode::optional(Route::decode)))?,
            dns: fields.get("dns", Dns::decode)?,
        })
    }
}

impl Interface040 {
    fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            name: fields.get("name", decode::string)?,
            mac: fields.get("mac", decode::string)?,
            sandbox: fields.get("sandbox", decode::string)?,
        })
    }
}

impl IpConfig040 {
    fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            version: fields.get("version", decode::string)?,
            interface: fields.get("interface", decode::optional(decode::int))?,
            address: fields.get("address", decode::cidr)?,
            gateway: fields.get("gateway", decode::ip)?,
        })
    }
}
