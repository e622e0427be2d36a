//! Stepping a coroutine or any iterator: `PyIter_Send` and `throw`.

use pyo3::exceptions::{PyBaseException, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::{ffi, intern};

/// What one step of a coroutine came to.
pub(crate) enum Sent<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    Raised(PyErr),
}

/// Resumes `coroutine` with None.
#[inline]
pub(crate) fn send_none<'py>(coroutine: &Bound<'py, PyAny>) -> Sent<'py> {
    send(coroutine, &coroutine.py().None().into_bound(coroutine.py()))
}

/// Resumes `coroutine` with None inside of `context`: the step of a task in one go.
///
/// Coroutines of the interpreter are resumed through their own slot; `PyIter_Send` would look for it each time.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the hottest path of all")]
pub(crate) fn send_none_inside<'py>(context: &Bound<'py, PyAny>, coroutine: &Bound<'py, PyAny>) -> Sent<'py> {
    let py = coroutine.py();
    // SAFETY: `context` is alive for the whole call; a wrong type is answered with TypeError by the callee.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
        return Sent::Raised(PyErr::fetch(py));
    }
    let mut result = std::ptr::null_mut();
    // SAFETY: None lives for ever.
    let none = unsafe { ffi::Py_None() };
    // SAFETY: the object is alive.
    let class = unsafe { ffi::Py_TYPE(coroutine.as_ptr()) };
    // SAFETY: the object is alive, so its type is, and the type's table of async slots.
    let table = unsafe { (*class).tp_as_async };
    // SAFETY: as above.
    let slot = if table.is_null() { None } else { unsafe { (*table).am_send } };
    let status = match slot {
        // SAFETY: the slot is called as the interpreter calls it: live objects and a place for the result.
        Some(slot) => unsafe { slot(coroutine.as_ptr(), none, &raw mut result) },
        // SAFETY: as above.
        None => unsafe { ffi::PyIter_Send(coroutine.as_ptr(), none, &raw mut result) },
    };
    // SAFETY: the context was entered above, on this thread.
    let left = unsafe { ffi::PyContext_Exit(context.as_ptr()) };
    match status {
        ffi::PySendResult::PYGEN_NEXT => {
            // SAFETY: on NEXT the callee hands over a new reference.
            Sent::Yielded(unsafe { Bound::from_owned_ptr(py, result) })
        }
        ffi::PySendResult::PYGEN_RETURN => {
            // SAFETY: on RETURN the callee hands over a new reference.
            Sent::Returned(unsafe { Bound::from_owned_ptr(py, result) })
        }
        ffi::PySendResult::PYGEN_ERROR => {
            debug_assert!(left >= 0, "a context is left by whom it was entered");
            Sent::Raised(PyErr::fetch(py))
        }
    }
}

/// Resumes `coroutine` with `value`.
#[inline]
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
pub(crate) fn throw<'py>(
    coroutine: &Bound<'py, PyAny>,
    exception: &Bound<'py, PyBaseException>,
) -> Sent<'py> {
    let py = coroutine.py();
    let outcome = coroutine.call_method1(intern!(py, "throw"), (exception,));
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

/// What `await object` steps: a coroutine itself, else what `__await__` of its class gives. TypeError when it cannot be awaited.
pub(crate) fn await_iterator<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if is_coroutine(object) || is_generator_based(object)? {
        return Ok(object.clone());
    }
    // SAFETY: the object is alive.
    let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    // SAFETY: the object is alive, so its type is.
    let table = unsafe { (*class).tp_as_async };
    // SAFETY: as above; the table belongs to the type.
    let slot = if table.is_null() { None } else { unsafe { (*table).am_await } };
    let Some(slot) = slot else {
        let class = object.get_type().name()?;
        return Err(PyTypeError::new_err(if py.version_info() < (3, 14) {
            format!("object {class} can't be used in 'await' expression")
        } else {
            format!("'{class}' object can't be awaited")
        }));
    };
    // SAFETY: the slot is called as the interpreter calls it.
    let iterator = unsafe { slot(object.as_ptr()) };
    // SAFETY: the slot gives a new reference, or NULL with an exception set.
    let iterator = unsafe { Bound::from_owned_ptr_or_err(py, iterator) }?;
    // SAFETY: the object is alive.
    let is_iterator = unsafe { ffi::PyIter_Check(iterator.as_ptr()) } != 0;
    if is_iterator && !is_coroutine(&iterator) {
        return Ok(iterator);
    }
    let class = iterator.get_type().name()?;
    Err(PyTypeError::new_err(if py.version_info() >= (3, 15) {
        format!("{}.__await__() must return an iterator, not {class}", object.get_type().name()?)
    } else if is_coroutine(&iterator) {
        "__await__() returned a coroutine".to_owned()
    } else {
        format!("__await__() returned non-iterator of type '{class}'")
    }))
}

/// Whether `object` is what calling a function under `types.coroutine` gives.
fn is_generator_based(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: only the type pointer of a live object is compared.
    if unsafe { ffi::PyGen_CheckExact(object.as_ptr()) } == 0 {
        return Ok(false);
    }
    let code = object.getattr(intern!(object.py(), "gi_code"))?;
    let flags: u32 = code.getattr(intern!(object.py(), "co_flags"))?.extract()?;
    Ok(flags & CO_ITERABLE_COROUTINE != 0)
}

/// Python: `inspect.CO_ITERABLE_COROUTINE`.
const CO_ITERABLE_COROUTINE: u32 = 0x100;
