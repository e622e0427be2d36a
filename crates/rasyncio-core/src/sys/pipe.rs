//! Pipes, and what is read and written like one: FIFOs, terminals, sockets. Nothing here blocks if
//! the descriptor is non-blocking.

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::borrow;

/// The reading and the writing end of a new pipe, both non-blocking and closed on exec.
pub(crate) fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?)
}

/// Reads what is there. `Ok(0)` is the end; an empty pipe is `WouldBlock`.
pub(crate) fn read(descriptor: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let descriptor = borrow(descriptor)?;
    loop {
        match rustix::io::read(descriptor, &mut *buffer) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Writes as much as the kernel takes now.
pub(crate) fn write(descriptor: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let descriptor = borrow(descriptor)?;
    loop {
        let result = match slices {
            [] => return Ok(0),
            [slice] => rustix::io::write(descriptor, slice),
            slices => rustix::io::writev(descriptor, slices),
        };
        match result {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// What is behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pipe, or a FIFO, which is a pipe with a name.
    Pipe,
    Socket,
    /// A terminal, `/dev/null` and the like.
    CharacterDevice,
    /// A regular file, a folder, a block device: the kernel does not tell when these would not block.
    Other,
}

pub(crate) fn kind(descriptor: RawFd) -> io::Result<Kind> {
    let mode = rustix::fs::fstat(borrow(descriptor)?)?.st_mode;
    Ok(match FileType::from_raw_mode(mode) {
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharacterDevice,
        _ => Kind::Other,
    })
}
