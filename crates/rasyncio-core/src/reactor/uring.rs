//! The backend for kernels that let us have rings (`io_uring`, Linux 6.1). Streams and listeners are asked once and
//! answer until they are told to stop: their bytes and connections are there when the wait ends. What is polled
//! (`Readable`, `Writable`, `Send`, datagrams) is in an epoll list which the ring watches, for a list forgets a file
//! when it is closed and reports it while it is ready, where a ring would keep it open and report it once. The
//! loop's bell and the timeout of a wait are the ring's as well.
//!
//! Nothing is submitted but by the thread that waits: what is asked for waits in `waiting` and goes to the kernel
//! with the next wait, in one call. Only a removal is submitted at once, for the ring would keep a closed socket
//! open, and its peer without an end. What another thread asks for during a wait ends that wait.
//!
//! Bytes stay in the ring's buffers for no longer than one turn: those that nobody took are copied out before the
//! next wait, so that each buffer comes back, whatever a source does. A peer that sends more than is taken is not
//! listened to until there is room again.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::Accepted;
use super::backend::{Backend, Wait, WaitKind};
use super::epoll::EpollBackend;
use super::operation::{Operation, Operations, Token};
use super::streams::{Stream, Streams};
use crate::sys::address::PeerAddress;
use crate::sys::datagram::Datagrams;
use crate::sys::ring::{Completed, Key, Kind, Outcome, Ring, Submission};
use crate::sys::socket::{self, Outgoing};
use crate::sys::{self, ring};
use crate::wake::Waker;

#[derive(Debug)]
pub(super) struct UringBackend {
    /// A wait under way has it.
    ring: Option<Box<Ring>>,
    /// In the order in which it is to be submitted.
    waiting: VecDeque<Submission>,
    requests: Vec<Request>,
    free_requests: Vec<u32>,
    streams: Streams,
    polled: EpollBackend,
    /// Whether the ring has been asked about `polled`, and how often it was made anew.
    is_polling: bool,
    poll_generation: u32,
    bell: Option<RawFd>,
    is_listening: bool,
    waker: Waker,
    /// Kept for its memory.
    completed: Vec<Completed>,
}

/// A request for a stream or a listener, from its making until the kernel has said the last of it.
#[derive(Clone, Copy, Debug)]
struct Request {
    token: Token,
    fd: RawFd,
    kind: Kind,
    state: RequestState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    Free,
    Active,
    Cancelled,
}

/// The blocking half: has the ring while it waits.
#[derive(Debug)]
pub(super) struct RingWait {
    ring: Option<Box<Ring>>,
    waiting: VecDeque<Submission>,
    failed: Option<io::Error>,
}

impl RingWait {
    pub(super) fn run(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match (self.failed.take(), &mut self.ring) {
            (None, Some(ring)) => ring.enter(&mut self.waiting, timeout),
            (Some(error), _) => Err(error),
            (None, None) => Err(sys::bad_descriptor()),
        }
    }
}

impl UringBackend {
    pub(super) fn new(waker: Waker) -> io::Result<Self> {
        Ok(Self {
            ring: Some(Box::new(Ring::new()?)),
            waiting: VecDeque::new(),
            requests: Vec::new(),
            free_requests: Vec::new(),
            streams: Streams::default(),
            polled: EpollBackend::new()?,
            is_polling: false,
            poll_generation: 0,
            bell: None,
            is_listening: false,
            waker,
            completed: Vec::new(),
        })
    }

    /// Queues a submission. If another thread waits just now, it must come back for this.
    fn submit(&mut self, submission: Submission) {
        self.waiting.push_back(submission);
        if self.ring.is_none() {
            self.waker.wake();
        }
    }

