//! The reactor on real sockets: the contract at the head of `reactor/mod.rs`, case by case, for any backend.

mod sending;

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rasyncio_core::clock::monotonic;
use rasyncio_core::reactor::{Operation, PeerAddress};

use crate::support::{give_number_away, look, operations, pair, pipe, reactor, tokens, wait, wait_for};

#[test]
fn nothing_is_reported_before_it_is_armed_or_after_it_is_disarmed() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    assert_eq!(look(&mut reactor), []);
    reactor.arm(token, Operation::Readable).expect("a socket can be watched");
    assert!(reactor.is_armed(token, Operation::Readable));
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
    reactor.disarm(token, Operation::Readable);
    assert!(!reactor.is_armed(token, Operation::Readable));
    assert_eq!(look(&mut reactor), []);
}

#[test]
fn what_is_not_taken_is_reported_again() {
    let (mut near, far) = pair();
    near.write_all(b"two parts").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    let mut buffer = [0; 4];
    for part in [b"two ".as_slice(), b"part", b"s"] {
        assert_eq!(operations(&look(&mut reactor)), [Operation::Receive]);
        let count = reactor.receive(token, &mut buffer).expect("bytes");
        assert_eq!(&buffer[..count], part);
    }
    assert_eq!(look(&mut reactor), []);
    let error = reactor.receive(token, &mut buffer).expect_err("nothing is left");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn reading_is_reported_before_writing() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::Writable).expect("a socket can be watched");
    assert_eq!(operations(&look(&mut reactor)), [Operation::Writable]);
    reactor.arm(token, Operation::Readable).expect("a socket can be watched");
    let both = [Operation::Readable, Operation::Writable];
    assert_eq!(operations(&look(&mut reactor)), both);
    reactor.disarm(token, Operation::Writable);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
}

#[test]
fn what_is_armed_once_is_reported_once_each_time_it_is_armed() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    for _ in 0..3 {
        reactor.arm(token, Operation::ReadableOnce).expect("a socket can be watched");
        assert!(reactor.is_armed(token, Operation::ReadableOnce));
        assert_eq!(operations(&look(&mut reactor)), [Operation::ReadableOnce]);
        assert!(!reactor.is_armed(token, Operation::ReadableOnce));
        assert_eq!(look(&mut reactor), []);
    }
    reactor.arm(token, Operation::ReadableOnce).expect("a socket can be watched");
    reactor.disarm(token, Operation::ReadableOnce);
    assert_eq!(look(&mut reactor), []);
}

#[test]
fn what_is_armed_once_leaves_everything_else_armed() {
    let (mut near, far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::ReadableOnce).expect("a socket can be watched");
    reactor.arm(token, Operation::WritableOnce).expect("a socket can be watched");
    assert_eq!(operations(&look(&mut reactor)), [Operation::WritableOnce]);
    near.write_all(b"x").expect("room");
    assert_eq!(operations(&look(&mut reactor)), [Operation::ReadableOnce]);
    reactor.arm(token, Operation::Readable).expect("a socket can be watched");
    reactor.arm(token, Operation::WritableOnce).expect("a socket can be watched");
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable, Operation::WritableOnce]);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
}

#[test]
fn a_number_given_away_after_its_report_can_be_armed_once_again() {
    let (mut near, far) = pair();
    let mut far = OwnedFd::from(far);
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::ReadableOnce).expect("a socket can be watched");
    assert_eq!(operations(&look(&mut reactor)), [Operation::ReadableOnce]);
    reactor.remove(token);
    let mut other = give_number_away(&mut far);
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::ReadableOnce).expect("a socket can be watched");
    assert_eq!(look(&mut reactor), []);
    other.write_all(b"y").expect("room");
    assert_eq!(tokens(&look(&mut reactor)), [token]);
}

