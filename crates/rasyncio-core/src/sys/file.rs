//! Regular files: their size and position, and the way from a file to a socket that leaves the bytes in the kernel.

use std::io;
use std::os::fd::RawFd;

use rustix::fs::{SeekFrom, fstat, seek, sendfile};
use rustix::io::Errno;

use super::borrow;

/// In bytes, as `fstat` says it: 0 for what is no regular file.
pub(crate) fn size(file: RawFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(borrow(file)?)?.st_size).unwrap_or_default())
}

/// Moves the position that `file` is read from, counted from its beginning.
pub(crate) fn set_position(file: RawFd, position: u64) -> io::Result<()> {
    seek(borrow(file)?, SeekFrom::Start(position))?;
    Ok(())
}

/// Sends up to `count` bytes of `file` from `offset` on, as much as the kernel takes now; `Ok(0)` is
/// the end of the file. Leaves the file's own position alone.
pub(crate) fn send(socket: RawFd, file: RawFd, offset: u64, count: usize) -> io::Result<usize> {
    let (socket, file) = (borrow(socket)?, borrow(file)?);
    loop {
        let mut offset = offset;
        match sendfile(socket, file, Some(&mut offset), count) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
