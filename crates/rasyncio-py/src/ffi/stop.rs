//! `StopIteration`, the way in which a step of an awaitable gives its result where the interpreter does not ask `am_send`.
//!
//! Making the exception costs more than the step of a lock or queue, so one is kept and raised again each time: whoever awaits takes the
//! value out and lets go of it at once. One that somebody caught and holds, or that has been anywhere, is left to them.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
pub(crate) use kept::{forget, raise};
#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
pub(crate) use plain::{forget, raise};

/// `StopIteration(value)`; also for a tuple, which raising by type would unpack, and for an exception, which it would raise itself.
pub(crate) fn stop_iteration(value: &Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    if value.is_none() {
        // As the interpreter makes it: without an argument.
        return PyStopIteration::new_err(());
    }
    match PyTuple::new(py, [value]).and_then(|arguments| py.get_type::<PyStopIteration>().call1(arguments)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
mod kept {
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicBool, Ordering};

    use pyo3::ffi;

    use super::{Bound, PyAny, PyAnyMethods, PyStopIteration, Python};
    use crate::ffi::cell::GilCell;

    struct Kept {
        /// The exception that is used again, NULL before the first use; the reference is ours.
        exception: *mut ffi::PyStopIterationObject,
    }

    /// There is something in the kept exception to let go of.
    static IS_FULL: AtomicBool = AtomicBool::new(false);

    // SAFETY: reached through the cell only, by attached threads.
    unsafe impl Send for Kept {}

    static KEPT: GilCell<Kept> = GilCell::new(Kept { exception: null_mut() });

    /// Raises `StopIteration(value)`.
    #[inline]
    pub(crate) fn raise(value: &Bound<'_, PyAny>) {
        let py = value.py();
        let is_full = !lives_for_ever(value);
        IS_FULL.store(is_full, Ordering::Relaxed);
        let kept = KEPT.with(py, |kept| kept.exception);
        let exception = if is_free(kept) { kept } else { make(py) };
        if exception.is_null() {
            return;
        }
        let old = fill(exception, value);
        if is_full {
            track_arguments(exception);
        }
        // SAFETY: the exception is ours and alive.
        let reference = unsafe { ffi::Py_NewRef(exception.cast()) };
        // SAFETY: the call takes over the reference that was made.
        unsafe { ffi::PyErr_SetRaisedException(reference) };
        drop(old);
    }

    /// Lets go of the last value, which whoever awaited has by now.
    #[inline]
    pub(crate) fn forget(py: Python<'_>) {
        if IS_FULL.load(Ordering::Relaxed) {
            let_go(py);
        }
    }

    fn let_go(py: Python<'_>) {
        IS_FULL.store(false, Ordering::Relaxed);
        let exception = KEPT.with(py, |kept| kept.exception);
        if is_free(exception) {
            drop(fill(exception, &py.None().into_bound(py)));
        }
    }

    /// None, True, small numbers and the like.
    #[inline]
    fn lives_for_ever(value: &Bound<'_, PyAny>) -> bool {
        // SAFETY: the object is alive.
        let count = unsafe { ffi::Py_REFCNT(value.as_ptr()) };
        count >= MORE_THAN_CAN_BE
    }

    /// The interpreter gives objects that never die a count which no other can reach.
    const MORE_THAN_CAN_BE: ffi::Py_ssize_t = 1 << 30;

    /// The collector takes a tuple off its list that holds nothing of interest; this one has something in it again.
    #[inline]
    fn track_arguments(exception: *mut ffi::PyStopIterationObject) {
        // SAFETY: the exception is ours and alive.
        let arguments = unsafe { (*exception).args };
        // SAFETY: an exception has a tuple of arguments, always.
        if unsafe { ffi::PyObject_GC_IsTracked(arguments) } == 0 {
            // SAFETY: as above; the tuple is whole.
            unsafe { ffi::PyObject_GC_Track(arguments.cast()) };
        }
    }

    /// Puts `value` into an exception that is free; gives what it held, to be dropped by the caller.
    #[inline]
    fn fill<'py>(
        exception: *mut ffi::PyStopIterationObject,
        value: &Bound<'py, PyAny>,
    ) -> [Bound<'py, PyAny>; 2] {
        let py = value.py();
        // SAFETY: an exact StopIteration, which nobody but us refers to; it is ours and alive.
        let exception = unsafe { &mut *exception };
        let old = std::mem::replace(&mut exception.value, value.clone().into_ptr());
        // SAFETY: its arguments are a tuple of one, which nobody but the exception refers to.
        let argument = unsafe { ffi::PyTuple_GET_ITEM(exception.args, 0) };
        // SAFETY: as above; the reference that the tuple owned is taken over below.
        unsafe { ffi::PyTuple_SET_ITEM(exception.args, 0, value.clone().into_ptr()) };
        // SAFETY: it was not NULL, and the exception owned a reference, which is ours now.
        let old = unsafe { Bound::from_owned_ptr(py, old) };
        // SAFETY: likewise of the tuple.
        [old, unsafe { Bound::from_owned_ptr(py, argument) }]
    }

    /// Whether nobody else holds the exception or its arguments, and nothing was attached to it or changed.
    #[inline]
    fn is_free(exception: *mut ffi::PyStopIterationObject) -> bool {
        if exception.is_null() {
            return false;
        }
        // SAFETY: the exception is ours and alive.
        let count = unsafe { ffi::Py_REFCNT(exception.cast()) };
        // SAFETY: as above.
        let seen = unsafe { &*exception };
        count == 1
            && seen.dict.is_null()
            && seen.notes.is_null()
            && seen.traceback.is_null()
            && seen.context.is_null()
            && seen.cause.is_null()
            && !seen.value.is_null()
            && is_free_tuple(seen.args)
    }

    /// Whether `arguments` is a tuple of one that only its exception holds.
    #[inline]
    fn is_free_tuple(arguments: *mut ffi::PyObject) -> bool {
        // SAFETY: an exception has a tuple of arguments, always.
        let count = unsafe { ffi::Py_REFCNT(arguments) };
        // SAFETY: as above.
        count == 1 && unsafe { ffi::PyTuple_GET_SIZE(arguments) } == 1
    }

    /// A new exception to keep; NULL, and the error raised, when there is none to be had.
    #[cold]
    fn make(py: Python<'_>) -> *mut ffi::PyStopIterationObject {
        match py.get_type::<PyStopIteration>().call1((py.None(),)) {
            Ok(made) => {
                let made = made.into_ptr().cast::<ffi::PyStopIterationObject>();
                let old = KEPT.with(py, |kept| std::mem::replace(&mut kept.exception, made));
                // SAFETY: the cell owned a reference.
                drop(unsafe { Bound::from_owned_ptr_or_opt(py, old.cast()) });
                made
            }
            Err(error) => {
                error.restore(py);
                null_mut()
            }
        }
    }
}

#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
mod plain {
    use pyo3::ffi;

    use pyo3::exceptions::PyBaseException;

    use super::{Bound, PyAny, PyAnyMethods, PyTuple, Python, stop_iteration};

    /// Raises `StopIteration(value)`, without the detour over a `PyErr` where the interpreter would not take the value apart.
    pub(crate) fn raise(value: &Bound<'_, PyAny>) {
        if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>() {
            stop_iteration(value).restore(value.py());
            return;
        }
        // SAFETY: the interpreter set it at its start and leaves it.
        let class = unsafe { ffi::PyExc_StopIteration };
        // SAFETY: both objects are alive; the call makes the exception and keeps references of its own.
        unsafe { ffi::PyErr_SetObject(class, value.as_ptr()) };
    }

    /// Nothing is kept.
    pub(crate) fn forget(_py: Python<'_>) {}
}
