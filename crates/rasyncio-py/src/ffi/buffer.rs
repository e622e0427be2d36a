//! Bytes-like objects: reading into a buffer that Python owns, and showing Python bytes of ours without a copy.

use pyo3::exceptions::{PyBufferError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use pyo3::{ffi, intern};

use super::call::{call_method_none, call_method_one};

/// Lets `fill` write into the memory of `object`, a writable contiguous buffer (bytearray, memoryview, ...).
///
/// Fails with RuntimeError when the buffer has no room, and with TypeError or BufferError when it is no writable buffer.
pub(crate) fn fill<R>(object: &Bound<'_, PyAny>, fill: impl FnOnce(&mut [u8]) -> R) -> PyResult<R> {
    let py = object.py();
    let mut view = View::new();
    // SAFETY: the object is alive, and the view is ours, empty, and stays where it is until it is released.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut view.0, ffi::PyBUF_WRITABLE) } < 0 {
        let error = PyErr::fetch(py);
        return Err(if error.is_instance_of::<PyBufferError>(py) {
            PyTypeError::new_err("a writable, contiguous bytes-like object is required")
        } else {
            error
        });
    }
    let size = usize::try_from(view.0.len)?;
    if size == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    // SAFETY: `view` keeps the exporter from moving or freeing the memory until it is dropped; the length is what the exporter stated, and
    // this thread stays attached, so no Python code writes meanwhile.
    let memory = unsafe { std::slice::from_raw_parts_mut(view.0.buf.cast::<u8>(), size) };
    Ok(fill(memory))
}

/// A view of an object's memory, released when it is dropped, on a thread that is attached.
struct View(ffi::Py_buffer);

impl View {
    fn new() -> Self {
        // SAFETY: a structure of numbers and pointers, of which zeroes are an empty one.
        Self(unsafe { std::mem::zeroed() })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: filled in by the interpreter, or empty, which is nothing to release; `fill` lets it go before it returns.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) };
    }
}

/// Lets `look` see what a bytearray holds. It must not call Python, which could change that.
pub(crate) fn look<R>(array: &Bound<'_, PyByteArray>, look: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: this thread stays attached and `look` runs no Python code, so nobody changes or moves the bytes before it returns.
    look(unsafe { array.as_bytes() })
}

/// Whether there is no other reference to `object` than the caller's.
pub(crate) fn is_unshared(object: &Bound<'_, PyByteArray>) -> bool {
    // SAFETY: the object is alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// An `ssl.MemoryBIO`, which is OpenSSL's own buffer in memory.
pub(crate) struct MemoryBio(Py<PyAny>);

impl MemoryBio {
    /// A new one. `class` is the class of the interpreter's `_ssl` module; TypeError when something else stands in its place.
    pub(crate) fn make(class: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = class.py();
        let write = class.getattr(intern!(py, "write"))?;
        let bio = class.call0()?;
        // As `str.join` is one: a method written in C.
        let is_native =
            write.get_type().is(py.get_type::<PyString>().getattr(intern!(py, "join"))?.get_type());
        if !is_native || !bio.get_type().is(class) {
            return Err(PyTypeError::new_err("ssl.MemoryBIO is not the interpreter's own"));
        }
        Ok(Self(bio.unbind()))
    }

    pub(crate) fn as_object(&self) -> &Py<PyAny> {
        &self.0
    }

    /// Puts a copy of `bytes` behind what is in it.
    #[inline]
    pub(crate) fn write(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let length = ffi::Py_ssize_t::try_from(bytes.len())?;
        let start = bytes.as_ptr().cast_mut().cast();
        // SAFETY: `make` saw to it that the object is the interpreter's own: its `write` copies what it is shown and keeps no view, so nobody
        // looks at `bytes` after the call; nothing writes to them, as the view is read-only.
        let view = unsafe { ffi::PyMemoryView_FromMemory(start, length, ffi::PyBUF_READ) };
        // SAFETY: the call gives a new reference or NULL with an exception set.
        let view = unsafe { Bound::from_owned_ptr_or_err(py, view) }?;
        call_method_one(self.0.bind(py), intern!(py, "write"), &view).map(drop)
    }

    /// Takes everything that is in it.
    #[inline]
    pub(crate) fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(call_method_none(self.0.bind(py), intern!(py, "read"))?.cast_into::<PyBytes>()?)
    }

    /// How many bytes are in it.
    #[inline]
    pub(crate) fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.bind(py).getattr(intern!(py, "pending"))?.extract()
    }
}
