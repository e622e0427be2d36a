//! How another thread ends the loop's sleep: an eventfd that the reactor watches, behind a flag
//! that spares the write when the loop is awake or was told already. A burst costs one write.
//!
//! The flag has three states:
//! - `AWAKE`: the loop runs; whoever hands something in need only leave a note (`NOTIFIED`).
//! - `ASLEEP`: the loop is in the kernel, or just about to go there; it must be rung for.
//! - `NOTIFIED`: there is a note. The loop does not sleep on it, and nobody need ring again.
//!
//! Every change is one atomic operation on the same byte, so either the loop's "going to sleep"
//! comes first and the waking thread sees `ASLEEP` and rings, or the note comes first and the
//! loop sees it and stays up. `tests/loom.rs` runs this under every interleaving.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::fork::process_generation;
use crate::sync::{AtomicU8, Ordering};
use crate::sys;

/// Ends the loop's sleep, from any thread. Clones wake the same loop, and outlive it harmlessly.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    bell: sys::wake::Bell,
    /// In a forked child the bell still hangs at the parent's door.
    generation: u32,
}

/// May the loop block?
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Nobody has left a note: block, the next wake rings.
    Allowed,
    /// A note was left meanwhile: only look, do not block.
    Refused,
}

impl Waker {
    pub fn new() -> io::Result<Self> {
        let shared = Shared {
            state: AtomicU8::new(AWAKE),
            bell: sys::wake::Bell::new()?,
            generation: process_generation(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Ends the sleep of the loop, or prevents its next one. Never blocks.
    pub fn wake(&self) {
        // Release: what was handed in is visible to the loop once it sees the note.
        let before = self.shared.state.swap(NOTIFIED, Ordering::AcqRel);
        if before == ASLEEP && self.shared.generation == process_generation() {
            self.shared.bell.ring();
        }
    }

    /// The loop: takes the note, if there is one, before looking at what was handed in. Whatever
    /// comes after this leaves a new note.
    pub fn acknowledge(&self) {
        let state = &self.shared.state;
        // Looking first keeps the cache line shared while nobody wakes us.
        if state.load(Ordering::Relaxed) == NOTIFIED {
            state.swap(AWAKE, Ordering::AcqRel);
        }
    }

    /// The loop, before a blocking wait. Answered by [`Self::end_sleep`] whatever the answer was.
    pub fn begin_sleep(&self) -> Sleep {
        let state = &self.shared.state;
        match state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Sleep::Allowed,
            Err(_) => Sleep::Refused,
        }
    }

    /// The loop, after a wait: from here on a note is enough. Whoever calls this looks at
    /// everything others may have handed in before the next [`Self::begin_sleep`].
    pub fn end_sleep(&self) {
        self.shared.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// The descriptor that becomes readable when the bell rings; EBADF once it is closed.
    pub(crate) fn bell_descriptor(&self) -> io::Result<RawFd> {
        let descriptor = self.shared.bell.descriptor();
        descriptor.ok_or_else(sys::bad_descriptor)
    }

    /// Gives the bell's descriptor back. Whoever wakes the loop from now on rings nothing.
    pub(crate) fn close(&self) {
        // A forked child may have got the bell's lock in the hands of a thread that it does not have: there
        // the descriptor goes with the last clone.
        if self.shared.generation == process_generation() {
            self.shared.bell.close();
        }
    }

    /// Silences the bell. Answers whether it was ringing.
    pub fn silence(&self) -> bool {
        self.shared.bell.silence()
    }
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waking_an_awake_loop_leaves_a_note_and_rings_nothing() {
        let waker = Waker::new().expect("an eventfd");
        waker.wake();
        assert!(!waker.silence());
        assert_eq!(waker.begin_sleep(), Sleep::Refused);
    }

    #[test]
    fn a_burst_at_a_sleeping_loop_rings_once() {
        let waker = Waker::new().expect("an eventfd");
        assert_eq!(waker.begin_sleep(), Sleep::Allowed);
        for _ in 0..100 {
            waker.wake();
        }
        assert!(waker.silence());
        assert!(!waker.silence());
        waker.end_sleep();
        assert_eq!(waker.begin_sleep(), Sleep::Allowed);
    }

    #[test]
    fn a_closed_bell_is_not_rung() {
        let waker = Waker::new().expect("an eventfd");
        let waking = waker.clone();
        assert_eq!(waker.begin_sleep(), Sleep::Allowed);
        waker.close();
        waking.wake();
        assert!(!waker.silence());
        assert!(waking.bell_descriptor().is_err());
    }

    #[test]
    fn an_acknowledged_note_does_not_keep_the_loop_up() {
        let waker = Waker::new().expect("an eventfd");
        waker.wake();
        waker.acknowledge();
        assert_eq!(waker.begin_sleep(), Sleep::Allowed);
    }
}
