//! One connection with one message outstanding: send it whole, read the answer whole, compare, repeat.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::arguments::{Arguments, Protocol};
use crate::tls;

enum Socket {
    Stream(TcpStream),
    /// A datagram goes and comes as a whole, so each message is one write and one read.
    Datagrams(UdpSocket),
    /// The handshake is part of the first message.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub struct Connection {
    socket: Socket,
    message: Vec<u8>,
    /// The message, cut or repeated to the length of the answer.
    expected: Vec<u8>,
    answer: Vec<u8>,
    written: usize,
    read: usize,
    begun: Instant,
    messages: u64,
}

impl Connection {
    /// Connects, waiting for it, and registers with the poll; nothing is sent yet. The time of the first message counts from here.
    pub fn open(
        arguments: &Arguments,
        tls_config: Option<&Arc<ClientConfig>>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let begun = Instant::now();
        let socket = match (arguments.protocol, tls_config) {
            (Protocol::Udp, _) => Socket::Datagrams(open_datagrams(arguments, token, registry)?),
            (Protocol::Tcp, _) | (Protocol::Tls, None) => {
                Socket::Stream(open_stream(arguments, token, registry)?)
            }
            (Protocol::Tls, Some(config)) => {
                let stream = open_stream(arguments, token, registry)?;
                Socket::Tls(Box::new(StreamOwned::new(tls::connection(config)?, stream)))
            }
        };
        // Every connection sends other bytes, so an answer that went to the wrong one is noticed.
        let message: Vec<u8> = (0..arguments.size)
            .map(|index| u8::try_from((index + 31 * token.0) % 251).unwrap_or(0))
            .collect();
        let expected: Vec<u8> = message.iter().copied().cycle().take(arguments.answer).collect();
        let answer = vec![0; expected.len()];
        Ok(Self { socket, message, expected, answer, written: 0, read: 0, begun, messages: 0 })
    }

    /// How many messages were begun.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Starts the next message. The one before must have been answered.
    pub fn begin_message(&mut self) -> io::Result<()> {
        if self.messages > 0 {
            self.begun = Instant::now();
        }
        self.messages += 1;
        self.written = 0;
        self.read = 0;
        self.write_on()
    }

    /// Sends what is left of the message, as far as the socket takes it.
    pub fn write_on(&mut self) -> io::Result<()> {
        while self.written < self.message.len() {
            let rest = &self.message[self.written..];
            let written = match &mut self.socket {
                Socket::Stream(stream) => stream.write(rest),
                Socket::Datagrams(socket) => socket.send(rest),
                Socket::Tls(stream) => stream.write(rest),
            };
            match written {
                // The records that wait for the socket are many enough.
                Ok(0) => break,
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Socket::Tls(stream) = &mut self.socket
            && stream.conn.wants_write()
        {
            match stream.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads what has come; `Some(time it took)` when the whole answer is here and right.
    ///
    /// Reading stops at the end of the answer: with one message outstanding nothing can follow, and
    /// an edge-triggered poll reports later bytes again.
    pub fn read_on(&mut self) -> io::Result<Option<Duration>> {
        if self.read == self.answer.len() {
            return Ok(None);
        }
        while self.read < self.answer.len() {
            let rest = &mut self.answer[self.read..];
            let read = match &mut self.socket {
                Socket::Stream(stream) => stream.read(rest),
                Socket::Datagrams(socket) => socket.recv(rest),
                Socket::Tls(stream) => stream.read(rest),
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let elapsed = self.begun.elapsed();
        if self.answer != self.expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs from what was sent"));
        }
        Ok(Some(elapsed))
    }

    /// Ends the connection in order.
    pub fn close(&mut self) -> io::Result<()> {
        if let Socket::Tls(stream) = &mut self.socket {
            stream.conn.send_close_notify();
        }
        self.flush()
    }
}

fn open_stream(arguments: &Arguments, token: Token, registry: &Registry) -> io::Result<TcpStream> {
    let connected = std::net::TcpStream::connect(arguments.connect)?;
    connected.set_nonblocking(true)?;
    connected.set_nodelay(true)?;
    let mut stream = TcpStream::from_std(connected);
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

fn open_datagrams(arguments: &Arguments, token: Token, registry: &Registry) -> io::Result<UdpSocket> {
    let any = if arguments.connect.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let connected = std::net::UdpSocket::bind(any)?;
    connected.connect(arguments.connect)?;
    connected.set_nonblocking(true)?;
    let mut socket = UdpSocket::from_std(connected);
    registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(socket)
}
