//! The bodies of `sock_recv()` and its like: one call on the socket, now and whenever it is ready, until it does not block.

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::super::Loop;
use super::check_socket;
use super::ready::{Direction, Watch, until_ready};
use crate::coroutines::{Coroutine, Resume, Steps};
use crate::ffi::send::Sent;
use crate::futures::Future;

/// One call on a socket that may have to be made again.
pub(super) trait Attempt: Send + 'static {
    /// What it waits for when it would block.
    const DIRECTION: Direction;

    /// None and BlockingIOError mean "not yet".
    fn attempt<'py>(
        &mut self,
        event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>>;

    /// Shows the collector what it holds.
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

/// The coroutine that makes `attempt`, and makes it again.
pub(super) fn coroutine<'py>(
    event_loop: &Bound<'py, Loop>,
    name: &'static str,
    sock: Py<PyAny>,
    attempt: impl Attempt,
) -> PyResult<Bound<'py, Coroutine>> {
    let body = Repeated { event_loop: event_loop.clone().unbind(), sock, watch: None, attempt };
    Coroutine::of(event_loop.py(), name, body)
}

struct Repeated<A> {
    event_loop: Py<Loop>,
    sock: Py<PyAny>,
    watch: Option<Watch>,
    attempt: A,
}

impl<A: Attempt> Repeated<A> {
    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let (event_loop, sock) = (self.event_loop.bind(py), self.sock.bind(py));
        match self.watch.take() {
            None => check_socket(event_loop, sock)?,
            Some(watch) => {
                if let Err(error) = watch.future.get().resumed(py, resume) {
                    watch.give_up(event_loop)?;
                    return Err(error);
                }
            }
        }
        look_after(event_loop, A::DIRECTION);
        let attempted = self.attempt.attempt(event_loop, sock);
        if let Some(result) = unless_blocked(py, attempted)? {
            return Ok(Sent::Returned(result));
        }
        let watch = Watch::begin(event_loop, sock, A::DIRECTION)?;
        let yielded = Future::yield_to_task(watch.future.bind(py));
        self.watch = Some(watch);
        Ok(yielded)
    }
}

impl<A: Attempt> Steps for Repeated<A> {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.sock)?;
        self.watch.as_ref().map_or(Ok(()), |watch| watch.visit(visit))?;
        self.attempt.visit(visit)
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.watch.as_ref().map(|watch| watch.future.bind(py).clone().into_any())
    }
}

/// The same for an `async fn`: calls `attempt` now and whenever the socket is ready, until it gives something or fails.
pub(in super::super) async fn repeat<F>(
    event_loop: &Py<Loop>,
    sock: &Py<PyAny>,
    direction: Direction,
    mut attempt: F,
) -> PyResult<Py<PyAny>>
where
    F: for<'a> FnMut(&Bound<'a, PyAny>) -> PyResult<Option<Bound<'a, PyAny>>> + Send,
{
    loop {
        let result = Python::attach(|py| {
            look_after(event_loop.bind(py), direction);
            let attempted = attempt(sock.bind(py));
            unless_blocked(py, attempted).map(|result| result.map(Bound::unbind))
        })?;
        if let Some(result) = result {
            return Ok(result);
        }
        until_ready(event_loop, sock, direction).await?;
    }
}

/// What is sent may be for somebody in this program.
fn look_after(event_loop: &Bound<'_, Loop>, direction: Direction) {
    if direction == Direction::Write {
        event_loop.get().look_next_turn(event_loop.py());
    }
}

fn unless_blocked<'py>(
    py: Python<'_>,
    attempted: PyResult<Option<Bound<'py, PyAny>>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    attempted.or_else(|error| if would_block(py, &error) { Ok(None) } else { Err(error) })
}

pub(super) fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}
