//! What a ring has brought for streams and listeners, until their owners take it. Knows no system call.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};

use super::operation::{Operation, Operations, Token};
use crate::sys::ring::{Kind, Outcome, Piece, Ring};

/// The streams and listeners that were armed at least once, by the slots of their tokens.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    /// Those that may have news, in the order in which it came.
    listed: Vec<Token>,
}

#[derive(Debug)]
pub(super) struct Stream {
    token: Token,
    pub(super) fd: RawFd,
    pub(super) kind: Kind,
    pub(super) is_armed: bool,
    /// The request that brings it news.
    pub(super) request: Option<u32>,
    /// How many requests keep its file open: that one, and those that were cancelled and have not ended yet.
    pub(super) unfinished: u32,
    news: VecDeque<News>,
    /// Bytes, or connections.
    kept: usize,
    is_listed: bool,
}

#[derive(Debug)]
enum News {
    /// In a buffer of the ring; as many of its bytes were taken.
    Bytes(Piece, usize),
    /// Copied out of it.
    Copied(Vec<u8>, usize),
    Connection(OwnedFd),
    End,
    Failed(io::Error),
}

impl Streams {
    pub(super) fn get(&self, token: Token) -> Option<&Stream> {
        self.slots.get(token.slot as usize)?.as_ref().filter(|stream| stream.token == token)
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Stream> {
        self.slots.get_mut(token.slot as usize)?.as_mut().filter(|stream| stream.token == token)
    }

    pub(super) fn insert(&mut self, token: Token, fd: RawFd, kind: Kind) -> &mut Stream {
        let slot = token.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot].insert(Stream {
            token,
            fd,
            kind,
            is_armed: false,
            request: None,
            unfinished: 0,
            news: VecDeque::new(),
            kept: 0,
            is_listed: false,
        })
    }

    /// Drops what was kept for a source. Without the ring nothing of it lies in the ring's buffers.
    pub(super) fn remove(&mut self, token: Token, ring: Option<&mut Ring>) {
        if self.get(token).is_none() {
            return;
        }
        let stream = self.slots[token.slot as usize].take();
        let news = stream.map(|stream| stream.news).unwrap_or_default();
        if let Some(ring) = ring {
            for piece in news {
                if let News::Bytes(piece, _) = piece {
                    ring.give_back(piece);
                }
            }
        }
    }

    /// Keeps what came, until it is taken.
    pub(super) fn keep(&mut self, token: Token, outcome: Outcome) {
        let Some(stream) = self.get_mut(token) else {
            return;
        };
        let (news, size) = match outcome {
            Outcome::Bytes(piece) => {
                let size = piece.len();
                (News::Bytes(piece, 0), size)
            }
            Outcome::Connection(connection) => (News::Connection(connection), 1),
            Outcome::End | Outcome::Ready => (News::End, 0),
            Outcome::Failed(error) => (News::Failed(error), 0),
        };
        stream.kept += size;
        stream.news.push_back(news);
        if !std::mem::replace(&mut stream.is_listed, true) {
            self.listed.push(token);
        }
    }

    /// Copies out of the ring's buffers what nobody took.
    pub(super) fn unload(&mut self, ring: &mut Ring) {
        for index in 0..self.listed.len() {
            if let Some(stream) = self.get_mut(self.listed[index]) {
                stream.unload(ring);
            }
        }
    }

    /// Whether there is something to report before the kernel says anything.
    pub(super) fn have_news(&mut self) -> bool {
        self.tidy();
        self.listed.iter().any(|token| self.get(*token).is_some_and(|stream| stream.is_armed))
    }

    /// Reports those that are armed and have something to give.
    pub(super) fn report(&mut self, on_ready: &mut dyn FnMut(Token, Operations)) {
        self.tidy();
        for token in &self.listed {
            if let Some(stream) = self.get(*token).filter(|stream| stream.is_armed) {
                on_ready(*token, Operations::NONE.with(stream.operation()));
            }
        }
    }

    /// Strikes those off the list that are gone, or have nothing any more.
    fn tidy(&mut self) {
        let Self { slots, listed } = self;
        listed.retain(|token| {
            let stream = slots.get_mut(token.slot as usize).and_then(Option::as_mut);
            let Some(stream) = stream.filter(|stream| stream.token == *token) else {
                return false;
            };
            stream.is_listed = !stream.news.is_empty();
            stream.is_listed
        });
    }
}

impl Stream {
    /// So much is there that the peer is not listened to until some of it was taken, or the end is.
    pub(super) fn has_enough(&self) -> bool {
        let most = if self.kind == Kind::Accept { CONNECTIONS_MOST } else { BYTES_MOST };
        self.kept >= most || matches!(self.news.back(), Some(News::End | News::Failed(_)))
    }

    /// Moves bytes to the beginning of `memory`; 0 is the end of the stream, None that nothing is there.
    pub(super) fn take_bytes(
        &mut self,
        mut ring: Option<&mut Ring>,
        memory: &mut [MaybeUninit<u8>],
    ) -> Option<io::Result<usize>> {
        let mut count = 0;
        while count < memory.len()
            && let Some(news) = self.news.front_mut()
        {
            let (bytes, taken) = match (news, &ring) {
                (News::Bytes(piece, taken), Some(ring)) => (ring.bytes(piece), taken),
                (News::Copied(bytes, taken), _) => (bytes.as_slice(), taken),
                _ => break,
            };
            let rest = &bytes[*taken..];
            let part = rest.len().min(memory.len() - count);
            for (place, byte) in memory[count..].iter_mut().zip(&rest[..part]) {
                place.write(*byte);
            }
            let is_used_up = part == rest.len();
            *taken += part;
            count += part;
            if is_used_up
                && let Some(News::Bytes(piece, _)) = self.news.pop_front()
                && let Some(ring) = ring.as_deref_mut()
            {
                ring.give_back(piece);
            }
        }
        self.kept -= count;
        if count > 0 || memory.is_empty() {
            return Some(Ok(count));
        }
        match self.news.pop_front()? {
            News::Failed(error) => Some(Err(error)),
            _ => Some(Ok(0)),
        }
    }

    pub(super) fn take_connection(&mut self) -> Option<io::Result<OwnedFd>> {
        match self.news.pop_front()? {
            News::Connection(connection) => {
                self.kept -= 1;
                Some(Ok(connection))
            }
            News::Failed(error) => Some(Err(error)),
            _ => None,
        }
    }

    fn unload(&mut self, ring: &mut Ring) {
        for news in &mut self.news {
            if let News::Bytes(piece, taken) = news {
                let copied = News::Copied(ring.bytes(piece)[*taken..].to_vec(), 0);
                if let News::Bytes(piece, _) = std::mem::replace(news, copied) {
                    ring.give_back(piece);
                }
            }
        }
    }

    fn operation(&self) -> Operation {
        if self.kind == Kind::Accept { Operation::Accept } else { Operation::Receive }
    }
}

/// As much as one receive may take of what the kernel has.
const BYTES_MOST: usize = 256 * 1024;

/// As many as a listener takes in a turn, and some more.
const CONNECTIONS_MOST: usize = 128;
