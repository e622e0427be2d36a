//! One connection with one message outstanding: send it whole, read the echo whole, compare, repeat.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

use crate::arguments::Protocol;

enum Socket {
    Stream(TcpStream),
    /// A datagram goes and comes as a whole, so each message is one write and one read.
    Datagrams(UdpSocket),
}

pub struct Connection {
    socket: Socket,
    message: Vec<u8>,
    answer: Vec<u8>,
    written: usize,
    read: usize,
    sent_at: Instant,
}

impl Connection {
    /// Connects, waiting for it, and registers with the poll; nothing is sent yet.
    pub fn open(
        address: SocketAddr,
        protocol: Protocol,
        size: usize,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = match protocol {
            Protocol::Tcp => {
                let connected = std::net::TcpStream::connect(address)?;
                connected.set_nonblocking(true)?;
                connected.set_nodelay(true)?;
                let mut stream = TcpStream::from_std(connected);
                registry.register(&mut stream, token, interest)?;
                Socket::Stream(stream)
            }
            Protocol::Udp => {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let connected = std::net::UdpSocket::bind(any)?;
                connected.connect(address)?;
                connected.set_nonblocking(true)?;
                let mut socket = UdpSocket::from_std(connected);
                registry.register(&mut socket, token, interest)?;
                Socket::Datagrams(socket)
            }
        };
        // Every connection sends other bytes, so an answer that went to the wrong one is noticed.
        let message =
            (0..size).map(|index| u8::try_from((index + 31 * token.0) % 251).unwrap_or(0)).collect();
        Ok(Self { socket, message, answer: vec![0; size], written: 0, read: 0, sent_at: Instant::now() })
    }

    /// Starts the next message. The one before must have been answered.
    pub fn begin_message(&mut self) -> io::Result<()> {
        self.written = 0;
        self.read = 0;
        self.sent_at = Instant::now();
        self.write_on()
    }

    /// Sends what is left of the message, as far as the socket takes it.
    pub fn write_on(&mut self) -> io::Result<()> {
        while self.written < self.message.len() {
            let rest = &self.message[self.written..];
            let written = match &mut self.socket {
                Socket::Stream(stream) => stream.write(rest),
                Socket::Datagrams(socket) => socket.send(rest),
            };
            match written {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come; `Some(time it took)` when the whole echo is here and right.
    ///
    /// Reading stops at the end of the message: with one message outstanding nothing can follow, and
    /// an edge-triggered poll reports later bytes again.
    pub fn read_on(&mut self) -> io::Result<Option<std::time::Duration>> {
        if self.read == self.answer.len() {
            return Ok(None);
        }
        while self.read < self.answer.len() {
            let rest = &mut self.answer[self.read..];
            let read = match &mut self.socket {
                Socket::Stream(stream) => stream.read(rest),
                Socket::Datagrams(socket) => socket.recv(rest),
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let elapsed = self.sent_at.elapsed();
        if self.answer != self.message {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs from what was sent"));
        }
        Ok(Some(elapsed))
    }
}
