//! Bytes-like objects: reading into a buffer that Python owns.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

/// Lets `fill` write into the memory of `object`, a writable contiguous buffer (bytearray, memoryview, ...).
///
/// Fails with RuntimeError when the buffer has no room, and with TypeError or BufferError when it is no writable buffer.
pub(crate) fn fill<R>(object: &Bound<'_, PyAny>, fill: impl FnOnce(&mut [u8]) -> R) -> PyResult<R> {
    let buffer = PyBuffer::<u8>::get(object)?;
    if buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(PyTypeError::new_err("a writable, contiguous bytes-like object is required"));
    }
    if buffer.len_bytes() == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    // SAFETY: `buffer` keeps the exporter from moving or freeing the memory until it is dropped; the length is what the exporter stated, and
    // this thread stays attached, so no Python code writes meanwhile.
    let memory = unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    Ok(fill(memory))
}
