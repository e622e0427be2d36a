//! What Python sees of a `Task`.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyGenericAlias, PyString, PyTuple, PyType};

use super::{Name, Task, TaskState, step};
use crate::event_loop::{self, Loop};
use crate::ffi::cell::GilCell;
use crate::ffi::finalize;
use crate::futures::{Future, with_own_name};
use crate::interop::stdlib;

/// How a task is made from Python; `eager_start=` came with 3.12.
#[cfg(Py_3_12)]
#[pymethods]
impl Task {
    // The arguments are for `__init__`, which a subclass may define with others.
    #[new]
    #[pyo3(
        signature = (*_args, **_kwargs),
        text_signature = "(coro, *, loop=None, name=None, context=None, eager_start=False)"
    )]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        Self::uninitialised()
    }

    /// Schedules `coro` on `loop` (default: the running one).
    ///
    /// Parameters: `name`, any object, shown as text; `context`, the `contextvars.Context` to run in (default: a copy of the current one);
    /// `eager_start`, whether the first step runs at once when the loop runs. Raises TypeError when `coro` is no coroutine.
    #[pyo3(signature = (coro, *, r#loop = None, name = None, context = None, eager_start = false))]
    fn __init__(
        this: &Bound<'_, Self>,
        coro: &Bound<'_, PyAny>,
        r#loop: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = PyAnyMethods::is_truthy)] eager_start: bool,
    ) -> PyResult<()> {
        Self::initialise(this, coro, r#loop, name, context, eager_start)
    }
}

/// How a task is made from Python before `eager_start=`.
#[cfg(not(Py_3_12))]
#[pymethods]
impl Task {
    // The arguments are for `__init__`, which a subclass may define with others.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(coro, *, loop=None, name=None, context=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        Self::uninitialised()
    }

    /// Schedules `coro` on `loop` (default: the running one).
    ///
    /// Parameters: `name`, any object, shown as text; `context`, the `contextvars.Context` to run in (default: a copy of the current one).
    /// Raises TypeError when `coro` is no coroutine.
    #[pyo3(signature = (coro, *, r#loop = None, name = None, context = None))]
    fn __init__(
        this: &Bound<'_, Self>,
        coro: &Bound<'_, PyAny>,
        r#loop: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::initialise(this, coro, r#loop, name, context, false)
    }
}

#[pymethods]
impl Task {
    /// `asyncio.Task`, so that `isinstance` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        stdlib(py).task_class.clone_ref(py)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(cls.py(), cls.as_any(), item)
    }

    /// Asks the task to stop: CancelledError is raised inside of the coroutine. Returns False when it is done already.
    #[pyo3(signature = (msg = None))]
    fn cancel(this: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        Self::request_cancel(this, msg)
    }

    /// How many requests to cancel are pending: calls of `cancel()` less calls of `uncancel()`.
    fn cancelling(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.cancel_requests)
    }

    /// Takes one request to cancel back; returns how many are left.
    pub(super) fn uncancel(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| {
            state.cancel_requests = state.cancel_requests.saturating_sub(1);
            if cfg!(Py_3_13) && state.cancel_requests == 0 {
                state.must_cancel = false;
            }
            state.cancel_requests
        })
    }

    /// The coroutine, or None for a task that finished while it was started eagerly.
    fn get_coro(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.coroutine.as_ref().map(|coroutine| coroutine.clone_ref(py)))
    }

    /// The `contextvars.Context` of the task.
    fn get_context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.context(py)
    }

    /// The name of the task.
    fn get_name(&self, py: Python<'_>) -> Py<PyAny> {
        let number = self.state.with(py, |state| match &state.name {
            Name::Text(name) => Ok(name.clone_ref(py)),
            Name::Number(number) => Err(*number),
        });
        number.unwrap_or_else(|number| {
            let text = PyString::new(py, &format!("Task-{number}")).into_any().unbind();
            let kept = text.clone_ref(py);
            self.state.put(py, |state| &mut state.name, Name::Text(kept));
            text
        })
    }

    /// Names the task; any object is turned into text.
    #[pyo3(signature = (value, /))]
    fn set_name(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = Name::of(Some(value))?;
        drop(self.state.with(value.py(), |state| std::mem::replace(&mut state.name, name)));
        Ok(())
    }

    /// The frames of the suspended coroutine, newest last; at most `limit` of them.
    #[pyo3(signature = (*, limit = None))]
    fn get_stack<'py>(
        this: &Bound<'py, Self>,
        limit: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stdlib(this.py()).shows.get_stack.bind(this.py()).call1((this, limit))
    }

    /// Prints the stack or traceback to `file` (default: standard error).
    #[pyo3(signature = (*, limit = None, file = None))]
    fn print_stack<'py>(
        this: &Bound<'py, Self>,
        limit: Option<&Bound<'py, PyAny>>,
        file: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stdlib(this.py()).shows.print_stack.bind(this.py()).call1((this, limit, file))
    }

    #[pyo3(signature = (result, /))]
    fn set_result(&self, result: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = result;
        Err(PyRuntimeError::new_err("Task does not support set_result operation"))
    }

    #[pyo3(signature = (exception, /))]
    fn set_exception(&self, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = exception;
        Err(PyRuntimeError::new_err("Task does not support set_exception operation"))
    }

    #[getter]
    fn _coro(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_coro(py)
    }

    #[getter]
    fn _fut_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.waiter.as_ref().map(|waiter| waiter.clone_ref(py)))
    }

    #[getter]
    fn _must_cancel(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.must_cancel)
    }

    /// anyio takes a cancellation back through this.
    #[setter(_must_cancel)]
    fn set_must_cancel(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.must_cancel = value);
    }

    #[getter]
    fn _num_cancels_requested(&self, py: Python<'_>) -> u32 {
        self.cancelling(py)
    }

    #[getter]
    fn _log_destroy_pending(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.log_destroy_pending)
    }

    #[setter(_log_destroy_pending)]
    fn set_log_destroy_pending(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.log_destroy_pending = value);
    }

    /// The finalizer of subclasses: a class that Python makes looks for this name, and does not inherit the slot without it.
    fn __del__(this: &Bound<'_, Self>) {
        finalize::say_last_words(this);
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        this.as_super().get().event_loop(py)?;
        with_own_name(this.as_any(), "Task", &stdlib(py).shows.task)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| state.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped =
            self.state.with(py, |state| (state.coroutine.take(), state.context.take(), state.waiter.take()));
        drop(dropped);
    }
}

