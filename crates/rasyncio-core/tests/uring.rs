//! The contract of the reactor, met by a ring, and what is special about rings.

mod contract;
mod support;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use rasyncio_core::reactor::{BackendChoice, Operation, PeerAddress, Reactor};

use self::support::{look, pair, reactor, tokens, wait};

/// The backend under test; where the kernel lets us have no rings, the tests say so and take the other.
fn choice() -> BackendChoice {
    match Reactor::<()>::new(BackendChoice::Uring) {
        Ok(_) => BackendChoice::Uring,
        Err(error) => {
            eprintln!("no ring here, tested with epoll instead: {error}");
            BackendChoice::Epoll
        }
    }
}

#[test]
fn a_loop_may_be_run_by_one_thread_after_another() {
    let ((mut near, far), (mut other_near, other_far)) = (pair(), pair());
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    let other = reactor.insert(other_far.as_raw_fd(), ());
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    reactor.arm(other, Operation::Readable).expect("a socket can be watched");
    let mut received = Vec::new();
    for round in 0..6_u8 {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                near.write_all(&[round; 10]).expect("room");
                assert_eq!(tokens(&wait(&mut reactor)), [token]);
                // Some of it is left for the next thread.
                let mut part = [0; 8];
                assert_eq!(reactor.receive(token, &mut part).expect("bytes"), 8);
                received.extend_from_slice(&part);
                other_near.write_all(b"x").expect("room");
                while !tokens(&wait(&mut reactor)).contains(&other) {}
                (&other_far).read_exact(&mut [0; 1]).expect("a byte");
            });
            running.join().expect("no failure");
        });
    }
    reactor.waker().wake();
    assert_eq!(tokens(&look(&mut reactor)), [token]);
    let mut rest = [0; 64];
    let count = reactor.receive(token, &mut rest).expect("bytes");
    received.extend_from_slice(&rest[..count]);
    assert_eq!(received, (0..6).flat_map(|round| [round; 10]).collect::<Vec<u8>>());
}

#[test]
fn a_removed_source_ends_its_connection_as_soon_as_it_is_closed() {
    let (mut near, far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    assert_eq!(look(&mut reactor), []);
    reactor.disarm(token, Operation::Receive);
    reactor.remove(token);
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).expect("the end"), 0);
}

#[test]
fn a_source_may_be_removed_by_another_thread_during_a_wait() {
    let (mut near, far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    let mut waiting = reactor.begin_wait(Some(Duration::from_millis(20)));
    std::thread::scope(|scope| {
        scope.spawn(|| waiting.run());
        reactor.remove(token);
        near.write_all(b"x").expect("room");
    });
    let mut found = Vec::new();
    reactor.finish_wait(waiting, &mut found).expect("a wait");
    assert_eq!(found, []);
    assert_eq!(look(&mut reactor), []);
}

#[test]
fn what_cannot_go_through_the_ring_is_sent_without_it() {
    let (near, mut far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    let send = |reactor: &mut Reactor<()>| {
        let slices = || std::iter::once(IoSlice::new(b"x")).collect();
        let mut sends: Vec<_> = (0..5).map(|_| reactor.outgoing(token, slices())).collect();
        reactor.send_together(&mut sends);
        sends.into_iter().all(|send| send.into_answer().1.is_ok())
    };
    assert!(send(&mut reactor), "before the first wait");
    look(&mut reactor);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&mut reactor));
        assert!(sending.join().expect("no failure"), "by another thread");
    });
    let mut waiting = reactor.begin_wait(Some(Duration::ZERO));
    assert!(send(&mut reactor), "during a wait");
    waiting.run();
    reactor.finish_wait(waiting, &mut Vec::new()).expect("a wait");
    assert!(send(&mut reactor), "after it");
    assert_eq!(far.read(&mut [0; 64]).expect("bytes"), 20);
}

#[test]
fn a_stream_armed_by_another_thread_during_a_wait_is_heard_of() {
    let (mut near, far) = pair();
    let mut reactor = reactor();
    let mut waiting = reactor.begin_wait(None);
    let token = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            waiting.run();
            // The next one is of the same thread.
            waiting
        });
        let token = reactor.insert(far.as_raw_fd(), ());
        reactor.arm(token, Operation::Receive).expect("a socket can be watched");
        near.write_all(b"x").expect("room");
        let mut found = Vec::new();
        let done = running.join().expect("no failure");
        reactor.finish_wait(done, &mut found).expect("a wait");
        token
    });
    assert_eq!(tokens(&look(&mut reactor)), [token]);
}

