//! Load for a server that echoes, or speaks HTTP: N connections, each with one message outstanding, for a bounded number of messages. A connection may be replaced by
//! another one after some of them.
//!
//! It connects, warms the server up, prints `ready`, waits for a line on its standard input (so that whoever
//! runs both can read the server's clock first), sends the measured messages and prints one line of JSON.

mod answer;
mod arguments;
mod connection;
mod latency;
mod tls;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use rustls::ClientConfig;

use arguments::{Arguments, Protocol};
use connection::Connection;
use latency::Latencies;

struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    arguments: Arguments,
    tls_config: Option<Arc<ClientConfig>>,
}

impl Load {
    fn open(arguments: &Arguments) -> io::Result<Self> {
        let poll = Poll::new()?;
        let tls_config = match arguments.protocol {
            Protocol::Tls => Some(tls::config().map_err(io::Error::other)?),
            Protocol::Tcp | Protocol::Udp | Protocol::Http => None,
        };
        let connections = (0..arguments.connections)
            .map(|index| Connection::open(arguments, tls_config.as_ref(), Token(index), poll.registry()))
            .collect::<io::Result<_>>()?;
        let events = Events::with_capacity(1024);
        Ok(Self { poll, events, connections, arguments: arguments.clone(), tls_config })
    }

    fn begin_message(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if connection.messages() >= self.arguments.per_connection {
            connection.close()?;
            *connection = Connection::open(
                &self.arguments,
                self.tls_config.as_ref(),
                Token(index),
                self.poll.registry(),
            )?;
        }
        connection.begin_message()
    }

    /// Sends `messages` messages and waits for every answer; begins no new one once `limit` has passed.
    fn run(&mut self, messages: u64, limit: Duration) -> io::Result<(Latencies, Duration)> {
        let begin = Instant::now();
        let mut latencies = Latencies::default();
        let mut started = 0;
        let first = self.connections.len().min(usize::try_from(messages).unwrap_or(usize::MAX));
        for index in 0..first {
            self.begin_message(index)?;
            started += 1;
        }
        let stall_timeout = self.arguments.stall_timeout;
        while latencies.count() < started {
            match self.poll.poll(&mut self.events, Some(stall_timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if self.events.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer for {stall_timeout:?} after {} messages", latencies.count()),
                ));
            }
            let may_begin = begin.elapsed() < limit;
            let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for index in ready {
                let connection = &mut self.connections[index];
                // TLS writes to go on reading, and the other way round.
                connection.write_on()?;
                let Some(elapsed) = connection.read_on()? else {
                    continue;
                };
                latencies.record(elapsed);
                if may_begin && started < messages {
                    self.begin_message(index)?;
                    started += 1;
                }
            }
        }
        Ok((latencies, begin.elapsed()))
    }
}

fn wait_for_a_line() -> io::Result<()> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no go-ahead on standard input"));
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> io::Result<String> {
    let mut load = Load::open(arguments)?;
    // Also with no warm-up asked for, one message each shows that the server has accepted everybody.
    let warm_up = arguments.warm_up.max(arguments.connections as u64);
    load.run(warm_up, arguments.limit)?;
    println!("ready");
    io::stdout().flush()?;
    wait_for_a_line()?;
    let (mut latencies, elapsed) = load.run(arguments.messages, arguments.limit)?;
    Ok(format!(
        "{{\"messages\": {}, \"seconds\": {:.9}, \"p50_us\": {:.3}, \"p99_us\": {:.3}}}",
        latencies.count(),
        elapsed.as_secs_f64(),
        latencies.percentile(50),
        latencies.percentile(99),
    ))
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("echo_client: {message}");
            return ExitCode::from(2);
        }
    };
    match measure(&arguments) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echo_client: {error}");
            ExitCode::FAILURE
        }
    }
}
