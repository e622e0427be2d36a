//! The eventfd that ends a sleep: a counter in the kernel, readable while it is not zero.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

#[derive(Debug)]
pub(crate) struct Bell {
    counter: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { counter })
    }

    /// Makes the descriptor readable. The only failures are a counter at its maximum, which is
    /// readable already, and a descriptor that someone else closed, whose loop is past waking.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
    }

    /// Makes it unreadable again. Answers whether it was readable.
    pub(crate) fn silence(&self) -> bool {
        rustix::io::read(&self.counter, &mut [0; 8]).is_ok()
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.counter.as_raw_fd()
    }
}
