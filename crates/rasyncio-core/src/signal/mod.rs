//! Signals, as far as the kernel goes: the pipe whose writing end is given to Python's
//! `signal.set_wakeup_fd`. Python's handler writes each signal's number to it; the loop watches
//! the other end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys;

/// The pipe between the signal handler and the loop. Both ends are non-blocking.
#[derive(Debug)]
pub struct SignalPipe {
    reading_end: OwnedFd,
    writing_end: OwnedFd,
}

impl SignalPipe {
    pub fn new() -> io::Result<Self> {
        let (reading_end, writing_end) = sys::pipe::open()?;
        Ok(Self { reading_end, writing_end })
    }

    /// The end to watch.
    pub fn read_fd(&self) -> RawFd {
        self.reading_end.as_raw_fd()
    }

    /// The end for the signal handler.
    pub fn write_fd(&self) -> RawFd {
        self.writing_end.as_raw_fd()
    }

    /// Takes the numbers of all signals that arrived, in their order.
    pub fn drain(&self, numbers: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 256];
        loop {
            match sys::pipe::read(self.read_fd(), &mut buffer) {
                // The end of the pipe: someone else closed its writing end.
                Ok(0) => return Ok(()),
                Ok(count) => numbers.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn signals_come_out_in_the_order_they_went_in() {
        let pipe = SignalPipe::new().expect("a pipe");
        let mut numbers = Vec::new();
        pipe.drain(&mut numbers).expect("an empty pipe is no error");
        assert!(numbers.is_empty());
        let mut handler = File::from(pipe.writing_end.try_clone().expect("a second descriptor"));
        handler.write_all(&[7; 300]).expect("room in the pipe");
        handler.write_all(&[2, 15]).expect("room in the pipe");
        pipe.drain(&mut numbers).expect("a readable pipe");
        assert_eq!(numbers.len(), 302);
        assert_eq!(numbers[299..], [7, 2, 15]);
    }
}
