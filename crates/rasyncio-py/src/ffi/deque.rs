//! `collections.deque`, whose methods are called without looking them up: a queue of ours is a real one, so that Python may look into it.
//!
//! Anything else that stands in the place of a deque, because a program put it there, is asked by the names of the methods.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{ffi, intern};

use super::call::{call_method_none, call_method_one};

/// The class, and the functions behind its methods.
struct DequeClass {
    class: Py<PyAny>,
    append: Option<ffi::PyCFunction>,
    popleft: Option<ffi::PyCFunction>,
}

static DEQUE: PyOnceLock<DequeClass> = PyOnceLock::new();

#[inline]
fn deque_class(py: Python<'_>) -> PyResult<&'static DequeClass> {
    match DEQUE.get(py) {
        Some(class) => Ok(class),
        None => DEQUE.get_or_try_init(py, || {
            let class = py.import("collections")?.getattr("deque")?;
            Ok(DequeClass {
                append: function(&class.getattr("append")?, ffi::METH_O),
                popleft: function(&class.getattr("popleft")?, ffi::METH_NOARGS),
                class: class.unbind(),
            })
        }),
    }
}

/// The C function behind a method of a class, if it is called the way that `flags` says.
fn function(method: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> Option<ffi::PyCFunction> {
    let expected = &raw mut ffi::PyMethodDescr_Type;
    // SAFETY: only the type pointer of a live object is compared.
    if unsafe { ffi::Py_TYPE(method.as_ptr()) } != expected {
        return None;
    }
    let descriptor = method.as_ptr().cast::<ffi::PyMethodDescrObject>();
    // SAFETY: the type was checked.
    let definition = unsafe { (*descriptor).d_method };
    // SAFETY: a descriptor keeps its definition, which is a static of the module that made it.
    let definition = unsafe { *definition };
    if definition.ml_flags != flags {
        return None;
    }
    // SAFETY: the flags say that the function has this form.
    Some(unsafe { definition.ml_meth.PyCFunction })
}

/// An empty `collections.deque`.
pub(crate) fn new(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    deque_class(py)?.class.bind(py).call0()
}

/// Whether `object` is a deque and of no subclass.
#[inline]
fn is_deque(object: &Bound<'_, PyAny>, class: &DequeClass) -> bool {
    // SAFETY: only the type pointer of a live object is compared.
    unsafe { ffi::Py_TYPE(object.as_ptr()).cast() == class.class.as_ptr() }
}

/// Whether `object` is a deque and of no subclass.
#[inline]
pub(crate) fn is_exact(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(is_deque(object, deque_class(object.py())?))
}

/// `len(deque)`.
#[inline]
pub(crate) fn len(deque: &Bound<'_, PyAny>) -> PyResult<usize> {
    if is_deque(deque, deque_class(deque.py())?) {
        // SAFETY: a deque keeps its length where every object of variable size does.
        return Ok(unsafe { ffi::Py_SIZE(deque.as_ptr()) }.unsigned_abs());
    }
    deque.len()
}

/// `deque.append(item)`.
#[inline]
pub(crate) fn append<'py>(deque: &Bound<'py, PyAny>, item: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = deque.py();
    let class = deque_class(py)?;
    if let Some(append) = class.append
        && is_deque(deque, class)
    {
        // SAFETY: the function is a method of the class of `deque`, called with one argument as its flags say; both objects are alive.
        let none = unsafe { append(deque.as_ptr(), item.as_ptr()) };
        // SAFETY: a call gives a new reference or NULL with an exception set.
        drop(unsafe { Bound::from_owned_ptr_or_err(py, none) }?);
        return Ok(());
    }
    call_method_one(deque, intern!(py, "append"), item)?;
    Ok(())
}

/// `deque.popleft()`. `IndexError` when it is empty.
#[inline]
pub(crate) fn popleft<'py>(deque: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = deque.py();
    let class = deque_class(py)?;
    if let Some(popleft) = class.popleft
        && is_deque(deque, class)
    {
        // SAFETY: the function is a method of the class of `deque`, called without arguments as its flags say; the object is alive.
        let item = unsafe { popleft(deque.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: a call gives a new reference or NULL with an exception set.
        return unsafe { Bound::from_owned_ptr_or_err(py, item) };
    }
    call_method_none(deque, intern!(py, "popleft"))
}

/// `deque[0]`. `IndexError` when it is empty.
#[inline]
pub(crate) fn first<'py>(deque: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the object is alive.
    let item = unsafe { ffi::PySequence_GetItem(deque.as_ptr(), 0) };
    // SAFETY: the call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(deque.py(), item) }
}

/// Removes the first item that is `item` or equals it. ValueError when there is none.
pub(crate) fn remove<'py>(deque: &Bound<'py, PyAny>, item: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = deque.py();
    if len(deque)? > 0 && first(deque)?.is(item) {
        popleft(deque)?;
        return Ok(());
    }
    call_method_one(deque, intern!(py, "remove"), item)?;
    Ok(())
}
