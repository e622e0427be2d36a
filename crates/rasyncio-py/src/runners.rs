//! `run()` and `Runner` (asyncio: runners.py): the standard library's runner with our loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};

use crate::exceptions::{self, Raised};
use crate::ffi::cell::GilCell;
use crate::install;
use crate::interop::{shown_class, shown_names, stdlib};
use crate::policy;

/// Runs several coroutines on one loop, one after the other; a context manager.
///
/// Parameters: `debug`, debug mode (None: as the interpreter says); `loop_factory`, what makes the loop (None: `new_event_loop`).
/// <https://docs.python.org/3/library/asyncio-runner.html#asyncio.Runner>
#[pyclass(frozen, subclass, weakref, dict, name = "Runner", module = "rasyncio")]
pub(crate) struct Runner {
    /// None until it is initialised.
    inner: GilCell<Option<Py<PyAny>>>,
    /// Our loop became this thread's current one, as that of asyncio's Runner does.
    is_current: Arc<AtomicBool>,
}

impl Runner {
    fn empty() -> Self {
        Self { inner: GilCell::new(None), is_current: Arc::default() }
    }

    /// None until it is initialised.
    fn found<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner.with(py, |inner| inner.as_ref().map(|inner| inner.bind(py).clone()))
    }

    fn inner<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.found(py).ok_or_else(|| exceptions::runtime("Runner.__init__() was not called"))
    }

    /// Asks asyncio's runner for one with our loop.
    fn fill(
        &self,
        py: Python<'_>,
        debug: Option<&Bound<'_, PyAny>>,
        loop_factory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let factory = match loop_factory {
            Some(factory) => Some(factory.clone()),
            // The policy makes the loop, and it is ours unless somebody set another one since.
            None if install::is_installed() => None,
            None => Some(Self::default_factory(py, Arc::clone(&self.is_current))?.into_any()),
        };
        let keywords = PyDict::new(py);
        keywords.set_item("debug", debug)?;
        keywords.set_item("loop_factory", factory)?;
        let inner = stdlib(py).runner_class.bind(py).call((), Some(&keywords))?.unbind();
        drop(self.inner.replace(py, Some(inner)));
        Ok(())
    }

    /// Makes the loop, and makes it the current one: asyncio does that for loops that do not come from a `loop_factory`.
    fn default_factory(py: Python<'_>, is_current: Arc<AtomicBool>) -> PyResult<Bound<'_, PyCFunction>> {
        PyCFunction::new_closure(py, None, None, move |arguments, _| -> PyResult<Py<PyAny>> {
            let py = arguments.py();
            let event_loop = policy::new_event_loop(py)?;
            stdlib(py).set_event_loop.bind(py).call1((&event_loop,))?;
            is_current.store(true, Ordering::Relaxed);
            Ok(event_loop)
        })
    }
}

#[pymethods]
impl Runner {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(*, debug=None, loop_factory=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::empty()
    }

    #[pyo3(signature = (*, debug = None, loop_factory = None))]
    fn __init__(
        &self,
        py: Python<'_>,
        debug: Option<&Bound<'_, PyAny>>,
        loop_factory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.fill(py, debug, loop_factory)
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    fn __enter__(this: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        this.get().inner(this.py())?.call_method0(intern!(this.py(), "__enter__"))?;
        Ok(this)
    }

    /// The private names of asyncio's runner, of which this is one.
    fn __getattr__<'py>(this: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let inner = this.get().found(this.py());
        if let Some(found) = inner.map_or(Ok(None), |inner| inner.getattr_opt(name))? {
            return Ok(found);
        }
        let class = this.get_type().name()?;
        Err(PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'")))
    }

    fn __exit__(
        this: &Bound<'_, Self>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        exc_traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, exc_value, exc_traceback);
        this.call_method0(intern!(this.py(), "close")).map(drop)
    }

    /// Cancels what is still running, closes asynchronous generators, the executor and the loop.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = self.inner(py)?.call_method0(intern!(py, "close"));
        if self.is_current.swap(false, Ordering::Relaxed) {
            stdlib(py).set_event_loop.bind(py).call1((py.None(),))?;
        }
        closed.map(drop)
    }

    /// The loop, made when it is first asked for.
    fn get_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.inner(py)?.call_method0(intern!(py, "get_loop"))?.unbind())
    }

    /// Runs `coro` and returns its result; `context` is the `contextvars.Context` for it.
    ///
    /// Raises RuntimeError when a loop runs already in this thread or the runner is closed.
    #[pyo3(name = "run", signature = (coro, *, context = None))]
    fn run_coroutine(
        &self,
        py: Python<'_>,
        coro: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let keywords = PyDict::new(py);
        keywords.set_item("context", context)?;
        Ok(self.inner(py)?.call_method(intern!(py, "run"), (coro,), Some(&keywords))?.unbind())
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::gc::PyTraverseError> {
        self.inner.peek(|inner| visit.call(inner)).unwrap_or(Ok(()))
    }
}

/// Runs the coroutine `main` on a new loop and returns its result; everything is cleaned up afterwards.
///
/// Parameters: `debug`, debug mode (None: as the interpreter says); `loop_factory`, what makes the loop (None: `new_event_loop`).
/// Raises RuntimeError when a loop runs already in this thread. <https://docs.python.org/3/library/asyncio-runner.html#asyncio.run>
#[pyfunction]
#[pyo3(signature = (main, *, debug = None, loop_factory = None))]
pub(crate) fn run(
    py: Python<'_>,
    main: &Bound<'_, PyAny>,
    debug: Option<&Bound<'_, PyAny>>,
    loop_factory: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    if stdlib(py).running_loop(py)?.is_some() {
        return Err(exceptions::runtime("asyncio.run() cannot be called from a running event loop"));
    }
    let runner = Runner::empty();
    runner.fill(py, debug, loop_factory)?;
    let outcome = runner.inner(py)?.call_method1(intern!(py, "run"), (main,));
    let closed = runner.close(py);
    match (outcome, closed) {
        (Ok(result), Ok(())) => Ok(result.unbind()),
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => {
            // As in a `with` block: the second is on its way, the first is its context.
            second.raised(py).setattr(intern!(py, "__context__"), first.raised(py))?;
            Err(second)
        }
    }
}
