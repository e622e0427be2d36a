//! The room of system calls: the only one that names `libc` or `rustix`, or says `unsafe`.
//! Everything that leaves it is a safe function, and every error is the kernel's, errno intact.
//!
//! - `address`: socket addresses as the kernel writes them.
//! - `datagram`: whole messages.
//! - `epoll`: the kernel's list of watched descriptors.
//! - `file`: regular files, and sending them to sockets.
//! - `fork`: counts forks.
//! - `library`: shared libraries that are loaded.
//! - `pipe`: pipes, and what is read and written like one.
//! - `resolver`: names to addresses and back.
//! - `ring`: the rings of `io_uring`.
//! - `process`: child processes.
//! - `socket`: what is done to one socket.
//! - `thread`: threads of our own.
//! - `time`: the monotonic clock.
//! - `wake`: the eventfd.
//!
//! About descriptors: the loop is handed plain numbers by Python, whose owner may close them at
//! any time. A stale number costs an `EBADF` or an event for nobody, never memory: no function in
//! here keeps a descriptor beyond its call, and the reactor drops events of removed sources.

#![expect(unsafe_code, reason = "this is the room for it")]

pub(crate) mod address;
pub(crate) mod datagram;
pub(crate) mod epoll;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod library;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod resolver;
pub(crate) mod ring;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod wake;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};

/// Lends `descriptor` to one system call.
#[inline]
fn borrow<'call>(descriptor: RawFd) -> io::Result<BorrowedFd<'call>> {
    if descriptor < 0 {
        return Err(bad_descriptor());
    }
    // SAFETY: not -1, checked above. The callers, all in this room, use it for one call and keep
    // nothing; a number closed meanwhile makes that call fail with EBADF, as the room's head says.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

/// Memory that was written before, as memory to be written. Whoever gets it writes bytes and nothing else.
#[inline]
pub(crate) fn written(memory: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: of the same layout; the callers, all in this crate, hand it to what receives bytes, which never makes a byte undefined.
    unsafe { &mut *(std::ptr::from_mut(memory) as *mut [MaybeUninit<u8>]) }
}

/// EBADF: what the kernel says of a number that is no descriptor.
pub(crate) fn bad_descriptor() -> io::Error {
    rustix::io::Errno::BADF.into()
}
