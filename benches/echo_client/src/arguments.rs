//! The command line: what to connect to and how much to send.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub const USAGE: &str = "usage: echo_client --connect HOST:PORT|PATH [--protocol tcp|udp|tls|http] [--connections N] [--size BYTES] \
[--answer BYTES] [--per-connection MESSAGES] [--messages N] [--seconds S] [--warm-up MESSAGES] [--stall-timeout S]";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Tcp,
    /// Each message is one datagram, each connection a socket that is connected to the server.
    Udp,
    Tls,
    /// A message is a GET request, its answer a response with status 200 and some body; sizes do not matter.
    Http,
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    Internet(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') { Ok(Self::Unix(text.into())) } else { text.parse().map(Self::Internet) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    pub connect: Address,
    pub protocol: Protocol,
    pub connections: usize,
    pub size: usize,
    /// How many bytes answer a message: so many of its first, or all of it again and again. As many as it has, if not given.
    pub answer: usize,
    /// Another connection takes the place of one that had so many messages.
    pub per_connection: u64,
    /// Ends the measured part after so many messages, over all connections.
    pub messages: u64,
    /// Ends the measured part earlier when it takes longer than this.
    pub limit: Duration,
    /// Messages sent before the measured part begins, over all connections.
    pub warm_up: u64,
    /// A server that answers nothing for so long is reported as stalled.
    pub stall_timeout: Duration,
}

impl Arguments {
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut connect = None;
        let mut answer = None;
        let mut parsed = Self {
            connect: Address::Internet(SocketAddr::from(([127, 0, 0, 1], 0))),
            protocol: Protocol::Tcp,
            connections: 1,
            size: 1024,
            answer: 1024,
            per_connection: u64::MAX,
            messages: 10_000,
            limit: Duration::from_secs(60),
            warm_up: 0,
            stall_timeout: Duration::from_secs(10),
        };
        let mut words = words.into_iter();
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("{option} needs a value\n{USAGE}"))?;
            match option.as_str() {
                "--connect" => connect = Some(number(&option, &value)?),
                "--protocol" => parsed.protocol = protocol(&value)?,
                "--connections" => parsed.connections = number(&option, &value)?,
                "--size" => parsed.size = number(&option, &value)?,
                "--answer" => answer = Some(number(&option, &value)?),
                "--per-connection" => parsed.per_connection = number(&option, &value)?,
                "--messages" => parsed.messages = number(&option, &value)?,
                "--warm-up" => parsed.warm_up = number(&option, &value)?,
                "--seconds" => parsed.limit = seconds(&option, &value)?,
                "--stall-timeout" => parsed.stall_timeout = seconds(&option, &value)?,
                _ => return Err(format!("unknown option {option}\n{USAGE}")),
            }
        }
        parsed.connect = connect.ok_or_else(|| format!("--connect is missing\n{USAGE}"))?;
        parsed.answer = answer.unwrap_or(parsed.size);
        let sizes = [parsed.connections, parsed.size, parsed.answer];
        if matches!(parsed.connect, Address::Unix(_)) && parsed.protocol != Protocol::Tcp {
            return Err("only the protocol tcp goes over a Unix socket".to_owned());
        }
        if sizes.contains(&0) || parsed.messages == 0 || parsed.per_connection == 0 {
            return Err("connections, sizes and messages must be at least 1".to_owned());
        }
        Ok(parsed)
    }
}

fn protocol(value: &str) -> Result<Protocol, String> {
    match value {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "tls" => Ok(Protocol::Tls),
        "http" => Ok(Protocol::Http),
        _ => Err(format!("--protocol: {value:?} is not valid")),
    }
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option}: {value:?} is not valid"))
}

fn seconds(option: &str, value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(option, value)?).map_err(|error| format!("{option}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_option_is_read() {
        let line = "--connect 127.0.0.1:80 --protocol udp --connections 64 --size 5 --answer 6 --per-connection 8 --messages 7 --seconds 1.5 --warm-up 3 --stall-timeout 2";
        let expected = Arguments {
            connect: Address::Internet(SocketAddr::from(([127, 0, 0, 1], 80))),
            protocol: Protocol::Udp,
            connections: 64,
            size: 5,
            answer: 6,
            per_connection: 8,
            messages: 7,
            limit: Duration::from_millis(1500),
            warm_up: 3,
            stall_timeout: Duration::from_secs(2),
        };
        assert_eq!(parse(line), Ok(expected));
    }

    #[test]
    fn an_answer_is_as_long_as_its_message_if_not_said_otherwise() {
        let parsed = parse("--connect 127.0.0.1:80 --size 5");
        assert_eq!(parsed.map(|arguments| arguments.answer), Ok(5));
    }

    #[test]
    fn a_path_is_a_unix_socket() {
        let parsed = parse("--connect /run/socket");
        assert_eq!(parsed.map(|arguments| arguments.connect), Ok(Address::Unix("/run/socket".into())));
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for line in [
            "",
            "--connect",
            "--connect nowhere",
            "--connect 127.0.0.1:80 --size 0",
            "--connect 127.0.0.1:80 --answer 0",
            "--connect 127.0.0.1:80 --size -1",
            "--connect 127.0.0.1:80 --seconds -1",
            "--connect 127.0.0.1:80 --loud yes",
            "--connect 127.0.0.1:80 --protocol sctp",
            "--connect /run/socket --protocol tls",
        ] {
            assert!(parse(line).is_err(), "{line:?} was accepted");
        }
    }
}
