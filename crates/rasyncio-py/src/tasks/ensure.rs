//! `ensure_future()` and `create_task()`: how awaitables become futures.

use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{as_future, loop_of};
use crate::coroutines::{Coroutine, wait_for};
use crate::event_loop::{Loop, TaskOptions, current_loop};
use crate::exceptions;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::ffi::send;
use crate::interop::stdlib;

/// Whether `object` is a future of any kind, as asyncio asks it.
#[inline]
pub(crate) fn is_future(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if as_future(object).is_some() {
        return Ok(true);
    }
    if send::is_coroutine(object) {
        return Ok(false);
    }
    stdlib(object.py()).isfuture.bind(object.py()).call1((object,))?.is_truthy()
}

/// Whether `object` is a coroutine of any kind, as asyncio asks it.
#[inline]
pub(crate) fn is_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if send::is_coroutine(object) || object.is_exact_instance_of::<Coroutine>() {
        return Ok(true);
    }
    if as_future(object).is_some() {
        return Ok(false);
    }
    stdlib(object.py()).coroutines.iscoroutine.bind(object.py()).call1((object,))?.is_truthy()
}

/// The running loop, or RuntimeError as `asyncio.get_running_loop()` raises it.
#[inline]
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    stdlib(py).running_loop(py)?.ok_or_else(|| exceptions::runtime("no running event loop"))
}

/// `event_loop.create_task(coroutine)` of a loop of any kind.
#[inline]
pub(crate) fn spawn<'py>(
    event_loop: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    match Loop::unchanged(event_loop) {
        Some(own) => Loop::spawn(own, coroutine, TaskOptions::default()),
        None => event_loop.call_method1(intern!(event_loop.py(), "create_task"), (coroutine,)),
    }
}

/// `object` itself if it is a future, else a task of `event_loop` (None: the current one) that awaits it.
#[inline]
pub(crate) fn ensure_future<'py>(
    object: &Bound<'py, PyAny>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if is_future(object)? {
        if let Some(event_loop) = event_loop
            && !event_loop.is(&loop_of(object)?)
        {
            return Err(PyValueError::new_err(
                "The future belongs to a different loop than the one specified as the loop argument",
            ));
        }
        return Ok(object.clone());
    }
    let (coroutine, is_own) = if is_coroutine(object)? {
        (object.clone(), false)
    } else if stdlib(py).isawaitable.bind(py).call1((object,))?.is_truthy()? {
        (wrap(object)?.into_any(), true)
    } else {
        return Err(PyTypeError::new_err("An asyncio.Future, a coroutine or an awaitable is required"));
    };
    let spawned = match event_loop {
        Some(event_loop) => spawn(event_loop, &coroutine),
        None => spawn(&current_loop(py)?, &coroutine),
    };
    if let Err(error) = &spawned
        && error.is_instance_of::<PyRuntimeError>(py)
        && !is_own
    {
        coroutine.call_method0(intern!(py, "close"))?;
    }
    spawned
}

/// A coroutine that awaits `awaitable`.
fn wrap<'py>(awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Coroutine>> {
    let py = awaitable.py();
    let name = if cfg!(Py_3_12) { "ensure_future.<locals>._wrap_awaitable" } else { "_wrap_awaitable" };
    Coroutine::make(py, name, wait_for(awaitable.clone().unbind()))
}

/// `asyncio.ensure_future()`.
pub(crate) struct EnsureFuture;

impl Function for EnsureFuture {
    const NAME: &'static CStr = c"ensure_future";
    const DOCUMENTATION: &'static CStr = c"ensure_future(coro_or_future, *, loop=None)\n--\n\n\
        Makes a future of an awaitable: a future is returned as it is, anything else is awaited by a new task.\n\n\
        Parameters: `loop`, where the task runs (None: the current loop). Raises TypeError for what is no awaitable, ValueError for a future of \
        another loop.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let _ = py;
        let [object, event_loop] = arguments.bind(&Parameters {
            function: "ensure_future",
            names: ["coro_or_future", "loop"],
            positional: 1,
            required: 1,
        })?;
        let event_loop = event_loop.filter(|event_loop| !event_loop.is_none());
        ensure_future(functions::given(object)?, event_loop)
    }
}

/// `asyncio.create_task()`.
pub(crate) struct CreateTaskFunction;

impl Function for CreateTaskFunction {
    const NAME: &'static CStr = c"create_task";
    #[cfg(not(Py_3_14))]
    const DOCUMENTATION: &'static CStr = c"create_task(coro, *, name=None, context=None)\n--\n\n\
        Schedules a coroutine as a task of the running loop and returns the task.\n\n\
        Parameters: `name`, `context` (default: a copy of the current one). Raises RuntimeError when no loop runs.";
    #[cfg(Py_3_14)]
    const DOCUMENTATION: &'static CStr = c"create_task(coro, **kwargs)\n--\n\n\
        Schedules a coroutine as a task of the running loop and returns the task.\n\n\
        Parameters: `name`, `context` (default: a copy of the current one); others are handed to the loop. Raises RuntimeError when no loop runs.";

    #[inline]
    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let coroutine = arguments.first("create_task", "coro")?;
        if arguments.positional() > 1 {
            let count = arguments.positional();
            return Err(PyTypeError::new_err(format!(
                "create_task() takes 1 positional argument but {count} were given"
            )));
        }
        if !cfg!(Py_3_14) {
            arguments.keywords(|name, _| {
                if name.eq("name")? || name.eq("context")? {
                    return Ok(());
                }
                let text = format!("create_task() got an unexpected keyword argument '{name}'");
                Err(PyTypeError::new_err(text))
            })?;
        }
        let event_loop = running_loop(py)?;
        if let Some(own) = Loop::unchanged(&event_loop) {
            return Loop::spawn(own, coroutine, TaskOptions::of(arguments, py)?);
        }
        let keywords = PyDict::new(py);
        arguments.keywords(|name, value| keywords.set_item(name, value))?;
        if !cfg!(Py_3_14) && keywords.get_item("context")?.is_some_and(|context| context.is_none()) {
            // asyncio: a loop that knows no contexts is not asked for one.
            keywords.del_item("context")?;
        }
        event_loop.call_method(intern!(py, "create_task"), (coroutine,), Some(&keywords))
    }
}
