//! What is done to one socket. Those of transports and servers receive, send and accept through the reactor.

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

use crate::sys::{self, socket};

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

/// Receives what is there; 0 is the end of the stream, `WouldBlock` means there is nothing.
#[inline]
pub fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    socket::receive(socket, sys::written(buffer))
}

/// Sends what the kernel takes now and answers how much that was.
#[inline]
pub fn send(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    socket::send(socket, &[IoSlice::new(bytes)])
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
