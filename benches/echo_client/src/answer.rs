//! What answers a message: the bytes of an echo, or an HTTP response.

use std::io;

/// Larger than any head of a response that a server under test sends.
const CHUNK: usize = 64 * 1024;
const MOST_HEADERS: usize = 32;

/// Takes what was read, piece by piece, and knows when it is all there.
pub enum Answer {
    Echo { expected: Vec<u8>, received: Vec<u8>, length: usize },
    Http { received: Vec<u8>, length: usize },
}

impl Answer {
    /// Exactly these bytes.
    pub fn echo(expected: Vec<u8>) -> Self {
        Self::Echo { received: vec![0; expected.len()], expected, length: 0 }
    }

    /// A response with status 200 and a Content-Length.
    pub fn http() -> Self {
        Self::Http { received: vec![0; CHUNK], length: 0 }
    }

    pub fn restart(&mut self) {
        match self {
            Self::Echo { length, .. } | Self::Http { length, .. } => *length = 0,
        }
    }

    /// Where the next bytes go. Empty, when an echo is all there: with one message outstanding nothing can follow it.
    pub fn room(&mut self) -> &mut [u8] {
        match self {
            Self::Echo { received, length, .. } | Self::Http { received, length } => &mut received[*length..],
        }
    }

    /// So many bytes were put there; tells whether the answer is complete, an error when it is a wrong one.
    pub fn advance(&mut self, count: usize) -> io::Result<bool> {
        match self {
            Self::Echo { expected, received, length } => {
                *length += count;
                if *length < expected.len() {
                    return Ok(false);
                }
                if received == expected {
                    Ok(true)
                } else {
                    Err(invalid("the echo differs from what was sent"))
                }
            }
            Self::Http { received, length } => {
                *length += count;
                let complete = is_complete_response(&received[..*length])?;
                if !complete && *length == received.len() {
                    return Err(invalid("the response is too large"));
                }
                Ok(complete)
            }
        }
    }
}

fn is_complete_response(bytes: &[u8]) -> io::Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(false);
    };
    if response.code != Some(200) {
        return Err(invalid("the response is no success"));
    }
    let body = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok())
        .ok_or_else(|| invalid("the response has no Content-Length"))?;
    match bytes.len().cmp(&(head + body)) {
        std::cmp::Ordering::Less => Ok(false),
        std::cmp::Ordering::Equal => Ok(true),
        std::cmp::Ordering::Greater => Err(invalid("more came than the response")),
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(answer: &mut Answer, pieces: &[&[u8]]) -> io::Result<bool> {
        let mut complete = false;
        for piece in pieces {
            answer.room()[..piece.len()].copy_from_slice(piece);
            complete = answer.advance(piece.len())?;
        }
        Ok(complete)
    }

    #[test]
    fn a_response_is_complete_with_the_last_byte_of_its_body() {
        let mut answer = Answer::http();
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        assert!(!fed(&mut answer, &[&head[..9], &head[9..], b"bod"]).unwrap_or(true));
        assert!(fed(&mut answer, &[b"y"]).unwrap_or(false));
        answer.restart();
        assert!(fed(&mut answer, &[head, b"next"]).unwrap_or(false));
    }

    #[test]
    fn a_wrong_response_is_an_error() {
        for response in [
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxx",
            "what?\r\n\r\n",
        ] {
            assert!(fed(&mut Answer::http(), &[response.as_bytes()]).is_err(), "{response:?} was accepted");
        }
    }

    #[test]
    fn an_echo_is_compared_when_it_is_complete() {
        let mut answer = Answer::echo(b"abc".to_vec());
        assert!(!fed(&mut answer, &[b"ab"]).unwrap_or(true));
        assert!(fed(&mut answer, &[b"c"]).unwrap_or(false));
        assert!(answer.room().is_empty());
        answer.restart();
        assert!(fed(&mut answer, &[b"abd"]).is_err());
    }
}
