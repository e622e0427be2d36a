//! Futures and tasks of the loop.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use super::Loop;
use crate::ffi::call::{attached, call_method_none};
use crate::ffi::methods::{Arguments, FastMethod};
use crate::ffi::send;
use crate::futures::Future;
use crate::interop::stdlib;
use crate::tasks::{EagerTaskFactory, Task};

/// The running loop, or else what `asyncio.get_event_loop()` gives: the loop of a future or task that was made without one.
pub(crate) fn current_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    if let Some(running) = stdlib(py).running_loop(py)? {
        return Ok(running);
    }
    py.import("asyncio.events")?.call_method0("get_event_loop")
}

/// The class `EventLoop`, which the module derives from `Loop`.
static EVENT_LOOP: PyOnceLock<Py<PyType>> = PyOnceLock::new();

impl Loop {
    /// `event_loop.create_future()`, of our loop or any other.
    #[inline]
    pub(crate) fn new_future<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        match event_loop.cast::<Self>() {
            Ok(native) if !native.get().makes_other_futures() => Ok(Self::create_future(native)?.into_any()),
            _ => call_method_none(event_loop, intern!(py, "create_future")),
        }
    }

    /// Makes `class` known as `EventLoop`.
    pub(crate) fn remember_class(class: &Bound<'_, PyType>) {
        // Only the first import of a process comes here.
        let _ = EVENT_LOOP.set(class.py(), class.clone().unbind());
    }

    /// The class `EventLoop`.
    #[inline]
    pub(super) fn class(py: Python<'_>) -> Option<&Bound<'_, PyType>> {
        EVENT_LOOP.get(py).map(|class| class.bind(py))
    }

    /// A `Future` of this loop.
    #[inline]
    pub(crate) fn create_future<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Future>> {
        let py = this.py();
        let future = Future::make(this.as_any())?;
        if this.get().is_debug(py) {
            attached(py, || future.get().initialise(this.as_any()))?;
        }
        Ok(future)
    }
}

#[pymethods]
impl Loop {
    /// Makes `factory(loop, coro, **kwargs)` create the tasks; None: the loop makes them itself.
    fn set_task_factory(&self, py: Python<'_>, factory: Option<Py<PyAny>>) -> PyResult<()> {
        if factory.as_ref().is_some_and(|factory| !factory.bind(py).is_callable()) {
            return Err(PyTypeError::new_err("task factory must be a callable or None"));
        }
        self.settings.put(py, |settings| &mut settings.task_factory, factory);
        Ok(())
    }

    /// The task factory, or None.
    fn get_task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings.with(py, |settings| settings.task_factory.as_ref().map(|factory| factory.clone_ref(py)))
    }

    #[getter]
    fn _task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_task_factory(py)
    }
}

/// `EventLoop.create_task()`.
pub(crate) struct CreateTask;

/// What `create_task()` was given beside the coroutine.
#[derive(Default)]
pub(crate) struct TaskOptions<'py> {
    name: Option<Bound<'py, PyAny>>,
    context: Option<Bound<'py, PyAny>>,
    eager_start: Option<Bound<'py, PyAny>>,
    /// For the task factory only.
    others: Option<Bound<'py, PyDict>>,
}

impl<'py> TaskOptions<'py> {
    pub(crate) fn of(arguments: &Arguments<'_, 'py>, py: Python<'py>) -> PyResult<Self> {
        let mut options = Self::default();
        arguments.keywords(|name, value| {
            let given = (!value.is_none()).then(|| value.clone());
            if name.eq(intern!(py, "name"))? {
                options.name = given;
            } else if name.eq(intern!(py, "context"))? {
                options.context = given;
            } else if name.eq(intern!(py, "eager_start"))? {
                options.eager_start = given;
            } else {
                options.others.get_or_insert_with(|| PyDict::new(py)).set_item(name, value)?;
            }
            Ok(())
        })?;
        Ok(options)
    }

    /// `eager_start=` came with 3.13.3; any keyword that is not known is a TypeError.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.eager_start.is_some() && py.version_info() < (3, 13, 3) {
            return Err(unexpected_keyword("create_task", intern!(py, "eager_start")));
        }
        match &self.others {
            Some(others) => Err(unexpected_keyword("create_task", &others.keys().get_item(0)?)),
            None => Ok(()),
        }
    }
}

