//! Blocks of bytes that wait to be written, in order. The queue hands out views of them and is
//! told how much was written; blocks it is done with are handed back, never dropped in here,
//! because dropping one may run foreign code.

use std::collections::VecDeque;
use std::io::IoSlice;

use smallvec::SmallVec;

/// Blocks that are through; a usual number of them without an allocation.
pub type Removed<B> = SmallVec<[B; 4]>;

/// Blocks waiting to be written. A block's bytes must not change while it is in here.
#[derive(Debug)]
pub struct WriteQueue<B> {
    /// Most often there is one block at most, which then needs no memory of its own.
    first: Option<B>,
    /// The blocks behind the first; empty without it.
    others: VecDeque<B>,
    /// How much of the first block is written.
    written: usize,
    /// Bytes not written yet.
    size: usize,
}

impl<B: AsRef<[u8]>> WriteQueue<B> {
    pub fn new() -> Self {
        Self { first: None, others: VecDeque::new(), written: 0, size: 0 }
    }

    /// Adds a block at the end. An empty one has nothing to wait for and comes back at once.
    #[inline]
    pub fn push(&mut self, block: B) -> Option<B> {
        let size = block.as_ref().len();
        if size == 0 {
            return Some(block);
        }
        self.size += size;
        match self.first {
            None => self.first = Some(block),
            Some(_) => self.others.push_back(block),
        }
        None
    }

    /// Bytes not written yet.
    #[inline]
    pub fn size(&self) -> usize {
        self.size
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Shows `write` the bytes to write next, of at most `max` blocks. Answers how many they are, and what it said.
    #[inline]
    pub fn show<R>(&self, max: usize, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> (usize, R) {
        if let Some(block) = &self.first
            && self.others.is_empty()
            && max > 0
        {
            let rest = &block.as_ref()[self.written..];
            return (rest.len(), write(&[IoSlice::new(rest)]));
        }
        let slices: SmallVec<[IoSlice<'_>; 16]> = self.unwritten().take(max).map(IoSlice::new).collect();
        (slices.iter().map(|slice| slice.len()).sum(), write(&slices))
    }

    /// The bytes to write next, of at most `max` blocks.
    pub fn slices(&self, max: usize) -> SmallVec<[IoSlice<'_>; 1]> {
        self.unwritten().take(max).map(IoSlice::new).collect()
    }

    /// The bytes to write next, block by block.
    pub fn unwritten(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(self.written).chain(std::iter::repeat(0));
        self.first.iter().chain(&self.others).zip(starts).map(|(block, start)| &block.as_ref()[start..])
    }

    /// The first block, and how much of it is written.
    #[inline]
    pub fn first(&self) -> Option<(&B, usize)> {
        self.first.as_ref().map(|block| (block, self.written))
    }

    /// `count` more bytes are written; the blocks that are through go to `removed`.
    ///
    /// # Panics
    /// If there were fewer bytes than that.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each write to a connection, and small there")]
    pub fn advance(&mut self, count: usize, removed: &mut Removed<B>) {
        assert!(count <= self.size, "wrote {count} of {} bytes", self.size);
        self.size -= count;
        self.written += count;
        while let Some(first) = self.first.as_ref().map(|block| block.as_ref().len()) {
            if self.written < first {
                return;
            }
            self.written -= first;
            if let Some(block) = std::mem::replace(&mut self.first, self.others.pop_front()) {
                removed.push(block);
            }
        }
    }

    /// Forgets what was not written and hands back all blocks.
    pub fn take_all(&mut self) -> VecDeque<B> {
        self.written = 0;
        self.size = 0;
        let mut all = std::mem::take(&mut self.others);
        if let Some(first) = self.first.take() {
            all.push_front(first);
        }
        all
    }
}

impl<B: AsRef<[u8]>> Default for WriteQueue<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_block_comes_back_at_once() {
        let mut queue = WriteQueue::new();
        assert_eq!(queue.push(Vec::new()), Some(Vec::new()));
        assert!(queue.is_empty());
        assert_eq!(queue.push(vec![1]), None);
        assert!(!queue.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        /// Write this share (in 256ths) of what `max` views show.
        Write(usize, u8),
        TakeAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            10 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Step::Push),
            10 => (0_usize..5, any::<u8>()).prop_map(|(max, share)| Step::Write(max, share)),
            1 => Just(Step::TakeAll),
        ]
    }

    proptest! {
        #[test]
        fn writes_every_byte_once_in_order(steps in prop::collection::vec(step(), 0..100)) {
            let mut queue = WriteQueue::new();
            let mut model: Vec<u8> = Vec::new();
            let (mut pushed, mut removed) = (0, Removed::new());
            for step in steps {
                match step {
                    Step::Push(block) => {
                        model.extend(&block);
                        pushed += usize::from(queue.push(block).is_none());
                    }
                    Step::Write(max, share) => {
                        let (size, (views, shown)) = queue.show(max, |views| {
                            (views.len(), views.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>())
                        });
                        prop_assert!(views <= max);
                        prop_assert_eq!(size, shown.len());
                        prop_assert!(model.starts_with(&shown));
                        prop_assert!(max == 0 || model.is_empty() || !shown.is_empty());
                        let count = shown.len() * usize::from(share) / 255;
                        queue.advance(count, &mut removed);
                        model.drain(..count);
                    }
                    Step::TakeAll => {
                        removed.extend(queue.take_all());
                        model.clear();
                    }
                }
                let first = queue.first().map(|(block, written)| block[written..].to_vec());
                prop_assert!(model.starts_with(&first.clone().unwrap_or_default()));
                prop_assert!(first.is_none_or(|left| !left.is_empty()));
                prop_assert_eq!(queue.size(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
            removed.extend(queue.take_all());
            prop_assert_eq!(removed.len(), pushed);
        }
    }
}
