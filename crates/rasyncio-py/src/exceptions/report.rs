//! What the exception handler of a loop is told (asyncio: the context of `call_exception_handler()`).

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Raised;

/// A context in the making.
pub(crate) struct Report<'py>(Bound<'py, PyDict>);

impl<'py> Report<'py> {
    pub(crate) fn new(py: Python<'py>, message: &str) -> PyResult<Self> {
        let context = PyDict::new(py);
        context.set_item(intern!(py, "message"), message)?;
        Ok(Self(context))
    }

    /// Of something that raised.
    pub(crate) fn of_error(py: Python<'py>, message: &str, error: &PyErr) -> PyResult<Self> {
        Self::new(py, message)?.with("exception", error.raised(py))
    }

    pub(crate) fn with(self, key: &str, value: impl IntoPyObject<'py>) -> PyResult<Self> {
        self.0.set_item(key, value)?;
        Ok(self)
    }

    /// `with`, if there is a value: a key of None would be shown.
    pub(crate) fn with_some(self, key: &str, value: Option<impl IntoPyObject<'py>>) -> PyResult<Self> {
        match value {
            Some(value) => self.with(key, value),
            None => Ok(self),
        }
    }

    /// Calls the handler.
    pub(crate) fn tell(self, event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
        event_loop.call_method1(intern!(event_loop.py(), "call_exception_handler"), (self.0,)).map(drop)
    }
}
