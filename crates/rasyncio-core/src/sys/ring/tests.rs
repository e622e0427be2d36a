//! A ring alone. Where the kernel lets us have none, each of these says so and tests nothing.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use super::buffers::{COUNT, SIZE};
use super::*;
use crate::sys::socket::Outgoing;

/// A ring of each kind of buffers: as new kernels fill them, and as old ones do.
fn rings() -> Vec<Ring> {
    let made = [0, buffers::INCREMENTAL].map(Ring::with_buffers);
    let shown = |result: io::Result<Ring>| result.inspect_err(|error| eprintln!("no ring here: {error}"));
    made.into_iter().filter_map(|result| shown(result).ok()).collect()
}

fn key(kind: Kind, index: u32) -> Key {
    Key { kind, index }
}

fn enter(ring: &mut Ring, submissions: impl IntoIterator<Item = Submission>) -> Vec<Completed> {
    let mut waiting: VecDeque<Submission> = submissions.into_iter().collect();
    ring.enter(&mut waiting, Some(Duration::ZERO)).expect("a look");
    assert_eq!(waiting, []);
    let mut completed = Vec::new();
    ring.take_completed(&mut completed);
    completed
}

fn receive(stream: &UnixStream) -> Submission {
    Submission::Start(key(Kind::Receive, 7), stream.as_raw_fd())
}

fn bytes(ring: &mut Ring, completed: Vec<Completed>) -> Vec<u8> {
    let mut all = Vec::new();
    for one in completed {
        if let Outcome::Bytes(piece) = one.outcome {
            all.extend_from_slice(ring.bytes(&piece));
            ring.give_back(piece);
        }
    }
    all
}

#[test]
fn every_buffer_comes_back_however_often_it_was_used() {
    for mut ring in rings() {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        let mut completed = enter(&mut ring, [receive(&far)]);
        for round in 0..20 * COUNT {
            let message = vec![u8::try_from(round % 251).expect("small"); 1 + round * 97];
            near.write_all(&message).expect("room");
            let mut received = bytes(&mut ring, completed);
            while received.len() < message.len() {
                let more = enter(&mut ring, []);
                received.extend(bytes(&mut ring, more));
            }
            assert_eq!(received, message);
            completed = Vec::new();
        }
        assert_eq!(ring.buffers.free(), COUNT);
    }
}

#[test]
fn without_buffers_a_request_ends_and_nothing_is_lost() {
    for mut ring in rings() {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("an option");
        let mut completed = enter(&mut ring, [receive(&far)]);
        let mut sent = 0_usize;
        let ended = loop {
            let message = vec![u8::try_from(sent / SIZE % 251).expect("small"); SIZE];
            sent += near.write(&message[sent % SIZE..]).expect("room");
            let more = enter(&mut ring, []);
            completed.extend(more);
            if let Some(last) = completed.pop_if(|last| !last.more) {
                break last;
            }
        };
        assert!(matches!(ended.outcome, Outcome::Failed(error) if has_passed(Kind::Receive, &error)));
        let mut received = bytes(&mut ring, completed);
        while received.len() < sent {
            let more = enter(&mut ring, [receive(&far)]);
            received.extend(bytes(&mut ring, more));
        }
        assert!(received.iter().enumerate().all(|(place, byte)| usize::from(*byte) == place / SIZE % 251));
    }
}

#[test]
fn a_full_submission_queue_takes_the_rest_with_another_call_and_an_overflown_one_keeps_all() {
    let many = COMPLETIONS + 3 * SUBMISSIONS;
    for mut ring in rings() {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        near.write_all(b"x").expect("room");
        let polls = (0..many).map(|index| Submission::Start(key(Kind::Poll, index), far.as_raw_fd()));
        let mut waiting: VecDeque<Submission> = polls.collect();
        let mut completed = Vec::new();
        while completed.len() < many as usize {
            ring.enter(&mut waiting, Some(Duration::ZERO)).expect("a look");
            ring.take_completed(&mut completed);
        }
        let mut seen: Vec<u32> = completed.iter().map(|one| one.key.index).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..many));
        assert_eq!(ring.under_way, 0);
    }
}

#[test]
fn the_end_of_a_stream_and_of_a_request_are_told() {
    for mut ring in rings() {
        let (near, far) = UnixStream::pair().expect("a pair");
        drop(near);
        let completed = enter(&mut ring, [receive(&far)]);
        assert!(matches!(completed[..], [Completed { outcome: Outcome::End, more: false, .. }]));
        let (_near, far) = UnixStream::pair().expect("a pair");
        assert!(enter(&mut ring, [receive(&far)]).is_empty());
        let completed = enter(&mut ring, [Submission::Cancel(key(Kind::Receive, 7))]);
        let [Completed { outcome: Outcome::Failed(error), more: false, .. }] = &completed[..] else {
            panic!("one completion: {completed:?}");
        };
        assert!(has_passed(Kind::Receive, error));
    }
}

#[test]
fn a_ring_that_goes_keeps_no_file_open_and_closes_what_nobody_took() {
    for mut ring in rings() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (mut near, far) = UnixStream::pair().expect("a pair");
        let accept = Submission::Start(key(Kind::Accept, 1), listener.as_raw_fd());
        enter(&mut ring, [receive(&far), accept]);
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a listener");
        ring.enter(&mut VecDeque::new(), Some(Duration::ZERO)).expect("a look");
        drop(far);
        drop(ring);
        assert_eq!(near.read(&mut [0; 1]).expect("the end"), 0);
        assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0);
    }
}

