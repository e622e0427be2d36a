//! Whether a descriptor that somebody takes for a pipe can be read and written like one.

use std::io;
use std::os::fd::RawFd;

pub use crate::sys::pipe::Kind;

/// What is behind `descriptor`; EBADF if nothing is.
pub fn kind(descriptor: RawFd) -> io::Result<Kind> {
    crate::sys::pipe::kind(descriptor)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    const EBADF: i32 = 9;

    #[test]
    fn pipes_sockets_and_devices_are_told_from_files() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        assert_eq!(kind(reader.as_raw_fd()).expect("an open end"), Kind::Pipe);
        assert_eq!(kind(writer.as_raw_fd()).expect("an open end"), Kind::Pipe);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        assert_eq!(kind(listener.as_raw_fd()).expect("an open socket"), Kind::Socket);
        let device = File::open("/dev/null").expect("a device");
        assert_eq!(kind(device.as_raw_fd()).expect("an open device"), Kind::CharacterDevice);
        let folder = File::open("/").expect("a folder");
        assert_eq!(kind(folder.as_raw_fd()).expect("an open folder"), Kind::Other);
    }

    #[test]
    fn no_descriptor_is_no_kind() {
        let error = kind(-1).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(EBADF));
    }
}
