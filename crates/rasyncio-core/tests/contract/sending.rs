//! Sending to many sockets together: each is answered as if it were alone.

use std::io::{ErrorKind, IoSlice, Read, Result};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use rasyncio_core::reactor::{Operation, Reactor, Token};

use crate::support::{look, operations, pair, pipe, reactor};

type Blocks<'a> = &'a [&'a [u8]];

/// How many bytes of each were taken.
fn send<S>(reactor: &mut Reactor<S>, sends: &[(Token, Blocks<'_>)]) -> Vec<Result<usize>> {
    let outgoing = sends.iter().map(|(token, blocks)| {
        reactor.outgoing(*token, blocks.iter().map(|block| IoSlice::new(block)).collect())
    });
    let mut outgoing: Vec<_> = outgoing.collect();
    reactor.send_together(&mut outgoing);
    let sizes = sends.iter().map(|(_, blocks)| blocks.concat().len());
    let answers = outgoing.into_iter().zip(sizes).map(|(outgoing, size)| {
        let (offered, answer) = outgoing.into_answer();
        assert_eq!(offered, size);
        answer
    });
    answers.collect()
}

fn counts(answers: Vec<Result<usize>>) -> Vec<usize> {
    answers.into_iter().map(|answer| answer.expect("room")).collect()
}

fn received(mut stream: impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("all of it");
    bytes
}

#[test]
fn many_are_sent_to_together_and_more_than_a_ring_takes_at_once() {
    let pairs: Vec<(UnixStream, UnixStream)> = (0..600).map(|_| pair()).collect();
    let mut reactor = reactor();
    let all: Vec<Token> = pairs.iter().map(|(near, _)| reactor.insert(near.as_raw_fd(), ())).collect();
    look(&mut reactor);
    let blocks: [Blocks<'_>; 4] = [&[b"one"], &[b"two ", b"parts"], &[], &[b"and", b" ", b"three"]];
    for _ in 0..3 {
        let sends: Vec<_> = all.iter().copied().zip(blocks.into_iter().cycle()).collect();
        let sent = counts(send(&mut reactor, &sends));
        assert!(sent.into_iter().eq([3, 9, 0, 9].into_iter().cycle().take(600)));
    }
    for ((_, far), block) in pairs.iter().zip(blocks.into_iter().cycle()) {
        let expected = block.concat().repeat(3);
        assert_eq!(received(far, expected.len()), expected);
    }
}

#[test]
fn several_sends_to_one_socket_keep_their_order() {
    let (near, far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    look(&mut reactor);
    let blocks: [Blocks<'_>; 5] = [&[b"a"], &[b"b", b"c"], &[b"d"], &[b"e"], &[b"f", b"g"]];
    assert_eq!(counts(send(&mut reactor, &blocks.map(|block| (token, block)))), [1, 2, 1, 1, 2]);
    assert_eq!(received(far, 7), b"abcdefg");
}

#[test]
fn each_is_told_what_became_of_its_own() {
    let ((full, mut full_far), (broken, broken_far), (fine, fine_far)) = (pair(), pair(), pair());
    let (_reading_end, writing_end) = pipe();
    drop(broken_far);
    let mut reactor = reactor();
    let gone = reactor.insert(fine.as_raw_fd(), ());
    reactor.remove(gone);
    let [full, broken, fine, no_socket, no_descriptor] =
        [full.as_raw_fd(), broken.as_raw_fd(), fine.as_raw_fd(), writing_end.as_raw_fd(), -1]
            .map(|number| reactor.insert(number, ()));
    look(&mut reactor);
    let much = vec![7; 4 << 20];
    let parts: Blocks<'_> = &[&much, &much];
    let sends: [(Token, Blocks<'_>); 9] = [
        (full, &[&much]),
        (broken, &[b"x"]),
        (fine, &[b"fi"]),
        (full, parts),
        (no_descriptor, &[b"x"]),
        (no_socket, &[b"x", b"y"]),
        (gone, &[b"x"]),
        (fine, &[b"ne"]),
        (full, &[b"x"]),
    ];
    let answers = send(&mut reactor, &sends);
    let numbers = answers.iter().map(|answer| answer.as_ref().map_err(std::io::Error::raw_os_error));
    let [part, epipe, two, again, ebadf, enotsock, no_source, two_more, and_again] =
        numbers.collect::<Vec<_>>()[..]
    else {
        panic!("an answer for each");
    };
    assert_eq!((epipe, enotsock), (Err(Some(32)), Err(Some(88))));
    assert_eq!((ebadf, no_source), (Err(Some(9)), Err(Some(9))));
    assert_eq!((two, two_more), (Ok(&2), Ok(&2)));
    assert_eq!((again, and_again), (Err(Some(11)), Err(Some(11))));
    let part = *part.expect("some room");
    assert!(part > 0 && part < much.len());
    assert_eq!(received(fine_far, 4), b"fine");
    reactor.arm(full, Operation::Send).expect("a socket can be watched");
    assert_eq!(look(&mut reactor), []);
    full_far.read_exact(&mut vec![0; part]).expect("all of it");
    assert_eq!(operations(&look(&mut reactor)), [Operation::Send]);
}

#[test]
fn connections_take_what_there_is_room_for_and_tell_of_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connect = || {
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("a listener");
        (near, listener.accept().expect("a connection").0)
    };
    let connections: Vec<(TcpStream, TcpStream)> = (0..8).map(|_| connect()).collect();
    let (reset, reset_far) = connect();
    reset.set_nonblocking(true).expect("an option");
    rustix::net::sockopt::set_socket_linger(&reset_far, Some(std::time::Duration::ZERO)).expect("an option");
    drop(reset_far);
    let mut reactor = reactor();
    let all: Vec<Token> = connections.iter().map(|(near, _)| reactor.insert(near.as_raw_fd(), ())).collect();
    let reset = reactor.insert(reset.as_raw_fd(), ());
    look(&mut reactor);
    let much = vec![3; 16 << 20];
    let blocks: Blocks<'_> = &[&much, &much];
    let mut sends: Vec<(Token, Blocks<'_>)> = all.iter().map(|token| (*token, blocks)).collect();
    sends.insert(4, (reset, blocks));
    let mut answers = send(&mut reactor, &sends);
    let error = answers.remove(4).expect_err("a reset");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    for ((_, far), count) in connections.iter().zip(counts(answers)) {
        assert!(count > 0 && count < 32 << 20);
        assert!(received(far, count).iter().all(|byte| *byte == 3));
    }
}

#[test]
fn more_blocks_than_the_kernel_takes_are_sent_in_part() {
    let (near, far) = pair();
    let mut reactor = reactor();
    let token = reactor.insert(near.as_raw_fd(), ());
    look(&mut reactor);
    let blocks: Vec<&[u8]> = vec![b"x"; 2000];
    assert_eq!(counts(send(&mut reactor, &[(token, &blocks)])), [1024]);
    assert_eq!(received(far, 1024), [b'x'; 1024]);
}
