//! The result of 0.1.0 and 0.2.0: at most one IPv4 and one IPv6 address (libcni's `types020`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::decode::{self, Node, Read};
use super::types::{Dns, Route, cidr};

/// The versions of this shape; an empty one means 0.1.0.
pub(super) const VERSIONS: &[&str] = &["", "0.1.0", "0.2.0"];

/// A result of 0.1.0 or 0.2.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Result020 {
    /// "0.1.0" or "0.2.0".
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// The IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip4: Option<IpConfig020>,
    /// The IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip6: Option<IpConfig020>,
    /// Written even when empty, as Go does.
    pub dns: Dns,
}

/// An address and the routes that go with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpConfig020 {
    /// The address with its prefix length; `None` where the plugin left it out, which libcni writes as `<nil>`.
    #[serde(serialize_with = "cidr")]
    pub ip: Option<IpNet>,
    /// The default gateway of the address's subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

impl Result020 {
    pub(super) fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            cni_version: fields.get("cniVersion", decode::string)?,
            ip4: fields.get("ip4", decode::optional(IpConfig020::decode))?,
            ip6: fields.get("ip6", decode::optional(IpConfig020::decode))?,
            dns: fields.get("dns", Dns::decode)?,
        })
    }
}

impl IpConfig020 {
    fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            ip: fields.get("ip", decode::cidr)?,
            gateway: fields.get("gateway", decode::ip)?,
            routes: fields.get("routes", decode::list(Route::decode))?,
        })
    }
}
