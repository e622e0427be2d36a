//! Calling Python without building argument tuples, and being called without an argument.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// Calls `body` with PyO3 told that the thread is attached, as `py` proves. Unlike `Python::attach()` it works while the interpreter ends too,
/// when the collector still finalizes what is left.
#[inline]
pub(crate) fn attached<R>(py: Python<'_>, body: impl FnOnce() -> R) -> R {
    let _ = py;
    // SAFETY: the thread is attached; what is not checked is whether the interpreter has begun to end, which takes nothing from that.
    unsafe { Python::attach_unchecked(|_| body()) }
}

/// `callable()`.
#[inline]
pub(crate) fn call_none<'py>(callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `callable` is alive.
    let result = unsafe { ffi::PyObject_CallNoArgs(callable.as_ptr()) };
    // SAFETY: a call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// `callable(argument)`.
#[inline]
pub(crate) fn call_one<'py>(
    callable: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = [std::ptr::null_mut(), argument.as_ptr()];
    let count = 1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: the pointer is inside of `arguments`, which outlives the call.
    let first = unsafe { arguments.as_ptr().add(1) };
    // SAFETY: the argument is alive; the slot before it is ours, which is what the OFFSET flag promises.
    let result = unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), first, count, std::ptr::null_mut()) };
    // SAFETY: a call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `function(first, second)`.
#[inline]
pub(crate) fn call_two<'py>(
    function: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let arguments = [std::ptr::null_mut(), first.as_ptr(), second.as_ptr()];
    let count = 2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: the pointer is inside of `arguments`, which outlives the call.
    let start = unsafe { arguments.as_ptr().add(1) };
    // SAFETY: both arguments are alive; the slot before them is ours, which is what the OFFSET flag promises.
    let result = unsafe { ffi::PyObject_Vectorcall(function.as_ptr(), start, count, std::ptr::null_mut()) };
    // SAFETY: a call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `callable(*arguments)` for a tuple that is there already.
#[inline]
pub(crate) fn call_tuple<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    if arguments.is_empty() {
        return call_none(callable);
    }
    let tuple = arguments.as_ptr().cast::<ffi::PyTupleObject>();
    // SAFETY: a tuple by its type, alive during the call; only an address is taken.
    let items = unsafe { (&raw const (*tuple).ob_item).cast() };
    // SAFETY: the tuple keeps so many objects alive, and stays as it is.
    let result =
        unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), items, arguments.len(), std::ptr::null_mut()) };
    // SAFETY: a call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `object.name()`.
#[inline]
pub(crate) fn call_method_none<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    method(object, name, [object.as_ptr()])
}

/// `object.name(argument)`.
#[inline]
pub(crate) fn call_method_one<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    method(object, name, [object.as_ptr(), argument.as_ptr()])
}

/// `object.name(first, second)`.
#[inline]
pub(crate) fn call_method_two<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    method(object, name, [object.as_ptr(), first.as_ptr(), second.as_ptr()])
}

#[inline]
fn method<'py, const N: usize>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: [*mut ffi::PyObject; N],
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the callers put `object` first and only live objects behind it; the array outlives the call.
    let result =
        unsafe { ffi::PyObject_VectorcallMethod(name.as_ptr(), arguments.as_ptr(), N, std::ptr::null_mut()) };
    // SAFETY: a call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), result) }
}

/// An argument that may be left out, which is something else than None (`from_py_with`).
#[expect(clippy::unnecessary_wraps, reason = "the form of a conversion")]
pub(crate) fn given<'py, T: From<Bound<'py, PyAny>>>(value: &Bound<'py, PyAny>) -> PyResult<Option<T>> {
    Ok(Some(value.clone().into()))
}

/// The number of this thread, as `threading.get_ident()` gives it.
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: the call takes nothing and needs nothing.
    unsafe { ffi::PyThread_get_thread_ident() }
}
