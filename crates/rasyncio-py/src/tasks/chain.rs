//! Tying a future of `concurrent.futures` and one of asyncio's together: `wrap_future()` and `run_coroutine_threadsafe()`.
//!
//! The outcome travels from the source to the destination, a cancellation back. Either may end in any thread: what belongs to a loop is handed to it.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::ensure::{ensure_future, is_coroutine, is_future};
use super::outcome::{self, Ended};
use super::{as_future, loop_of};
use crate::event_loop::{Loop, current_loop};
use crate::exceptions::{self, Raised};
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::futures::Future;
use crate::futures::callback::{DoneAction, nobody};
use crate::interop::{must_propagate, stdlib};

/// `asyncio.wrap_future()`.
pub(super) struct WrapFuture;

impl Function for WrapFuture {
    const NAME: &'static CStr = c"wrap_future";
    const DOCUMENTATION: &'static CStr = c"wrap_future(future, *, loop=None)\n--\n\n\
        Makes a future of the loop that ends as `future` does, which is one of `concurrent.futures`; one of asyncio's is returned as it is.\n\n\
        Parameters: `loop` (None: the current one). Cancelling either cancels the other.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let _ = py;
        let [future, event_loop] = arguments.bind(&Parameters {
            function: "wrap_future",
            names: ["future", "loop"],
            positional: 1,
            required: 1,
        })?;
        wrap(functions::given(future)?, event_loop.filter(|event_loop| !event_loop.is_none()))
    }
}

/// `wrap_future(future, loop=event_loop)`.
pub(crate) fn wrap<'py>(
    future: &Bound<'py, PyAny>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if is_future(future)? {
        return Ok(future.clone());
    }
    if !future.is_instance(stdlib(py).concurrent.future_class.bind(py))? {
        let text = format!("concurrent.futures.Future is expected, got {}", future.repr()?);
        return Err(PyAssertionError::new_err(text));
    }
    let event_loop = match event_loop {
        Some(event_loop) => event_loop.clone(),
        None => current_loop(py)?,
    };
    let wrapper = match Loop::unchanged(&event_loop) {
        Some(_) => Future::of_loop(&event_loop)?.into_any(),
        None => event_loop.call_method0(intern!(py, "create_future"))?,
    };
    let chain = Chain {
        source: future.clone().unbind(),
        destination: wrapper.clone().unbind(),
        event_loop: event_loop.unbind(),
    };
    let chain = Bound::new(py, chain)?.into_any();
    outcome::when_done(&wrapper, &CANCEL_CONCURRENT, &chain)?;
    outcome::when_done(future, &COPY_TO_LOOP, &chain)?;
    Ok(wrapper)
}

/// Two futures, of which one belongs to `event_loop` and the other to no loop.
#[pyclass(frozen, name = "_Chain", module = "rasyncio")]
struct Chain {
    source: Py<PyAny>,
    destination: Py<PyAny>,
    event_loop: Py<PyAny>,
}

#[pymethods]
impl Chain {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.source)?;
        visit.call(&self.destination)?;
        visit.call(&self.event_loop)
    }
}

/// asyncio: futures.py `_chain_future`, the two inner functions, where the destination is asyncio's ...
static CANCEL_CONCURRENT: DoneAction =
    DoneAction { name: "_chain_future.<locals>._call_check_cancel", run: cancel_concurrent, awaiter: nobody };
static COPY_TO_LOOP: DoneAction =
    DoneAction { name: "_chain_future.<locals>._call_set_state", run: copy_to_loop, awaiter: nobody };

/// ... and where the source is.
static CANCEL_IN_LOOP: DoneAction =
    DoneAction { name: "_chain_future.<locals>._call_check_cancel", run: cancel_in_loop, awaiter: nobody };
static COPY_TO_CONCURRENT: DoneAction =
    DoneAction { name: "_chain_future.<locals>._call_set_state", run: copy_to_concurrent, awaiter: nobody };