impl Task {
    fn uninitialised() -> PyClassInitializer<Self> {
        let future = Future { state: GilCell::new(crate::futures::state::FutureState::uninitialised()) };
        let task = Self { state: GilCell::new(TaskState::uninitialised()) };
        PyClassInitializer::from(future).add_subclass(task)
    }

    fn initialise(
        this: &Bound<'_, Self>,
        coro: &Bound<'_, PyAny>,
        event_loop: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        eager_start: bool,
    ) -> PyResult<()> {
        let py = this.py();
        Future::check_may_initialise(this.as_super())?;
        if !stdlib(py).coroutines.iscoroutine.bind(py).call1((coro,))?.is_truthy()? {
            return Err(PyTypeError::new_err(format!("a coroutine was expected, got {}", coro.repr()?)));
        }
        let event_loop = match event_loop {
            Some(event_loop) => event_loop.clone(),
            None => event_loop::current_loop(py)?,
        };
        this.as_super().get().initialise(&event_loop)?;
        let context = Self::context_for(py, context)?;
        let fresh = TaskState::of(coro.clone().unbind(), Name::of(name)?, context);
        drop(this.get().state.replace(py, fresh));
        Self::start(this, &event_loop, eager_start)
    }

    /// Enters the registry of our loop and schedules the first step.
    #[inline]
    pub(crate) fn start_later(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        let slot = event_loop.get().remember_task(py, this.clone().unbind());
        this.get().state.with(py, |state| state.slot = Some(slot));
        step::schedule_next(event_loop, this)
    }

    /// Enters the loop's registry and schedules the first step, or runs it now.
    pub(crate) fn start(this: &Bound<'_, Self>, event_loop: &Bound<'_, PyAny>, eager: bool) -> PyResult<()> {
        let py = this.py();
        let runs = eager && event_loop.call_method0(intern!(py, "is_running"))?.is_truthy()?;
        // Before the first step: what runs in it may ask for all tasks.
        match event_loop.cast::<Loop>() {
            Ok(native) => {
                let slot = native.get().remember_task(py, this.clone().unbind());
                this.get().state.with(py, |state| state.slot = Some(slot));
            }
            Err(_) => stdlib(py).register_task(this.as_any())?,
        }
        let started = if runs { step::start_eagerly(this) } else { step::schedule_step(this, None) };
        if started.is_err() {
            step::leave_registry(event_loop.cast::<Loop>().ok(), this)?;
        }
        started
    }
}
