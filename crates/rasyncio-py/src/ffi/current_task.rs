//! Telling the interpreter which task runs, so that `asyncio.current_task()` is right for our tasks too.
//!
//! This is the interface that asyncio names for third-party tasks (`_enter_task`, `_leave_task`). Consecutive steps of tasks skip the leaving:
//! one `_swap_current_task` (3.12+) hands over from one task to the next.

use pyo3::ffi;
use pyo3::prelude::*;

/// `function(first, second)`, the shape of all of asyncio's enter and leave functions.
#[inline]
pub(crate) fn call_two<'py>(
    function: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let arguments = [std::ptr::null_mut(), first.as_ptr(), second.as_ptr()];
    let count = 2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: the pointer is inside of `arguments`, which outlives the call.
    let start = unsafe { arguments.as_ptr().add(1) };
    // SAFETY: both arguments are alive; the slot before them is ours, which is what the OFFSET flag promises.
    let result = unsafe { ffi::PyObject_Vectorcall(function.as_ptr(), start, count, std::ptr::null_mut()) };
    // SAFETY: a call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}
