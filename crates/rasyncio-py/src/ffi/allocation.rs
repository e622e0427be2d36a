//! Making objects of classes with a `__dict__`, which the collector must not see before they are whole.

use pyo3::prelude::*;
use pyo3::{PyClass, PyClassInitializer};

/// `Bound::new()` for a class with a `__dict__`.
///
/// Python 3.11 makes the dict of an object that PyO3 has not filled yet and the collector knows already, and any allocation may begin a
/// collection there; from 3.12 on one begins between two instructions of Python only.
pub(crate) fn new_with_dict<T: PyClass>(
    py: Python<'_>,
    contents: impl Into<PyClassInitializer<T>>,
) -> PyResult<Bound<'_, T>> {
    #[cfg(not(Py_3_12))]
    let _no_collection = NoCollection::begin(py);
    Bound::new(py, contents)
}

/// While it lives, no allocation begins a collection.
#[cfg(not(Py_3_12))]
struct NoCollection {
    was_enabled: bool,
}

#[cfg(not(Py_3_12))]
impl NoCollection {
    fn begin(_py: Python<'_>) -> Self {
        // SAFETY: the thread is attached; the call sets a flag and tells what it was.
        Self { was_enabled: unsafe { pyo3::ffi::PyGC_Disable() } != 0 }
    }
}

#[cfg(not(Py_3_12))]
impl Drop for NoCollection {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: the guard does not leave the call that made it, on an attached thread.
            unsafe { pyo3::ffi::PyGC_Enable() };
        }
    }
}
