//! The queue of work that can run now: first in, first out. A turn runs as many entries as were
//! there when it began (`len`), so work that queues work cannot starve the kernel. The room of a flood
//! of work is given back by and by, once there is less: floods come in a row.

use std::collections::VecDeque;

/// First-in-first-out queue of ready work.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    entries: VecDeque<T>,
    /// How many went out since the queue was empty.
    served: usize,
}

impl<T> ReadyQueue<T> {
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), served: 0 }
    }

    #[inline]
    pub fn push(&mut self, entry: T) {
        self.entries.push_back(entry);
    }

    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let entry = self.entries.pop_front()?;
        self.served += 1;
        if self.entries.is_empty() {
            if self.entries.capacity() > KEPT_CAPACITY {
                self.shrink();
            }
            self.served = 0;
        }
        Some(entry)
    }

    #[cold]
    fn shrink(&mut self) {
        let capacity = self.entries.capacity();
        if self.served < capacity / 4 {
            self.entries.shrink_to(KEPT_CAPACITY.max(capacity / 2));
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    /// Moves everything of `others` behind what is here.
    pub fn append(&mut self, others: &mut VecDeque<T>) {
        if self.entries.is_empty() {
            // Both lists keep their room, and nothing is copied.
            std::mem::swap(&mut self.entries, others);
        } else {
            self.entries.append(others);
            others.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Takes everything out, for the caller to drop where foreign code may run.
    pub fn take_all(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.entries)
    }
}

impl<T> Default for ReadyQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Room that an emptied queue keeps; a flood of work leaves no more memory behind than this after a few turns.
pub(super) const KEPT_CAPACITY: usize = 8192;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Pop,
        Append(Vec<u32>),
        TakeAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<u32>().prop_map(Step::Push),
            3 => Just(Step::Pop),
            1 => proptest::collection::vec(any::<u32>(), 0..5).prop_map(Step::Append),
            1 => Just(Step::TakeAll),
        ]
    }

    #[test]
    fn a_flood_leaves_little_memory_behind() {
        let mut queue = ReadyQueue::new();
        (0..100_000).for_each(|number| queue.push(number));
        while queue.pop().is_some() {}
        for number in 0..8 {
            queue.push(number);
            queue.pop();
        }
        assert!(queue.entries.capacity() <= 2 * KEPT_CAPACITY);
    }

    #[test]
    fn floods_in_a_row_find_the_room_of_the_one_before() {
        let mut queue = ReadyQueue::new();
        let mut flood = || {
            (0..100_000).for_each(|number| queue.push(number));
            let capacity = queue.entries.capacity();
            while queue.pop().is_some() {}
            assert_eq!(queue.entries.capacity(), capacity);
        };
        flood();
        flood();
    }

    #[test]
    fn what_comes_to_an_empty_queue_is_not_copied() {
        let mut queue = ReadyQueue::new();
        let mut others: VecDeque<u32> = (0..1000).collect();
        let place = others.as_slices().0.as_ptr();
        queue.append(&mut others);
        assert!(others.is_empty());
        assert_eq!(queue.entries.as_slices().0.as_ptr(), place);
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_list(steps in proptest::collection::vec(step(), 0..200)) {
            let mut queue = ReadyQueue::new();
            let mut model: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(entry) => {
                        queue.push(entry);
                        model.push(entry);
                    }
                    Step::Pop => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(queue.pop(), expected);
                    }
                    Step::Append(entries) => {
                        model.extend(&entries);
                        queue.append(&mut entries.into());
                    }
                    Step::TakeAll => {
                        let taken: Vec<u32> = queue.take_all().into();
                        prop_assert_eq!(taken, std::mem::take(&mut model));
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert!(queue.iter().eq(model.iter()));
            }
        }
    }
}
