//! `future_add_to_awaited_by()` and `future_discard_from_awaited_by()` (asyncio: futures.py, for the call graphs of graph.py).
//!
//! Who awaits a future of ours is told by its callbacks; these two add what no callback tells. asyncio's functions know only its own classes.

use std::ffi::CStr;

use pyo3::prelude::*;

use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::futures::Future;
use crate::interop::stdlib;

/// `asyncio.future_add_to_awaited_by()`.
struct Add;

impl Function for Add {
    const NAME: &'static CStr = c"future_add_to_awaited_by";
    const DOCUMENTATION: &'static CStr = c"future_add_to_awaited_by(fut, waiter, /)\n--\n\n\
        Says, for call graphs, that `waiter` (a task or future) awaits `fut`.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [future, waiter] = arguments.bind(&parameters("future_add_to_awaited_by"))?;
        let (future, waiter) = (functions::given(future)?, functions::given(waiter)?);
        let Ok(own) = future.cast::<Future>() else {
            return stdlib(py).add_to_awaited_by(future, waiter);
        };
        if waiter.is_instance(stdlib(py).future_class.bind(py))? {
            own.get().add_awaiter(waiter);
        }
        Ok(py.None().into_bound(py))
    }
}

/// `asyncio.future_discard_from_awaited_by()`.
struct Discard;

impl Function for Discard {
    const NAME: &'static CStr = c"future_discard_from_awaited_by";
    const DOCUMENTATION: &'static CStr = c"future_discard_from_awaited_by(fut, waiter, /)\n--\n\n\
        Takes `future_add_to_awaited_by()` back.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [future, waiter] = arguments.bind(&parameters("future_discard_from_awaited_by"))?;
        let (future, waiter) = (functions::given(future)?, functions::given(waiter)?);
        let Ok(own) = future.cast::<Future>() else {
            return stdlib(py).discard_from_awaited_by(future, waiter);
        };
        own.get().discard_awaiter(waiter);
        Ok(py.None().into_bound(py))
    }
}

fn parameters(function: &'static str) -> Parameters<2> {
    Parameters { function, names: ["fut", "waiter"], positional: 2, required: 2 }
}

/// Adds the functions to the module, on versions that have call graphs.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if cfg!(Py_3_14) {
        functions::add::<Add>(module)?;
        functions::add::<Discard>(module)?;
    }
    Ok(())
}
