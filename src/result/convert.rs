//! Conversion between the shapes, with libcni's rules for what is lost on the way down.
//!
//! As there, 1.x goes to 0.2.0 and back by way of 0.4.0. Where libcni would panic (an element of a list that is null),
//! this is an error.

use std::net::IpAddr;

use ipnet::IpNet;

use super::CniResult;
use super::types::Route;
use super::v020::{IpConfig020, Result020};
use super::v040::{Interface040, IpConfig040, Result040};
use super::v100::{Interface100, IpConfig100, Result100};
use crate::error::{Error, ErrorClass, Result};

/// The three shapes that a result had over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    V020,
    V040,
    V100,
}

impl Shape {
    /// The shape of a version; an empty one is 0.1.0.
    pub(super) fn of(version: &str) -> Option<Self> {
        [Self::V020, Self::V040, Self::V100].into_iter().find(|shape| shape.versions().contains(&version))
    }

    /// The versions of a shape, as libcni's `supportedVersions` lists them.
    pub(super) fn versions(self) -> &'static [&'static str] {
        match self {
            Self::V020 => super::v020::VERSIONS,
            Self::V040 => super::v040::VERSIONS,
            Self::V100 => super::v100::VERSIONS,
        }
    }
}

/// Converts to another version; `version` is one of `shape`.
pub(super) fn convert(from: &CniResult, version: &str, shape: Shape) -> Result<CniResult> {
    let cni_version = version.to_owned();
    Ok(match (from, shape) {
        (CniResult::V020(from), Shape::V020) => CniResult::V020(Result020 { cni_version, ..from.clone() }),
        (CniResult::V040(from), Shape::V040) => CniResult::V040(Result040 { cni_version, ..from.clone() }),
        (CniResult::V100(from), Shape::V100) => CniResult::V100(Result100 { cni_version, ..from.clone() }),
        (CniResult::V020(from), Shape::V040) => CniResult::V040(v020_to_v040(from, cni_version)),
        (CniResult::V040(from), Shape::V100) => CniResult::V100(v040_to_v100(from, cni_version)?),
        (CniResult::V100(from), Shape::V040) => CniResult::V040(v100_to_v040(from, cni_version)?),
        (CniResult::V040(from), Shape::V020) => CniResult::V020(v040_to_v020(from, cni_version)?),
        (CniResult::V020(from), Shape::V100) => {
            CniResult::V100(v040_to_v100(&v020_to_v040(from, String::new()), cni_version)?)
        }
        (CniResult::V100(from), Shape::V020) => {
            CniResult::V020(v040_to_v020(&v100_to_v040(from, String::new())?, cni_version)?)
        }
    })
}

fn cannot(why: &str) -> Error {
    Error::new(ErrorClass::Plugin, format!("cannot convert: {why}"))
}

/// Converts the elements of the list under `key`.
fn each<T, U>(key: &str, list: &[Option<T>], convert: impl Fn(&T) -> U) -> Result<Vec<Option<U>>> {
    let elements = list.iter().enumerate();
    elements
        .map(|(index, element)| match element {
            Some(element) => Ok(Some(convert(element))),
            None => Err(cannot(&format!("{key}[{index}] is null"))),
        })
        .collect()
}

/// The routes of both addresses become the result's.
fn v020_to_v040(from: &Result020, cni_version: String) -> Result040 {
    let mut to = Result040 { cni_version, dns: from.dns.clone(), ..Result040::default() };
    for (version, config) in [("4", &from.ip4), ("6", &from.ip6)] {
        let Some(config) = config else { continue };
        to.ips.push(Some(IpConfig040 {
            version: version.to_owned(),
            interface: None,
            address: config.ip,
            gateway: config.gateway,
        }));
        to.routes.extend(config.routes.iter().cloned().map(Some));
    }
    to
}

/// The first address of each family stays; it gets the routes of its family, with destination and next hop alone.
fn v040_to_v020(from: &Result040, cni_version: String) -> Result<Result020> {
    let mut to = Result020 { cni_version, dns: from.dns.clone(), ..Result020::default() };
    for (index, config) in from.ips.iter().enumerate() {
        let config = config.as_ref().ok_or_else(|| cannot(&format!("ips[{index}] is null")))?;
        let place = match config.version.as_str() {
            "4" => &mut to.ip4,
            "6" => &mut to.ip6,
            _ => continue,
        };
        place.get_or_insert_with(|| IpConfig020 { ip: config.address, gateway: config.gateway, routes: Vec::new() });
        if to.ip4.is_some() && to.ip6.is_some() {
            break;
        }
    }
    for (index, route) in from.routes.iter().enumerate() {
        let route = route.as_ref().ok_or_else(|| cannot(&format!("routes[{index}] is null")))?;
        let place = if is_v4(route.dst) { &mut to.ip4 } else { &mut to.ip6 };
        if let Some(config) = place {
            config.routes.push(Route { dst: route.dst, gw: route.gw, ..Route::default() });
        }
    }
    if to.ip4.is_none() && to.ip6.is_none() {
        return Err(cannot("no valid IP addresses"));
    }
    Ok(to)
}

/// An address loses its version.
fn v040_to_v100(from: &Result040, cni_version: String) -> Result<Result100> {
    Ok(Result100 {
        cni_version,
        interfaces: each("interfaces", &from.interfaces, |from| Interface100 {
            name: from.name.clone(),
            mac: from.mac.clone(),
            sandbox: from.sandbox.clone(),
            ..Interface100::default()
        })?,
        ips: each("ips", &from.ips, |from| IpConfig100 {
            interface: from.interface,
            address: from.address,
            gateway: from.gateway,
        })?,
        routes: from.routes.clone(),
        dns: from.dns.clone(),
    })
}

/// An interface loses what 1.1.0 added; a route does not, in libcni.
fn v100_to_v040(from: &Result100, cni_version: String) -> Result<Result040> {
    Ok(Result040 {
        cni_version,
        interfaces: each("interfaces", &from.interfaces, |from| Interface040 {
            name: from.name.clone(),
            mac: from.mac.clone(),
            sandbox: from.sandbox.clone(),
        })?,
        ips: each("ips", &from.ips, |from| IpConfig040 {
            version: if is_v4(from.address) { "4" } else { "6" }.to_owned(),
            interface: from.interface,
            address: from.address,
            gateway: from.gateway,
        })?,
        routes: from.routes.clone(),
        dns: from.dns.clone(),
    })
}

/// An absent address counts as IPv6, as it does in Go.
fn is_v4(net: Option<IpNet>) -> bool {
    net.is_some_and(|net| matches!(net.addr(), IpAddr::V4(_)))
}
