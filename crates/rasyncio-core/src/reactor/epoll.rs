//! The backend for every Linux: `epoll`, level-triggered. It reports that an operation can go on,
//! and performs it when the owner comes for the result.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use super::Accepted;
use super::backend::{Backend, Wait, WaitKind};
use super::operation::{Operations, Token};
use crate::sys::datagram::{self, Datagrams};
use crate::sys::epoll::{Directions, Epoll, EpollWait};
use crate::sys::{pipe, socket};

#[derive(Debug)]
pub(super) struct EpollBackend {
    epoll: Epoll,
    /// Which descriptors are probably in the list without being watched, in bits: the kernel has reported them once.
    dormant: Vec<u64>,
    /// The wait of the last turn, kept for its memory.
    idle: Option<EpollWait>,
}

impl EpollBackend {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new()?, dormant: Vec::new(), idle: None })
    }

    /// Remembers that `fd` is in the list; false if it is too large a number to be worth that.
    fn set_dormant(&mut self, fd: RawFd) -> bool {
        let Some((word, bit)) = place(fd).filter(|(word, _)| *word < DORMANT_WORDS) else {
            return false;
        };
        if self.dormant.len() <= word {
            self.dormant.resize(word + 1, 0);
        }
        self.dormant[word] |= bit;
        true
    }

    /// Whether `fd` was remembered; it is not from now on.
    fn take_dormant(&mut self, fd: RawFd) -> bool {
        let Some((word, bit)) = place(fd) else {
            return false;
        };
        let Some(word) = self.dormant.get_mut(word) else {
            return false;
        };
        let was_dormant = *word & bit != 0;
        *word &= !bit;
        was_dormant
    }

    /// What a ring can watch: readable while something in the list is ready.
    pub(super) fn descriptor(&self) -> RawFd {
        self.epoll.descriptor()
    }
}

impl Backend for EpollBackend {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn watch(&mut self, token: Token, fd: RawFd, before: Operations, wanted: Operations) -> io::Result<()> {
        if wanted.is_empty() {
            return self.epoll.delete(fd);
        }
        let watched = directions(wanted);
        if before.is_empty() && !self.take_dormant(fd) {
            return self.epoll.add(fd, token.to_bits(), watched);
        }
        if before != wanted && directions(before) == watched {
            return Ok(());
        }
        self.epoll.modify(fd, token.to_bits(), watched)
    }

    fn on_reported_once(
        &mut self,
        token: Token,
        fd: RawFd,
        before: Operations,
        rest: Operations,
    ) -> io::Result<()> {
        // The kernel has stopped by itself.
        if rest.is_empty() && directions(before).once && self.set_dormant(fd) {
            return Ok(());
        }
        self.watch(token, fd, before, rest)
    }

    fn receive(&mut self, _token: Token, fd: RawFd, memory: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        socket::receive(fd, memory)
    }

    fn accept(&mut self, _token: Token, fd: RawFd) -> io::Result<Accepted> {
        let (fd, peer) = socket::accept(fd)?;
        Ok(Accepted { fd, peer })
    }

    fn send(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(fd, slices)
    }

    fn read(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
        pipe::read(fd, buffer)
    }

    fn write(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        pipe::write(fd, slices)
    }

    fn receive_datagrams(
        &mut self,
        _token: Token,
        fd: RawFd,
        datagrams: &mut Datagrams,
        most: usize,
    ) -> io::Result<()> {
        datagram::receive(fd, datagrams, most)
    }

    fn send_datagram(
        &mut self,
        _token: Token,
        fd: RawFd,
        data: &[u8],
        to: Option<&SocketAddr>,
    ) -> io::Result<()> {
        datagram::send(fd, data, to)
    }

    fn begin_wait(&mut self, timeout: Option<Duration>) -> Wait {
        let wait = self.idle.take().unwrap_or_else(|| self.epoll.wait());
        Wait::new(timeout, WaitKind::Epoll(wait))
    }

    fn finish_wait(&mut self, wait: Wait, on_ready: &mut dyn FnMut(Token, Operations)) -> io::Result<()> {
        let (WaitKind::Epoll(wait), result) = wait.into_parts() else {
            return Ok(());
        };
        if result.is_ok() {
            for (key, ready) in wait.events() {
                on_ready(Token::from_bits(key), operations(ready));
            }
        }
        self.idle = Some(wait);
        result
    }

    fn forget_all(&mut self) -> io::Result<()> {
        *self = Self::new()?;
        Ok(())
    }
}

fn directions(operations: Operations) -> Directions {
    Directions {
        read: operations.intersects(Operations::READING),
        write: operations.intersects(Operations::WRITING),
        once: operations.difference(Operations::ONCE).is_empty(),
    }
}

/// Where the bit of `fd` is.
fn place(fd: RawFd) -> Option<(usize, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((fd / 64, 1 << (fd % 64)))
}

/// For 65536 descriptors.
const DORMANT_WORDS: usize = 1024;

fn operations(directions: Directions) -> Operations {
    let read = if directions.read { Operations::READING } else { Operations::NONE };
    let write = if directions.write { Operations::WRITING } else { Operations::NONE };
    read.union(write)
}
