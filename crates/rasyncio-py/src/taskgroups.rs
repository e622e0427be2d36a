//! `TaskGroup` (asyncio: taskgroups.py): tasks that end before the block does in which they were started.
//!
//! Each task has one native callback, whose receiver is the group. `block` has what `async with` calls, `members` the tasks that are not done,
//! `private` the names that subclasses read, set and replace: of a group that is not plain every step is asked for by its name.

mod block;
mod members;
mod private;

use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::event_loop::{Loop, TaskOptions};
use crate::exceptions;
use crate::ffi::attributes;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::{self, Arguments, FastMethod};
use crate::futures::Future;
use crate::futures::callback::DoneAction;
use crate::interop::{shown_class, shown_names};
use crate::tasks::{self, Ended};

use self::members::Members;

/// An asynchronous context manager that waits for the tasks started in it.
///
/// The first exception of a task, other than CancelledError, cancels all others; in the end the exceptions are raised as one ExceptionGroup.
/// <https://docs.python.org/3/library/asyncio-task.html#asyncio.TaskGroup>
#[pyclass(frozen, subclass, weakref, dict, name = "TaskGroup", module = "rasyncio")]
pub(crate) struct TaskGroup {
    state: GilCell<State>,
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "asyncio's flags, each of which a subclass may set by itself"
)]
struct State {
    entered: bool,
    exiting: bool,
    aborting: bool,
    /// The task around the block was cancelled by the group, which takes that back in the end.
    parent_cancel_requested: bool,
    /// `cancel()` was called before the block began.
    cancel_on_enter: bool,
    event_loop: Option<Py<PyAny>>,
    parent: Option<Py<PyAny>>,
    tasks: Members,
    /// What failed, in a list from the first one on.
    errors: Option<Py<PyAny>>,
    /// The first SystemExit or KeyboardInterrupt.
    base_error: Option<Py<PyAny>>,
    /// What the end of the block waits for.
    on_completed: Option<Py<PyAny>>,
}

/// asyncio: taskgroups.py `_on_task_done`.
static TASK_DONE: DoneAction =
    DoneAction { name: "TaskGroup._on_task_done", run: on_task_done, awaiter: parent_of };

/// The same for a group that may have a method of its own for it.
static TASK_DONE_TELLS: DoneAction =
    DoneAction { name: "TaskGroup._on_task_done", run: tell_task_done, awaiter: parent_of };

impl TaskGroup {
    /// Nobody can have changed what its methods do.
    #[inline]
    fn is_plain(this: &Bound<'_, Self>) -> bool {
        attributes::is_plain::<Self>(this.as_any())
    }

