//! The scripted backend: the reactor's own bookkeeping, seen without a kernel.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use rasyncio_core::reactor::{BackendChoice, Completion, Note, Operation, PeerAddress, Reactor, Script};

fn scripted() -> (Reactor<&'static str>, Script) {
    let script = Script::new();
    let reactor = Reactor::new(BackendChoice::Scripted(script.clone())).expect("a reactor");
    (reactor, script)
}

fn wait(reactor: &mut Reactor<&'static str>) -> io::Result<Vec<Completion>> {
    let mut wait = reactor.begin_wait(None);
    wait.run();
    let mut found = Vec::new();
    reactor.finish_wait(wait, &mut found)?;
    Ok(found)
}

#[test]
fn the_kernel_hears_only_of_changes() {
    let (mut reactor, script) = scripted();
    let token = reactor.insert(5, "source");
    assert_eq!(script.take_notes(), []);
    for _ in 0..2 {
        reactor.arm(token, Operation::Receive).expect("scripted");
    }
    reactor.arm(token, Operation::Send).expect("scripted");
    for _ in 0..2 {
        reactor.disarm(token, Operation::Send);
    }
    assert_eq!(reactor.remove(token), Some("source"));
    let expected = [
        Note::Watched(5, vec![Operation::Receive]),
        Note::Watched(5, vec![Operation::Receive, Operation::Send]),
        Note::Watched(5, vec![Operation::Receive]),
        Note::Watched(5, vec![]),
    ];
    assert_eq!(script.take_notes(), expected);
}

#[test]
fn a_source_without_the_kernels_watch_is_removed_without_a_word_to_it() {
    let (mut reactor, script) = scripted();
    let old = reactor.insert(5, "old");
    let new = reactor.insert(5, "new");
    reactor.arm(old, Operation::Readable).expect("scripted");
    reactor.arm(new, Operation::Readable).expect("scripted");
    script.take_notes();
    reactor.disarm(old, Operation::Readable);
    assert_eq!(reactor.remove(old), Some("old"));
    assert_eq!(script.take_notes(), []);
    assert!(reactor.is_armed(new, Operation::Readable));
}

#[test]
fn only_what_is_armed_is_reported() {
    let (mut reactor, script) = scripted();
    let token = reactor.insert(5, "source");
    reactor.arm(token, Operation::Receive).expect("scripted");
    script.on_wait(Ok(vec![(5, Operation::Send), (5, Operation::Receive), (6, Operation::Receive)]));
    let completion = Completion { token, operation: Operation::Receive };
    assert_eq!(wait(&mut reactor).expect("scripted"), [completion]);
}

#[test]
fn a_failed_wait_is_reported_and_the_next_one_works() {
    let (mut reactor, script) = scripted();
    script.on_wait(Err(io::Error::from_raw_os_error(9)));
    assert_eq!(wait(&mut reactor).expect_err("scripted").raw_os_error(), Some(9));
    assert_eq!(wait(&mut reactor).expect("an empty wait"), []);
}

#[test]
fn a_note_left_by_another_thread_turns_a_wait_into_a_look() {
    let (mut reactor, script) = scripted();
    reactor.waker().wake();
    assert_eq!(wait(&mut reactor).expect("scripted"), []);
    assert_eq!(wait(&mut reactor).expect("scripted"), []);
    assert_eq!(script.take_notes(), [Note::Waited(Some(Duration::ZERO)), Note::Waited(None)]);
}

#[test]
fn operations_answer_what_the_script_says() {
    let (mut reactor, script) = scripted();
    let token = reactor.insert(5, "source");
    script.on_receive(5, Ok(b"abc".to_vec()));
    script.on_receive(5, Err(ErrorKind::ConnectionReset.into()));
    let mut buffer = [0; 2];
    assert_eq!(reactor.receive(token, &mut buffer).expect("scripted"), 2);
    assert_eq!(reactor.receive(token, &mut buffer).expect("scripted"), 1);
    assert_eq!(buffer, *b"cb");
    for expected in [ErrorKind::ConnectionReset, ErrorKind::WouldBlock] {
        assert_eq!(reactor.receive(token, &mut buffer).expect_err("scripted").kind(), expected);
    }
    script.on_send(5, Ok(3));
    let slices = [IoSlice::new(b"xy"), IoSlice::new(b"z!")];
    assert_eq!(reactor.send(token, &slices).expect("scripted"), 3);
    assert_eq!(reactor.send(token, &slices).expect("scripted"), 4);
    let expected = [Note::Sent(5, b"xyz".to_vec()), Note::Sent(5, b"xyz!".to_vec())];
    assert_eq!(script.take_notes(), expected);
}

#[test]
fn connections_come_from_the_script() {
    let (mut reactor, script) = scripted();
    let token = reactor.insert(5, "listener");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("any descriptor does");
    let peer = PeerAddress::Inet4 { ip: Ipv4Addr::LOCALHOST, port: 7 };
    script.on_accept(5, Ok((socket.into(), peer.clone())));
    assert_eq!(reactor.accept(token).expect("scripted").peer, peer);
    assert_eq!(reactor.accept(token).expect_err("scripted").kind(), ErrorKind::WouldBlock);
}
