//! The C library's resolver: names to addresses and back. It blocks for as long as the network
//! takes, unless it is asked for numbers only.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr::{null, null_mut};

use rustix::net::{SocketAddrAny, SocketAddrV4, SocketAddrV6};

use super::address::PeerAddress;

/// What `getaddrinfo(3)` is asked. Numbers are those of the C library.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub host: Option<CString>,
    pub service: Option<CString>,
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
    pub flags: i32,
}

/// One of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAddress {
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
    /// Of the first answer only, if it was asked for.
    pub canonical_name: Option<Vec<u8>>,
    pub address: PeerAddress,
}

/// Host and service of an address.
pub type Names = (Vec<u8>, Vec<u8>);

/// Why there is no answer.
#[derive(Debug)]
pub enum ResolveError {
    /// One of the resolver's own errors (`EAI_...`), with its text.
    Resolver {
        code: i32,
        text: Vec<u8>,
    },
    System(io::Error),
}

/// Addresses of a host, in the order in which they are to be tried. Blocks.
pub fn resolve(question: &Question) -> Result<Vec<ResolvedAddress>, ResolveError> {
    // SAFETY: all zeroes is a value of this plain structure: no addresses, no next entry.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = question.family;
    hints.ai_socktype = question.kind;
    hints.ai_protocol = question.protocol;
    hints.ai_flags = question.flags;
    let (host, service) = (pointer(question.host.as_ref()), pointer(question.service.as_ref()));
    let mut list = null_mut();
    // SAFETY: the strings end with zero and outlive the call, as do the hints; `list` is written to.
    let code = unsafe { libc::getaddrinfo(host, service, &raw const hints, &raw mut list) };
    if code != 0 {
        return Err(ResolveError::of(code));
    }
    let list = List(list);
    let mut entry = list.0;
    let mut answers = Vec::new();
    // SAFETY: null at the end of the list, before it an entry that lives as long as `list`.
    while let Some(found) = unsafe { entry.as_ref() } {
        answers.push(ResolvedAddress::of(found));
        entry = found.ai_next;
    }
    Ok(answers)
}

/// The one answer for an IPv4 address in its usual notation: what the C library would say, which need not be asked. None if it may say more, or
/// something else.
pub fn answer_of_literal(
    host: &str,
    port: u16,
    family: i32,
    kind: i32,
    protocol: i32,
) -> Option<ResolvedAddress> {
    let usual = match kind {
        libc::SOCK_STREAM => libc::IPPROTO_TCP,
        libc::SOCK_DGRAM => libc::IPPROTO_UDP,
        _ => return None,
    };
    if ![libc::AF_UNSPEC, libc::AF_INET].contains(&family) || ![0, usual].contains(&protocol) {
        return None;
    }
    let address = PeerAddress::Inet4 { ip: host.parse().ok()?, port };
    Some(ResolvedAddress { family: libc::AF_INET, kind, protocol: usual, canonical_name: None, address })
}

/// The names of an internet address, as `flags` (`NI_...`) want them. Blocks, unless they want numbers for both.
pub fn names_of(address: &PeerAddress, flags: i32) -> Result<Names, ResolveError> {
    let address: SocketAddrAny = match address {
        PeerAddress::Inet4 { ip, port } => SocketAddrV4::new(*ip, *port).into(),
        PeerAddress::Inet6 { ip, port, flowinfo, scope_id } => {
            SocketAddrV6::new(*ip, *port, *flowinfo, *scope_id).into()
        }
        PeerAddress::Unix { .. } | PeerAddress::Other { .. } => {
            return Err(ResolveError::of(libc::EAI_FAMILY));
        }
    };
    let mut host = [0_u8; HOST_SIZE as usize];
    let mut service = [0_u8; SERVICE_SIZE as usize];
    // SAFETY: rustix keeps `addr_len` initialized bytes behind the pointer; the C library writes at
    // most as much to the two buffers as it is told they hold.
    let code = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.addr_len(),
            host.as_mut_ptr().cast(),
            HOST_SIZE,
            service.as_mut_ptr().cast(),
            SERVICE_SIZE,
            flags,
        )
    };
    if code != 0 {
        return Err(ResolveError::of(code));
    }
    Ok((until_zero(&host), until_zero(&service)))
}

/// An IPv6 address as the C library writes it, without a zone.
pub fn inet6_text(ip: &Ipv6Addr) -> String {
    let address = PeerAddress::Inet6 { ip: *ip, port: 0, flowinfo: 0, scope_id: 0 };
    match names_of(&address, libc::NI_NUMERICHOST | libc::NI_NUMERICSERV) {
        Ok((host, _)) => String::from_utf8_lossy(&host).into_owned(),
        // It cannot fail for want of room, and there is nothing to look up.
        Err(_) => ip.to_string(),
    }
}

