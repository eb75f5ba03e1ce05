//! `lo` of a network namespace: what the plugin `loopback` does.

use std::path::Path;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};

use super::netlink::Route;
use crate::error::Result;

/// `LOOPBACK_IFINDEX`: the first interface of every network namespace, which cannot be deleted.
const LO: u32 = 1;

/// Sets the namespace's `lo` up or down; it may be so already.
pub fn set_loopback(netns: &Path, up: bool) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = LO;
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    let state = if up { "up" } else { "down" };
    Route::inside(netns)?
        .change(RouteNetlinkMessage::SetLink(message))
        .map_err(|error| error.context(format_args!("set interface lo {state}")))
}
