//! `TaskGroup` (asyncio: taskgroups.py): tasks that end before the block does in which they were started.
//!
//! Each task has one native callback, whose receiver is the group. `block` has what `async with` calls.

mod block;

use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};

use crate::event_loop::{Loop, TaskOptions};
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::{self, Arguments, FastMethod};
use crate::futures::Future;
use crate::futures::callback::DoneAction;
use crate::interop::{shown_class, shown_names};
use crate::tasks::{self, ByAddress, Ended};

/// An asynchronous context manager that waits for the tasks started in it.
///
/// The first exception of a task, other than CancelledError, cancels all others; in the end the exceptions are raised as one ExceptionGroup.
/// <https://docs.python.org/3/library/asyncio-task.html#asyncio.TaskGroup>
#[pyclass(frozen, subclass, weakref, dict, name = "TaskGroup", module = "rasyncio")]
pub(crate) struct TaskGroup {
    state: GilCell<State>,
}

/// Where the block stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Created,
    Entered,
    Exiting,
}

#[derive(Default)]
struct State {
    phase: Phase,
    aborting: bool,
    /// The task around the block was cancelled by the group, which takes that back in the end.
    parent_cancel_requested: bool,
    /// `cancel()` was called before the block began.
    cancel_on_enter: bool,
    event_loop: Option<Py<PyAny>>,
    parent: Option<Py<PyAny>>,
    /// Those that are not done, each with its number in the order of creation.
    tasks: ByAddress<(u64, Py<PyAny>)>,
    next_number: u64,
    errors: Vec<Py<PyAny>>,
    /// The first SystemExit or KeyboardInterrupt.
    base_error: Option<Py<PyAny>>,
    /// What the end of the block waits for.
    on_completed: Option<Py<Future>>,
}

/// asyncio: taskgroups.py `_on_task_done`.
static TASK_DONE: DoneAction =
    DoneAction { name: "TaskGroup._on_task_done", run: on_task_done, awaiter: parent_of };

impl TaskGroup {
    fn tasks<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let mut numbered: Vec<_> = self.state.with(py, |state| {
            state.tasks.values().map(|(number, task)| (*number, task.clone_ref(py).into_bound(py))).collect()
        });
        numbered.sort_unstable_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, task)| task).collect()
    }

    fn parent<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.parent.as_ref().map(|parent| parent.clone_ref(py).into_bound(py)))
    }

    /// Cancels every task of the group.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.state.with(py, |state| state.aborting = true);
        for task in self.tasks(py) {
            if !tasks::is_done(&task)? {
                tasks::cancel(&task, None)?;
            }
        }
        Ok(())
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
        let py = this.py();
        let owned = task.clone().unbind();
        let (old, aborting) = this.get().state.with(py, |state| {
            let number = state.next_number;
            state.next_number += 1;
            (state.tasks.insert(task.as_ptr().addr(), (number, owned)), state.aborting)
        });
        drop(old);
        tasks::when_done(task, &TASK_DONE, this.as_any())?;
        if aborting && !tasks::is_done(task)? {
            // It was started eagerly and ended the group before it belonged to it.
            tasks::cancel(task, None)?;
        }
        Ok(())
    }

    /// Why no task can be started now.
    fn check_open(this: &Bound<'_, Self>) -> PyResult<()> {
        let problem = this.get().state.with(this.py(), |state| {
            if state.phase == Phase::Created {
                Some("has not been entered")
            } else if state.phase == Phase::Exiting && state.tasks.is_empty() {
                Some("is finished")
            } else if state.aborting {
                Some("is shutting down")
            } else {
                None
            }
        });
        match problem {
            None => Ok(()),
            Some(problem) => Err(exceptions::runtime(format!("TaskGroup {} {problem}", this.repr()?))),
        }
    }
}

/// Whether `exception` is one that asyncio lets through everything.
fn is_base_error(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PySystemExit>() || exception.is_instance_of::<PyKeyboardInterrupt>()
}

