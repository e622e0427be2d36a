//! Attributes that a program gave to one object: they may hide a method of its class.

use pyo3::prelude::*;
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
