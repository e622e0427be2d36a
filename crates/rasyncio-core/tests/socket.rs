//! What `net` does to real sockets.

use std::io::{ErrorKind, Read};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use rasyncio_core::net::{self, PeerAddress};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a listener");
    let (server, _) = listener.accept().expect("a connection");
    (client, server)
}

#[test]
fn both_ends_of_a_connection_know_their_addresses() {
    let (client, server) = connection();
    let ours = net::local_address(client.as_raw_fd()).expect("connected");
    assert_eq!(net::peer_address(server.as_raw_fd()).expect("connected"), ours);
    let port = client.local_addr().expect("connected").port();
    assert_eq!(ours, PeerAddress::Inet4 { ip: [127, 0, 0, 1].into(), port });
}

#[test]
fn an_unconnected_socket_has_no_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let error = net::peer_address(listener.as_raw_fd()).expect_err("nobody is connected");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[test]
fn an_internet_6_address_has_all_four_parts() {
    let socket = UdpSocket::bind("[::1]:0").expect("IPv6 on the loopback device");
    let address = net::local_address(socket.as_raw_fd()).expect("bound");
    let port = socket.local_addr().expect("bound").port();
    let expected = PeerAddress::Inet6 { ip: Ipv6Addr::LOCALHOST, port, flowinfo: 0, scope_id: 0 };
    assert_eq!(address, expected);
}

#[test]
fn unix_addresses_are_named_unnamed_or_abstract() {
    let unix = |path: &[u8]| PeerAddress::Unix { path: path.to_vec() };
    let (near, _far) = UnixStream::pair().expect("a pair");
    assert_eq!(net::local_address(near.as_raw_fd()).expect("unnamed"), unix(b""));
    let name = format!("rasyncio-core-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let listener = UnixListener::bind_addr(&address).expect("a free name");
    let expected = unix(format!("\0{name}").as_bytes());
    assert_eq!(net::local_address(listener.as_raw_fd()).expect("bound"), expected);
    assert_eq!(address_of_path(&name), unix(name.as_bytes()));
    // The longest path there is has no room for the zero byte that ends the others.
    let longest = format!("{name:x<108}");
    assert_eq!(address_of_path(&longest), unix(longest.as_bytes()));
}

/// What the kernel says of a socket that is bound to this path, relative to the crate.
fn address_of_path(path: &str) -> PeerAddress {
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let listener = listener.expect("a socket");
    let address = SocketAddrUnix::new(path).expect("108 bytes fit");
    rustix::net::bind(&listener, &address).expect("a free path");
    let bound = net::local_address(listener.as_raw_fd());
    std::fs::remove_file(path).expect("it was just made");
    bound.expect("bound")
}

#[test]
fn the_kind_of_a_socket_is_what_it_was_made_with() {
    let (client, _server) = connection();
    let tcp = net::kind(client.as_raw_fd()).expect("a socket");
    let (near, _far) = UnixStream::pair().expect("a pair");
    let unix = net::kind(near.as_raw_fd()).expect("a socket");
    let udp = UdpSocket::bind("[::1]:0").expect("IPv6 on the loopback device");
    let udp = net::kind(udp.as_raw_fd()).expect("a socket");
    // AF_UNIX, AF_INET, AF_INET6; SOCK_STREAM, SOCK_DGRAM; IPPROTO_TCP, IPPROTO_UDP.
    assert_eq!((unix.family, unix.socket_type, unix.protocol), (1, 1, 0));
    assert_eq!((tcp.family, tcp.socket_type, tcp.protocol), (2, 1, 6));
    assert_eq!((udp.family, udp.socket_type, udp.protocol), (10, 2, 17));
}

#[test]
fn options_take_effect() {
    let (mut client, mut server) = connection();
    client.set_nodelay(false).expect("an option");
    net::set_nodelay(client.as_raw_fd()).expect("an option");
    assert!(client.nodelay().expect("an option"));
    net::set_nonblocking(client.as_raw_fd()).expect("an option");
    let error = client.read(&mut [0; 1]).expect_err("nothing came yet");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    net::shutdown_write(client.as_raw_fd()).expect("connected");
    assert_eq!(server.read(&mut [0; 1]).expect("the end"), 0);
}

#[test]
fn the_pending_error_is_taken_once() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let vacated = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let nobody = vacated.local_addr().expect("bound");
    assert!(net::take_error(socket.as_raw_fd()).expect("a socket").is_none());
    socket.connect(nobody).expect("an address");
    drop(vacated);
    socket.send(b"x").expect("it leaves, and is refused on arrival");
    let error = net::take_error(socket.as_raw_fd()).expect("a socket").expect("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(net::take_error(socket.as_raw_fd()).expect("a socket").is_none());
}

#[test]
fn a_number_that_is_no_socket_is_an_error_with_its_errno() {
    for number in [-1, i32::MAX] {
        let error = net::local_address(number).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(9));
    }
    let file = std::fs::File::open("Cargo.toml").expect("tests run in the crate's directory");
    let error = net::kind(file.as_raw_fd()).expect_err("no socket");
    assert_eq!(error.raw_os_error(), Some(88));
}
