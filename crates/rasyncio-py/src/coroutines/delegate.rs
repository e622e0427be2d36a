//! Awaiting a Python object from Rust: what `await` does in Python code.

use pyo3::exceptions::PyGeneratorExit;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::exceptions::Raised;
use crate::ffi::machine::Resume;
use crate::ffi::send::{self, Sent};

/// An awaitable that somebody awaits: its iterator.
pub(crate) struct Delegate(Py<PyAny>);

impl Delegate {
    /// Asks `awaitable` for its iterator; nothing of it runs yet. TypeError when it cannot be awaited.
    pub(crate) fn begin(awaitable: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(send::await_iterator(awaitable)?.unbind()))
    }

    /// Hands on what the awaiting coroutine was resumed with.
    pub(crate) fn step<'py>(&self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let iterator = self.0.bind(py);
        match resume {
            Resume::Next => send::send_none(iterator),
            Resume::Throw(error) => throw_into(iterator, error),
        }
    }

    pub(crate) fn iterator<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.0.bind(py).clone()
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}

/// Iterators without `throw` just raise, as in a Python coroutine; GeneratorExit closes them first.
fn throw_into<'py>(iterator: &Bound<'py, PyAny>, error: PyErr) -> Sent<'py> {
    let py = iterator.py();
    if error.is_instance_of::<PyGeneratorExit>(py) {
        return match close(iterator) {
            Ok(()) => Sent::Raised(error),
            Err(failure) => Sent::Raised(failure),
        };
    }
    match iterator.hasattr(intern!(py, "throw")) {
        Ok(true) => send::throw(iterator, &error.raised(py)),
        Ok(false) => Sent::Raised(error),
        Err(failure) => Sent::Raised(failure),
    }
}

fn close(iterator: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(close) = iterator.getattr_opt(intern!(iterator.py(), "close"))? {
        close.call0()?;
    }
    Ok(())
}
