//! Datagrams: whole messages, several at a time. Nothing here ever blocks.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrLen, SocketAddrStorage};
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

use super::address::PeerAddress;
use super::borrow;

/// Datagrams that were received together, and the memory they lie in.
#[derive(Debug)]
pub struct Datagrams {
    memory: Vec<u8>,
    /// Room for each.
    room: usize,
    received: Vec<Received>,
}

#[derive(Debug)]
struct Received {
    length: usize,
    from: PeerAddress,
}

impl Datagrams {
    /// `size` bytes of memory; the kernel provides them as far as they are used.
    pub fn with_memory(size: usize) -> Self {
        let size = size.max(1);
        Self { memory: vec![0; size], room: size, received: Vec::new() }
    }

    /// Forgets what was received, and makes ready for datagrams of up to `room` bytes, which must
    /// not be more than there is memory. What is longer is cut off by the kernel.
    pub fn prepare(&mut self, room: usize) {
        self.received.clear();
        self.room = room.clamp(1, self.memory.len());
    }

    pub fn len(&self) -> usize {
        self.received.len()
    }

    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// A datagram, in the order they came, and where it came from.
    pub fn get(&self, index: usize) -> Option<(&[u8], &PeerAddress)> {
        let Received { length, from } = self.received.get(index)?;
        let start = index * self.room;
        Some((&self.memory[start..start + length], from))
    }

    /// Adds a datagram, cut off at the room there is; false if there is no memory for it.
    pub(crate) fn push(&mut self, data: &[u8], from: PeerAddress) -> bool {
        let start = self.received.len() * self.room;
        let Some(slot) = self.memory.get_mut(start..start + self.room) else {
            return false;
        };
        let length = data.len().min(slot.len());
        slot[..length].copy_from_slice(&data[..length]);
        self.received.push(Received { length, from });
        true
    }
}

/// Receives up to `most` datagrams that are there, at least one.
pub(crate) fn receive(socket: RawFd, datagrams: &mut Datagrams, most: usize) -> io::Result<()> {
    if most <= 1 { receive_one(socket, datagrams) } else { receive_many(socket, datagrams, most) }
}

fn receive_one(socket: RawFd, datagrams: &mut Datagrams) -> io::Result<()> {
    let socket = borrow(socket)?;
    let memory = &mut datagrams.memory[..datagrams.room];
    loop {
        match rustix::net::recvfrom(socket, &mut *memory, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            result => {
                let (length, _, from) = result?;
                datagrams.received.push(Received { length, from: from.into() });
                return Ok(());
            }
        }
    }
}

/// One `recvmmsg`. An error after the first datagram is kept by the kernel for the next call.
fn receive_many(socket: RawFd, datagrams: &mut Datagrams, most: usize) -> io::Result<()> {
    let most = most.min(MAXIMUM).min(datagrams.memory.len() / datagrams.room);
    let mut names = [const { MaybeUninit::<SocketAddrStorage>::uninit() }; MAXIMUM];
    let mut slices = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MAXIMUM];
    // SAFETY: plain numbers and pointers, for which zero is a value.
    let mut headers: [libc::mmsghdr; MAXIMUM] = unsafe { std::mem::zeroed() };
    let slots = datagrams.memory.chunks_exact_mut(datagrams.room);
    for (((header, slice), name), slot) in headers.iter_mut().zip(&mut slices).zip(&mut names).zip(slots) {
        *slice = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = NAME_LENGTH;
    }
    let count = loop {
        // SAFETY: the first `most` headers point to names and memory of the lengths they state, which live until
        // after the call; the kernel writes nowhere else and keeps nothing.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                u32::try_from(most).unwrap_or(1),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(count) {
            Ok(count) => break count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    };
    for (header, name) in headers.iter().zip(&names).take(count) {
        let length = (header.msg_len as usize).min(datagrams.room);
        let from = name_of(name, header.msg_hdr.msg_namelen);
        datagrams.received.push(Received { length, from });
    }
    Ok(())
}

/// The name that the kernel wrote; none at all for an unnamed peer.
fn name_of(name: &MaybeUninit<SocketAddrStorage>, length: SocketAddrLen) -> PeerAddress {
    if (length as usize) < size_of::<libc::sa_family_t>() {
        return PeerAddress::from(None);
    }
    // SAFETY: the kernel wrote so many bytes of a socket address, never more than there was room for.
    let address = unsafe { SocketAddrAny::new(*name, length.min(NAME_LENGTH)) };
    PeerAddress::from(Some(address))
}

/// Sends one datagram, whole or not at all: to `to`, or to the peer that the socket is connected to.
#[inline]
pub(crate) fn send(socket: RawFd, data: &[u8], to: Option<&SocketAddr>) -> io::Result<()> {
    let socket = borrow(socket)?;
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        let result = match to {
            None => rustix::net::send(socket, data, flags),
            Some(to) => rustix::net::sendto(socket, data, flags, to),
        };
        match result {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// So many datagrams are received by one call at most.
pub(crate) const MAXIMUM: usize = 16;

#[expect(clippy::cast_possible_truncation, reason = "128 bytes")]
const NAME_LENGTH: SocketAddrLen = size_of::<SocketAddrStorage>() as SocketAddrLen;
