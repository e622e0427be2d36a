//! Exceptions of asyncio's own classes, with asyncio's texts, and the only map from core errors to Python exceptions.

mod report;

use pyo3::exceptions::{PyBaseException, PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

pub(crate) use report::Report;

use crate::interop::stdlib;

/// `asyncio.InvalidStateError(message)`.
pub(crate) fn invalid_state(py: Python<'_>, message: impl Into<String>) -> PyErr {
    PyErr::from_type(stdlib(py).invalid_state_error.bind(py).clone(), (message.into(),))
}

/// `asyncio.CancelledError()`, with the message if there is one.
pub(crate) fn cancelled(py: Python<'_>, message: Option<&Py<PyAny>>) -> PyErr {
    let class = stdlib(py).cancelled_error.bind(py).clone();
    match message {
        Some(message) => PyErr::from_type(class, (message.clone_ref(py),)),
        None => PyErr::from_type(class, ()),
    }
}

/// `asyncio.BrokenBarrierError(message)`.
pub(crate) fn broken_barrier(py: Python<'_>, message: &'static str) -> PyErr {
    PyErr::from_type(stdlib(py).primitives.broken_barrier_error.bind(py).clone(), (message,))
}

/// `asyncio.QueueEmpty()`.
pub(crate) fn queue_empty(py: Python<'_>) -> PyErr {
    PyErr::from_type(stdlib(py).primitives.queue_empty.bind(py).clone(), ())
}

/// `asyncio.QueueFull()`.
pub(crate) fn queue_full(py: Python<'_>) -> PyErr {
    PyErr::from_type(stdlib(py).primitives.queue_full.bind(py).clone(), ())
}

/// `asyncio.QueueShutDown()`; no queue is shut down where asyncio does not have that.
pub(crate) fn queue_shut_down(py: Python<'_>) -> PyErr {
    match &stdlib(py).primitives.queue_shut_down {
        Some(class) => PyErr::from_type(class.bind(py).clone(), ()),
        None => runtime("the queue was shut down"),
    }
}

/// `asyncio.IncompleteReadError(partial, expected)`.
pub(crate) fn incomplete_read(partial: &Bound<'_, PyBytes>, expected: Option<i64>) -> PyErr {
    let py = partial.py();
    let class = stdlib(py).streams.incomplete_read_error.bind(py).clone();
    PyErr::from_type(class, (partial.clone().unbind(), expected))
}

/// `asyncio.LimitOverrunError(message, consumed)`.
pub(crate) fn limit_overrun(py: Python<'_>, message: &'static str, consumed: usize) -> PyErr {
    PyErr::from_type(stdlib(py).streams.limit_overrun_error.bind(py).clone(), (message, consumed))
}

/// Whether `error` is a CancelledError.
pub(crate) fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance(py, stdlib(py).cancelled_error.bind(py))
}

/// `asyncio.SendfileNotAvailableError(message)`.
pub(crate) fn sendfile_not_available(py: Python<'_>, message: &'static str) -> PyErr {
    PyErr::from_type(stdlib(py).sendfile.not_available.bind(py).clone(), (message,))
}

/// The OSError subclass for an error of the kernel, with its errno and text.
pub(crate) fn os_error(error: &std::io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, strerror(error))),
        None => PyOSError::new_err(error.to_string()),
    }
}

/// Rust appends " (os error N)" to the text; Python shows the number itself.
fn strerror(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// `RuntimeError(message)`.
pub(crate) fn runtime(message: impl Into<String>) -> PyErr {
    PyRuntimeError::new_err(message.into())
}

/// The exception object behind an error that was raised.
pub(crate) trait Raised {
    /// The object, with the traceback it was raised with: up to 3.11 the interpreter keeps the two apart.
    fn raised<'py>(&self, py: Python<'py>) -> Bound<'py, PyBaseException>;
}

impl Raised for PyErr {
    fn raised<'py>(&self, py: Python<'py>) -> Bound<'py, PyBaseException> {
        self.clone_ref(py).into_value(py).into_bound(py)
    }
}