    /// Asks the kernel for what the stream of `token` wants, unless it has been asked or enough is there.
    fn pursue(&mut self, token: Token) {
        let Some(stream) = self.streams.get(token) else {
            return;
        };
        if !stream.is_armed || stream.request.is_some() || stream.has_enough() {
            return;
        }
        let request = Request { token, fd: stream.fd, kind: stream.kind, state: RequestState::Active };
        let index = self.free_requests.pop().unwrap_or_else(|| {
            self.requests.push(request);
            u32::try_from(self.requests.len() - 1).expect("fewer requests than 2^32")
        });
        self.requests[index as usize] = request;
        if let Some(stream) = self.streams.get_mut(token) {
            stream.request = Some(index);
            stream.unfinished += 1;
        }
        self.submit(Submission::Start(Key { kind: request.kind, index }, request.fd));
    }

    /// Ends the request of a stream, if it has one. What it brought until then stays.
    fn cancel(&mut self, token: Token) {
        let Some(index) = self.streams.get_mut(token).and_then(|stream| stream.request.take()) else {
            return;
        };
        let request = self.requests[index as usize];
        let key = Key { kind: request.kind, index };
        let start = Submission::Start(key, request.fd);
        // By the time it were submitted, its number might be another file's.
        if let Some(place) = self.waiting.iter().position(|waiting| *waiting == start) {
            self.waiting.remove(place);
            self.finish(index);
            return;
        }
        self.requests[index as usize].state = RequestState::Cancelled;
        self.submit(Submission::Cancel(key));
    }

    /// The kernel does not have this request any more.
    fn finish(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        request.state = RequestState::Free;
        if let Some(stream) = self.streams.get_mut(request.token) {
            stream.unfinished -= 1;
            stream.request = stream.request.filter(|current| *current != index);
        }
        self.free_requests.push(index);
    }

    fn set_armed(&mut self, token: Token, fd: RawFd, kind: Kind, armed: bool) {
        let stream = match self.streams.get_mut(token) {
            Some(stream) => stream,
            None if armed => self.streams.insert(token, fd, kind),
            None => return,
        };
        stream.is_armed = armed;
        if armed {
            self.pursue(token);
        } else {
            self.cancel(token);
        }
    }

    fn on_completed(&mut self, completed: Completed, ring: &mut Ring, on_ready: &mut OnReady<'_>) {
        let Completed { key, outcome, more } = completed;
        match key.kind {
            Kind::Watch => {
                self.is_listening &= more;
                on_ready(Token::BELL, Operations::NONE.with(Operation::Readable));
            }
            Kind::Poll if key.index == self.poll_generation => self.is_polling = false,
            Kind::Poll | Kind::Send | Kind::Cancel => {}
            Kind::Receive | Kind::Accept => self.on_news(key, outcome, more, ring),
        }
    }

    fn on_news(&mut self, key: Key, outcome: Outcome, more: bool, ring: &mut Ring) {
        let Some(Request { token, state, .. }) = self.requests.get(key.index as usize).copied() else {
            return;
        };
        let is_cancelled = state == RequestState::Cancelled;
        if !more {
            self.finish(key.index);
        }
        if self.streams.get(token).is_none() {
            if let Outcome::Bytes(piece) = outcome {
                ring.give_back(piece);
            }
            return;
        }
        match outcome {
            // Without buffers, or without the thread that asked, the kernel ends what it was asked: we ask again.
            Outcome::Failed(error) if is_cancelled || ring::has_passed(key.kind, &error) => {}
            outcome => self.streams.keep(token, outcome),
        }
        if self.streams.get(token).is_some_and(Stream::has_enough) {
            self.cancel(token);
        }
        self.pursue(token);
    }

    /// Another thread runs the loop now: it gets a ring of its own, and what the old one was asked for is asked
    /// of the new one.
    fn renew(&mut self, ring: Box<Ring>) -> io::Result<Box<Ring>> {
        let fresh = match Ring::new() {
            Ok(fresh) => Box::new(fresh),
            Err(error) => {
                self.ring = Some(ring);
                return Err(error);
            }
        };
        let mut old = ring;
        self.take_completed(&mut old, &mut |_, _| {});
        self.streams.unload(&mut old);
        drop(old);
        (self.is_polling, self.is_listening) = (false, false);
        self.waiting.clear();
        for index in 0..u32::try_from(self.requests.len()).unwrap_or(u32::MAX) {
            let Request { fd, kind, state, .. } = self.requests[index as usize];
            match state {
                RequestState::Free => {}
                RequestState::Active => self.waiting.push_back(Submission::Start(Key { kind, index }, fd)),
                RequestState::Cancelled => self.finish(index),
            }
        }
        Ok(fresh)
    }

