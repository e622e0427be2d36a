//! What the kernel tells us. One contract, several backends; nothing observable differs.
//!
//! - `operation`: what is asked, what is answered.
//! - `sources`: the table of sources, with generations.
//! - `backend`: the contract as a trait, and the wait under way.
//! - `epoll`: readiness; the backend for every Linux.
//! - `uring`: completion; the backend for kernels that let us have rings. `streams` keeps what a ring has brought.
//! - `scripted`: driven by a test.
//!
//! # The contract
//!
//! It is written so that readiness (`epoll`) and completion (a ring with multishot accept and
//! receive into provided buffers) can both meet it.
//!
//! **Sources.** A source is a descriptor and a payload, named by a [`Token`]. The reactor never
//! closes a descriptor. A token outlives its source safely: everything asked of it then finds
//! nothing, or fails with EBADF. Whoever takes completions from a list must ask for the source of
//! each again, for an earlier one's handling may have removed it.
//!
//! **Arming.** An armed operation stays armed until disarmed. While it is armed and can go on,
//! *every* wait reports it: whoever took only part of the bytes or connections is told again. An
//! operation that is not armed is never reported.
//! - `Readable`, `Writable`: the descriptor would not block, or is broken. Both may be armed. A
//!   ring watches an epoll list for them: by itself it would keep a file open that was closed.
//! - `ReadableOnce`, `WritableOnce`: the same, for who waits now and then: reported once, and then not
//!   armed any more. To arm them again and again is cheaper than arming and disarming the others.
//! - `Receive`: [`Reactor::receive`] has bytes, the end of the stream (0) or an error to give. A
//!   ring may have taken the bytes from the kernel already: they stay with the backend, disarming
//!   does not lose them, and they are reported again when the operation is armed again.
//! - `ReceiveDatagrams`: [`Reactor::receive_datagrams`] has some to give, or an error.
//! - `Accept`: [`Reactor::accept`] has a connection or an error to give. A ring may have accepted
//!   already: it keeps the connection as it keeps bytes, and closes it when the source is removed.
//! - `Send`: [`Reactor::send`] or [`Reactor::send_datagram`] is worth another try. Arm it when that
//!   would block or took part. A datagram is sent by the call itself, on a ring as well: its error
//!   is told to whoever sends it, and one call costs little more than its share of a batch.
//!   [`Reactor::send_together`] is `send` for many, one after the other; a ring makes one call of it. The
//!   kernel is done with the bytes when it returns.
//!
//! **Pipes, FIFOs, terminals** are no sockets: their owner arms `Readable` and `Writable`, and then
//! asks for [`Reactor::read`] and [`Reactor::write`], which need no source and leave nothing behind.
//! A ring does not read ahead of them: what it had taken from a terminal would be lost to the
//! program that reads there next, and what is written to a device is not to be cut or joined.
//!
//! A hang-up or an error counts for both directions as far as they are armed; for one descriptor
//! what reads is reported before what writes.
//!
//! **Numbers used again.** The kernel watches files, Python hands out numbers. Closing a number
//! and opening another file under it, without a word to us, must harm nobody but the one who did
//! it: the newest arming of a number owns it, older sources of that number hear nothing more, and
//! removing them leaves the new owner alone. Arming `Readable` or `Writable` again, though armed,
//! makes sure of the file that has the number now.
//!
//! **Waiting** has three steps, so that the blocking one borrows nothing: [`Reactor::begin_wait`],
//! [`Wait::run`], [`Reactor::finish_wait`]. A signal or a wake-up ends it early, with whatever is
//! ready. It never ends before its timeout otherwise. After it, and in any turn that does not
//! wait, the loop looks at everything that other threads hand in.
//!
//! **Threads.** One thread at a time runs the loop, and each may be another. A ring belongs to the
//! thread that waited with it first; the next one gets a ring of its own, and nothing is lost.
//!
//! **Memory** that the kernel may write to after a call returned belongs to the backend.

