//! Who else has an object.

use pyo3::ffi;
use pyo3::prelude::*;

/// Whether nobody but the caller has the object, nor can come to it by a weak reference. Where threads run side by side that cannot be told: false.
#[inline]
pub(crate) fn is_sole<T>(object: &Bound<'_, T>) -> bool {
    // SAFETY: the object is alive.
    cfg!(not(Py_GIL_DISABLED))
        && unsafe { ffi::Py_REFCNT(object.as_ptr()) } == 1
        && !has_weak_references(object)
}

#[inline]
fn has_weak_references<T>(object: &Bound<'_, T>) -> bool {
    let class = object.as_any().get_type_ptr();
    // SAFETY: the object is alive, and so is its type.
    let offset = unsafe { (*class).tp_weaklistoffset };
    if offset <= 0 {
        // A negative one: the interpreter keeps them in a place of its own.
        return offset != 0;
    }
    // SAFETY: the type says that its objects have a pointer there, NULL or to a weak reference.
    let list = unsafe { object.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>() };
    // SAFETY: as above.
    !unsafe { *list }.is_null()
}
