//! Code and frames for who looks at a coroutine: `inspect`, call graphs, `print_stack()`, the repr of a task.
//!
//! Rust code has neither. A coroutine of Python's with the same name lends its own.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// `lend(code)` is a frame of a coroutine of that code which is suspended, and which lives as long as it.
const LENDER: &CStr = c"class Pause:
    def __await__(self):
        yield self

async def lender(): await Pause()

def lend(code):
    coroutine = type(lend)(code, globals())()
    # A frame does not hold its coroutine; a closed one could not be told from a function.
    coroutine.send(None).lender = coroutine
    return coroutine.cr_frame
";

/// Shown as the name of the file.
const FILE: &str = "<rasyncio>";

struct Lender {
    code: Py<PyAny>,
    lend: Py<PyAny>,
    /// The code of each name that was asked for.
    codes: Py<PyDict>,
}

fn lender(py: Python<'_>) -> PyResult<&'static Lender> {
    static LENDS: PyOnceLock<Lender> = PyOnceLock::new();
    LENDS.get_or_try_init(py, || {
        let namespace = PyDict::new(py);
        py.run(LENDER, Some(&namespace), None)?;
        let namespace = namespace.as_any();
        Ok(Lender {
            code: namespace.get_item("lender")?.getattr("__code__")?.unbind(),
            lend: namespace.get_item("lend")?.unbind(),
            codes: PyDict::new(py).unbind(),
        })
    })
}

/// The code object of the coroutines that are shown as `name`, e.g. `EventLoop.sock_recv`.
pub(super) fn code<'py>(py: Python<'py>, name: &'static str) -> PyResult<Bound<'py, PyAny>> {
    let Lender { code, codes, .. } = lender(py)?;
    if let Some(known) = codes.bind(py).get_item(name)? {
        return Ok(known);
    }
    let parts = PyDict::new(py);
    parts.set_item("co_name", super::last_part(name))?;
    parts.set_item("co_qualname", name)?;
    parts.set_item("co_filename", FILE)?;
    parts.set_item("co_firstlineno", 1)?;
    let named = code.bind(py).call_method("replace", (), Some(&parts))?;
    codes.bind(py).set_item(name, &named)?;
    Ok(named)
}

/// A frame of such a coroutine.
pub(super) fn frame<'py>(py: Python<'py>, name: &'static str) -> PyResult<Bound<'py, PyAny>> {
    lender(py)?.lend.bind(py).call1((code(py, name)?,))
}