fn pointer(text: Option<&CString>) -> *const libc::c_char {
    text.map_or(null(), |text| text.as_ptr())
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// What `getaddrinfo` allocated, given back when dropped.
struct List(*mut libc::addrinfo);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list of a `getaddrinfo` that succeeded, which nobody else frees; what was
        // read from it was copied.
        unsafe { libc::freeaddrinfo(self.0) };
    }
}

impl ResolvedAddress {
    fn of(entry: &libc::addrinfo) -> Self {
        let canonical_name = (!entry.ai_canonname.is_null()).then(|| {
            // SAFETY: not null, so a string that ends with zero and lives as long as the entry.
            unsafe { CStr::from_ptr(entry.ai_canonname) }.to_bytes().to_vec()
        });
        Self {
            family: entry.ai_family,
            kind: entry.ai_socktype,
            protocol: entry.ai_protocol,
            canonical_name,
            address: address_of(entry),
        }
    }
}

fn address_of(entry: &libc::addrinfo) -> PeerAddress {
    let length = entry.ai_addrlen as usize;
    match entry.ai_family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the C library says that the address is of this family and that long.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr));
            PeerAddress::Inet4 { ip, port: u16::from_be(address.sin_port) }
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            PeerAddress::Inet6 {
                ip: address.sin6_addr.s6_addr.into(),
                port: u16::from_be(address.sin6_port),
                flowinfo: u32::from_be(address.sin6_flowinfo),
                scope_id: address.sin6_scope_id,
            }
        }
        family => PeerAddress::Other { family: u16::try_from(family).unwrap_or_default() },
    }
}

impl ResolveError {
    fn of(code: i32) -> Self {
        if code == libc::EAI_SYSTEM {
            return Self::System(io::Error::last_os_error());
        }
        // SAFETY: any number may be asked for.
        let text = unsafe { libc::gai_strerror(code) };
        // SAFETY: a constant string of the C library, for unknown numbers too.
        let text = unsafe { CStr::from_ptr(text) };
        Self::Resolver { code, text: text.to_bytes().to_vec() }
    }
}

/// Only an address; nothing is looked up.
pub const NUMERIC_HOST: i32 = libc::AI_NUMERICHOST;
/// Only a number; nothing is looked up.
pub const NUMERIC_SERVICE: i32 = libc::AI_NUMERICSERV;
/// `names_of` both as numbers.
pub const NUMERIC_NAMES: i32 = libc::NI_NUMERICHOST | libc::NI_NUMERICSERV;

/// `NI_MAXHOST` and `NI_MAXSERV`.
const HOST_SIZE: libc::socklen_t = 1025;
const SERVICE_SIZE: libc::socklen_t = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(host: &str, service: &str) -> Result<Vec<ResolvedAddress>, ResolveError> {
        resolve(&Question {
            host: Some(CString::new(host).expect("no zero")),
            service: Some(CString::new(service).expect("no zero")),
            kind: libc::SOCK_STREAM,
            flags: NUMERIC_HOST | NUMERIC_SERVICE,
            ..Question::default()
        })
    }

    #[test]
    fn literals_are_resolved() {
        let answers = numeric("127.1", "80").expect("an answer");
        let address = PeerAddress::Inet4 { ip: Ipv4Addr::LOCALHOST, port: 80 };
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].family, &answers[0].address), (libc::AF_INET, &address));
        let answers = numeric("fe80::7%1", "443").expect("an answer");
        let ip = "fe80::7".parse().expect("an address");
        let address = PeerAddress::Inet6 { ip, port: 443, flowinfo: 0, scope_id: 1 };
        assert_eq!((answers[0].kind, &answers[0].address), (libc::SOCK_STREAM, &address));
    }

    #[test]
    fn a_failure_has_the_resolvers_code_and_text() {
        let Err(ResolveError::Resolver { code, text }) = numeric("no.such.host.invalid", "80") else {
            panic!("a name is no number");
        };
        assert_eq!(code, libc::EAI_NONAME);
        assert!(!text.is_empty());
    }

    #[test]
    fn an_address_has_names() {
        let address = PeerAddress::Inet4 { ip: Ipv4Addr::LOCALHOST, port: 80 };
        let names = names_of(&address, NUMERIC_NAMES).expect("numbers");
        assert_eq!(names, (b"127.0.0.1".to_vec(), b"80".to_vec()));
        assert!(names_of(&PeerAddress::Other { family: 1 }, 0).is_err());
    }

    #[test]
    fn addresses_are_written_as_the_c_library_does() {
        for (ip, text) in [("::1", "::1"), ("::102:304", "::1.2.3.4"), ("::ffff:1.2.3.4", "::ffff:1.2.3.4")] {
            assert_eq!(inet6_text(&ip.parse().expect("an address")), text);
        }
    }
}
