//! Network namespaces: create, open, remove one; read addresses and set the loopback interface by netlink inside one.
//!
//! No host thread ever changes its namespace: a helper thread does, and ends.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::Result;

/// Creates a network namespace that is held by a bind mount on `path`, as `ip netns add` does.
pub fn create(_path: &Path) -> Result<()> {
    todo!()
}

/// Unmounts and removes what [`create`] made; a missing one is no error.
pub fn remove(_path: &Path) -> Result<()> {
    todo!()
}

/// Opens a network namespace; `E_NETNS` where the path is missing or something else.
pub fn open(_path: &Path) -> Result<OwnedFd> {
    todo!()
}

/// The addresses of global scope on an interface, in the kernel's order.
pub fn addresses(_netns: &Path, _if_name: &str) -> Result<Vec<IpAddr>> {
    todo!()
}

/// Sets the namespace's `lo` up or down.
pub fn set_loopback(_netns: &Path, _up: bool) -> Result<()> {
    todo!()
}

/// Whether `path` is a network namespace.
pub fn is_netns(path: &Path) -> bool {
    open(path).is_ok()
}
