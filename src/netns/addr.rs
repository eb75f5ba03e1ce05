//! Which addresses an interface inside a network namespace has: what the kubelet reads with `nsenter … ip addr show`.

use std::net::IpAddr;
use std::path::Path;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};

use super::netlink::{Dump, Route};
use crate::error::{Error, ErrorClass, Result};
use crate::names::IfName;

/// How often a list that changed while it was read is read again.
const ATTEMPTS: usize = 8;

/// The addresses of global scope on an interface, in the kernel's order: IPv4 first. Tentative addresses count (a CNI
/// plugin may have answered before the kernel looked for duplicates), addresses that proved duplicate do not. `E_NETNS`
/// without the namespace, `E_NOT_FOUND` without the interface.
pub fn addresses(netns: &Path, if_name: &str) -> Result<Vec<IpAddr>> {
    let if_name = IfName::parse(if_name)?;
    let mut route = Route::inside(netns)?;
    let index = route.index(&if_name)?;
    for _ in 0..ATTEMPTS {
        let mut addresses = Vec::new();
        let dump = route.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
            // The kernel was asked for all interfaces: only with NETLINK_GET_STRICT_CHK does it look at the index.
            if let RouteNetlinkMessage::NewAddress(message) = message
                && message.header.index == index
            {
                addresses.extend(global(&message));
            }
        })?;
        if dump == Dump::Whole {
            return Ok(addresses);
        }
    }
    let what = format!("the addresses in network namespace {} keep changing while they are read", netns.display());
    Err(Error::new(ErrorClass::Io, what))
}

/// The interface's own address, if it is one that others may be told.
fn global(message: &AddressMessage) -> Option<IpAddr> {
    let failed = message.header.flags.contains(AddressHeaderFlags::Dadfailed)
        || message.attributes.iter().any(|attribute| match attribute {
            AddressAttribute::Flags(flags) => flags.contains(AddressFlags::Dadfailed),
            _ => false,
        });
    if failed || message.header.scope != AddressScope::Universe {
        return None;
    }
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL the interface's own; IPv6 without a peer has
    // IFA_ADDRESS alone.
    let local = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    };
    let address = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    find(local).or_else(|| find(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_an_address() {
        let own: IpAddr = "10.0.0.1".parse().unwrap();
        let peer: IpAddr = "10.0.0.2".parse().unwrap();
        let address = AddressAttribute::Address;
        let local = AddressAttribute::Local;
        let (universe, link, none) = (AddressScope::Universe, AddressScope::Link, AddressHeaderFlags::empty());
        for (what, scope, flags, attributes, expected) in [
            ("alone", universe, none, vec![address(own)], Some(own)),
            ("with a peer", universe, none, vec![address(peer), local(own)], Some(own)),
            ("link scope", link, none, vec![address(own)], None),
            ("tentative", universe, AddressHeaderFlags::Tentative, vec![address(own)], Some(own)),
            ("duplicate", universe, AddressHeaderFlags::Dadfailed, vec![address(own)], None),
            (
                "duplicate by the long flags",
                universe,
                none,
                vec![address(own), AddressAttribute::Flags(AddressFlags::Dadfailed)],
                None,
            ),
            ("without an address", universe, none, vec![], None),
        ] {
            let mut message = AddressMessage::default();
            message.header.scope = scope;
            message.header.flags = flags;
            message.attributes = attributes;
            assert_eq!(global(&message), expected, "{what}");
        }
    }
}
