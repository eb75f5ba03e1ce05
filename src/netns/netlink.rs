//! A route netlink socket inside a network namespace, used by threads outside: a socket stays where it was made.
//!
//! One request at a time, and none waits longer than [`LIMIT`] for the kernel.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::thread::LinkNameSpaceType;

use super::helper;
use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::names::IfName;

/// The kernel answers at once, unless somebody holds its lock for network configuration.
const LIMIT: Duration = Duration::from_secs(5);

/// More than the kernel ever puts into one datagram of a dump (32 KiB).
const DATAGRAM: usize = 64 * 1024;

/// The most bytes of one answer; an address takes about 80.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A socket inside a namespace.
pub(super) struct Route {
    socket: Socket,
    sequence: u32,
    /// For messages.
    netns: PathBuf,
}

/// How a dump ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dump {
    /// It shows one moment.
    Whole,
    /// Something changed meanwhile: entries may be missing.
    Interrupted,
}

impl Route {
    /// Makes a socket inside `netns`.
    pub(super) fn inside(netns: &Path) -> Result<Self> {
        let namespace = super::open(netns)?;
        let failed = |what, error: std::io::Error| {
            Error::os(ErrorClass::Io, format_args!("{what} network namespace {}", netns.display()), &error)
        };
        let socket = helper::run(|| {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|errno| failed("enter", errno.into()))?;
            fds::above_two(|| Socket::new(NETLINK_ROUTE)).map_err(|error| failed("open a netlink socket in", error))
        })?;
        for which in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, which, Some(LIMIT))
                .map_err(|errno| failed("limit a netlink socket in", errno.into()))?;
        }
        Ok(Self { socket, sequence: 0, netns: netns.to_owned() })
    }

    /// The index of an interface; `E_NOT_FOUND` where there is none of this name.
    pub(super) fn index(&self, if_name: &IfName) -> Result<u32> {
        // An ioctl asks the namespace of the socket, of any family; half the code of a request by name.
        rustix::net::netdevice::name_to_index(&self.socket, if_name.as_str()).map_err(|errno| {
            let class = if errno == Errno::NODEV { ErrorClass::NotFound } else { ErrorClass::Io };
            let what = format!("find interface {if_name} in network namespace {}", self.netns.display());
            Error::os(class, what, &errno.into())
        })
    }

    /// Sends a request that changes something, and waits until the kernel has done it.
    pub(super) fn change(&mut self, message: RouteNetlinkMessage) -> Result<()> {
        self.send(message, NLM_F_ACK)?;
        self.receive(&mut |_| {}).map(|_| ())
    }

    /// Sends a request for a list, and hands on each of its entries.
    pub(super) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        mut entry: impl FnMut(RouteNetlinkMessage),
    ) -> Result<Dump> {
        self.send(message, NLM_F_DUMP)?;
        self.receive(&mut entry)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        loop {
            match self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Reads the answer to the last request to its end.
    fn receive(&mut self, entry: &mut dyn FnMut(RouteNetlinkMessage)) -> Result<Dump> {
        let deadline = Instant::now() + LIMIT;
        let mut dump = Dump::Whole;
        let mut buffer = Vec::with_capacity(DATAGRAM);
        let mut left = MAX_ANSWER;
        loop {
            self.receive_datagram(&mut buffer, deadline)?;
            left = left.checked_sub(buffer.len()).ok_or_else(|| self.malformed("the answer has no end"))?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| self.malformed(&error.to_string()))?;
                // Messages are aligned to 4 bytes, the last one may be without padding.
                let length = (message.header.length as usize).max(1).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                // The answer to an earlier request that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                if message.header.flags & NLM_F_DUMP_INTR != 0 {
                    dump = Dump::Interrupted;
                }
                let code = match message.payload {
                    NetlinkPayload::InnerMessage(inner) => {
                        entry(inner);
                        continue;
                    }
                    NetlinkPayload::Error(error) => error.code.map_or(0, std::num::NonZero::get),
                    NetlinkPayload::Done(done) => done.code,
                    NetlinkPayload::Overrun(_) => return Err(self.malformed("data was lost")),
                    _ => continue,
                };
                return match code {
                    0 => Ok(dump),
                    code => Err(self.failed(&std::io::Error::from_raw_os_error(code.saturating_neg()))),
                };
            }
        }
    }

    fn receive_datagram(&self, buffer: &mut Vec<u8>, deadline: Instant) -> Result<()> {
        loop {
            if Instant::now() >= deadline {
                return Err(self.silent());
            }
            buffer.clear();
            match self.socket.recv_from(buffer, libc::MSG_TRUNC) {
                // Any process may send to the socket; port 0 is the kernel.
                Ok((_, sender)) if sender.port_number() != 0 => {}
                Ok((length, _)) if length > buffer.len() => {
                    return Err(self.malformed(&format!("a datagram of {length} bytes")));
                }
                Ok(_) => return Ok(()),
                Err(error) => match error.kind() {
                    std::io::ErrorKind::Interrupted => {}
                    std::io::ErrorKind::WouldBlock => return Err(self.silent()),
                    _ => return Err(self.failed(&error)),
                },
            }
        }
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::os(ErrorClass::Io, format_args!("netlink in network namespace {}", self.netns.display()), error)
    }

    fn malformed(&self, what: &str) -> Error {
        Error::new(ErrorClass::Io, format!("netlink in network namespace {}: {what}", self.netns.display()))
    }

    fn silent(&self) -> Error {
        self.malformed(&format!("the kernel did not answer within {} s", LIMIT.as_secs()))
    }
}