    fn take_completed(&mut self, ring: &mut Ring, on_ready: &mut OnReady<'_>) {
        let mut all = std::mem::take(&mut self.completed);
        ring.take_completed(&mut all);
        for completed in all.drain(..) {
            self.on_completed(completed, ring, on_ready);
        }
        self.completed = all;
    }

    /// What goes with every wait: the bell and the list of what is polled, if they were heard of since.
    fn ask_for_own(&mut self) {
        if let Some(bell) = self.bell.filter(|_| !self.is_listening) {
            self.is_listening = true;
            self.waiting.push_back(Submission::Start(Key { kind: Kind::Watch, index: 0 }, bell));
        }
        if !self.is_polling {
            self.is_polling = true;
            self.waiting.push_back(Submission::Start(self.poll_key(), self.polled.descriptor()));
        }
    }

    fn poll_key(&self) -> Key {
        Key { kind: Kind::Poll, index: self.poll_generation }
    }
}

impl Backend for UringBackend {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn watch(&mut self, token: Token, fd: RawFd, before: Operations, wanted: Operations) -> io::Result<()> {
        if token == Token::BELL {
            self.bell = Some(fd);
            return Ok(());
        }
        let (polled_before, polled_now) =
            (before.intersection(Operations::POLLED), wanted.intersection(Operations::POLLED));
        if !polled_before.is_empty() || !polled_now.is_empty() {
            self.polled.watch(token, fd, polled_before, polled_now)?;
        }
        for (operation, kind) in STREAMED {
            match (before.contains(operation), wanted.contains(operation)) {
                (false, true) => {
                    socket::check_open(fd)?;
                    self.set_armed(token, fd, kind, true);
                }
                (true, false) => self.set_armed(token, fd, kind, false),
                _ => {}
            }
        }
        Ok(())
    }

    fn displace(&mut self, token: Token, fd: RawFd, before: Operations, wanted: Operations) {
        if before.intersects(Operations::POLLED) && !wanted.intersects(Operations::POLLED) {
            // Fails only if someone closed the epoll instance itself, which the next wait tells.
            let _ = self.polled.watch(token, fd, before.intersection(Operations::POLLED), Operations::NONE);
        }
        for (operation, kind) in STREAMED {
            if before.contains(operation) {
                self.set_armed(token, fd, kind, false);
            }
        }
    }

    fn remove(&mut self, token: Token, fd: RawFd, before: Operations) {
        self.polled.remove(token, fd, before.intersection(Operations::POLLED));
        self.cancel(token);
        let is_open = self.streams.get(token).is_some_and(|stream| stream.unfinished > 0);
        let Some(mut ring) = self.ring.take() else {
            // The thread that waits was woken by `cancel`.
            self.streams.remove(token, None);
            return;
        };
        self.streams.remove(token, Some(&mut ring));
        if is_open && ring.is_ours() {
            // What fails here is submitted again with the next wait.
            let _ = ring.enter(&mut self.waiting, Some(Duration::ZERO));
        }
        self.ring = Some(ring);
    }

    fn receive(&mut self, token: Token, fd: RawFd, memory: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let Some(stream) = self.streams.get_mut(token) else {
            return socket::receive(fd, memory);
        };
        let received = match stream.take_bytes(self.ring.as_deref_mut(), memory) {
            Some(received) => received,
            None if stream.request.is_some() => Err(io::ErrorKind::WouldBlock.into()),
            None => socket::receive(fd, memory),
        };
        self.pursue(token);
        received
    }

