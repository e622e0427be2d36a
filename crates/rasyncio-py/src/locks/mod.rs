//! `Lock`, `Event`, `Condition`, `Semaphore`, `BoundedSemaphore` and `Barrier` (asyncio: locks.py).
//!
//! Files by job: `waiters` (who waits, and on which loop), `gate` (what Lock, Event and Semaphore share: passing at once or waiting for one's
//! turn, and `async with`), `count`, one file for each class. The rules of who goes first are those of CPython's newest version, on every version.
//! Invariant: a waiter is in the queue of its primitive from before it waits until it runs again; waking it does not take it out.

mod barrier;
mod condition;
mod count;
mod event;
mod gate;
mod lock;
mod semaphore;
mod waiters;

use pyo3::prelude::*;
use pyo3::types::PyBool;

pub(crate) use barrier::Barrier;
pub(crate) use condition::Condition;
pub(crate) use count::{Count, GivenCount};
pub(crate) use event::Event;
pub(crate) use gate::{Answer, Pass};
pub(crate) use lock::Lock;
pub(crate) use semaphore::{BoundedSemaphore, Semaphore};
pub(crate) use waiters::{LoopBound, Waiters};

/// `object.__repr__()` with what asyncio's primitives add: their state, and how many wait.
fn shown(this: &Bound<'_, PyAny>, state: &str, waiting: usize) -> PyResult<String> {
    let text: String = this.py().get_type::<PyAny>().call_method1("__repr__", (this,))?.extract()?;
    let text = text.trim_start_matches('<').trim_end_matches('>');
    Ok(match waiting {
        0 => format!("<{text} [{state}]>"),
        count => format!("<{text} [{state}, waiters:{count}]>"),
    })
}

/// Adds the methods that programs call all the time.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    Lock::add_methods(py)?;
    Event::add_methods(py)?;
    Semaphore::add_methods(py)?;
    Condition::add_methods(py)
}

/// What a light method gives that has nothing to give.
#[inline]
fn none(py: Python<'_>, outcome: PyResult<()>) -> PyResult<Bound<'_, PyAny>> {
    outcome.map(|()| py.None().into_bound(py))
}

#[inline]
fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}