#[test]
fn a_pause_loses_nothing() {
    let (mut near, far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    let mut received = Vec::new();
    for round in 0..200_u8 {
        reactor.arm(token, Operation::Receive).expect("a socket can be watched");
        near.write_all(&[round; 100]).expect("room");
        assert_eq!(tokens(&look(&mut reactor)), [token]);
        near.write_all(&[round; 100]).expect("room");
        reactor.disarm(token, Operation::Receive);
        assert_eq!(look(&mut reactor), []);
        let mut part = [0; 70];
        let count = reactor.receive(token, &mut part).expect("bytes");
        received.extend_from_slice(&part[..count]);
    }
    drop(near);
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    loop {
        assert_eq!(tokens(&look(&mut reactor)), [token]);
        let mut part = [0; 70];
        match reactor.receive(token, &mut part).expect("bytes") {
            0 => break,
            count => received.extend_from_slice(&part[..count]),
        }
    }
    let sent: Vec<u8> = (0..200).flat_map(|round| [round; 200]).collect();
    assert_eq!(received, sent);
}

#[test]
fn a_peer_that_is_not_heard_is_held_up() {
    let (mut near, far) = pair();
    near.set_nonblocking(true).expect("an option");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    let mut sent = 0;
    let mut refusals = 0;
    while refusals < 10 {
        assert!(sent < 4 << 20, "what nobody takes is received without end");
        match near.write(&[0; 4096]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refusals += 1;
            }
        }
        look(&mut reactor);
    }
    let mut received = 0;
    while received < sent {
        assert_eq!(tokens(&look(&mut reactor)), [token]);
        received += reactor.receive(token, &mut vec![0; 1 << 16]).expect("bytes");
    }
    assert_eq!(received, sent);
    assert_eq!(look(&mut reactor), []);
}

#[test]
fn more_is_received_in_a_turn_than_there_are_buffers_for() {
    let pairs: Vec<_> = (0..40).map(|_| pair()).collect();
    let mut reactor = reactor();
    let mut expected = std::collections::HashMap::new();
    for (number, (near, far)) in (0..).zip(&pairs) {
        let token = reactor.insert(far.as_raw_fd(), ());
        reactor.arm(token, Operation::Receive).expect("a socket can be watched");
        (&*near).write_all(&vec![number; 100_000]).expect("room");
        expected.insert(token, (number, 100_000));
    }
    let mut buffer = vec![0; 1 << 16];
    while !expected.is_empty() {
        for token in tokens(&wait(&mut reactor)) {
            let count = reactor.receive(token, &mut buffer).expect("bytes");
            let (number, left) = expected.get_mut(&token).expect("one that has more to come");
            assert!(count > 0 && buffer[..count].iter().all(|byte| byte == number));
            *left -= count;
            if *left == 0 {
                expected.remove(&token);
            }
        }
    }
}

#[test]
fn connections_that_came_before_a_pause_are_there_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option");
    let address = listener.local_addr().expect("bound");
    let mut reactor = reactor();
    let token = reactor.insert(listener.as_raw_fd(), ());
    reactor.arm(token, Operation::Accept).expect("a socket can be watched");
    let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).expect("a listener")).collect();
    assert_eq!(tokens(&wait(&mut reactor)), [token]);
    reactor.disarm(token, Operation::Accept);
    assert_eq!(look(&mut reactor), []);
    reactor.arm(token, Operation::Accept).expect("a socket can be watched");
    for client in &clients {
        assert_eq!(tokens(&wait(&mut reactor)), [token]);
        let PeerAddress::Inet4 { port, .. } = reactor.accept(token).expect("a connection").peer else {
            panic!("an address of version 4");
        };
        assert_eq!(port, client.local_addr().expect("connected").port());
    }
    assert_eq!(reactor.accept(token).expect_err("no more").kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_listener_that_is_broken_says_so_again_and_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option");
    let mut reactor = reactor();
    let token = reactor.insert(listener.as_raw_fd(), ());
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Read).expect("a socket");
    reactor.arm(token, Operation::Accept).expect("a socket can be watched");
    for _ in 0..3 {
        assert_eq!(tokens(&wait(&mut reactor)), [token]);
        let error = reactor.accept(token).expect_err("it does not listen any more");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
