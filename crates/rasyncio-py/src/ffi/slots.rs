//! `am_send`, which PyO3 lacks: without it an awaitable that returns a value has to build and raise a StopIteration.

use pyo3::prelude::*;
use pyo3::{PyTypeInfo, ffi};

use super::machine::Quick;
use super::send::Sent;
use super::stop::{self, stop_iteration};

/// An awaitable that can be stepped without exceptions.
pub(crate) trait SendSlot: PyTypeInfo + Sized {
    /// Tries `send(None)` in the quickest way.
    fn quick<'py>(this: &Bound<'py, Self>) -> Quick<'py>;

    fn send<'py>(this: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Sent<'py>;
}

/// Puts `T::send` into the `am_send` slot of T's type. T must have an `__await__` of its own, or the slot table is missing and
/// nothing is changed: stepping then takes the way through StopIteration.
pub(crate) fn install_send<T: SendSlot>(py: Python<'_>) {
    let object = T::type_object_raw(py);
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    let table = unsafe { (*object).tp_as_async };
    if !table.is_null() {
        // SAFETY: the table belongs to the heap type above.
        unsafe { (*table).am_send = Some(am_send::<T>) };
    }
}

/// Puts `T::send` into the `tp_iternext` slot of T's type, instead of the one that PyO3 made, which first asks whether the thread is attached:
/// `await` steps this slot. `T::send` must let go of Python objects as `Bound`, because that question is not answered here.
pub(crate) fn install_next<T: SendSlot>(py: Python<'_>) {
    let object = T::type_object_raw(py);
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    unsafe { (*object).tp_iternext = Some(iternext::<T>) };
}

unsafe extern "C" fn iternext<T: SendSlot>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let body = || {
        // SAFETY: slots are called by attached threads.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: the interpreter keeps the object alive during the call, and calls the slot with objects of this type only.
        let this = unsafe { Bound::ref_from_ptr(py, &object) };
        // SAFETY: as above.
        let this = unsafe { this.cast_unchecked::<T>() };
        match T::quick(this) {
            Quick::Declined => {}
            Quick::Yielded(yielded) => return yielded.into_ptr(),
            Quick::Returned(value) => {
                if !value.is_none() {
                    stop::raise(&value);
                }
                return std::ptr::null_mut();
            }
            Quick::Raised => return std::ptr::null_mut(),
        }
        let none = py.None().into_bound(py);
        match T::send(this, &none) {
            Sent::Yielded(yielded) => return yielded.into_ptr(),
            Sent::Returned(value) if value.is_none() => {}
            Sent::Returned(value) => stop::raise(&value),
            Sent::Raised(error) => error.restore(py),
        }
        std::ptr::null_mut()
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // SAFETY: still attached, as at the entry.
        let py = unsafe { Python::assume_attached() };
        pyo3::exceptions::PySystemError::new_err("panic while stepping an awaitable").restore(py);
        std::ptr::null_mut()
    })
}

/// A class that can be awaited through an iterator object.
pub(crate) trait AwaitSlot: PyTypeInfo + Sized {
    /// The iterator that `await` steps.
    fn iterator<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>>;
}

/// Puts `T::iterator` into `am_await` and `tp_iter` of T's type, for the same reason as `install_next`.
pub(crate) fn install_await<T: AwaitSlot>(py: Python<'_>) {
    let object = T::type_object_raw(py);
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    unsafe { (*object).tp_iter = Some(await_iterator::<T>) };
    // SAFETY: as above.
    let table = unsafe { (*object).tp_as_async };
    if !table.is_null() {
        // SAFETY: the table belongs to the heap type above.
        unsafe { (*table).am_await = Some(await_iterator::<T>) };
    }
}

unsafe extern "C" fn await_iterator<T: AwaitSlot>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let body = || {
        // SAFETY: slots are called by attached threads.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: the interpreter keeps the object alive during the call, and calls the slot with objects of this type only.
        let this = unsafe { Bound::ref_from_ptr(py, &object) };
        // SAFETY: as above.
        let this = unsafe { this.cast_unchecked::<T>() };
        match T::iterator(this) {
            Ok(iterator) => iterator.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // SAFETY: still attached, as at the entry.
        let py = unsafe { Python::assume_attached() };
        pyo3::exceptions::PySystemError::new_err("panic in __await__").restore(py);
        std::ptr::null_mut()
    })
}

unsafe extern "C" fn am_send<T: SendSlot>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let body = || {
        // SAFETY: slots are called by attached threads.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: the interpreter keeps both arguments alive during the call, and calls the slot with objects of this type only.
        let this = unsafe { Bound::ref_from_ptr(py, &object) };
        // SAFETY: as above.
        let this = unsafe { this.cast_unchecked::<T>() };
        // SAFETY: as above.
        let value = unsafe { Bound::ref_from_ptr(py, &value) };
        let quick = if value.is_none() { T::quick(this) } else { Quick::Declined };
        let quick = match quick {
            Quick::Declined => Quick::of(py, T::send(this, value)),
            quick => quick,
        };
        let (status, pointer) = match quick {
            Quick::Yielded(object) => (ffi::PySendResult::PYGEN_NEXT, object.into_ptr()),
            Quick::Returned(object) => (ffi::PySendResult::PYGEN_RETURN, object.into_ptr()),
            Quick::Declined | Quick::Raised => (ffi::PySendResult::PYGEN_ERROR, std::ptr::null_mut()),
        };
        // SAFETY: the caller gave a valid place for the result.
        unsafe { *result = pointer };
        status
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // SAFETY: still attached, as at the entry.
        let py = unsafe { Python::assume_attached() };
        pyo3::exceptions::PySystemError::new_err("panic while stepping an awaitable").restore(py);
        // SAFETY: the caller gave a valid place for the result.
        unsafe { *result = std::ptr::null_mut() };
        ffi::PySendResult::PYGEN_ERROR
    })
}

/// The answer of an `__next__` slot: None stands for "returned None", anything else that was returned travels as StopIteration.
#[inline]
pub(crate) fn next_result(sent: Sent<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    match sent {
        Sent::Yielded(object) => Ok(Some(object)),
        Sent::Returned(value) if value.is_none() => Ok(None),
        Sent::Returned(value) => Err(stop_iteration(&value)),
        Sent::Raised(error) => Err(error),
    }
}
