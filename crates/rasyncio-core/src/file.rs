//! Sending files to sockets without reading them: `sendfile(2)`, and how far it came.

use std::io;
use std::os::fd::RawFd;

use crate::sys;

/// How often the kernel is asked in one attempt. A peer that reads as fast as the file is sent makes room all the time, and asking costs less than
/// waiting for what is there; but a file without an end must not hold up everybody else.
const CALLS: usize = 16;

/// A part of a file on its way to a socket that does not block.
#[derive(Debug)]
pub struct FileSending {
    file: RawFd,
    offset: u64,
    /// How much is to be sent; none: until the end of the file.
    count: Option<u64>,
    /// The most that is asked of the kernel at once.
    block: u64,
    sent: u64,
}

/// How far an attempt came.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything was sent, or the file has no more.
    Done,
    /// There is more, when the socket has room.
    Unfinished,
}

impl FileSending {
    /// From `offset` on. None if there is nothing to send: no count is given and the file is empty, or is none that
    /// has a size.
    pub fn new(file: RawFd, offset: u64, count: Option<u64>) -> io::Result<Option<Self>> {
        let size = sys::file::size(file)?;
        let block = count.unwrap_or(size);
        Ok((block > 0).then_some(Self { file, offset, count, block, sent: 0 }))
    }

    /// Sends until the kernel takes no more, or has been asked often enough. After an error nothing is known but what was sent before.
    pub fn attempt(&mut self, socket: RawFd) -> io::Result<Progress> {
        for _ in 0..CALLS {
            let rest = self.count.map_or(self.block, |count| count - self.sent);
            if rest == 0 {
                return Ok(Progress::Done);
            }
            // Half of what a `ssize_t` holds: the kernel takes less in any case.
            let asked = usize::try_from(rest).unwrap_or(usize::MAX).min(isize::MAX.unsigned_abs() / 2);
            match sys::file::send(socket, self.file, self.offset, asked) {
                Ok(0) => return Ok(Progress::Done),
                Ok(count) => {
                    let sent = count as u64;
                    self.offset += sent;
                    self.sent += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Unfinished)
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Makes the next reader of the file go on behind what was sent.
    pub fn move_position(&self) -> io::Result<()> {
        sys::file::set_position(self.file, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(size: usize) -> File {
        let path = std::env::temp_dir().join(format!("rasyncio-{}-{size}", std::process::id()));
        let mut file = File::create_new(&path).expect("a new file");
        file.write_all(&pattern(size)).expect("room on the disk");
        let reading = File::open(&path).expect("the file");
        std::fs::remove_file(&path).expect("the file");
        reading
    }

    fn pattern(size: usize) -> Vec<u8> {
        (0..size).map(|index| u8::try_from(index % 251).unwrap_or_default()).collect()
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        (ours, theirs)
    }

    #[test]
    fn a_part_is_sent_and_the_position_is_behind_it() {
        let (mut file, (ours, mut theirs)) = (file(10_000), pair());
        let sending = FileSending::new(file.as_raw_fd(), 1_000, Some(3_000)).expect("a file");
        let mut sending = sending.expect("something to send");
        assert_eq!(sending.attempt(ours.as_raw_fd()).expect("a socket"), Progress::Done);
        assert_eq!(sending.sent(), 3_000);
        drop(ours);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).expect("the end");
        assert_eq!(received, pattern(10_000)[1_000..4_000]);
        sending.move_position().expect("a file");
        assert_eq!(file.stream_position().expect("a file"), 4_000);
    }

    #[test]
    fn a_full_socket_is_waited_for() {
        let size = 2_000_000;
        let (file, (ours, mut theirs)) = (file(size), pair());
        let mut sending = FileSending::new(file.as_raw_fd(), 0, None).expect("a file").expect("bytes");
        assert_eq!(sending.attempt(ours.as_raw_fd()).expect("a socket"), Progress::Unfinished);
        assert!(sending.sent() < size as u64);
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).map(|_| received)
        });
        while sending.attempt(ours.as_raw_fd()).expect("a socket") == Progress::Unfinished {
            std::thread::yield_now();
        }
        drop(ours);
        assert_eq!(reader.join().expect("no panic").expect("the end"), pattern(size));
        assert_eq!(sending.sent(), size as u64);
    }

    #[test]
    fn what_is_empty_needs_no_sending_and_what_is_closed_no_file() {
        let empty = file(0);
        assert!(FileSending::new(empty.as_raw_fd(), 0, None).expect("a file").is_none());
        assert!(FileSending::new(empty.as_raw_fd(), 0, Some(5)).expect("a file").is_some());
        assert!(FileSending::new(-1, 0, None).is_err());
    }
}