fn is_cancelled(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    future.call_method0(intern!(future.py(), "cancelled"))?.is_truthy()
}

/// Whether `event_loop` runs in this thread.
fn runs_here(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(stdlib(event_loop.py()).running_loop(event_loop.py())?.is_some_and(|running| running.is(event_loop)))
}

fn cancel_concurrent(chain: &Bound<'_, PyAny>, wrapper: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = chain.py();
    if is_cancelled(wrapper)? {
        chain.cast::<Chain>()?.get().source.bind(py).call_method0(intern!(py, "cancel"))?;
    }
    Ok(())
}

/// In any thread: the future of `concurrent.futures` is done.
fn copy_to_loop(chain: &Bound<'_, PyAny>, source: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = chain.py();
    let own = chain.cast::<Chain>()?;
    let event_loop = own.get().event_loop.bind(py);
    if runs_here(event_loop)? {
        return copy_outcome(own);
    }
    if event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy()? {
        return Ok(());
    }
    let Some(native) = Loop::unchanged(event_loop) else {
        let copy = Bound::new(py, CopyOutcome { chain: own.clone().unbind() })?;
        return event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (copy, source)).map(drop);
    };
    let chain = own.clone().unbind();
    native.get().defer_from_any_thread(move |event_loop| copy_outcome(chain.bind(event_loop.py())))
}

/// `copy_outcome` for a loop that needs something to call.
#[pyclass(frozen, name = "_set_state", module = "rasyncio")]
struct CopyOutcome {
    chain: Py<Chain>,
}

#[pymethods]
impl CopyOutcome {
    fn __call__(&self, source: &Bound<'_, PyAny>) -> PyResult<()> {
        copy_outcome(self.chain.bind(source.py()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.chain)
    }
}

/// In the loop's thread: the wrapper ends as the future of `concurrent.futures` did.
fn copy_outcome(chain: &Bound<'_, Chain>) -> PyResult<()> {
    let py = chain.py();
    let (source, wrapper) = (chain.get().source.bind(py), chain.get().destination.bind(py));
    if outcome::is_done(wrapper)? {
        return Ok(());
    }
    if is_cancelled(source)? {
        return outcome::cancel(wrapper, None).map(drop);
    }
    let exception = source.call_method0(intern!(py, "exception"))?;
    if exception.is_none() {
        let result = source.call_method0(intern!(py, "result"))?;
        return match as_future(wrapper) {
            Some(own) => Future::finish(own, result.unbind()),
            None => wrapper.call_method1(intern!(py, "set_result"), (result,)).map(drop),
        };
    }
    let exception = exception_of_asyncio(exception)?;
    wrapper.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
}

/// asyncio: futures.py `_convert_future_exc`. The exceptions of `concurrent.futures` that asyncio has its own classes for.
pub(crate) fn exception_of_asyncio(exception: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = exception.py();
    let library = stdlib(py);
    let class = exception.get_type();
    let replacement = if class.is(&library.concurrent.cancelled_error) {
        &library.cancelled_error
    } else if class.is(&library.concurrent.invalid_state_error) {
        &library.invalid_state_error
    } else {
        return Ok(exception);
    };
    let arguments = exception.getattr(intern!(py, "args"))?.cast_into::<pyo3::types::PyTuple>()?;
    let replacement = replacement.bind(py).call1(arguments)?;
    let traceback = exception.getattr(intern!(py, "__traceback__"))?;
    replacement.call_method1(intern!(py, "with_traceback"), (traceback,))
}

/// `asyncio.run_coroutine_threadsafe()`.
pub(super) struct RunCoroutineThreadsafe;

impl Function for RunCoroutineThreadsafe {
    const NAME: &'static CStr = c"run_coroutine_threadsafe";
    const DOCUMENTATION: &'static CStr = c"run_coroutine_threadsafe(coro, loop)\n--\n\n\
        Runs a coroutine on `loop`, from another thread; returns a `concurrent.futures.Future` of its result.\n\n\
        Cancelling the future cancels the task. Raises TypeError for what is no coroutine.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [coroutine, event_loop] = arguments.bind(&Parameters {
            function: "run_coroutine_threadsafe",
            names: ["coro", "loop"],
            positional: 2,
            required: 2,
        })?;
        let (coroutine, event_loop) = (functions::given(coroutine)?, functions::given(event_loop)?);
        if !is_coroutine(coroutine)? {
            return Err(PyTypeError::new_err("A coroutine object is required"));
        }
        let future = stdlib(py).concurrent.future_class.bind(py).call0()?;
        let start = StartTask {
            coroutine: coroutine.clone().unbind(),
            event_loop: event_loop.clone().unbind(),
            future: future.clone().unbind(),
        };
        event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (Bound::new(py, start)?,))?;
        Ok(future)
    }
}

