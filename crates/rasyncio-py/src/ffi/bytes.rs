//! Bytes objects that are filled after they were made, so that nothing has to be copied into them.

use std::io;
use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The bytes that `fill` writes to the beginning of memory for `capacity` of them; it answers how many these are, or fails.
///
/// # Panics
/// If it says that it wrote more than that.
pub(crate) fn filled(
    py: Python<'_>,
    capacity: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> PyResult<io::Result<usize>>,
) -> PyResult<io::Result<Bound<'_, PyBytes>>> {
    let size = ffi::Py_ssize_t::try_from(capacity)?;
    // SAFETY: without a source the bytes are left as they are, for the caller to write.
    let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
    // SAFETY: the call gives a new reference or NULL with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }?;
    // SAFETY: a bytes object by its making.
    let start = unsafe { ffi::PyBytes_AsString(object.as_ptr()) };
    // SAFETY: it has room for `capacity` bytes, and nobody else knows of the object yet.
    let memory = unsafe { std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), capacity) };
    let count = match fill(memory)? {
        Ok(count) => count,
        Err(error) => return Ok(Err(error)),
    };
    assert!(count <= capacity, "wrote {count} of {capacity} bytes");
    let mut object = object.into_ptr();
    // SAFETY: the only reference to the object, which may move; on failure it is gone and the pointer NULL.
    unsafe { _PyBytes_Resize(&raw mut object, count.cast_signed()) };
    // SAFETY: as above, with an exception set on failure.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }?;
    // SAFETY: as above.
    Ok(Ok(unsafe { object.cast_into_unchecked::<PyBytes>() }))
}

unsafe extern "C" {
    /// Gives back what an object that nobody else knows does not need. Not in PyO3's bindings; documented by the interpreter.
    fn _PyBytes_Resize(object: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}
