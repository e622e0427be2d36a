//! A backend that a test drives: a [`Script`] says what each wait finds and what each operation
//! answers, and notes what was asked. It touches no kernel object but the loop's bell.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Accepted;
use super::backend::{Backend, Wait, WaitKind};
use super::operation::{Operation, Operations, Token};
use crate::sys::address::PeerAddress;
use crate::sys::datagram::Datagrams;

/// What happens, told in advance. Clones are the same script, so a test keeps one to add to it
/// and to read the notes while the reactor plays the other.
#[derive(Clone, Debug, Default)]
pub struct Script {
    lines: Arc<Mutex<Lines>>,
}

/// What was asked of the backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// The kernel would watch this descriptor for these operations from now on.
    Watched(RawFd, Vec<Operation>),
    /// A wait began, with this timeout.
    Waited(Option<Duration>),
    /// These bytes were taken by a `send` or a `write`.
    Sent(RawFd, Vec<u8>),
    /// This datagram was taken, for the connected peer or for an address.
    SentDatagram(RawFd, Vec<u8>, Option<SocketAddr>),
}

/// The bytes, and who sent them.
type Datagram = (Vec<u8>, PeerAddress);

#[derive(Debug, Default)]
struct Lines {
    waits: VecDeque<io::Result<Vec<(RawFd, Operation)>>>,
    receives: HashMap<RawFd, VecDeque<io::Result<Vec<u8>>>>,
    accepts: HashMap<RawFd, VecDeque<io::Result<(OwnedFd, PeerAddress)>>>,
    datagrams: HashMap<RawFd, VecDeque<io::Result<Datagram>>>,
    sends: HashMap<RawFd, VecDeque<io::Result<usize>>>,
    notes: Vec<Note>,
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    /// One of the coming waits finds these operations ready, or fails. A wait without a line
    /// finds nothing.
    pub fn on_wait(&self, found: io::Result<Vec<(RawFd, Operation)>>) {
        self.lines().waits.push_back(found);
    }

    /// One of the coming `receive` or `read` calls gets these bytes; without a line it would block.
    pub fn on_receive(&self, fd: RawFd, bytes: io::Result<Vec<u8>>) {
        self.lines().receives.entry(fd).or_default().push_back(bytes);
    }

    /// One of the coming `receive_datagrams` calls gets this one; without a line it would block.
    pub fn on_datagram(&self, fd: RawFd, datagram: io::Result<Datagram>) {
        self.lines().datagrams.entry(fd).or_default().push_back(datagram);
    }

    /// One of the coming `accept` calls gets this connection; without a line it would block.
    pub fn on_accept(&self, fd: RawFd, connection: io::Result<(OwnedFd, PeerAddress)>) {
        self.lines().accepts.entry(fd).or_default().push_back(connection);
    }

    /// One of the coming `send` or `write` calls takes at most this many bytes; without a line, all. A
    /// datagram is taken as a whole, whatever the number.
    pub fn on_send(&self, fd: RawFd, taken: io::Result<usize>) {
        self.lines().sends.entry(fd).or_default().push_back(taken);
    }

