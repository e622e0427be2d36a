//! What other threads hand in: a locked list, a flag that makes the empty case one atomic load,
//! and a wake-up for a loop that may be asleep. Payloads are neither made nor dropped under the
//! lock, because that may run foreign code.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ReadyQueue;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::wake::Waker;

/// Where any thread leaves work for the loop. Clones lead to the same loop, and outlive it harmlessly.
#[derive(Debug)]
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    entries: Mutex<VecDeque<T>>,
    /// Whether `entries` holds anything; changed only under its lock.
    pending: AtomicBool,
    waker: Waker,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Inbox<T> {
    pub fn new(waker: Waker) -> Self {
        let (entries, pending) = (Mutex::new(VecDeque::new()), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { entries, pending, waker }) }
    }

    /// Hands `entry` in and sees to it that the loop looks.
    pub fn push(&self, entry: T) {
        {
            let mut entries = self.shared.entries.lock();
            let is_first = entries.is_empty();
            entries.push_back(entry);
            if !is_first {
                // Whoever put in the first one wakes the loop, which has not looked since: it finds this one too.
                return;
            }
            self.shared.pending.store(true, Ordering::Release);
        }
        self.shared.waker.wake();
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.shared.pending.load(Ordering::Acquire)
    }

    /// Moves everything to the end of `ready`, in the order of arrival.
    pub fn drain_into(&self, ready: &mut ReadyQueue<T>) {
        if self.is_empty() {
            return;
        }
        // Before the look, so that whatever arrives after it leaves a note of its own.
        self.shared.waker.acknowledge();
        let mut entries = self.shared.entries.lock();
        self.shared.pending.store(false, Ordering::Release);
        // Moving within memory, which runs no foreign code.
        ready.append(&mut entries);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::wake::Sleep;

    fn inbox() -> (Inbox<u32>, Waker) {
        let waker = Waker::new().expect("an eventfd");
        (Inbox::new(waker.clone()), waker)
    }

    #[test]
    fn entries_arrive_in_order_behind_what_is_ready() {
        let (inbox, _waker) = inbox();
        let mut ready = ReadyQueue::new();
        ready.push(0);
        assert!(inbox.is_empty());
        inbox.push(1);
        inbox.push(2);
        assert!(!inbox.is_empty());
        inbox.drain_into(&mut ready);
        assert!(inbox.is_empty());
        assert_eq!(ready.take_all(), [0, 1, 2]);
    }

    #[test]
    fn a_drained_inbox_lets_the_loop_sleep() {
        let (inbox, waker) = inbox();
        inbox.push(1);
        inbox.drain_into(&mut ReadyQueue::new());
        assert_eq!(waker.begin_sleep(), Sleep::Allowed);
    }

    #[test]
    fn an_entry_pushed_while_the_loop_sleeps_rings() {
        let (inbox, waker) = inbox();
        assert_eq!(waker.begin_sleep(), Sleep::Allowed);
        inbox.push(1);
        assert!(waker.silence());
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let (inbox, _waker) = inbox();
        let mut ready = ReadyQueue::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let inbox = &inbox;
                scope.spawn(move || (0..1000).for_each(|number| inbox.push(thread * 1000 + number)));
            }
            while ready.len() < 4000 {
                inbox.drain_into(&mut ready);
                std::thread::yield_now();
            }
        });
        let taken: Vec<u32> = ready.take_all().into();
        for thread in 0..4 {
            let of_thread = taken.iter().filter(|entry| **entry / 1000 == thread);
            assert!(of_thread.is_sorted());
        }
        assert_eq!(taken.len(), 4000);
    }
}
