//! One connection with one message outstanding: send it whole, read the answer whole, compare, repeat.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpStream, UdpSocket, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::answer::Answer;
use crate::arguments::{Address, Arguments, Protocol};
use crate::tls;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";

enum Socket {
    Stream(TcpStream),
    Unix(UnixStream),
    /// A datagram goes and comes as a whole, so each message is one write and one read.
    Datagrams(UdpSocket),
    /// The handshake is part of the first message.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub struct Connection {
    socket: Socket,
    message: Vec<u8>,
    answer: Answer,
    written: usize,
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
        let socket = open_socket(arguments, tls_config, token, registry)?;
        let (message, answer) = match arguments.protocol {
            Protocol::Http => (REQUEST.to_vec(), Answer::http()),
            Protocol::Tcp | Protocol::Udp | Protocol::Tls => {
                // Every connection sends other bytes, so an answer that went to the wrong one is noticed.
                let message: Vec<u8> = (0..arguments.size)
                    .map(|index| u8::try_from((index + 31 * token.0) % 251).unwrap_or(0))
                    .collect();
                // The message, cut or repeated to the length of the answer.
                let expected = message.iter().copied().cycle().take(arguments.answer).collect();
                (message, Answer::echo(expected))
            }
        };
        Ok(Self { socket, message, answer, written: 0, begun, messages: 0 })
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
        self.answer.restart();
        self.write_on()
    }

    /// Sends what is left of the message, as far as the socket takes it.
    pub fn write_on(&mut self) -> io::Result<()> {
        while self.written < self.message.len() {
            let rest = &self.message[self.written..];
            let written = match &mut self.socket {
                Socket::Stream(stream) => stream.write(rest),
                Socket::Unix(stream) => stream.write(rest),
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
        loop {
            let room = self.answer.room();
            if room.is_empty() {
                return Ok(None);
            }
            let read = match &mut self.socket {
                Socket::Stream(stream) => stream.read(room),
                Socket::Unix(stream) => stream.read(room),
                Socket::Datagrams(socket) => socket.recv(room),
                Socket::Tls(stream) => stream.read(room),
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    if self.answer.advance(count)? {
                        return Ok(Some(self.begun.elapsed()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the connection in order.
    pub fn close(&mut self) -> io::Result<()> {
        if let Socket::Tls(stream) = &mut self.socket {
            stream.conn.send_close_notify();
        }
        self.flush()
    }
}

fn open_socket(
    arguments: &Arguments,
    tls_config: Option<&Arc<ClientConfig>>,
    token: Token,
    registry: &Registry,
) -> io::Result<Socket> {
    let address = match &arguments.connect {
        Address::Internet(address) => *address,
        Address::Unix(path) => {
            let connected = std::os::unix::net::UnixStream::connect(path)?;
            connected.set_nonblocking(true)?;
            let mut stream = UnixStream::from_std(connected);
            register(&mut stream, token, registry)?;
            return Ok(Socket::Unix(stream));
        }
    };
    if arguments.protocol == Protocol::Udp {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let connected = std::net::UdpSocket::bind(any)?;
        connected.connect(address)?;
        connected.set_nonblocking(true)?;
        let mut socket = UdpSocket::from_std(connected);
        register(&mut socket, token, registry)?;
        return Ok(Socket::Datagrams(socket));
    }
    let connected = std::net::TcpStream::connect(address)?;
    connected.set_nonblocking(true)?;
    connected.set_nodelay(true)?;
    let mut stream = TcpStream::from_std(connected);
    register(&mut stream, token, registry)?;
    Ok(match tls_config {
        Some(config) => Socket::Tls(Box::new(StreamOwned::new(tls::connection(config)?, stream))),
        None => Socket::Stream(stream),
    })
}

fn register(source: &mut impl Source, token: Token, registry: &Registry) -> io::Result<()> {
    registry.register(source, token, Interest::READABLE | Interest::WRITABLE)
}