#[test]
fn a_hang_up_is_reported_to_whatever_is_armed() {
    let (near, far) = pair();
    drop(near);
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    assert_eq!(operations(&look(&mut reactor)), [Operation::Receive]);
    assert_eq!(reactor.receive(token, &mut [0; 4]).expect("the end"), 0);
    reactor.arm(token, Operation::Send).expect("a socket can be watched");
    reactor.disarm(token, Operation::Receive);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Send]);
    let error = reactor.send(token, &[IoSlice::new(b"x")]).expect_err("nobody reads");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_full_socket_would_block_and_is_reported_when_there_is_room() {
    let (near, mut far) = pair();
    near.set_nonblocking(true).expect("an option");
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    let (first, second) = (vec![7; 40_000], vec![8; 30_000]);
    let block = [IoSlice::new(&first), IoSlice::new(&second)];
    let mut sent = 0;
    let error = loop {
        match reactor.send(token, &block) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    reactor.arm(token, Operation::Send).expect("a socket can be watched");
    assert_eq!(look(&mut reactor), []);
    let mut received = vec![0; sent];
    far.read_exact(&mut received).expect("all of it");
    assert_eq!((received[0], received[40_000]), (7, 8));
    assert_eq!(operations(&look(&mut reactor)), [Operation::Send]);
}

#[test]
fn more_slices_than_the_kernel_takes_are_sent_in_part() {
    let (near, mut far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    let slices = vec![IoSlice::new(b"x"); 2000];
    assert_eq!(reactor.send(token, &slices).expect("room"), 1024);
    far.read_exact(&mut [0; 1024]).expect("all of it");
    assert_eq!(reactor.send(token, &[]).expect("nothing to send"), 0);
}

#[test]
fn a_listener_hands_out_connections_with_their_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option");
    let mut reactor = reactor();
    let token = reactor.insert(listener.as_raw_fd(), ());
    reactor.arm(token, Operation::Accept).expect("a socket can be watched");
    let error = reactor.accept(token).expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a listener");
    assert_eq!(operations(&wait(&mut reactor)), [Operation::Accept]);
    let accepted = reactor.accept(token).expect("a connection");
    let client_address = client.local_addr().expect("connected");
    let expected = PeerAddress::Inet4 { ip: [127, 0, 0, 1].into(), port: client_address.port() };
    assert_eq!(accepted.peer, expected);
    let mut stream = TcpStream::from(accepted.fd);
    let error = stream.read(&mut [0; 1]).expect_err("nothing came yet");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "accepted sockets are non-blocking");
}

#[test]
fn a_regular_file_cannot_be_armed_and_stays_unarmed() {
    let file = File::open("Cargo.toml").expect("tests run in the crate's directory");
    let mut reactor = reactor();
    let token = reactor.insert(file.as_raw_fd(), ());
    let error = reactor.arm(token, Operation::Readable).expect_err("a regular file");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(!reactor.is_armed(token, Operation::Readable));
    assert!(reactor.remove(token).is_some());
}

#[test]
fn numbers_that_are_no_descriptors_are_refused() {
    let mut reactor = reactor();
    for number in [-1, i32::MIN, i32::MAX] {
        let token = reactor.insert(number, ());
        let error = reactor.arm(token, Operation::Readable).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(9));
        assert!(reactor.receive(token, &mut [0; 1]).is_err());
        assert!(reactor.remove(token).is_some());
    }
}

#[test]
fn a_removed_source_is_neither_reported_nor_usable() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), "payload");
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    assert_eq!(reactor.remove(token), Some("payload"));
    assert_eq!(reactor.remove(token), None);
    assert_eq!(look(&mut reactor), []);
    assert!(reactor.arm(token, Operation::Receive).is_err());
    assert!(reactor.receive(token, &mut [0; 1]).is_err());
    assert!(reactor.get(token).is_none());
    assert_eq!(reactor.find(far.as_raw_fd()), None);
}

#[test]
fn events_found_for_a_source_removed_during_the_wait_are_dropped() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let token = reactor.insert(far.as_raw_fd(), 1);
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    let mut wait = reactor.begin_wait(Some(Duration::ZERO));
    wait.run();
    reactor.remove(token);
    let successor = reactor.insert(far.as_raw_fd(), 2);
    let mut found = Vec::new();
    reactor.finish_wait(wait, &mut found).expect("a wait");
    assert_eq!(found, []);
    assert_eq!(reactor.get(successor), Some(&2));
}

#[test]
fn a_number_used_again_belongs_to_its_newest_source() {
    let (_old_near, old_far) = pair();
    let mut number = OwnedFd::from(old_far);
    let mut reactor = reactor();
    let old = reactor.insert(number.as_raw_fd(), "old");
    reactor.arm(old, Operation::Receive).expect("a socket can be watched");
    let mut new_near = give_number_away(&mut number);
    let new = reactor.insert(number.as_raw_fd(), "new");
    reactor.arm(new, Operation::Receive).expect("a socket can be watched");
    assert_eq!(reactor.find(number.as_raw_fd()), Some(new));
    assert_eq!(reactor.remove(old), Some("old"));
    new_near.write_all(b"x").expect("room");
    assert_eq!(tokens(&look(&mut reactor)), [new]);
    assert_eq!(reactor.remove(new), Some("new"));
}

