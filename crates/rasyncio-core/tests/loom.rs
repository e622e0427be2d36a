//! The inbox and the wake-up under every interleaving: an entry handed in is either taken by the
//! loop before it sleeps, or keeps it from sleeping, or rings. Run by `make loom`.

#![cfg(loom)]

use std::sync::Arc;

use loom::thread;
use rasyncio_core::scheduler::{Inbox, ReadyQueue};
use rasyncio_core::wake::{Sleep, Waker};

/// One turn of a loop whose wait is the question "would I sleep for ever?".
fn entries_found_by_a_loop_that_sleeps_once(handing_threads: u32) -> usize {
    let waker = Waker::new().expect("an eventfd");
    let inbox = Arc::new(Inbox::new(waker.clone()));
    let threads: Vec<_> = (0..handing_threads)
        .map(|number| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.push(number))
        })
        .collect();
    let mut ready = ReadyQueue::new();
    inbox.drain_into(&mut ready);
    let sleep = waker.begin_sleep();
    for thread in threads {
        thread.join().expect("a push does not panic");
    }
    let missed = ready.len() < handing_threads as usize;
    if missed && sleep == Sleep::Allowed {
        assert!(waker.silence(), "the loop sleeps on entries and nobody rang");
    }
    waker.end_sleep();
    inbox.drain_into(&mut ready);
    ready.len()
}

#[test]
fn no_entry_is_slept_on_with_one_other_thread() {
    loom::model(|| assert_eq!(entries_found_by_a_loop_that_sleeps_once(1), 1));
}

#[test]
fn no_entry_is_slept_on_with_two_other_threads() {
    loom::model(|| assert_eq!(entries_found_by_a_loop_that_sleeps_once(2), 2));
}