mod backend;
mod epoll;
mod operation;
mod scripted;
mod sources;
mod streams;
mod uring;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use smallvec::SmallVec;

pub use backend::Wait;
pub use operation::{Completion, Operation, Token};
pub use scripted::{Note, Script};

pub use crate::sys::address::PeerAddress;
pub use crate::sys::datagram::Datagrams;
pub use crate::sys::socket::Outgoing;
pub use crate::wake::Waker;

use self::backend::Backend;
use self::operation::Operations;
use self::sources::Sources;
use crate::wake::Sleep;
use crate::{fork, sys};

/// Which backend a reactor asks.
#[derive(Clone, Debug, Default)]
pub enum BackendChoice {
    /// The best one that this kernel lets us have.
    #[default]
    Auto,
    Epoll,
    /// Fails where the kernel is older than 6.1, or does not let us.
    Uring,
    /// No kernel: a test tells what happens.
    Scripted(Script),
}

/// A connection taken from a listening socket; non-blocking, closed on exec.
#[derive(Debug)]
pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: PeerAddress,
}

/// The sources of one loop and the kernel's news about them. `S` is the payload of a source.
#[derive(Debug)]
pub struct Reactor<S> {
    backend: Box<dyn Backend>,
    sources: Sources<S>,
    waker: Waker,
    /// How many waits in a row reported something for nobody.
    stray_waits: u32,
    /// What the wait reported that is reported once. Kept for its memory.
    reported_once: Vec<(Token, Operations)>,
    /// Whether something was armed since `take_armed()`.
    armed: bool,
}

impl<S> Reactor<S> {
    pub fn new(choice: BackendChoice) -> io::Result<Self> {
        fork::watch_forks()?;
        let waker = Waker::new()?;
        let backend: Box<dyn Backend> = match choice {
            BackendChoice::Auto | BackendChoice::Epoll => Box::new(epoll::EpollBackend::new()?),
            BackendChoice::Uring => Box::new(uring::UringBackend::new(waker.clone())?),
            BackendChoice::Scripted(script) => Box::new(scripted::ScriptedBackend::new(script)),
        };
        let (sources, reported_once) = (Sources::new(), Vec::new());
        let mut reactor = Self { backend, sources, waker, stray_waits: 0, reported_once, armed: false };
        reactor.watch_bell()?;
        Ok(reactor)
    }

    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// Adds a source. The kernel hears of it when it is armed.
    pub fn insert(&mut self, fd: RawFd, source: S) -> Token {
        self.sources.insert(fd, source)
    }

    #[inline]
    pub fn get(&self, token: Token) -> Option<&S> {
        self.sources.get(token).map(|slot| &slot.source)
    }

    #[inline]
    pub fn get_mut(&mut self, token: Token) -> Option<&mut S> {
        self.sources.get_mut(token).map(|slot| &mut slot.source)
    }

    pub fn fd(&self, token: Token) -> Option<RawFd> {
        self.sources.get(token).map(|slot| slot.fd)
    }

    /// The newest of the sources of this descriptor.
    pub fn find(&self, fd: RawFd) -> Option<Token> {
        self.sources.find(fd)
    }

    /// Disarms a source and hands back its payload. Fine if the descriptor is closed already.
    pub fn remove(&mut self, token: Token) -> Option<S> {
        let slot = self.sources.remove(token)?;
        self.backend.remove(token, slot.fd, slot.watched);
        Some(slot.source)
    }

    /// Disarms and hands back all sources.
    pub fn drain(&mut self) -> Vec<S> {
        let tokens: Vec<Token> = self.sources.iter().map(|(token, _)| token).collect();
        tokens.into_iter().filter_map(|token| self.remove(token)).collect()
    }

    /// In a forked child: closes our own descriptors without a word to the kernel objects that
    /// the parent still uses, and hands back all payloads.
    pub fn abandon(mut self) -> Vec<S> {
        let tokens: Vec<Token> = self.sources.iter().map(|(token, _)| token).collect();
        let slots = tokens.into_iter().filter_map(|token| self.sources.remove(token));
        slots.map(|slot| slot.source).collect()
    }