    /// The notes since the last look.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.lines().notes)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The blocking half: only fetches its line, so that the order of `begin`, `run` and `finish`
/// matters as it does with a kernel.
#[derive(Debug)]
pub(super) struct ScriptedWait {
    script: Script,
    found: Vec<(RawFd, Operation)>,
}

impl ScriptedWait {
    pub(super) fn run(&mut self) -> io::Result<()> {
        self.found = self.script.lines().waits.pop_front().unwrap_or_else(|| Ok(Vec::new()))?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct ScriptedBackend {
    script: Script,
    watched: HashMap<RawFd, Token>,
}

impl ScriptedBackend {
    pub(super) fn new(script: Script) -> Self {
        Self { script, watched: HashMap::new() }
    }
}

impl Backend for ScriptedBackend {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn watch(&mut self, token: Token, fd: RawFd, _before: Operations, wanted: Operations) -> io::Result<()> {
        if wanted.is_empty() {
            self.watched.remove(&fd);
        } else {
            self.watched.insert(fd, token);
        }
        if token != Token::BELL {
            self.script.lines().notes.push(Note::Watched(fd, wanted.iter().collect()));
        }
        Ok(())
    }

    fn receive(&mut self, _token: Token, fd: RawFd, memory: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let mut bytes = vec![0; memory.len()];
        let count = self.read(fd, &mut bytes)?;
        for (place, byte) in memory.iter_mut().zip(&bytes[..count]) {
            place.write(*byte);
        }
        Ok(count)
    }

    fn read(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
        let mut lines = self.script.lines();
        let bytes = next_line(&mut lines.receives, fd).unwrap_or_else(would_block)?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            let rest = Ok(bytes[count..].to_vec());
            lines.receives.entry(fd).or_default().push_front(rest);
        }
        Ok(count)
    }

    fn accept(&mut self, _token: Token, fd: RawFd) -> io::Result<Accepted> {
        let line = next_line(&mut self.script.lines().accepts, fd);
        let (fd, peer) = line.unwrap_or_else(would_block)?;
        Ok(Accepted { fd, peer })
    }

    fn send(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(fd, slices)
    }

    fn write(&mut self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut lines = self.script.lines();
        let most = next_line(&mut lines.sends, fd).unwrap_or(Ok(usize::MAX))?;
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        let count = bytes.len();
        lines.notes.push(Note::Sent(fd, bytes));
        Ok(count)
    }

    fn receive_datagrams(
        &mut self,
        _token: Token,
        fd: RawFd,
        datagrams: &mut Datagrams,
        most: usize,
    ) -> io::Result<()> {
        let mut lines = self.script.lines();
        let first = next_line(&mut lines.datagrams, fd).unwrap_or_else(would_block)?;
        datagrams.push(&first.0, first.1);
        while datagrams.len() < most {
            match next_line(&mut lines.datagrams, fd) {
                Some(Ok((data, from))) => datagrams.push(&data, from),
                // As in a kernel, an error waits until what came before it is taken.
                Some(error) => {
                    lines.datagrams.entry(fd).or_default().push_front(error);
                    break;
                }
                None => break,
            };
        }
        Ok(())
    }

    fn send_datagram(
        &mut self,
        _token: Token,
        fd: RawFd,
        data: &[u8],
        to: Option<&SocketAddr>,
    ) -> io::Result<()> {
        let mut lines = self.script.lines();
        next_line(&mut lines.sends, fd).unwrap_or(Ok(usize::MAX))?;
        lines.notes.push(Note::SentDatagram(fd, data.to_vec(), to.copied()));
        Ok(())
    }

    fn begin_wait(&mut self, timeout: Option<Duration>) -> Wait {
        self.script.lines().notes.push(Note::Waited(timeout));
        let wait = ScriptedWait { script: self.script.clone(), found: Vec::new() };
        Wait::new(timeout, WaitKind::Scripted(wait))
    }

    fn finish_wait(&mut self, wait: Wait, on_ready: &mut dyn FnMut(Token, Operations)) -> io::Result<()> {
        let (WaitKind::Scripted(wait), result) = wait.into_parts() else {
            return Ok(());
        };
        for (fd, operation) in wait.found {
            if let Some(token) = self.watched.get(&fd) {
                on_ready(*token, Operations::NONE.with(operation));
            }
        }
        result
    }

    fn forget_all(&mut self) -> io::Result<()> {
        self.watched.clear();
        Ok(())
    }
}

fn next_line<T>(lines: &mut HashMap<RawFd, VecDeque<T>>, fd: RawFd) -> Option<T> {
    lines.get_mut(&fd)?.pop_front()
}

fn would_block<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}
