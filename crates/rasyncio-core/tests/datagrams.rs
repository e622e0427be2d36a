//! Datagrams through the reactor, on real sockets and on a script.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rasyncio_core::net::Burst;
use rasyncio_core::reactor::{BackendChoice, Datagrams, Note, Operation, PeerAddress, Reactor, Script};

fn reactor() -> Reactor<()> {
    Reactor::new(BackendChoice::Epoll).expect("a reactor")
}

/// What can go on at this moment.
fn look(reactor: &mut Reactor<()>) -> Vec<Operation> {
    let mut wait = reactor.begin_wait(Some(Duration::ZERO));
    wait.run();
    let mut found = Vec::new();
    reactor.finish_wait(wait, &mut found).expect("a wait");
    found.iter().map(|completion| completion.operation).collect()
}

fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

fn shown(datagrams: &Datagrams) -> Vec<Vec<u8>> {
    let all = (0..datagrams.len()).filter_map(|index| datagrams.get(index));
    all.map(|(data, _)| data.to_vec()).collect()
}

fn inet4(address: SocketAddr) -> PeerAddress {
    let SocketAddr::V4(address) = address else { panic!("an address of version 4") };
    PeerAddress::Inet4 { ip: *address.ip(), port: address.port() }
}

#[test]
fn datagrams_come_in_order_with_their_senders_and_what_is_not_taken_is_reported_again() {
    let ((near, from), (far, to)) = (bound(), bound());
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::ReceiveDatagrams).expect("a socket can be watched");
    for number in 0..7_u8 {
        near.send_to(&vec![number; usize::from(number)], to).expect("room");
    }
    let mut datagrams = Datagrams::with_memory(1 << 20);
    let mut seen = Vec::new();
    for most in [1, 4, Burst::MAXIMUM] {
        assert_eq!(look(&mut reactor), [Operation::ReceiveDatagrams]);
        datagrams.prepare(1 << 16);
        reactor.receive_datagrams(token, &mut datagrams, most).expect("some are there");
        assert_eq!(datagrams.get(0).map(|(_, sender)| sender), Some(&inet4(from)));
        assert!(datagrams.len() <= most && !datagrams.is_empty());
        seen.extend(shown(&datagrams));
    }
    assert_eq!(seen, (0..7_u8).map(|number| vec![number; usize::from(number)]).collect::<Vec<_>>());
    assert_eq!(look(&mut reactor), []);
    for most in [1, 4] {
        let error = reactor.receive_datagrams(token, &mut datagrams, most).expect_err("all are taken");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_call_takes_no_more_than_the_memory_holds_and_cuts_off_what_is_too_long() {
    let ((near, _), (far, to)) = (bound(), bound());
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    for data in [b"four", b"long", b"last"] {
        near.send_to(data, to).expect("room");
    }
    let mut datagrams = Datagrams::with_memory(7);
    datagrams.prepare(3);
    reactor.receive_datagrams(token, &mut datagrams, 16).expect("some are there");
    assert_eq!(shown(&datagrams), [b"fou", b"lon"]);
    datagrams.prepare(100);
    reactor.receive_datagrams(token, &mut datagrams, 16).expect("one is there");
    assert_eq!(shown(&datagrams), [b"last"]);
}

#[test]
fn an_internet_6_sender_has_all_four_parts() {
    let far = UdpSocket::bind("[::1]:0").expect("IPv6 on the loopback device");
    let near = UdpSocket::bind("[::1]:0").expect("IPv6 on the loopback device");
    let mut reactor = reactor();
    let (sender, receiver) = (reactor.insert(near.as_raw_fd(), ()), reactor.insert(far.as_raw_fd(), ()));
    let to = far.local_addr().expect("bound");
    let port = near.local_addr().expect("bound").port();
    let expected = PeerAddress::Inet6 { ip: Ipv6Addr::LOCALHOST, port, flowinfo: 0, scope_id: 0 };
    let mut datagrams = Datagrams::with_memory(1000);
    for most in [1, 2] {
        reactor.send_datagram(sender, b"hello", Some(&to)).expect("room");
        datagrams.prepare(100);
        reactor.receive_datagrams(receiver, &mut datagrams, most).expect("one is there");
        assert_eq!(datagrams.get(0), Some((b"hello".as_slice(), &expected)));
    }
}

#[test]
fn senders_without_a_name_have_no_address() {
    let (near, far) = UnixDatagram::pair().expect("a pair");
    let mut reactor = reactor();
    let (sender, receiver) = (reactor.insert(near.as_raw_fd(), ()), reactor.insert(far.as_raw_fd(), ()));
    let mut datagrams = Datagrams::with_memory(1000);
    for most in [1, 2] {
        reactor.send_datagram(sender, b"", None).expect("room");
        datagrams.prepare(100);
        reactor.receive_datagrams(receiver, &mut datagrams, most).expect("one is there");
        assert_eq!(datagrams.get(0), Some((b"".as_slice(), &PeerAddress::Other { family: 0 })));
    }
}

#[test]
fn a_peer_whose_queue_is_full_refuses_and_room_is_reported() {
    let (near, far) = UnixDatagram::pair().expect("a pair");
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    let mut sent = 0;
    let error = loop {
        match reactor.send_datagram(token, &[0; 1000], None) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    reactor.arm(token, Operation::Send).expect("a socket can be watched");
    assert_eq!(look(&mut reactor), []);
    for _ in 0..sent {
        far.recv(&mut [0; 1000]).expect("all of them are there");
    }
    assert_eq!(look(&mut reactor), [Operation::Send]);
    reactor.send_datagram(token, &[0; 1000], None).expect("room");
}

#[test]
fn errors_of_datagrams_are_the_kernels() {
    let (near, _) = bound();
    let (gone, to) = bound();
    drop(gone);
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    let error = reactor.send_datagram(token, &vec![0; 70_000], Some(&to)).expect_err("longer than IP allows");
    assert_eq!(error.raw_os_error(), Some(90), "EMSGSIZE");
    let error = reactor.send_datagram(token, b"", None).expect_err("no address");
    assert_eq!(error.raw_os_error(), Some(89), "EDESTADDRREQ");
    near.connect(to).expect("an address");
    let mut datagrams = Datagrams::with_memory(100);
    for most in [1, 2] {
        reactor.send_datagram(token, b"anybody?", None).expect("it is not known yet");
        datagrams.prepare(10);
        let error = reactor.receive_datagrams(token, &mut datagrams, most).expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(datagrams.is_empty());
    }
    reactor.remove(token);
    let error = reactor.receive_datagrams(token, &mut datagrams, 1).expect_err("no such source");
    assert_eq!(error.raw_os_error(), Some(9), "EBADF");
}

#[test]
fn a_script_tells_of_datagrams_and_notes_those_that_are_sent() {
    let script = Script::new();
    let mut reactor = Reactor::new(BackendChoice::Scripted(script.clone())).expect("a reactor");
    let token = reactor.insert(5, "source");
    let from = PeerAddress::Other { family: 0 };
    for data in [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()] {
        script.on_datagram(5, Ok((data, from.clone())));
    }
    script.on_datagram(5, Err(ErrorKind::ConnectionRefused.into()));
    let mut datagrams = Datagrams::with_memory(100);
    let mut take = |reactor: &mut Reactor<&str>, most: usize| -> io::Result<Vec<Vec<u8>>> {
        datagrams.prepare(10);
        reactor.receive_datagrams(token, &mut datagrams, most)?;
        Ok(shown(&datagrams))
    };
    assert_eq!(take(&mut reactor, 1).expect("one"), [b"one"]);
    assert_eq!(take(&mut reactor, 9).expect("two"), [b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(take(&mut reactor, 9).expect_err("scripted").kind(), ErrorKind::ConnectionRefused);
    assert_eq!(take(&mut reactor, 9).expect_err("no more").kind(), ErrorKind::WouldBlock);
    let to: SocketAddr = "127.0.0.1:9".parse().expect("an address");
    reactor.send_datagram(token, b"there", Some(&to)).expect("scripted");
    script.on_send(5, Err(ErrorKind::WouldBlock.into()));
    reactor.send_datagram(token, b"not yet", None).expect_err("scripted");
    assert_eq!(script.take_notes(), [Note::SentDatagram(5, b"there".to_vec(), Some(to))]);
}
