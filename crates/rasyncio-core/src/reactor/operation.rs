//! What is asked of the kernel, and what it answers.

use std::fmt;

/// Names a source of a reactor: its slot and the slot's generation, so that what was meant for a
/// removed source never reaches the one that took its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Token {
    /// The token that no source ever has: the loop's own bell.
    pub(super) const BELL: Self = Self { slot: u32::MAX, generation: u32::MAX };

    /// As one number, the form in which the kernel carries it for us.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The token whose [`Self::to_bits`] gave `bits`.
    pub fn from_bits(bits: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves, taken apart")]
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({}.{})", self.slot, self.generation)
    }
}

/// What a source can be armed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Watch of a descriptor that Python code reads itself.
    Readable = 1,
    /// Watch of a descriptor that Python code writes itself.
    Writable = 2,
    /// Bytes of a stream.
    Receive = 4,
    /// Connections to a listening socket.
    Accept = 8,
    /// Room for more bytes of a stream, after a `send` that could not take all.
    Send = 16,
    /// Datagrams.
    ReceiveDatagrams = 32,
    /// `Readable` and `Writable` that are reported once, and armed no longer then.
    ReadableOnce = 64,
    WritableOnce = 128,
}

impl Operation {
    /// The order of completions of one source: what reads comes before what writes.
    pub(super) const ORDER: [Self; 8] = [
        Self::Readable,
        Self::ReadableOnce,
        Self::Receive,
        Self::ReceiveDatagrams,
        Self::Accept,
        Self::Writable,
        Self::WritableOnce,
        Self::Send,
    ];

    /// Whether it watches a descriptor that is not ours, and so may be closed behind our back.
    pub(super) fn is_foreign(self) -> bool {
        matches!(self, Self::Readable | Self::Writable | Self::ReadableOnce | Self::WritableOnce)
    }
}

/// An operation can go on: its bytes, connections or room are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Completion {
    pub token: Token,
    pub operation: Operation,
}

/// A set of operations.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Operations(u8);

impl Operations {
    pub(crate) const NONE: Self = Self(0);
    /// Those that a descriptor with something to read can go on with.
    pub(crate) const READING: Self = Self(
        Operation::Readable as u8
            | Operation::ReadableOnce as u8
            | Operation::Receive as u8
            | Operation::ReceiveDatagrams as u8
            | Operation::Accept as u8,
    );
    /// Those that a ring is not asked for itself, but told of by a poll.
    pub(super) const POLLED: Self = Self(
        Operation::Readable as u8
            | Operation::ReadableOnce as u8
            | Operation::Writable as u8
            | Operation::WritableOnce as u8
            | Operation::Send as u8
            | Operation::ReceiveDatagrams as u8,
    );
    /// Those that a descriptor with room to write can go on with.
    pub(crate) const WRITING: Self =
        Self(Operation::Writable as u8 | Operation::WritableOnce as u8 | Operation::Send as u8);
    /// Those that are armed no longer when they were reported.
    pub(super) const ONCE: Self = Self(Operation::ReadableOnce as u8 | Operation::WritableOnce as u8);

    pub(crate) fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn contains(self, operation: Operation) -> bool {
        self.0 & operation as u8 != 0
    }

    pub(crate) fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub(crate) fn with(self, operation: Operation) -> Self {
        Self(self.0 | operation as u8)
    }

    pub(crate) fn without(self, operation: Operation) -> Self {
        Self(self.0 & !(operation as u8))
    }

    /// What is not among `others`.
    pub(crate) fn difference(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(crate) fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn intersection(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Its operations, what reads first.
    pub(crate) fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ORDER.into_iter().filter(move |operation| self.contains(*operation))
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_trip_through_the_kernel() {
        let token = Token { slot: 0x1234_5678, generation: 0x9abc_def0 };
        assert_eq!(Token::from_bits(token.to_bits()), token);
    }

    #[test]
    fn reading_comes_before_writing() {
        let all = Operations::READING.union(Operations::WRITING);
        let order: Vec<Operation> = all.iter().collect();
        assert_eq!(order[5..], [Operation::Writable, Operation::WritableOnce, Operation::Send]);
    }
}
