//! Load for an echo server: N connections, each with one message outstanding, for a bounded number of messages.
//!
//! It connects, warms the server up, prints `ready`, waits for a line on its standard input (so that whoever
//! runs both can read the server's clock first), sends the measured messages and prints one line of JSON.

mod arguments;
mod connection;
mod latency;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use arguments::Arguments;
use connection::Connection;
use latency::Latencies;

struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    stall_timeout: Duration,
}

impl Load {
    fn open(arguments: &Arguments) -> io::Result<Self> {
        let poll = Poll::new()?;
        let connections = (0..arguments.connections)
            .map(|index| {
                let Arguments { connect, protocol, size, .. } = *arguments;
                Connection::open(connect, protocol, size, Token(index), poll.registry())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            connections,
            stall_timeout: arguments.stall_timeout,
        })
    }

    /// Sends `messages` messages and waits for every answer; begins no new one once `limit` has passed.
    fn run(&mut self, messages: u64, limit: Duration) -> io::Result<(Latencies, Duration)> {
        let begin = Instant::now();
        let mut latencies = Latencies::default();
        let mut started = 0;
        for connection in self.connections.iter_mut().take(usize::try_from(messages).unwrap_or(usize::MAX)) {
            connection.begin_message()?;
            started += 1;
        }
        while latencies.count() < started {
            match self.poll.poll(&mut self.events, Some(self.stall_timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if self.events.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer for {:?} after {} messages", self.stall_timeout, latencies.count()),
                ));
            }
            let may_begin = begin.elapsed() < limit;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if event.is_writable() {
                    connection.write_on()?;
                }
                let Some(elapsed) = connection.read_on()? else {
                    continue;
                };
                latencies.record(elapsed);
                if may_begin && started < messages {
                    connection.begin_message()?;
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
