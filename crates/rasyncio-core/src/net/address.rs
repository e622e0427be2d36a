//! The address of either end of a socket.

use std::io;
use std::os::fd::RawFd;

pub use crate::sys::address::PeerAddress;
use crate::sys::socket;

/// The address of our end (`getsockname`).
pub fn local_address(socket: RawFd) -> io::Result<PeerAddress> {
    socket::local_address(socket)
}

/// The address of the other end (`getpeername`).
pub fn peer_address(socket: RawFd) -> io::Result<PeerAddress> {
    socket::peer_address(socket)
}