impl FastMethod for CreateTask {
    type Class = Loop;
    const NAME: &'static CStr = c"create_task";
    #[cfg(not(Py_3_13))]
    const DOCUMENTATION: &'static CStr = c"create_task($self, coro, *, name=None, context=None)\n--\n\n\
        Schedules a coroutine as a `Task`, or as what the task factory makes of it.\n\n\
        Parameters: `name`, `context` (default: a copy of the current one).";
    #[cfg(all(Py_3_13, not(Py_3_14)))]
    const DOCUMENTATION: &'static CStr = c"create_task($self, coro, *, name=None, context=None, **kwargs)\n--\n\n\
        Schedules a coroutine as a `Task`, or as what the task factory makes of it.\n\n\
        Parameters: `name`, `context` (default: a copy of the current one); others are for the task factory, or \
        `eager_start` for the task.";
    #[cfg(Py_3_14)]
    const DOCUMENTATION: &'static CStr = c"create_task($self, coro, **kwargs)\n--\n\n\
        Schedules a coroutine as a `Task`, or as what the task factory makes of it.\n\n\
        Parameters: `name`, `context` (default: a copy of the current one); others are for the task factory, or \
        `eager_start` for the task.";

    #[inline]
    fn call<'py>(this: &Bound<'py, Loop>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let coroutine = arguments.first("create_task", "coro")?;
        if arguments.positional() > 1 {
            let count = arguments.positional() + 1;
            return Err(PyTypeError::new_err(format!(
                "EventLoop.create_task() takes 2 positional arguments but {count} were given"
            )));
        }
        Loop::spawn(this, coroutine, TaskOptions::of(arguments, py)?)
    }
}

impl Loop {
    /// `create_task()` of a loop that is ours.
    #[inline]
    pub(crate) fn spawn<'py>(
        this: &Bound<'py, Self>,
        coroutine: &Bound<'py, PyAny>,
        options: TaskOptions<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        this.get().check_usable()?;
        let factory = this
            .get()
            .settings
            .with(py, |settings| settings.task_factory.as_ref().map(|factory| factory.clone_ref(py)));
        let mut begins_at_once = false;
        if let Some(factory) = factory {
            let factory = factory.bind(py);
            begins_at_once = factory
                .cast_exact::<EagerTaskFactory>()
                .is_ok_and(|factory| options.others.is_none() && factory.get().makes_own_tasks(py));
            if !begins_at_once {
                return Self::from_factory(this, factory, coroutine, options);
            }
        }
        options.check(py)?;
        if !send::is_coroutine(coroutine)
            && !stdlib(py).coroutines.iscoroutine.bind(py).call1((coroutine,))?.is_truthy()?
        {
            return Err(PyTypeError::new_err(format!("a coroutine was expected, got {}", coroutine.repr()?)));
        }
        let context = Task::context_for(py, options.context.as_ref())?;
        let task = Task::make(this, coroutine.clone().unbind(), options.name.as_ref(), context)?;
        let eager = match options.eager_start {
            Some(eager) => eager.is_truthy()?,
            None => begins_at_once,
        };
        if eager {
            Task::start(&task, this.as_any(), true)?;
        } else {
            Task::start_later(&task, this)?;
        }
        Ok(task.into_any())
    }

    /// What the user's factory makes of a coroutine, called as this version of asyncio calls it.
    fn from_factory<'py>(
        this: &Bound<'py, Self>,
        factory: &Bound<'py, PyAny>,
        coroutine: &Bound<'py, PyAny>,
        options: TaskOptions<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if py.version_info() < (3, 13, 3) {
            options.check(py)?;
        }
        let keywords = options.others.unwrap_or_else(|| PyDict::new(py));
        if let Some(context) = options.context {
            keywords.set_item("context", context)?;
        }
        if let Some(eager_start) = options.eager_start {
            keywords.set_item("eager_start", eager_start)?;
        }
        if py.version_info() >= (3, 14) {
            // From 3.14 the name too is the factory's.
            if let Some(name) = options.name {
                keywords.set_item("name", name)?;
            }
            return factory.call((this, coroutine), Some(&keywords));
        }
        let task = factory.call((this, coroutine), Some(&keywords))?;
        if let Some(name) = options.name
            && let Some(set_name) = task.getattr_opt(intern!(py, "set_name"))?
        {
            set_name.call1((name,))?;
        }
        Ok(task)
    }
}

fn unexpected_keyword(method: &str, name: &Bound<'_, impl Sized>) -> PyErr {
    PyTypeError::new_err(format!(
        "EventLoop.{method}() got an unexpected keyword argument '{}'",
        name.as_any()
    ))
}