#[test]
fn two_sources_of_one_open_descriptor_the_newest_arming_wins() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let mut reactor = reactor();
    let first = reactor.insert(far.as_raw_fd(), ());
    let second = reactor.insert(far.as_raw_fd(), ());
    reactor.arm(first, Operation::Receive).expect("a socket can be watched");
    reactor.arm(second, Operation::Readable).expect("a socket can be watched");
    assert_eq!(tokens(&look(&mut reactor)), [second]);
    reactor.arm(first, Operation::Receive).expect("a socket can be watched");
    assert_eq!(tokens(&look(&mut reactor)), [first]);
    reactor.remove(second);
    assert_eq!(tokens(&look(&mut reactor)), [first]);
    assert_eq!(reactor.find(far.as_raw_fd()), Some(first));
}

#[test]
fn arming_a_watch_again_makes_sure_of_the_file_that_has_the_number_now() {
    let (_old_near, old_far) = pair();
    let mut number = OwnedFd::from(old_far);
    let mut reactor = reactor();
    let token = reactor.insert(number.as_raw_fd(), ());
    reactor.arm(token, Operation::Readable).expect("a socket can be watched");
    let mut new_near = give_number_away(&mut number);
    new_near.write_all(b"x").expect("room");
    assert_eq!(look(&mut reactor), []);
    reactor.arm(token, Operation::Readable).expect("a socket can be watched");
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
}

#[test]
fn a_file_that_outlives_its_number_does_not_make_the_loop_spin() {
    let (mut near, far) = pair();
    near.write_all(b"x").expect("room");
    let duplicate = far.try_clone().expect("a second number");
    let mut reactor = reactor();
    let (mut other_near, other_far) = pair();
    let other = reactor.insert(other_far.as_raw_fd(), "other");
    reactor.arm(other, Operation::Receive).expect("a socket can be watched");
    let token = reactor.insert(far.as_raw_fd(), "gone");
    reactor.arm(token, Operation::Receive).expect("a socket can be watched");
    drop(far);
    reactor.remove(token);
    let mut early = 0;
    loop {
        let started = monotonic();
        wait_for(&mut reactor, Some(Duration::from_millis(20)));
        if monotonic() - started >= 0.02 {
            break;
        }
        early += 1;
        assert!(early < 10, "the loop spins");
    }
    other_near.write_all(b"x").expect("room");
    assert_eq!(tokens(&look(&mut reactor)), [other]);
    drop(duplicate);
}

#[test]
fn a_wait_does_not_end_before_its_timeout() {
    let mut reactor = reactor::<()>();
    for timeout in [Duration::from_micros(50), Duration::from_micros(1_999)] {
        let started = monotonic();
        let mut wait = reactor.begin_wait(Some(timeout));
        assert!(wait.may_block());
        wait.run();
        reactor.finish_wait(wait, &mut Vec::new()).expect("a wait");
        assert!(monotonic() - started >= timeout.as_secs_f64());
    }
}

#[test]
fn another_thread_ends_an_endless_wait() {
    let mut reactor = reactor::<()>();
    let waker = reactor.waker();
    let mut wait = reactor.begin_wait(None);
    std::thread::scope(|scope| {
        scope.spawn(|| wait.run());
        waker.wake();
    });
    let mut found = Vec::new();
    reactor.finish_wait(wait, &mut found).expect("a wait");
    assert_eq!(found, [], "the wake-up is nobody's completion");
}

#[test]
fn a_wake_before_the_wait_is_not_lost() {
    let mut reactor = reactor::<()>();
    reactor.waker().wake();
    let mut wait = reactor.begin_wait(None);
    assert!(!wait.may_block());
    wait.run();
    reactor.finish_wait(wait, &mut Vec::new()).expect("a wait");
    let mut wait = reactor.begin_wait(Some(Duration::from_millis(1)));
    assert!(wait.may_block(), "one wake prevents one sleep");
    wait.run();
    reactor.finish_wait(wait, &mut Vec::new()).expect("a wait");
}