    /// How many sources there are, the loop's own bell not counted.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Token, &S)> {
        self.sources.iter().map(|(token, slot)| (token, &slot.source))
    }

    /// Asks to be told when `operation` can go on. EPERM for a file that cannot be watched (a
    /// regular one), EBADF for a number that is no descriptor, or a token without a source.
    pub fn arm(&mut self, token: Token, operation: Operation) -> io::Result<()> {
        let slot = self.sources.get_mut(token).ok_or_else(sys::bad_descriptor)?;
        let (fd, before, wanted) = (slot.fd, slot.watched, slot.armed.with(operation));
        if before == wanted && !operation.is_foreign() {
            return Ok(());
        }
        self.backend.watch(token, fd, before, wanted)?;
        slot.armed = wanted;
        slot.watched = wanted;
        self.armed = true;
        if before.is_empty() {
            for (displaced, watched) in self.sources.displace_others(token) {
                self.backend.displace(displaced, fd, watched, wanted);
            }
        }
        Ok(())
    }

    /// Whether something that was not was armed since the last time this was asked: the kernel may have news of it already.
    #[inline]
    pub fn take_armed(&mut self) -> bool {
        std::mem::take(&mut self.armed)
    }

    pub fn disarm(&mut self, token: Token, operation: Operation) {
        let Some(slot) = self.sources.get_mut(token) else {
            return;
        };
        let before = slot.watched;
        slot.armed = slot.armed.without(operation);
        slot.watched = slot.watched.without(operation);
        if slot.watched != before {
            // Fails only if someone closed the epoll instance itself, which the next wait tells.
            let _ = self.backend.watch(token, slot.fd, before, slot.watched);
        }
    }

    pub fn is_armed(&self, token: Token, operation: Operation) -> bool {
        self.sources.get(token).is_some_and(|slot| slot.armed.contains(operation))
    }

    /// Takes received bytes; 0 is the end of the stream, `WouldBlock` means there are none.
    #[inline]
    pub fn receive(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive_new(token, sys::written(buffer))
    }

    /// The same into memory that nobody has written to. As many bytes as it answers are there then, at the beginning.
    #[inline]
    pub fn receive_new(&mut self, token: Token, memory: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let slot = self.sources.get(token).ok_or_else(sys::bad_descriptor)?;
        self.backend.receive(token, slot.fd, memory)
    }

    /// Takes a connection; `WouldBlock` means there is none.
    pub fn accept(&mut self, token: Token) -> io::Result<Accepted> {
        let slot = self.sources.get(token).ok_or_else(sys::bad_descriptor)?;
        self.backend.accept(token, slot.fd)
    }

    /// Sends what the kernel takes now and answers how much that was.
    #[inline]
    pub fn send(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slot = self.sources.get(token).ok_or_else(sys::bad_descriptor)?;
        self.backend.send(slot.fd, slices)
    }

    /// From how many on [`Self::send_together`] costs less than sending one by one.
    pub fn fewest_together(&self) -> usize {
        self.backend.fewest_together()
    }

    /// One of several to be sent together, to the socket that `token` names now.
    pub fn outgoing<'a>(&self, token: Token, slices: SmallVec<[IoSlice<'a>; 1]>) -> Outgoing<'a> {
        Outgoing::new(self.fd(token).unwrap_or(-1), slices)
    }

    /// Sends as [`Self::send`] would one after the other; the answers are in `sends` then.
    pub fn send_together(&mut self, sends: &mut [Outgoing<'_>]) {
        self.backend.send_together(sends);
    }

    /// Reads from a file that is no socket, as far as that is possible now; 0 is its end.
    pub fn read(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
        self.backend.read(fd, buffer)
    }

    /// Writes what a file that is no socket takes now and answers how much that was.
    pub fn write(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.backend.write(fd, slices)
    }

    /// Takes up to `most` datagrams that have come, at least one; `WouldBlock` means there is none.
    pub fn receive_datagrams(
        &mut self,
        token: Token,
        datagrams: &mut Datagrams,
        most: usize,
    ) -> io::Result<()> {
        let slot = self.sources.get(token).ok_or_else(sys::bad_descriptor)?;
        self.backend.receive_datagrams(token, slot.fd, datagrams, most)
    }

    /// Sends one datagram, to `to` or else to the peer that the socket is connected to.
    #[inline]
    pub fn send_datagram(&mut self, token: Token, data: &[u8], to: Option<&SocketAddr>) -> io::Result<()> {
        let slot = self.sources.get(token).ok_or_else(sys::bad_descriptor)?;
        self.backend.send_datagram(token, slot.fd, data, to)
    }

    /// Wakes this reactor's waits from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Prepares a wait for news; `None` waits for ever, zero only looks.
    pub fn begin_wait(&mut self, timeout: Option<Duration>) -> Wait {
        let only_looks = timeout == Some(Duration::ZERO);
        if only_looks || self.waker.begin_sleep() == Sleep::Refused {
            return self.backend.begin_wait(Some(Duration::ZERO));
        }
        self.backend.begin_wait(timeout)
    }

    /// Appends to `out` what the wait found, in the kernel's order.
    pub fn finish_wait(&mut self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        self.waker.end_sleep();
        let Self { backend, sources, waker, reported_once, .. } = self;
        let mut has_strays = false;
        let result = backend.finish_wait(wait, &mut |token, ready| {
            if token == Token::BELL {
                waker.silence();
                return;
            }
            let armed = sources.get(token).map_or(Operations::NONE, |slot| slot.watched);
            let completed = armed.intersection(ready);
            has_strays |= completed.is_empty();
            if completed.intersects(Operations::ONCE) {
                reported_once.push((token, completed.intersection(Operations::ONCE)));
            }
            out.extend(completed.iter().map(|operation| Completion { token, operation }));
        });
        for (token, reported) in reported_once.drain(..) {
            if let Some(slot) = sources.get_mut(token) {
                let before = slot.watched;
                slot.armed = slot.armed.difference(reported);
                slot.watched = before.difference(reported);
                // Fails only for what was closed behind our back, which is not heard of any more.
                let _ = backend.on_reported_once(token, slot.fd, before, slot.watched);
            }
        }
        result?;
        self.on_strays(has_strays)
    }

    /// A file that outlives its number (a duplicate is open elsewhere) cannot be taken from the
    /// epoll list by that number, and if it is ready it ends every wait at once: the loop would
    /// spin for good. One stray event is ordinary (another thread removed a source during the
    /// wait); when they keep coming, the list is made anew without the file.
    fn on_strays(&mut self, has_strays: bool) -> io::Result<()> {
        self.stray_waits = if has_strays { self.stray_waits + 1 } else { 0 };
        if self.stray_waits < STRAY_LIMIT {
            return Ok(());
        }
        self.stray_waits = 0;
        self.backend.forget_all()?;
        self.watch_bell()?;
        for (token, slot) in self.sources.iter_mut() {
            if slot.watched.is_empty() {
                continue;
            }
            // One that fails is closed already: it would not have been heard of anyhow.
            let watched = self.backend.watch(token, slot.fd, Operations::NONE, slot.watched);
            if watched.is_err() {
                slot.watched = Operations::NONE;
            }
        }
        Ok(())
    }

    fn watch_bell(&mut self) -> io::Result<()> {
        let readable = Operations::NONE.with(Operation::Readable);
        let bell = self.waker.bell_descriptor()?;
        self.backend.watch(Token::BELL, bell, Operations::NONE, readable)
    }
}

/// The wakers outlive the reactor in the hands of other threads; their descriptor does not.
impl<S> Drop for Reactor<S> {
    fn drop(&mut self) {
        self.waker.close();
    }
}

/// So many waits in a row with news for nobody are no coincidence.
const STRAY_LIMIT: u32 = 4;
