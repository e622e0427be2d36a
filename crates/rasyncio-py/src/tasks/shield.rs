//! `shield()`: a future that may be cancelled without the one behind it.
//!
//! Two native callbacks tie the two futures together: each has the other one as its receiver.

use std::ffi::CStr;

use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;

use super::ensure::ensure_future;
use super::outcome::{self, Ended};
use super::{as_future, loop_of};
use crate::event_loop::Loop;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::futures::Future;
use crate::futures::callback::{DoneAction, nobody};
use crate::futures::state::Status;

/// On the inner future, for the outer one.
static INNER_DONE: DoneAction =
    DoneAction { name: "shield.<locals>._inner_done_callback", run: on_inner_done, awaiter: awaiter_of };

/// On the outer future, for the inner one.
static OUTER_DONE: DoneAction =
    DoneAction { name: "shield.<locals>._outer_done_callback", run: on_outer_done, awaiter: nobody };

/// `asyncio.shield()`.
pub(crate) struct Shield;

impl Function for Shield {
    const NAME: &'static CStr = c"shield";
    const DOCUMENTATION: &'static CStr = c"shield(arg)\n--\n\n\
        Makes a future that ends as the awaitable does; cancelling it does not cancel the awaitable.\n\n\
        A coroutine becomes a task. An awaitable that is done already is returned as it is.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [awaitable] =
            arguments.bind(&Parameters { function: "shield", names: ["arg"], positional: 1, required: 1 })?;
        let inner = ensure_future(functions::given(awaitable)?, None)?;
        if outcome::is_done(&inner)? {
            return Ok(inner);
        }
        let event_loop = loop_of(&inner)?;
        let outer = match Loop::unchanged(&event_loop) {
            Some(own) => Loop::create_future(own)?.into_any(),
            None => event_loop.call_method0(intern!(py, "create_future"))?,
        };
        outcome::when_done(&inner, &INNER_DONE, &outer)?;
        outcome::when_done(&outer, &OUTER_DONE, &inner)?;
        Ok(outer)
    }
}

fn on_inner_done(outer: &Bound<'_, PyAny>, inner: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = outer.py();
    let is_cancelled = match as_future(outer) {
        Some(own) => own.get().status(py) == Status::Cancelled,
        None => outer.call_method0(intern!(py, "cancelled"))?.is_truthy()?,
    };
    if is_cancelled {
        // Up to 3.13 its exception counts as retrieved, if it ends in the same turn as the outer one is cancelled.
        return if cfg!(Py_3_14) { Ok(()) } else { Ended::of(inner).map(drop) };
    }
    match (Ended::of(inner)?, outer.cast_exact::<Future>()) {
        (Ended::Cancelled, _) => outcome::cancel(outer, None).map(drop),
        (Ended::Result(result), Ok(outer)) => Future::finish(outer, result.unbind()),
        (Ended::Exception(exception), Ok(outer)) if exception.is_instance_of::<PyBaseException>() => {
            Future::fail(outer, &exception)
        }
        (Ended::Result(result), _) => outer.call_method1(intern!(py, "set_result"), (result,)).map(drop),
        (Ended::Exception(exception), _) => {
            outer.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
        }
    }
}

fn on_outer_done(inner: &Bound<'_, PyAny>, outer: &Bound<'_, PyAny>) -> PyResult<()> {
    if outcome::is_done(inner)? {
        return Ok(());
    }
    outcome::no_longer_when_done(inner, &INNER_DONE, outer)
}

/// Whoever awaits the outer future awaits the inner one.
fn awaiter_of(outer: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    as_future(outer)?.get().first_waiter(outer.py())
}
