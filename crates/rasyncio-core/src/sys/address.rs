//! Socket addresses as the kernel writes them, in the shapes that Python's `socket` knows.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrV4, SocketAddrV6};

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
            AddressFamily::UNIX => Some(Self::from_unix(&address)),
            _ => None,
        };
        shaped.unwrap_or(Self::Other { family: family.as_raw() })
    }
}

impl PeerAddress {
    fn from_inet4(address: SocketAddrV4) -> Self {
        Self::Inet4 { ip: *address.ip(), port: address.port() }
    }

    fn from_inet6(address: SocketAddrV6) -> Self {
        Self::Inet6 {
            ip: *address.ip(),
            port: address.port(),
            flowinfo: address.flowinfo(),
            scope_id: address.scope_id(),
        }
    }

    /// Read by hand: rustix takes an unnamed socket for an abstract one with an empty name, and
    /// panics at a path as long as the kernel allows.
    fn from_unix(address: &SocketAddrAny) -> Self {
        let bytes = address.as_ptr().cast::<u8>();
        let length = address.addr_len() as usize;
        // SAFETY: rustix keeps the first `addr_len` bytes of its storage initialized, and we
        // borrow them from `address`.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
        let path = bytes.get(size_of::<libc::sa_family_t>()..).unwrap_or_default();
        let end = match path {
            [0, ..] => path.len(),
            _ => path.iter().position(|byte| *byte == 0).unwrap_or(path.len()),
        };
        let path = path[..end].to_vec();
        Self::Unix { path }
    }
}