#[test]
fn a_ring_belongs_to_the_thread_that_used_it_first() {
    for mut ring in rings() {
        assert!(!ring.is_ours() && !ring.is_foreign());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                enter(&mut ring, []);
                assert!(ring.is_ours() && !ring.is_foreign());
            });
        });
        assert!(!ring.is_ours() && ring.is_foreign());
    }
}

#[test]
fn a_ring_may_go_while_another_thread_has_requests_in_it() {
    for mut ring in rings() {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        let (giver, taker) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let (far, ended) = (&far, ended);
            scope.spawn(move || {
                enter(&mut ring, [receive(far)]);
                giver.send(ring).expect("a taker");
                ended.recv().expect_err("only the end");
            });
            drop(taker.recv().expect("a ring"));
            near.write_all(b"x").expect("room");
            drop(end);
        });
        assert_eq!((&far).read(&mut [0; 4]).expect("what the ring did not take"), 1);
    }
}

/// Sends `message` through each of these and answers how many sends the ring has answered, all with success.
fn send(ring: &mut Ring, streams: &[&UnixStream], message: &[u8]) -> usize {
    let slices = || std::iter::once(IoSlice::new(message)).collect();
    let mut sends: Vec<_> =
        streams.iter().map(|stream| Outgoing::new(stream.as_raw_fd(), slices())).collect();
    let answered = ring.send_together(&mut sends);
    for send in sends.drain(..answered) {
        assert_eq!(send.into_answer().1.expect("room"), message.len());
    }
    assert!(sends.iter().all(|send| send.answer.is_err()), "nobody else has sent");
    answered
}

#[test]
fn what_is_sent_is_answered_by_the_call_that_submits_it() {
    for mut ring in rings() {
        let pairs = [(); 8].map(|()| UnixStream::pair().expect("a pair"));
        assert_eq!(send(&mut ring, &[&pairs[0].0], b"x"), 0, "nobody uses the ring yet");
        enter(&mut ring, []);
        let streams: Vec<&UnixStream> =
            std::iter::repeat_n(pairs.each_ref().map(|pair| &pair.0), 100).flatten().collect();
        assert_eq!(send(&mut ring, &streams, b"x"), 800, "three times what the queue has room for, and some");
        assert!(enter(&mut ring, []).is_empty());
        assert_eq!(ring.under_way, 0);
        for (_, far) in &pairs {
            assert_eq!((&*far).read(&mut [0; 128]).expect("bytes"), 100);
        }
    }
}

#[test]
fn what_completes_before_a_send_is_told_by_the_next_wait() {
    for mut ring in rings() {
        let ((mut near, far), (out, mut other)) =
            (UnixStream::pair().expect("a pair"), UnixStream::pair().expect("a pair"));
        enter(&mut ring, [receive(&far)]);
        for part in [b"one ", b"two "] {
            near.write_all(part).expect("room");
            ring.enter(&mut VecDeque::new(), Some(Duration::ZERO)).expect("a look");
            assert_eq!(send(&mut ring, &[&out, &out], b"x"), 2);
        }
        // It would last for ever if what is known were not told first.
        ring.enter(&mut VecDeque::new(), None).expect("no wait");
        let mut completed = Vec::new();
        ring.take_completed(&mut completed);
        assert_eq!(bytes(&mut ring, completed), b"one two ");
        assert_eq!(other.read(&mut [0; 8]).expect("bytes"), 4);
    }
}

#[test]
fn a_send_is_answered_where_there_is_no_room_for_its_completion() {
    let many = COMPLETIONS + SUBMISSIONS;
    for mut ring in rings() {
        let ((mut near, far), (out, mut other)) =
            (UnixStream::pair().expect("a pair"), UnixStream::pair().expect("a pair"));
        near.write_all(b"x").expect("room");
        let polls = (0..many).map(|index| Submission::Start(key(Kind::Poll, index), far.as_raw_fd()));
        let mut waiting: VecDeque<Submission> = polls.collect();
        while !waiting.is_empty() {
            ring.enter(&mut waiting, Some(Duration::ZERO)).expect("a look");
        }
        assert!(ring.has_overflown());
        assert_eq!(send(&mut ring, &[&out; 40], b"x"), 40);
        assert_eq!(other.read(&mut [0; 64]).expect("bytes"), 40);
        let completed = enter(&mut ring, []);
        let mut seen: Vec<u32> = completed.iter().map(|one| one.key.index).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..many));
    }
}

#[test]
fn a_ring_that_refuses_what_is_sent_is_never_used_again() {
    for mut ring in rings() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        enter(&mut ring, [receive(&near)]);
        // As a careless program does: its descriptor is another file's now.
        let null = std::fs::File::open("/dev/null").expect("a file");
        // SAFETY: two descriptors, of which the second stays open as long as the ring has it.
        assert!(unsafe { libc::dup2(null.as_raw_fd(), ring.uring.as_raw_fd()) } >= 0);
        assert_eq!(send(&mut ring, &[&near; 5], b"x"), 0);
        assert!(ring.is_foreign() && !ring.is_ours());
        assert_eq!(send(&mut ring, &[&near; 5], b"x"), 0);
        far.set_nonblocking(true).expect("an option");
        assert!(far.read(&mut [0; 1]).is_err(), "nothing was sent");
    }
}
