//! The eventfd that ends a sleep: a counter in the kernel, readable while it is not zero.
//!
//! Whoever may wake a loop holds its bell for longer than the loop lives, so the bell can be closed
//! while it is held: from then on nobody is rung for. The lock sees to it that nobody rings at a
//! number that was closed and given to another file meanwhile; only a ring at a sleeping loop takes it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Bell {
    counter: Mutex<Option<OwnedFd>>,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { counter: Mutex::new(Some(counter)) })
    }

    /// Makes the descriptor readable. The only failures are a counter at its maximum, which is
    /// readable already, and a descriptor that someone else closed, whose loop is past waking.
    pub(crate) fn ring(&self) {
        if let Some(counter) = self.counter.lock().as_ref() {
            let _ = rustix::io::write(counter, &1_u64.to_ne_bytes());
        }
    }

    /// Makes it unreadable again. Answers whether it was readable.
    pub(crate) fn silence(&self) -> bool {
        let counter = self.counter.lock();
        counter.as_ref().is_some_and(|counter| rustix::io::read(counter, &mut [0; 8]).is_ok())
    }

    /// None once it is closed.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.counter.lock().as_ref().map(AsRawFd::as_raw_fd)
    }

    pub(crate) fn close(&self) {
        let counter = self.counter.lock().take();
        drop(counter);
    }
}
