//! What is done to one socket. Nothing here ever blocks.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, sockopt};
use smallvec::SmallVec;

use super::address::PeerAddress;
use super::borrow;

/// Receives what is there into the beginning of `memory`. `Ok(0)` is the end of the stream.
#[inline]
pub(crate) fn receive(socket: RawFd, memory: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let socket = borrow(socket)?;
    loop {
        // DONTWAIT: a socket that its owner left blocking must not stop the loop.
        match rustix::net::recv(socket, &mut *memory, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            result => return Ok(result?.0.0.len()),
        }
    }
}

/// Sends as much as the kernel takes now. No `SIGPIPE`: a broken connection is an error here.
#[inline]
pub(crate) fn send(socket: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let socket = borrow(socket)?;
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        let result = match slices {
            [] => return Ok(0),
            [slice] => rustix::net::send(socket, slice, flags),
            slices => {
                let slices = &slices[..slices.len().min(MAXIMUM_SLICES)];
                let mut no_control = SendAncillaryBuffer::default();
                rustix::net::sendmsg(socket, slices, &mut no_control, flags)
            }
        };
        match result {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// What one socket of several is to send, and then what the kernel said: as [`send`] answers.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub(crate) socket: RawFd,
    pub(crate) slices: SmallVec<[IoSlice<'a>; 1]>,
    pub(crate) answer: io::Result<usize>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(socket: RawFd, slices: SmallVec<[IoSlice<'a>; 1]>) -> Self {
        Self { socket, slices, answer: Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// How many bytes were offered, and how many of them were taken.
    pub fn into_answer(self) -> (usize, io::Result<usize>) {
        (self.slices.iter().map(|slice| slice.len()).sum(), self.answer)
    }
}

/// Takes one connection from a listening socket that is itself non-blocking.
pub(crate) fn accept(listener: RawFd) -> io::Result<(OwnedFd, PeerAddress)> {
    let listener = borrow(listener)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    loop {
        match rustix::net::acceptfrom_with(listener, flags) {
            Err(Errno::INTR) => {}
            result => {
                let (connection, address) = result?;
                return Ok((connection, address.into()));
            }
        }
    }
}

/// EBADF unless the number is that of a descriptor.
pub(crate) fn check_open(descriptor: RawFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_getfd(borrow(descriptor)?).map(drop)?)
}

/// What a failed [`accept`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    NobodyWaits,
    /// The process or the machine has no descriptor or memory left for a connection.
    OutOfResources,
    /// The connection was gone, or its network broken, before we could take it. Linux reports
    /// such errors of the new connection as if they were the listener's: accept(2).
    ConnectionFailed,
    Other,
}

impl AcceptError {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => return Self::NobodyWaits,
            io::ErrorKind::ConnectionAborted => return Self::ConnectionFailed,
            _ => {}
        }
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::OutOfResources,
            Some(
                Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM,
            ) => Self::ConnectionFailed,
            _ => Self::Other,
        }
    }
}

pub(crate) fn local_address(socket: RawFd) -> io::Result<PeerAddress> {
    Ok(Some(rustix::net::getsockname(borrow(socket)?)?).into())
}

pub(crate) fn peer_address(socket: RawFd) -> io::Result<PeerAddress> {
    Ok(rustix::net::getpeername(borrow(socket)?)?.into())
}

pub(crate) fn set_nodelay(socket: RawFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(borrow(socket)?, true)?)
}

pub(crate) fn set_nonblocking(descriptor: RawFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(borrow(descriptor)?, true)?)
}

pub(crate) fn shutdown_write(socket: RawFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(borrow(socket)?, Shutdown::Write)?)
}

/// Takes the pending error (`SO_ERROR`): how a connection attempt ended.
pub(crate) fn take_error(socket: RawFd) -> io::Result<Option<io::Error>> {
    let pending = sockopt::socket_error(borrow(socket)?)?;
    Ok(pending.err().map(io::Error::from))
}

/// Family, type and protocol, as the numbers of `socket(2)`.
pub(crate) fn kind(socket: RawFd) -> io::Result<(i32, i32, i32)> {
    let socket = borrow(socket)?;
    let family = sockopt::socket_domain(socket)?.as_raw();
    let socket_type = sockopt::socket_type(socket)?.as_raw();
    let protocol = sockopt::socket_protocol(socket)?.map_or(0, |protocol| protocol.as_raw().get());
    // The kernel's numbers are small; rustix calls some of them unsigned.
    Ok((i32::from(family), socket_type.cast_signed(), protocol.cast_signed()))
}

/// `UIO_MAXIOV`: the kernel refuses a message of more slices with EMSGSIZE.
pub(super) const MAXIMUM_SLICES: usize = 1024;