/// In the loop's thread: makes the task.
#[pyclass(frozen, name = "callback", module = "rasyncio")]
struct StartTask {
    coroutine: Py<PyAny>,
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
}

#[pymethods]
impl StartTask {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let future = self.future.bind(py);
        match self.start(py) {
            Ok(()) => Ok(()),
            Err(error) if must_propagate(py, &error) => Err(error),
            Err(error) => {
                if future.call_method0(intern!(py, "set_running_or_notify_cancel"))?.is_truthy()? {
                    future.call_method1(intern!(py, "set_exception"), (error.raised(py),))?;
                }
                Err(error)
            }
        }
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        "run_coroutine_threadsafe.<locals>.callback"
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.coroutine)?;
        visit.call(&self.event_loop)?;
        visit.call(&self.future)
    }
}

impl StartTask {
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let task = ensure_future(self.coroutine.bind(py), Some(self.event_loop.bind(py)))?;
        let event_loop = loop_of(&task)?;
        let chain = Chain {
            source: task.clone().unbind(),
            destination: self.future.clone_ref(py),
            event_loop: event_loop.unbind(),
        };
        let chain = Bound::new(py, chain)?.into_any();
        outcome::when_done(self.future.bind(py), &CANCEL_IN_LOOP, &chain)?;
        outcome::when_done(&task, &COPY_TO_CONCURRENT, &chain)
    }
}

/// In any thread: the future that `run_coroutine_threadsafe()` returned is done.
fn cancel_in_loop(chain: &Bound<'_, PyAny>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    if !is_cancelled(future)? {
        return Ok(());
    }
    let py = chain.py();
    let chain = chain.cast::<Chain>()?.get();
    if runs_here(chain.event_loop.bind(py))? {
        return outcome::cancel(chain.source.bind(py), None).map(drop);
    }
    let cancel = chain.source.bind(py).getattr(intern!(py, "cancel"))?;
    chain.event_loop.bind(py).call_method1(intern!(py, "call_soon_threadsafe"), (cancel,)).map(drop)
}

/// asyncio: futures.py `_set_concurrent_future_state`.
fn copy_to_concurrent(chain: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = chain.py();
    let future = chain.cast::<Chain>()?.get().destination.bind(py);
    let ended = Ended::of(task)?;
    if matches!(ended, Ended::Cancelled) {
        future.call_method0(intern!(py, "cancel"))?;
    }
    if !future.call_method0(intern!(py, "set_running_or_notify_cancel"))?.is_truthy()? {
        return Ok(());
    }
    match ended {
        Ended::Exception(exception) => {
            future.call_method1(intern!(py, "set_exception"), (exception_of_asyncio(exception)?,)).map(drop)
        }
        Ended::Result(result) => future.call_method1(intern!(py, "set_result"), (result,)).map(drop),
        Ended::Cancelled => Err(exceptions::runtime("the future of a cancelled task cannot be cancelled")),
    }
}