fn on_task_done(receiver: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = receiver.py();
    let group = receiver.cast::<TaskGroup>()?;
    let own = group.get();
    let (removed, completed) = own.state.with(py, |state| {
        let removed = state.tasks.remove(&task.as_ptr().addr());
        let completed = if state.tasks.is_empty() {
            state.on_completed.as_ref().map(|future| future.clone_ref(py).into_bound(py))
        } else {
            None
        };
        (removed, completed)
    });
    drop(removed.map(|(_, task)| task.into_bound(py)));
    if let Some(future) = completed
        && !future.get().is_done(py)
    {
        Future::finish(&future, true.into_pyobject(py)?.to_owned().into_any().unbind())?;
    }
    match Ended::of(task)? {
        Ended::Cancelled | Ended::Result(_) => Ok(()),
        Ended::Exception(exception) => on_task_failed(own, task, &exception),
    }
}

fn on_task_failed(group: &TaskGroup, task: &Bound<'_, PyAny>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = task.py();
    let is_base = is_base_error(exception);
    let (kept, is_first) = (exception.clone().unbind(), exception.clone().unbind());
    let spare = group.state.with(py, |state| {
        state.errors.push(kept);
        if is_base && state.base_error.is_none() {
            state.base_error.replace(is_first)
        } else {
            Some(is_first)
        }
    });
    drop(spare);
    if let Some(parent) = group.parent(py)
        && tasks::is_done(&parent)?
    {
        let report = PyDict::new(py);
        let text = format!(
            "Task {} has errored out but its parent task {} is already completed",
            task.repr()?,
            parent.str()?
        );
        report.set_item("message", text)?;
        report.set_item("exception", exception)?;
        report.set_item("task", task)?;
        let event_loop = group.state.with(py, |state| state.event_loop.as_ref().map(|own| own.clone_ref(py)));
        if let Some(event_loop) = event_loop {
            event_loop.bind(py).call_method1(intern!(py, "call_exception_handler"), (report,))?;
        }
        return Ok(());
    }
    let is_new = group.state.with(py, |state| !state.aborting && !state.parent_cancel_requested);
    if is_new {
        group.abort(py)?;
        group.cancel_parent(py)?;
    }
    Ok(())
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

    fn _abort(&self, py: Python<'_>) -> PyResult<()> {
        self.abort(py)
    }

    #[getter]
    fn _tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        PySet::new(py, self.tasks(py))
    }

    #[getter]
    fn _errors(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.state.with(py, |state| state.errors.iter().map(|error| error.clone_ref(py)).collect())
    }

    #[getter]
    fn _base_error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.base_error.as_ref().map(|error| error.clone_ref(py)))
    }

    #[getter]
    fn _parent_task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.parent(py)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py)))
    }

    #[getter]
    fn _entered(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.phase != Phase::Created)
    }

    #[getter]
    fn _exiting(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.phase == Phase::Exiting)
    }

    #[getter]
    fn _aborting(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.aborting)
    }

    #[getter]
    fn _parent_cancel_requested(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.parent_cancel_requested)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (tasks, errors, mood) = self.state.with(py, |state| {
            let mood = match state.phase {
                _ if state.aborting => " cancelling",
                Phase::Created => "",
                Phase::Entered | Phase::Exiting => " entered",
            };
            (state.tasks.len(), state.errors.len(), mood)
        });
        let count = |name, number| if number == 0 { String::new() } else { format!(" {name}={number}") };
        format!("<TaskGroup{}{}{mood}>", count("tasks", tasks), count("errors", errors))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            visit.call(&state.event_loop)?;
            visit.call(&state.parent)?;
            visit.call(&state.base_error)?;
            visit.call(&state.on_completed)?;
            state.errors.iter().try_for_each(|error| visit.call(error))?;
            state.tasks.values().try_for_each(|(_, task)| visit.call(task))
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
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.request_cancel(py)
    }
}

impl TaskGroup {
    fn request_cancel(&self, py: Python<'_>) -> PyResult<()> {
        let goes_on = self.state.with(py, |state| {
            state.cancel_on_enter |= state.phase == Phase::Created;
            let is_over = state.phase == Phase::Exiting && state.tasks.is_empty();
            state.phase != Phase::Created && !is_over && !state.aborting
        });
        if !goes_on {
            return Ok(());
        }
        self.abort(py)?;
        let asks_parent =
            self.state.with(py, |state| state.parent.is_some() && !state.parent_cancel_requested);
        if asks_parent { self.cancel_parent(py) } else { Ok(()) }
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
