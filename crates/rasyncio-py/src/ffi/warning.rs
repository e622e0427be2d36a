//! Warnings through the C API: unlike the module `warnings`, it still works while the interpreter is shutting down, when dying objects have
//! the most to warn of.

use std::ffi::CString;

use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeWarning};
use pyo3::ffi;
use pyo3::prelude::*;

/// `warnings.warn(text, ResourceWarning, source=source)`. Fails when a filter makes an exception of it.
pub(crate) fn resource(source: &Bound<'_, PyAny>, text: &str) -> PyResult<()> {
    let text = CString::new(text)?;
    // SAFETY: `source` is alive, both strings end with a zero byte and outlive the call, and the format takes exactly one string.
    let status = unsafe { ffi::PyErr_ResourceWarning(source.as_ptr(), LEVEL, c"%s".as_ptr(), text.as_ptr()) };
    if status < 0 { Err(PyErr::fetch(source.py())) } else { Ok(()) }
}

/// `warnings.warn(text, RuntimeWarning)`. Fails when a filter makes an exception of it.
pub(crate) fn runtime(py: Python<'_>, text: &str) -> PyResult<()> {
    PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &CString::new(text)?, 1)
}

/// `warnings.warn(text, DeprecationWarning)`. Fails when a filter makes an exception of it.
pub(crate) fn deprecation(py: Python<'_>, text: &str) -> PyResult<()> {
    PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), &CString::new(text)?, 1)
}

/// The innermost Python frame: our own code has none.
const LEVEL: ffi::Py_ssize_t = 1;