    fn accept(&mut self, token: Token, fd: RawFd) -> io::Result<Accepted> {
        let Some(stream) = self.streams.get_mut(token) else {
            return self.polled.accept(token, fd);
        };
        let (accepted, is_asked) = (stream.take_connection(), stream.request.is_some());
        self.pursue(token);
        match accepted {
            Some(connection) => {
                let fd = connection?;
                // A peer that is gone already has no address.
                let peer = socket::peer_address(fd.as_raw_fd()).unwrap_or(PeerAddress::Other { family: 0 });
                Ok(Accepted { fd, peer })
            }
            None if is_asked => Err(io::ErrorKind::WouldBlock.into()),
            None => self.polled.accept(token, fd),
        }
    }

    fn send(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(fd, slices)
    }

    fn fewest_together(&self) -> usize {
        ring::FEWEST_SENDS
    }

    fn send_together(&mut self, sends: &mut [Outgoing<'_>]) {
        // By another thread's ring, or during its wait, nothing can be sent.
        let answered = self.ring.as_mut().map_or(0, |ring| ring.send_together(sends));
        self.polled.send_together(&mut sends[answered..]);
    }

    fn read(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
        self.polled.read(fd, buffer)
    }

    fn write(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.polled.write(fd, slices)
    }

    fn receive_datagrams(
        &mut self,
        token: Token,
        fd: RawFd,
        datagrams: &mut Datagrams,
        most: usize,
    ) -> io::Result<()> {
        self.polled.receive_datagrams(token, fd, datagrams, most)
    }

    fn send_datagram(
        &mut self,
        token: Token,
        fd: RawFd,
        data: &[u8],
        to: Option<&SocketAddr>,
    ) -> io::Result<()> {
        self.polled.send_datagram(token, fd, data, to)
    }

    fn begin_wait(&mut self, timeout: Option<Duration>) -> Wait {
        let mut wait = RingWait { ring: self.ring.take(), waiting: VecDeque::new(), failed: None };
        if let Some(mut ring) = wait.ring.take() {
            if ring.is_foreign() {
                match self.renew(ring) {
                    Ok(fresh) => wait.ring = Some(fresh),
                    Err(error) => wait.failed = Some(error),
                }
            } else {
                self.streams.unload(&mut ring);
                wait.ring = Some(ring);
            }
        }
        self.ask_for_own();
        wait.waiting = std::mem::take(&mut self.waiting);
        let timeout = if self.streams.have_news() { Some(Duration::ZERO) } else { timeout };
        Wait::new(timeout, WaitKind::Ring(wait))
    }

    fn finish_wait(&mut self, wait: Wait, on_ready: &mut dyn FnMut(Token, Operations)) -> io::Result<()> {
        let (WaitKind::Ring(mut wait), result) = wait.into_parts() else {
            return Ok(());
        };
        // What was asked for meanwhile comes behind what the wait could not submit.
        wait.waiting.append(&mut self.waiting);
        self.waiting = wait.waiting;
        let Some(mut ring) = wait.ring else {
            return result;
        };
        self.take_completed(&mut ring, on_ready);
        self.ring = Some(ring);
        result?;
        self.streams.report(on_ready);
        if self.is_polling {
            return Ok(());
        }
        let mut look = self.polled.begin_wait(Some(Duration::ZERO));
        look.run();
        // A hang-up is told for both directions, but only what is polled is told of here.
        self.polled
            .finish_wait(look, &mut |token, ready| on_ready(token, ready.intersection(Operations::POLLED)))
    }

    fn forget_all(&mut self) -> io::Result<()> {
        self.polled.forget_all()?;
        if self.is_polling {
            self.submit(Submission::Cancel(self.poll_key()));
        }
        self.is_polling = false;
        self.poll_generation = self.poll_generation.wrapping_add(1);
        Ok(())
    }
}

type OnReady<'a> = dyn FnMut(Token, Operations) + 'a;

/// What is asked of the ring itself.
const STREAMED: [(Operation, Kind); 2] =
    [(Operation::Receive, Kind::Receive), (Operation::Accept, Kind::Accept)];