    fn parent<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.parent.as_ref().map(|parent| parent.clone_ref(py).into_bound(py)))
    }

    /// Cancels every task of the group, unless a subclass means something else by it.
    fn abort(this: &Bound<'_, Self>) -> PyResult<()> {
        if Self::is_plain(this) {
            Self::cancel_tasks(this)
        } else {
            this.call_method0(intern!(this.py(), "_abort")).map(drop)
        }
    }

    fn cancel_tasks(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().state.with(this.py(), |state| state.aborting = true);
        for task in Members::all(this)? {
            if !tasks::is_done(&task)? {
                tasks::cancel(&task, None)?;
            }
        }
        Ok(())
    }

    /// Whether `exception` is one that asyncio lets through everything.
    fn is_base_error(this: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<bool> {
        if Self::is_plain(this) {
            return Ok(is_base_error(exception));
        }
        this.call_method1(intern!(this.py(), "_is_base_error"), (exception,))?.is_truthy()
    }

    fn error_count(&self, py: Python<'_>) -> PyResult<usize> {
        let errors = self.state.with(py, |state| state.errors.as_ref().map(|errors| errors.clone_ref(py)));
        errors.map_or(Ok(0), |errors| errors.bind(py).len())
    }

    fn add_error(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        self._errors(py).call_method1(intern!(py, "append"), (error,)).map(drop)
    }

    /// The first one counts.
    fn keep_base_error(&self, error: &Bound<'_, PyAny>) {
        let kept = error.clone().unbind();
        let spare = self.state.with(error.py(), |state| match state.base_error {
            None => state.base_error.replace(kept),
            Some(_) => Some(kept),
        });
        drop(spare);
    }

    /// Cancels the task around the block, in which the group waits or the block still runs.
    fn cancel_parent(&self, py: Python<'_>) -> PyResult<()> {
        self.state.with(py, |state| state.parent_cancel_requested = true);
        match self.parent(py) {
            Some(parent) => tasks::cancel(&parent, None).map(drop),
            None => Ok(()),
        }
    }

    /// The task belongs to the group from now on.
    #[inline]
    fn adopt(this: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let aborting = Members::add(this, task)?;
        let action = if Self::is_plain(this) { &TASK_DONE } else { &TASK_DONE_TELLS };
        tasks::when_done(task, action, this.as_any())?;
        if aborting && !tasks::is_done(task)? {
            // It was started eagerly and ended the group before it belonged to it.
            tasks::cancel(task, None)?;
        }
        Ok(())
    }

    /// Why no task can be started now.
    fn check_open(this: &Bound<'_, Self>) -> PyResult<()> {
        let (entered, exiting, aborting) =
            this.get().state.with(this.py(), |state| (state.entered, state.exiting, state.aborting));
        let problem = if !entered {
            "has not been entered"
        } else if exiting && Members::is_empty(this)? {
            "is finished"
        } else if aborting {
            "is shutting down"
        } else {
            return Ok(());
        };
        Err(exceptions::runtime(format!("TaskGroup {} {problem}", this.repr()?)))
    }
}

/// Whether `exception` is one that asyncio lets through everything.
fn is_base_error(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PySystemExit>() || exception.is_instance_of::<PyKeyboardInterrupt>()
}

fn tell_task_done(receiver: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    receiver.call_method1(intern!(receiver.py(), "_on_task_done"), (task,)).map(drop)
}

fn on_task_done(receiver: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let group = receiver.cast::<TaskGroup>()?;
    if Members::discard(group, task)?
        && let Some(future) = group.get()._on_completed_fut(task.py())
    {
        complete(future.bind(task.py()))?;
    }
    match Ended::of(task)? {
        Ended::Cancelled | Ended::Result(_) => Ok(()),
        Ended::Exception(exception) => on_task_failed(group, task, &exception),
    }
}

/// Wakes the end of the block.
fn complete(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if tasks::is_done(future)? {
        return Ok(());
    }
    match future.cast_exact::<Future>() {
        Ok(own) => Future::finish(own, true.into_pyobject(py)?.to_owned().into_any().unbind()),
        Err(_) => future.call_method1(intern!(py, "set_result"), (true,)).map(drop),
    }
}

fn on_task_failed(
    group: &Bound<'_, TaskGroup>,
    task: &Bound<'_, PyAny>,
    exception: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (py, own) = (task.py(), group.get());
    own.add_error(exception)?;
    if TaskGroup::is_base_error(group, exception)? {
        own.keep_base_error(exception);
    }
    if let Some(parent) = own.parent(py)
        && tasks::is_done(&parent)?
    {
        return report_orphan(own, task, exception, &parent);
    }
    let is_new = own.state.with(py, |state| !state.aborting && !state.parent_cancel_requested);
    if is_new {
        TaskGroup::abort(group)?;
        own.cancel_parent(py)?;
    }
    Ok(())
}

fn report_orphan(
    group: &TaskGroup,
    task: &Bound<'_, PyAny>,
    exception: &Bound<'_, PyAny>,
    parent: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = task.py();
    let report = PyDict::new(py);
    let text = format!(
        "Task {} has errored out but its parent task {} is already completed",
        task.repr()?,
        parent.str()?
    );
    report.set_item("message", text)?;
    report.set_item("exception", exception)?;
    report.set_item("task", task)?;
    match group._loop(py) {
        Some(own) => own.bind(py).call_method1(intern!(py, "call_exception_handler"), (report,)).map(drop),
        None => Ok(()),
    }
}

fn parent_of(receiver: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    Some(receiver.cast::<TaskGroup>().ok()?.get().parent(receiver.py())?.unbind())
}

