//! Lookups under way: a worker of the core asks the C library, without the interpreter, and leaves the answer in the
//! loop's inbox. A worker holds nothing of Python's, so it can outlive the loop and the interpreter.

use std::collections::HashMap;
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use rasyncio_core::workers::{JobId, Pool};

use super::super::executor::settle;
use super::super::{Loop, Ready};
use crate::coroutines::wait_for;
use crate::exceptions;
use crate::futures::Future;

/// The futures of the lookups that nobody has answered yet.
#[derive(Default)]
pub(in super::super) struct Lookups {
    begun: u64,
    waiting: HashMap<u64, Py<Future>>,
}

impl Lookups {
    pub(in super::super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiting.values().try_for_each(|future| visit.call(future))
    }

    fn insert(&mut self, future: Py<Future>) -> u64 {
        self.begun += 1;
        self.waiting.insert(self.begun, future);
        self.begun
    }
}

/// The threads of a loop.
pub(in super::super) fn workers() -> Pool {
    Pool::new("rasyncio-names", WORKERS, PATIENCE)
}

/// A lookup that somebody awaits. Dropped before its end, it is withdrawn.
pub(super) struct Lookup {
    event_loop: Py<Loop>,
    number: u64,
    job: JobId,
}

impl Lookup {
    /// Has a worker run `find`; `finish` makes Python's answer of what it found, on the loop's thread.
    pub(super) fn begin<A: Send + 'static>(
        event_loop: &Bound<'_, Loop>,
        find: impl FnOnce() -> A + Send + 'static,
        finish: impl FnOnce(&Bound<'_, Loop>, A) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<(Self, Py<Future>)> {
        let py = event_loop.py();
        let own = event_loop.get();
        own.check_usable()?;
        let future = Py::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
        let awaited = future.clone_ref(py);
        let number = own.lookups.with(py, |lookups| lookups.insert(future));
        let inbox = own.inbox.clone();
        let submitted = own.workers.submit(move || {
            let found = find();
            inbox.push(Ready::Deferred(Box::new(move |event_loop| {
                deliver(event_loop, number, |event_loop| finish(event_loop, found))
            })));
        });
        let Ok(job) = submitted else {
            drop(own.take_lookup(py, number));
            // As Python's threading says it.
            return Err(exceptions::runtime("can't start new thread"));
        };
        Ok((Self { event_loop: event_loop.clone().unbind(), number, job }, awaited))
    }

    /// Waits for the answer.
    pub(super) async fn wait(self, future: Py<Future>) -> PyResult<Py<PyAny>> {
        wait_for(future.into_any()).await
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // No interpreter, no loop: at its end nobody waits for anything.
        Python::try_attach(|py| {
            let own = self.event_loop.get();
            if let Some(future) = own.take_lookup(py, self.number) {
                own.workers.withdraw(self.job);
                drop(future);
            }
        });
    }
}

/// Ends the future of a lookup, unless nobody waits for it any more.
fn deliver(
    event_loop: &Bound<'_, Loop>,
    number: u64,
    finish: impl FnOnce(&Bound<'_, Loop>) -> PyResult<Py<PyAny>>,
) -> PyResult<()> {
    let py = event_loop.py();
    match event_loop.get().take_lookup(py, number) {
        Some(future) => settle(future.bind(py), finish(event_loop)),
        None => Ok(()),
    }
}

impl Loop {
    fn take_lookup(&self, py: Python<'_>, number: u64) -> Option<Py<Future>> {
        self.lookups.with(py, |lookups| lookups.waiting.remove(&number))
    }

    /// The loop closes: nobody is told of what is still being looked up.
    pub(in super::super) fn close_lookups(&self, py: Python<'_>) {
        self.workers.close();
        drop(self.lookups.take(py));
    }
}

/// So many names are looked up at the same time. A name server that does not answer occupies a thread for up to half a
/// minute: few threads would let one such name hold up the others.
const WORKERS: usize = 32;

/// How long an idle thread waits for the next name.
const PATIENCE: Duration = Duration::from_secs(10);
