//! The contract between the reactor and its backends, as a trait. Its meaning in prose, for
//! whoever uses the reactor or writes a backend, is at the head of the room (`mod.rs`).

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use super::Accepted;
use super::operation::{Operations, Token};
use crate::sys::datagram::Datagrams;
use crate::sys::epoll::EpollWait;
use crate::sys::socket::Outgoing;

use super::scripted::ScriptedWait;
use super::uring::RingWait;

/// One way to ask the kernel. The reactor keeps the sources; a backend knows tokens and numbers.
pub(super) trait Backend: fmt::Debug + Send {
    /// As in `RASYNCIO_BACKEND`, test names and benchmarks.
    fn name(&self) -> &'static str;

    /// Watches `fd` for `wanted` on behalf of `token`, having watched it for `before`; either may
    /// be empty. `before == wanted` asks to make sure that the kernel still watches the file that
    /// has this number now. Ending the watch of a closed descriptor is no error.
    fn watch(&mut self, token: Token, fd: RawFd, before: Operations, wanted: Operations) -> io::Result<()>;

    /// What is in `before` and not in `rest` was reported once and is watched no longer; the rest is.
    fn on_reported_once(
        &mut self,
        token: Token,
        fd: RawFd,
        before: Operations,
        rest: Operations,
    ) -> io::Result<()> {
        self.watch(token, fd, before, rest)
    }

    /// Another source watches `fd` for `wanted` from now on, and `token`, which was watched for `before`, is not any more.
    fn displace(&mut self, token: Token, fd: RawFd, before: Operations, wanted: Operations) {
        let _ = (token, fd, before, wanted);
    }

    /// The source is gone, and its descriptor may be closed right after this: ends its watch, if there is one, and
    /// drops what was kept for it.
    fn remove(&mut self, token: Token, fd: RawFd, before: Operations) {
        if !before.is_empty() {
            // Fails only if someone closed the epoll instance itself, which the next wait tells.
            let _ = self.watch(token, fd, before, Operations::NONE);
        }
    }

    /// As many bytes as it answers are written to the beginning of `memory`.
    fn receive(&mut self, token: Token, fd: RawFd, memory: &mut [MaybeUninit<u8>]) -> io::Result<usize>;

    fn accept(&mut self, token: Token, fd: RawFd) -> io::Result<Accepted>;

    fn send(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// From how many on [`Self::send_together`] costs less than sending one by one.
    fn fewest_together(&self) -> usize {
        usize::MAX
    }

    /// Sends to each what it takes now, as `send` would one after the other, and keeps the answers in them.
    fn send_together(&mut self, sends: &mut [Outgoing<'_>]) {
        for send in sends {
            send.answer = self.send(send.socket, &send.slices);
        }
    }

    fn read(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<usize>;

    fn write(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    fn receive_datagrams(
        &mut self,
        token: Token,
        fd: RawFd,
        datagrams: &mut Datagrams,
        most: usize,
    ) -> io::Result<()>;

    fn send_datagram(
        &mut self,
        token: Token,
        fd: RawFd,
        data: &[u8],
        to: Option<&SocketAddr>,
    ) -> io::Result<()>;

    fn begin_wait(&mut self, timeout: Option<Duration>) -> Wait;

    /// Reports each source that is ready, and for what it may go on; the reactor takes from that
    /// what is armed.
    fn finish_wait(&mut self, wait: Wait, on_ready: &mut dyn FnMut(Token, Operations)) -> io::Result<()>;

    /// Drops all that the kernel was asked to watch; the reactor asks again for what it wants.
    fn forget_all(&mut self) -> io::Result<()>;
}

/// A wait under way. It borrows nothing, so other threads may use the reactor meanwhile.
#[derive(Debug)]
pub struct Wait {
    timeout: Option<Duration>,
    kind: WaitKind,
    result: io::Result<()>,
}

#[derive(Debug)]
pub(super) enum WaitKind {
    Epoll(EpollWait),
    Ring(RingWait),
    Scripted(ScriptedWait),
}

impl Wait {
    pub(super) fn new(timeout: Option<Duration>, kind: WaitKind) -> Self {
        Self { timeout, kind, result: Ok(()) }
    }

    /// Blocks until something is ready, the timeout has passed, somebody wakes the loop, or a
    /// signal arrives. What came out of it is told by [`super::Reactor::finish_wait`].
    pub fn run(&mut self) {
        self.result = match &mut self.kind {
            WaitKind::Epoll(wait) => wait.run(self.timeout),
            WaitKind::Ring(wait) => wait.run(self.timeout),
            WaitKind::Scripted(wait) => wait.run(),
        };
    }

    /// Whether [`Self::run`] may block: if not, letting an interpreter lock go is not worth it.
    pub fn may_block(&self) -> bool {
        self.timeout != Some(Duration::ZERO)
    }

    pub(super) fn into_parts(self) -> (WaitKind, io::Result<()>) {
        (self.kind, self.result)
    }
}
