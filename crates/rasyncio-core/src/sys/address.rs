//! Socket addresses as the kernel writes them, in the shapes that Python's `socket` knows.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketAddrV4, SocketAddrV6};

/// The address of one end of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    Inet4 {
        ip: Ipv4Addr,
        port: u16,
    },
    /// `flowinfo` in the byte order of the host, as Python reports it.
    Inet6 {
        ip: Ipv6Addr,
        port: u16,
        flowinfo: u32,
        scope_id: u32,
    },
    /// Empty for an unnamed socket; the name of an abstract one begins with a zero byte.
    Unix {
        path: Vec<u8>,
    },
    /// A family that we give no shape to, or no address at all (family 0).
    Other {
        family: u16,
    },
}

impl From<Option<SocketAddrAny>> for PeerAddress {
    fn from(address: Option<SocketAddrAny>) -> Self {
        let Some(address) = address else {
            return Self::Other { family: 0 };
        };
        let family = address.address_family();
        let shaped = match family {
            AddressFamily::INET => SocketAddrV4::try_from(address).map(Self::from_inet4).ok(),
            AddressFamily::INET6 => SocketAddrV6::try_from(address).map(Self::from_inet6).ok(),
            AddressFamily::UNIX => SocketAddrUnix::try_from(address).map(Self::from_unix).ok(),
            _ => None,
        };
        shaped.unwrap_or(Self::Other {
            family: family.as_raw(),
        })
    }
}

impl PeerAddress {
    fn from_inet4(address: SocketAddrV4) -> Self {
        Self::Inet4 {
            ip: *address.ip(),
            port: address.port(),
        }
    }

    fn from_inet6(address: SocketAddrV6) -> Self {
        Self::Inet6 {
            ip: *address.ip(),
            port: address.port(),
            flowinfo: address.flowinfo(),
            scope_id: address.scope_id(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "has the shape of its two siblings"
    )]
    fn from_unix(address: SocketAddrUnix) -> Self {
        let path = match (address.path_bytes(), address.abstract_name()) {
            (Some(path), _) => path.to_vec(),
            (None, Some(name)) => [b"\0", name].concat(),
            (None, None) => Vec::new(),
        };
        Self::Unix { path }
    }
}
