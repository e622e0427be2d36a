//! Waiting until a socket of the user's is ready, once.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use rasyncio_core::reactor::Operation;

use super::super::Loop;
use crate::coroutines::wait_for;
use crate::ffi::call::call_method_none;
use crate::futures::Future;

#[derive(Clone, Copy, PartialEq)]
pub(in super::super) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn operation(self) -> Operation {
        match self {
            Self::Read => Operation::ReadableOnce,
            Self::Write => Operation::WritableOnce,
        }
    }
}

/// A descriptor that is watched on behalf of a coroutine until it is ready, which ends `future`.
///
/// As with asyncio's, whoever watches the descriptor next takes its place, and the future of this one never ends.
pub(super) struct Watch {
    pub(super) future: Py<Future>,
    descriptor: i32,
    direction: Direction,
}

impl Watch {
    pub(super) fn begin(
        event_loop: &Bound<'_, Loop>,
        sock: &Bound<'_, PyAny>,
        direction: Direction,
    ) -> PyResult<Self> {
        let given = call_method_none(sock, intern!(sock.py(), "fileno"))?;
        let descriptor = given.extract()?;
        event_loop.get().check_not_transport(&given, descriptor)?;
        let future = Future::make(event_loop.as_any())?;
        event_loop.get().watch_once(&future, descriptor, direction.operation())?;
        Ok(Self { future: future.unbind(), descriptor, direction })
    }

    /// Stops watching, if the descriptor is still watched for this.
    pub(super) fn give_up(&self, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let py = event_loop.py();
        self.future.get().abandon(py);
        if event_loop.get().is_closed() {
            return Ok(());
        }
        event_loop.get().unwatch_once(&self.future, py, self.descriptor, self.direction.operation())
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.future)
    }
}

/// `Watch` for an `async fn`: given up when it is dropped.
struct Watching<'a> {
    event_loop: &'a Py<Loop>,
    watch: Watch,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        // No interpreter, no loop: at its end there is nothing to undo.
        Python::try_attach(|py| {
            if let Err(error) = self.watch.give_up(self.event_loop.bind(py)) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// Waits until `sock` is ready, or seems to be.
pub(super) async fn until_ready(
    event_loop: &Py<Loop>,
    sock: &Py<PyAny>,
    direction: Direction,
) -> PyResult<()> {
    let (watching, future) = Python::attach(|py| {
        let watch = Watch::begin(event_loop.bind(py), sock.bind(py), direction)?;
        let future = watch.future.clone_ref(py).into_any();
        Ok::<_, PyErr>((Watching { event_loop, watch }, future))
    })?;
    let woken = wait_for(future).await;
    drop(watching);
    woken.map(drop)
}
