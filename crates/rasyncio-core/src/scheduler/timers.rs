//! Deadlines: a binary heap ordered by deadline, and by the order of setting among equals.
//!
//! Cancelling is lazy, as in asyncio: the owner marks its item and says so (`note_cancelled`);
//! the item leaves when it reaches the head, or with all other cancelled ones when they are most
//! of the heap. No item is ever dropped in here: each one is handed back.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::ready::KEPT_CAPACITY;

/// Items waiting for their deadlines.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Entry<T>>,
    /// Grows by one with each insertion, so it never wraps.
    next_sequence: u64,
    /// How many items in the heap are cancelled.
    cancelled: usize,
}

impl<T> Timers<T> {
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), next_sequence: 0, cancelled: 0 }
    }

    pub fn insert(&mut self, deadline: f64, item: T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.heap.push(Entry { deadline, sequence, item });
    }

    /// How many items are waiting, the cancelled ones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// One of the items in here was cancelled by its owner.
    pub fn note_cancelled(&mut self) {
        self.cancelled += 1;
    }

    /// Hands back the cancelled items at the head or, when more than half of a heap of more than
    /// a hundred are cancelled, all cancelled ones. `is_cancelled` must not run foreign code.
    pub fn discard_cancelled(&mut self, is_cancelled: impl Fn(&T) -> bool, removed: &mut Vec<T>) {
        if self.cancelled == 0 {
            return;
        }
        if self.heap.len() > COMPACTION_MINIMUM && self.cancelled > self.heap.len() / 2 {
            self.compact(is_cancelled, removed);
            return;
        }
        while let Some(head) = self.heap.peek_mut() {
            if !is_cancelled(&head.item) {
                return;
            }
            removed.push(PeekMut::pop(head).item);
            self.cancelled = self.cancelled.saturating_sub(1);
        }
    }

    /// The deadline of the item that is due first.
    #[inline]
    pub fn next_deadline(&self) -> Option<f64> {
        self.heap.peek().map(|entry| entry.deadline)
    }

    /// Hands `take` the items whose deadlines lie before `end_time`, in their order. Items that were cancelled
    /// come out like the others (their owner skips them) but no longer count as cancelled. Neither closure
    /// may run foreign code.
    #[inline]
    pub fn take_due(&mut self, end_time: f64, is_cancelled: impl Fn(&T) -> bool, mut take: impl FnMut(T)) {
        if self.next_deadline().is_none_or(|deadline| deadline >= end_time) {
            return;
        }
        let mut take = |cancelled: &mut usize, item: T| {
            if *cancelled > 0 && is_cancelled(&item) {
                *cancelled -= 1;
            }
            take(item);
        };
        for entry in self.take_many_due(end_time) {
            take(&mut self.cancelled, entry.item);
        }
        // asyncio: a NaN at the head is due, since it is not later.
        while self.next_deadline().is_some_and(|deadline| deadline < end_time || deadline.is_nan()) {
            let Some(entry) = self.heap.pop() else {
                break;
            };
            take(&mut self.cancelled, entry.item);
        }
        if self.heap.is_empty() {
            self.heap.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Where a good part of many items is due at once, all of them sorted: that takes a third of the time
    /// that it takes to pop them one by one. Nothing otherwise.
    fn take_many_due(&mut self, end_time: f64) -> Vec<Entry<T>> {
        let total = self.heap.len();
        if total < SORTING_MINIMUM {
            return Vec::new();
        }
        let due = count_due(self.heap.as_slice(), 0, end_time);
        if due < total / SORTING_SHARE {
            return Vec::new();
        }
        let (mut sorted, mut rest) = (Vec::with_capacity(due), Vec::with_capacity(total - due));
        for entry in std::mem::take(&mut self.heap).into_vec() {
            let place = if entry.deadline < end_time { &mut sorted } else { &mut rest };
            place.push(entry);
        }
        sorted.sort_unstable_by(|first, second| second.cmp(first));
        self.heap = BinaryHeap::from(rest);
        sorted
    }

    /// Takes everything out, in no particular order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.cancelled = 0;
        let heap = std::mem::take(&mut self.heap);
        heap.into_iter().map(|entry| entry.item).collect()
    }

    /// All items with their deadlines, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (f64, &T)> {
        self.heap.iter().map(|entry| (entry.deadline, &entry.item))
    }

    fn compact(&mut self, is_cancelled: impl Fn(&T) -> bool, removed: &mut Vec<T>) {
        let entries = std::mem::take(&mut self.heap).into_vec();
        let mut kept = Vec::with_capacity(entries.len() - self.cancelled.min(entries.len()));
        for entry in entries {
            if is_cancelled(&entry.item) {
                removed.push(entry.item);
            } else {
                kept.push(entry);
            }
        }
        self.heap = BinaryHeap::from(kept);
        self.cancelled = 0;
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Entry<T> {
    deadline: f64,
    sequence: u64,
    item: T,
}

impl<T> Ord for Entry<T> {
    /// Reversed, because `BinaryHeap` keeps the greatest at its head. `total_cmp` gives even a
    /// NaN a place (behind infinity), where it can disturb no other timer.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let by_deadline = other.deadline.total_cmp(&self.deadline);
        by_deadline.then_with(|| other.sequence.cmp(&self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

/// How many items at `place` of the heap and below it are due: no more than these and their children are looked at.
fn count_due<T>(heap: &[Entry<T>], place: usize, end_time: f64) -> usize {
    match heap.get(place) {
        Some(entry) if entry.deadline < end_time => {
            let below = |child: usize| count_due(heap, 2 * place + child, end_time);
            1 + below(1) + below(2)
        }
        _ => 0,
    }
}

/// Below so many items, and a share of one in so many that is due, popping is as good.
const SORTING_MINIMUM: usize = 64;
const SORTING_SHARE: usize = 4;

/// asyncio: `base_events._MIN_SCHEDULED_TIMER_HANDLES`. Below it a sweep costs more than it frees.
const COMPACTION_MINIMUM: usize = 100;

#[cfg(test)]
#[path = "timers/tests.rs"]
mod tests;
