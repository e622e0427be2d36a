//! Attributes that a program gave to one object: they may hide a method of its class.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType, PyTypeMethods};
use pyo3::{PyTypeInfo, ffi};

/// Whether `object` is of the very class `T`, not of a subclass, and nobody gave it attributes: its methods are those of `T`.
#[inline]
pub(crate) fn is_plain<T: PyTypeInfo>(object: &Bound<'_, PyAny>) -> bool {
    let class = T::type_object_raw(object.py());
    // SAFETY: only the type pointer of a live object is compared.
    if unsafe { ffi::Py_TYPE(object.as_ptr()) } != class {
        return false;
    }
    // SAFETY: a type object of ours, which lives for ever.
    let offset = unsafe { (*class).tp_dictoffset };
    if offset <= 0 {
        return offset == 0;
    }
    // SAFETY: the type says that its objects have a pointer there, NULL or to a dictionary that they own.
    let place = unsafe { object.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>() };
    // SAFETY: as above.
    let attributes = unsafe { *place };
    // SAFETY: as above.
    attributes.is_null() || unsafe { ffi::PyDict_Size(attributes) } == 0
}

/// The attributes that were given to `object`, whatever its class; None if it has no dictionary yet.
pub(crate) fn of<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: the object is alive; the answer is NULL or where it keeps its dictionary.
    let place = unsafe { _PyObject_GetDictPtr(object.as_ptr()) };
    if place.is_null() {
        return None;
    }
    // SAFETY: as above: the place holds NULL or a dictionary that the object owns.
    let attributes = unsafe { *place };
    // SAFETY: as above.
    let attributes = unsafe { Bound::from_borrowed_ptr_or_opt(object.py(), attributes) }?;
    attributes.cast_into().ok()
}

/// Sets or deletes an attribute of `object` as `object.__setattr__()` does.
pub(crate) fn set(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: live objects; NULL stands for deleting.
    let failed = unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } < 0;
    if failed { Err(PyErr::fetch(object.py())) } else { Ok(()) }
}

/// The number by which the interpreter tells one state of `class` from another; 0 when it has none.
#[inline]
pub(crate) fn version_of(class: &Bound<'_, PyType>) -> u32 {
    // SAFETY: the class is alive; any attached thread may read the field.
    unsafe { (*class.as_type_ptr()).tp_version_tag }
}

unsafe extern "C" {
    /// Where an object keeps its dictionary. Not in PyO3's bindings; the interpreter counts it as public.
    fn _PyObject_GetDictPtr(object: *mut ffi::PyObject) -> *mut *mut ffi::PyObject;
}
