//! Attributes that a program gave to one object: they may hide a method of its class.

use pyo3::prelude::*;
use pyo3::types::{PyType, PyTypeMethods};
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

/// Whether nobody gave `object` attributes, whatever its class.
#[inline]
pub(crate) fn has_none(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is alive; the answer is NULL or where it keeps its dictionary.
    let place = unsafe { _PyObject_GetDictPtr(object.as_ptr()) };
    if place.is_null() {
        return true;
    }
    // SAFETY: as above: the place holds NULL or a dictionary that the object owns.
    let attributes = unsafe { *place };
    // SAFETY: as above.
    attributes.is_null() || unsafe { ffi::PyDict_Size(attributes) } == 0
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
