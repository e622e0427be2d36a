//! The physical limit: a server that does nothing beside the system calls, on one thread with epoll. It echoes, or gives
//! each HTTP request without a body the same response.
//!
//! It speaks as the servers of the contestants do: prints `{"address": ...}`, then answers each line `usage` with
//! the clocks and the CPU time of this process in nanoseconds, and ends at any other line or at the end of its input.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

const USAGE: &str = "usage: echo_server tcp|udp|http|PATH";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const BUFFER: usize = 256 * 1024;
const LISTENER: Token = Token(0);

trait Stream: Read + Write + Source {}
impl<T: Read + Write + Source> Stream for T {}

struct Peer {
    stream: Box<dyn Stream>,
    /// How many bytes of the end of a request's head came last; None: this peer wants an echo.
    request: Option<usize>,
    /// What the peer did not take at once.
    unsent: Vec<u8>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    Datagrams(UdpSocket),
}

impl Listener {
    fn open(word: &str) -> io::Result<(Self, String)> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        match word {
            "tcp" | "http" => {
                let listener = TcpListener::bind(any)?;
                let address = listener.local_addr()?.to_string();
                Ok((Self::Tcp(listener), address))
            }
            "udp" => {
                let socket = UdpSocket::bind(any)?;
                let address = socket.local_addr()?.to_string();
                Ok((Self::Datagrams(socket), address))
            }
            path if path.starts_with('/') => Ok((Self::Unix(UnixListener::bind(path)?), path.to_owned())),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
            Self::Datagrams(socket) => socket,
        }
    }

    /// The next connection; `WouldBlock` when there is none.
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _): (TcpStream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => {
                let (stream, _): (UnixStream, _) = listener.accept()?;
                Ok(Box::new(stream))
            }
            Self::Datagrams(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Peer {
    /// Echoes what there is; false when the peer is gone.
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.send_rest()? {
            return Ok(true);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.answer(&buffer[..count]);
                    if !self.send_rest()? {
                        return Ok(true);
                    }
                    if count < buffer.len() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, received: &[u8]) {
        let Some(matched) = &mut self.request else {
            self.unsent.extend_from_slice(received);
            return;
        };
        for byte in received {
            *matched = match *byte {
                byte if byte == END_OF_HEAD[*matched] => *matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if *matched == END_OF_HEAD.len() {
                self.unsent.extend_from_slice(RESPONSE);
                *matched = 0;
            }
        }
    }

    /// True when nothing is left.
    fn send_rest(&mut self) -> io::Result<bool> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..sent);
        Ok(self.unsent.is_empty())
    }
}

fn serve(mut listener: Listener, speaks_http: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut peers: HashMap<Token, Peer> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut next = 1;
    let request = speaks_http.then_some(0);
    poll.registry().register(listener.source(), LISTENER, Interest::READABLE)?;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                if let Listener::Datagrams(socket) = &listener {
                    echo_datagrams(socket, &mut buffer)?;
                }
                while let Ok(mut stream) = listener.accept() {
                    let token = Token(next);
                    next += 1;
                    poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
                    peers.insert(token, Peer { stream, request, unsent: Vec::new() });
                }
            } else if let Some(peer) = peers.get_mut(&token)
                && !peer.serve(&mut buffer).unwrap_or(false)
            {
                peers.remove(&token);
            }
        }
    }
}

fn echo_datagrams(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match socket.recv_from(buffer) {
            Ok((count, sender)) => {
                socket.send_to(&buffer[..count], sender)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn usage() -> nix::Result<String> {
    let resources = getrusage(UsageWho::RUSAGE_SELF)?;
    let wall = clock_gettime(ClockId::CLOCK_MONOTONIC)?.num_nanoseconds();
    let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.num_nanoseconds();
    let (user, system) =
        (resources.user_time().num_microseconds(), resources.system_time().num_microseconds());
    Ok(format!(
        "{{\"wall\": {wall}, \"cpu\": {cpu}, \"user\": {}, \"system\": {}}}",
        user * 1000,
        system * 1000
    ))
}

fn obey() -> ExitCode {
    for line in io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("usage") => match usage() {
                Ok(answer) => println!("{answer}"),
                Err(error) => return failure(&error),
            },
            _ => break,
        }
    }
    ExitCode::SUCCESS
}

fn failure(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("echo_server: {error}");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let (listener, address) = match Listener::open(&word) {
        Ok(opened) => opened,
        Err(error) => return failure(&error),
    };
    println!("{{\"address\": \"{address}\"}}");
    thread::spawn(move || {
        let ended = serve(listener, word == "http");
        eprintln!("echo_server: {ended:?}");
        std::process::exit(1);
    });
    obey()
}
