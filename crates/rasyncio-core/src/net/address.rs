//! The address of either end of a socket.

use std::io;
use std::net::Ipv4Addr;
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

/// As `inet_ntoa` writes it. `Display` takes ten times as long.
pub fn inet4_text(ip: Ipv4Addr) -> String {
    let mut text = String::with_capacity("255.255.255.255".len());
    for (index, octet) in ip.octets().into_iter().enumerate() {
        let digit = |power: u8| char::from(b'0' + octet / power % 10);
        if index > 0 {
            text.push('.');
        }
        if octet >= 100 {
            text.push(digit(100));
        }
        if octet >= 10 {
            text.push(digit(10));
        }
        text.push(digit(1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_the_library_writes_it() {
        for octet in 0..=255 {
            let ip = Ipv4Addr::new(octet, 0, 255 - octet, octet / 2);
            assert_eq!(inet4_text(ip), ip.to_string());
        }
    }
}
