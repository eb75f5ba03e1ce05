//! What the results of all versions share: libcni's `types.DNS` and `types.Route`, and how an address is written.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::decode::{self, Node, Read};

/// The keys of a resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Addresses of name servers, in order; any text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain for short names; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// The domains to search in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// The resolver's options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            nameservers: fields.get("nameservers", decode::list(decode::string))?,
            domain: fields.get("domain", decode::string)?,
            search: fields.get("search", decode::list(decode::string))?,
            options: fields.get("options", decode::list(decode::string))?,
        })
    }
}

/// A route. The keys after `gw` came with 1.1.0, but libcni reads and writes them in every version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The destination; `None` where the plugin left it out, which libcni writes as `<nil>`.
    #[serde(serialize_with = "cidr")]
    pub dst: Option<IpNet>,
    /// The next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// The path's MTU in bytes; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: i64,
    /// The maximal segment size to advertise, in bytes; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub advmss: i64,
    /// The priority; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// The routing table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<i64>,
    /// The scope, as the kernel numbers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<i64>,
}

impl Route {
    pub(super) fn decode(node: &Node) -> Read<Self> {
        let fields = node.fields()?;
        Ok(Self {
            dst: fields.get("dst", decode::cidr)?,
            gw: fields.get("gw", decode::ip)?,
            mtu: fields.get("mtu", decode::int)?,
            advmss: fields.get("advmss", decode::int)?,
            priority: fields.get("priority", decode::int)?,
            table: fields.get("table", decode::optional(decode::int))?,
            scope: fields.get("scope", decode::optional(decode::int))?,
        })
    }
}

/// Writes an address with its prefix length as Go's `net.IPNet` is written.
// serde hands over a reference.
#[allow(clippy::ref_option)]
pub(super) fn cidr<S: Serializer>(net: &Option<IpNet>, serializer: S) -> Result<S::Ok, S::Error> {
    match net {
        Some(net) => serializer.collect_str(net),
        None => serializer.serialize_str("<nil>"),
    }
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}