#[test]
fn other_threads_may_change_the_reactor_during_a_wait() {
    let (mut near, far) = pair();
    let mut reactor = reactor();
    let mut wait = reactor.begin_wait(None);
    let token = std::thread::scope(|scope| {
        scope.spawn(|| wait.run());
        let token = reactor.insert(far.as_raw_fd(), ());
        reactor.arm(token, Operation::Readable).expect("a socket can be watched");
        near.write_all(b"x").expect("room");
        token
    });
    let mut found = Vec::new();
    reactor.finish_wait(wait, &mut found).expect("a wait");
    assert_eq!(tokens(&found), [token]);
}

#[test]
fn more_events_than_one_wait_takes_come_with_the_next() {
    let pairs: Vec<(UnixStream, UnixStream)> = (0..600).map(|_| pair()).collect();
    let mut reactor = reactor();
    for (near, far) in &pairs {
        let token = reactor.insert(far.as_raw_fd(), ());
        reactor.arm(token, Operation::Receive).expect("a socket can be watched");
        (&*near).write_all(b"x").expect("room");
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2 {
        for completion in look(&mut reactor) {
            reactor.receive(completion.token, &mut [0; 1]).expect("a byte");
            seen.insert(completion.token);
        }
    }
    assert_eq!(seen.len(), 600);
}

#[test]
fn draining_and_abandoning_hand_back_every_payload() {
    let (_near, far) = pair();
    let mut reactor = reactor();
    for number in 0..3 {
        let token = reactor.insert(far.as_raw_fd(), number);
        reactor.arm(token, Operation::Readable).expect("a socket can be watched");
    }
    assert_eq!(reactor.source_count(), 3);
    assert_eq!(reactor.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(reactor.drain(), [0, 1, 2]);
    assert_eq!((reactor.source_count(), look(&mut reactor)), (0, vec![]));
    reactor.insert(far.as_raw_fd(), 3);
    assert_eq!(reactor.abandon(), [3]);
}

#[test]
fn a_pipe_is_polled_and_then_read_and_written() {
    let (reading_end, writing_end) = pipe();
    let mut reactor = reactor();
    let reader = reactor.insert(reading_end.as_raw_fd(), "reader");
    reactor.arm(reader, Operation::Readable).expect("a pipe can be watched");
    assert_eq!(look(&mut reactor), []);
    let slices = [IoSlice::new(b"two "), IoSlice::new(b"parts")];
    assert_eq!(reactor.write(writing_end.as_raw_fd(), &slices).expect("room"), 9);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
    let mut buffer = [0; 64];
    let count = reactor.read(reading_end.as_raw_fd(), &mut buffer).expect("bytes");
    assert_eq!(&buffer[..count], b"two parts");
    let error = reactor.read(reading_end.as_raw_fd(), &mut buffer).expect_err("nothing is left");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(writing_end);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
    assert_eq!(reactor.read(reading_end.as_raw_fd(), &mut buffer).expect("the end"), 0);
}

#[test]
fn a_full_pipe_takes_a_part_and_is_writable_when_somebody_has_read() {
    let (reading_end, writing_end) = pipe();
    let mut reactor = reactor();
    let much = vec![7; 1 << 20];
    let slices = [IoSlice::new(&much)];
    let written = reactor.write(writing_end.as_raw_fd(), &slices).expect("room");
    assert!(0 < written && written < much.len());
    let error = reactor.write(writing_end.as_raw_fd(), &slices).expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let writer = reactor.insert(writing_end.as_raw_fd(), "writer");
    reactor.arm(writer, Operation::Writable).expect("a pipe can be watched");
    assert_eq!(look(&mut reactor), []);
    let count = reactor.read(reading_end.as_raw_fd(), &mut vec![0; 1 << 20]).expect("bytes");
    assert_eq!(count, written);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Writable]);
}

#[test]
fn the_writing_end_of_a_pipe_is_readable_when_nobody_reads_any_more() {
    let (reading_end, writing_end) = pipe();
    let mut reactor = reactor();
    let writer = reactor.insert(writing_end.as_raw_fd(), "writer");
    reactor.arm(writer, Operation::Readable).expect("a pipe can be watched");
    reactor.write(writing_end.as_raw_fd(), &[IoSlice::new(b"unread")]).expect("room");
    assert_eq!(look(&mut reactor), []);
    drop(reading_end);
    assert_eq!(operations(&look(&mut reactor)), [Operation::Readable]);
}
