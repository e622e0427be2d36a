//! What is done to one socket besides sending, receiving and accepting, which the reactor does.

use std::io;
use std::os::fd::RawFd;

use crate::sys::socket;

/// Family, type and protocol of a socket, in the numbers of `socket(2)` and of Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKind {
    pub family: i32,
    /// Without the flags that `socket(2)` lets one mix in.
    pub socket_type: i32,
    pub protocol: i32,
}

pub fn kind(socket: RawFd) -> io::Result<SocketKind> {
    let (family, socket_type, protocol) = socket::kind(socket)?;
    Ok(SocketKind { family, socket_type, protocol })
}

/// Sends small packets at once (`TCP_NODELAY`).
pub fn set_nodelay(socket: RawFd) -> io::Result<()> {
    socket::set_nodelay(socket)
}

pub fn set_nonblocking(descriptor: RawFd) -> io::Result<()> {
    socket::set_nonblocking(descriptor)
}

/// Tells the other end that nothing more comes (`SHUT_WR`).
pub fn shutdown_write(socket: RawFd) -> io::Result<()> {
    socket::shutdown_write(socket)
}

/// Takes the pending error of a socket: how a connection attempt ended.
pub fn take_error(socket: RawFd) -> io::Result<Option<io::Error>> {
    socket::take_error(socket)
}
