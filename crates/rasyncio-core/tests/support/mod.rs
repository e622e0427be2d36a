//! What the tests of the reactor share.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rasyncio_core::reactor::{Completion, Operation, Reactor, Token};

pub fn reactor<S>() -> Reactor<S> {
    Reactor::new(crate::choice()).expect("a reactor")
}

pub fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("a pair of sockets")
}

/// The reading and the writing end of a pipe, both non-blocking.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe")
}

/// Closes what `number` names and gives the number to another socket, as a careless program does
/// without a word to the loop. Answers the other end of the new socket.
pub fn give_number_away(number: &mut OwnedFd) -> UnixStream {
    let (near, far) = pair();
    rustix::io::dup2(&far, number).expect("a descriptor");
    near
}

/// What is ready now.
pub fn look<S>(reactor: &mut Reactor<S>) -> Vec<Completion> {
    wait_for(reactor, Some(Duration::ZERO))
}

/// What is ready first, however long that takes.
pub fn wait<S>(reactor: &mut Reactor<S>) -> Vec<Completion> {
    loop {
        let found = wait_for(reactor, None);
        if !found.is_empty() {
            return found;
        }
    }
}

/// What one wait finds.
pub fn wait_for<S>(reactor: &mut Reactor<S>, timeout: Option<Duration>) -> Vec<Completion> {
    let mut wait = reactor.begin_wait(timeout);
    wait.run();
    let mut found = Vec::new();
    reactor.finish_wait(wait, &mut found).expect("a wait");
    found
}

pub fn operations(completions: &[Completion]) -> Vec<Operation> {
    completions.iter().map(|completion| completion.operation).collect()
}

pub fn tokens(completions: &[Completion]) -> Vec<Token> {
    completions.iter().map(|completion| completion.token).collect()
}