#[pymethods]
impl TaskGroup {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self { state: GilCell::default() }
    }

    fn __init__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let (entered, aborting) = this.get().state.with(py, |state| (state.entered, state.aborting));
        let mood = match (aborting, entered) {
            (true, _) => " cancelling",
            (false, true) => " entered",
            (false, false) => "",
        };
        let (tasks, errors) = (Members::count(this)?, this.get().error_count(py)?);
        let count = |name, number| if number == 0 { String::new() } else { format!(" {name}={number}") };
        Ok(format!("<TaskGroup{}{}{mood}>", count("tasks", tasks), count("errors", errors)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            visit.call(&state.event_loop)?;
            visit.call(&state.parent)?;
            visit.call(&state.base_error)?;
            visit.call(&state.on_completed)?;
            visit.call(&state.errors)?;
            state.tasks.visit(&visit)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}

#[cfg(Py_3_15)]
#[pymethods]
impl TaskGroup {
    /// Cancels the tasks of the group and the block itself, which then ends without an error of its own.
    ///
    /// Before the block began, it is cancelled when it does; after it ended, nothing happens.
    fn cancel(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::request_cancel(this)
    }
}

impl TaskGroup {
    fn request_cancel(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        let (entered, exiting, aborting) = own.state.with(py, |state| {
            state.cancel_on_enter |= !state.entered;
            (state.entered, state.exiting, state.aborting)
        });
        if !entered || aborting || (exiting && Members::is_empty(this)?) {
            return Ok(());
        }
        Self::abort(this)?;
        let asks_parent =
            own.state.with(py, |state| state.parent.is_some() && !state.parent_cancel_requested);
        if asks_parent { own.cancel_parent(py) } else { Ok(()) }
    }
}

/// `TaskGroup.create_task()`.
pub(crate) struct CreateTaskInGroup;

impl FastMethod for CreateTaskInGroup {
    type Class = TaskGroup;
    const NAME: &'static CStr = c"create_task";
    #[cfg(not(Py_3_14))]
    const DOCUMENTATION: &'static CStr = c"create_task($self, coro, *, name=None, context=None)\n--\n\n\
        Starts a task that belongs to the group, and returns it.\n\n\
        Parameters as of `asyncio.create_task()`. Raises RuntimeError before the block, after it, and once the group is being cancelled.";
    #[cfg(Py_3_14)]
    const DOCUMENTATION: &'static CStr = c"create_task($self, coro, **kwargs)\n--\n\n\
        Starts a task that belongs to the group, and returns it.\n\n\
        Parameters as of `asyncio.create_task()`. Raises RuntimeError before the block, after it, and once the group is being cancelled.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, TaskGroup>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let coroutine = arguments.first("TaskGroup.create_task", "coro")?;
        if arguments.positional() > 1 {
            let count = arguments.positional() + 1;
            return Err(PyTypeError::new_err(format!(
                "TaskGroup.create_task() takes 2 positional arguments but {count} were given"
            )));
        }
        if let Err(error) = TaskGroup::check_open(this) {
            // Up to 3.12 it stays the caller's.
            if cfg!(Py_3_13) {
                coroutine.call_method0(intern!(py, "close"))?;
            }
            return Err(error);
        }
        let event_loop = this.get()._loop(py).ok_or_else(|| exceptions::runtime("no running event loop"))?;
        let event_loop = event_loop.bind(py);
        let task = if let Some(own) = Loop::unchanged(event_loop) {
            Loop::spawn(own, coroutine, TaskOptions::of(arguments, py)?)?
        } else {
            let keywords = PyDict::new(py);
            arguments.keywords(|name, value| keywords.set_item(name, value))?;
            event_loop.call_method(intern!(py, "create_task"), (coroutine,), Some(&keywords))?
        };
        TaskGroup::adopt(this, &task)?;
        Ok(task)
    }
}

/// Adds the class's methods.
pub(crate) fn add(py: Python<'_>) -> PyResult<()> {
    methods::install::<CreateTaskInGroup>(py)?;
    methods::install::<block::Enter>(py)?;
    methods::install::<block::Exit>(py)
}
