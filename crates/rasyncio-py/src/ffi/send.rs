//! Stepping a coroutine or any iterator: `PyIter_Send` and `throw`.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::{ffi, intern};

/// What one step of a coroutine came to.
pub(crate) enum Sent<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    Raised(PyErr),
}

/// Resumes `coroutine` with None.
#[inline(always)]
pub(crate) fn send_none<'py>(coroutine: &Bound<'py, PyAny>) -> Sent<'py> {
    send(coroutine, &coroutine.py().None().into_bound(coroutine.py()))
}

/// Resumes `coroutine` with `value`.
#[inline(always)]
pub(crate) fn send<'py>(coroutine: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> Sent<'py> {
    let py = coroutine.py();
    let mut result = std::ptr::null_mut();
    // SAFETY: both arguments are live objects of this thread, `result` is written by the callee.
    let status = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), value.as_ptr(), &raw mut result) };
    match status {
        ffi::PySendResult::PYGEN_NEXT => {
            // SAFETY: on NEXT the callee hands over a new reference.
            Sent::Yielded(unsafe { Bound::from_owned_ptr(py, result) })
        }
        ffi::PySendResult::PYGEN_RETURN => {
            // SAFETY: on RETURN the callee hands over a new reference.
            Sent::Returned(unsafe { Bound::from_owned_ptr(py, result) })
        }
        ffi::PySendResult::PYGEN_ERROR => Sent::Raised(PyErr::fetch(py)),
    }
}

/// Raises `exception` inside of `coroutine` at the point where it is suspended.
pub(crate) fn throw<'py>(coroutine: &Bound<'py, PyAny>, exception: &PyErr) -> Sent<'py> {
    let py = coroutine.py();
    let outcome = coroutine.call_method1(intern!(py, "throw"), (exception.value(py),));
    classify(py, outcome)
}

/// Sorts what `send`, `throw` or `__next__` of a foreign object gave: StopIteration is a return.
pub(crate) fn classify<'py>(py: Python<'py>, outcome: PyResult<Bound<'py, PyAny>>) -> Sent<'py> {
    match outcome {
        Ok(yielded) => Sent::Yielded(yielded),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            match error.value(py).getattr(intern!(py, "value")) {
                Ok(value) => Sent::Returned(value),
                Err(error) => Sent::Raised(error),
            }
        }
        Err(error) => Sent::Raised(error),
    }
}

/// Whether `object` is what calling an `async def` gives, or a coroutine of ours.
#[inline]
pub(crate) fn is_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: only the type pointer of a live object is compared.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 }
}
