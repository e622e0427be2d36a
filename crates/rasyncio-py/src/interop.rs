//! The only room that imports the standard library's asyncio, logging, ssl and contextvars; `groups` has them in
//! part, `registry` what changes something there.
//!
//! Names are taken once, at import, before `install()` can replace them: what stands here is always the standard library's own.

mod groups;
mod registry;
mod streams;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PySet, PyType};

pub(crate) use streams::Streams;

use crate::ffi::call::call_two;
use crate::ffi::current_task::RunningTaskPlace;
use groups::CallGraph;
pub(crate) use groups::{Concurrent, Coroutines, Primitives, Resolver, Sendfile, Shows, Ssl, Subprocess};
pub(crate) use registry::extend_all_tasks;

/// What rasyncio uses of the standard library.
pub(crate) struct Stdlib {
    pub(crate) cancelled_error: Py<PyType>,
    pub(crate) invalid_state_error: Py<PyType>,
    pub(crate) future_class: Py<PyAny>,
    pub(crate) task_class: Py<PyAny>,
    pub(crate) handle_class: Py<PyAny>,
    pub(crate) timer_handle_class: Py<PyAny>,
    /// From 3.14.
    pub(crate) thread_safe_handle_class: Option<Py<PyAny>>,
    pub(crate) server_class: Py<PyAny>,
    pub(crate) transport_class: Py<PyAny>,
    pub(crate) read_transport_class: Py<PyAny>,
    pub(crate) flow_control_mixin: Py<PyAny>,
    pub(crate) datagram_transport_class: Py<PyAny>,
    pub(crate) buffered_protocol: Py<PyAny>,
    pub(crate) subprocess: Subprocess,
    pub(crate) shows: Shows,
    pub(crate) format_callback: Py<PyAny>,
    /// It hides a callback's arguments unless it is told `debug=True`.
    pub(crate) format_callback_hides: bool,
    pub(crate) extract_stack: Py<PyAny>,
    pub(crate) coroutines: Coroutines,
    pub(crate) concurrent: Concurrent,
    /// `functools.partial`.
    pub(crate) partial: Py<PyAny>,
    /// From 3.14.
    call_graph: Option<CallGraph>,
    pub(crate) isfuture: Py<PyAny>,
    pub(crate) isawaitable: Py<PyAny>,
    /// `asyncio.current_task()`, which knows the tasks of other threads too.
    pub(crate) current_task: Py<PyAny>,
    pub(crate) logger: Py<PyAny>,
    pub(crate) socket_class: Py<PyAny>,
    /// What it derives from: the sockets of the interpreter itself.
    pub(crate) native_socket_class: Py<PyAny>,
    pub(crate) transport_socket: Py<PyAny>,
    pub(crate) resolver: Resolver,
    pub(crate) sendfile: Sendfile,
    /// The module `asyncio.constants`, for what programs change there.
    pub(crate) constants: Py<PyAny>,
    /// `sys.audit`.
    pub(crate) audit: Py<PyAny>,
    pub(crate) streams: Streams,
    /// None where Python was built without OpenSSL.
    pub(crate) ssl: Option<Ssl>,
    pub(crate) runner_class: Py<PyAny>,
    pub(crate) primitives: Primitives,
    pub(crate) set_event_loop: Py<PyAny>,
    /// `signal.set_wakeup_fd`, which is called even when the interpreter is about to end.
    pub(crate) set_wakeup_fd: Py<PyAny>,
    set_running_loop: Py<PyAny>,
    get_running_loop: Py<PyAny>,
    register_task: Py<PyAny>,
    unregister_task: Py<PyAny>,
    current: CurrentTask,
}

/// How this version of Python is told which task runs.
enum CurrentTask {
    /// Up to 3.13: a dictionary from loops to tasks.
    Table(Py<PyDict>),
    /// From 3.14: a place in the thread state; asyncio's task that is written in Python is in a dictionary still.
    Place(RunningTaskPlace, Py<PyDict>),
    /// From 3.14, where that place is not found: `_swap_current_task(loop, task)`.
    Swap(Py<PyAny>),
}

static STDLIB: PyOnceLock<Stdlib> = PyOnceLock::new();

/// Takes the names; called by the module's initialisation.
pub(crate) fn load(py: Python<'_>) -> PyResult<()> {
    STDLIB.get_or_try_init(py, || Stdlib::load(py))?;
    Ok(())
}

/// The names that `load` took.
#[inline]
pub(crate) fn stdlib(py: Python<'_>) -> &'static Stdlib {
    STDLIB.get(py).expect("loaded when the module was imported")
}

impl Stdlib {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let take = |module: &str, name: &str| -> PyResult<Py<PyAny>> {
            Ok(py.import(module)?.getattr(name)?.unbind())
        };
        let class = |module: &str, name: &str| -> PyResult<Py<PyType>> {
            Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?.unbind())
        };
        Ok(Self {
            cancelled_error: class("asyncio.exceptions", "CancelledError")?,
            invalid_state_error: class("asyncio.exceptions", "InvalidStateError")?,
            future_class: take("asyncio.futures", "Future")?,
            task_class: take("asyncio.tasks", "Task")?,
            handle_class: take("asyncio.events", "Handle")?,
            timer_handle_class: take("asyncio.events", "TimerHandle")?,
            thread_safe_handle_class: take("asyncio.events", "_ThreadSafeHandle").ok(),
            server_class: take("asyncio.base_events", "Server")?,
            transport_class: take("asyncio.transports", "Transport")?,
            read_transport_class: take("asyncio.transports", "ReadTransport")?,
            flow_control_mixin: take("asyncio.transports", "_FlowControlMixin")?,
            datagram_transport_class: take("asyncio.selector_events", "_SelectorDatagramTransport")?,
            buffered_protocol: take("asyncio.protocols", "BufferedProtocol")?,
            subprocess: Subprocess::load(py)?,
            shows: Shows::load(take)?,
            format_callback: take("asyncio.format_helpers", "_format_callback_source")?,
            format_callback_hides: !take("asyncio.format_helpers", "_format_callback_source")?
                .getattr(py, "__kwdefaults__")?
                .is_none(py),
            extract_stack: take("asyncio.format_helpers", "extract_stack")?,
            coroutines: Coroutines::load(py)?,
            concurrent: Concurrent::load(py)?,
            partial: take("functools", "partial")?,
            call_graph: CallGraph::load(py)?,
            isfuture: take("asyncio.futures", "isfuture")?,
            isawaitable: take("inspect", "isawaitable")?,
            current_task: take("asyncio.tasks", "current_task")?,
            logger: take("asyncio.log", "logger")?,
            socket_class: take("socket", "socket")?,
            native_socket_class: take("_socket", "socket")?,
            transport_socket: take("asyncio.trsock", "TransportSocket")?,
            resolver: Resolver::load(py)?,
            sendfile: Sendfile::load(py)?,
            constants: py.import("asyncio.constants")?.into_any().unbind(),
            audit: take("sys", "audit")?,
            streams: Streams::load(py)?,
            ssl: Ssl::load(py).ok(),
            runner_class: take("asyncio.runners", "Runner")?,
            primitives: Primitives::load(take, class)?,
            set_event_loop: take("asyncio.events", "set_event_loop")?,
            set_wakeup_fd: take("signal", "set_wakeup_fd")?,
            set_running_loop: take("asyncio.events", "_set_running_loop")?,
            get_running_loop: take("asyncio.events", "_get_running_loop")?,
            register_task: take("asyncio.tasks", "_register_task")?,
            unregister_task: take("asyncio.tasks", "_unregister_task")?,
            current: CurrentTask::load(py)?,
        })
    }

    /// The loop that runs in this thread, if any.
    #[inline]
    pub(crate) fn running_loop<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let CurrentTask::Place(place, _) = &self.current {
            return Ok(place.running_loop(py));
        }
        let running = self.get_running_loop.bind(py).call0()?;
        Ok((!running.is_none()).then_some(running))
    }

    /// Makes `event_loop` (None: no loop) the one that runs in this thread.
    pub(crate) fn set_running_loop(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_running_loop.bind(event_loop.py()).call1((event_loop,))?;
        Ok(())
    }

    /// Tells asyncio that `waiter` awaits `future`, which is none of ours.
    pub(crate) fn add_to_awaited_by<'py>(
        &self,
        future: &Bound<'py, PyAny>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = future.py();
        match &self.call_graph {
            Some(graph) => call_two(graph.add.bind(py), future, waiter),
            None => Ok(py.None().into_bound(py)),
        }
    }

    /// Takes back `add_to_awaited_by`.
    pub(crate) fn discard_from_awaited_by<'py>(
        &self,
        future: &Bound<'py, PyAny>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = future.py();
        match &self.call_graph {
            Some(graph) => call_two(graph.discard.bind(py), future, waiter),
            None => Ok(py.None().into_bound(py)),
        }
    }

    /// Tells `asyncio.all_tasks()` of a task on a loop that is not ours.
    pub(crate) fn register_task(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        self.register_task.bind(task.py()).call1((task,))?;
        Ok(())
    }

    /// Takes back `register_task`.
    pub(crate) fn unregister_task(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        self.unregister_task.bind(task.py()).call1((task,))?;
        Ok(())
    }

    /// The task that runs on `event_loop`, the running loop of this thread.
    #[inline]
    pub(crate) fn running_task<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = event_loop.py();
        match &self.current {
            CurrentTask::Table(table) => table.bind(py).get_item(event_loop),
            CurrentTask::Place(place, written_in_python) => match place.get(py) {
                None if !written_in_python.bind(py).is_empty() => {
                    written_in_python.bind(py).get_item(event_loop)
                }
                running => Ok(running),
            },
            CurrentTask::Swap(_) => {
                let task = self.current_task.bind(py).call1((event_loop,))?;
                Ok((!task.is_none()).then_some(task))
            }
        }
    }

    /// Makes `task` (None: no task) the current one of `event_loop` and gives the one before.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn swap_current_task<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        task: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = event_loop.py();
        let previous = match &self.current {
            CurrentTask::Table(table) => {
                let table = table.bind(py);
                let previous = table.get_item(event_loop)?;
                match task {
                    Some(task) => table.set_item(event_loop, task)?,
                    None if previous.is_some() => table.del_item(event_loop)?,
                    None => {}
                }
                previous
            }
            CurrentTask::Place(place, _) => place.replace(py, task),
            CurrentTask::Swap(swap) => {
                let none = py.None().into_bound(py);
                let previous = call_two(swap.bind(py), event_loop, task.unwrap_or(&none))?;
                (!previous.is_none()).then_some(previous)
            }
        };
        Ok(previous)
    }
}

impl CurrentTask {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let tasks = py.import("asyncio.tasks")?;
        let table = tasks.getattr("_current_tasks")?.cast_into::<PyDict>()?.unbind();
        if py.version_info() >= (3, 14) {
            let events = py.import("asyncio.events")?;
            let swap = tasks.getattr("_swap_current_task")?;
            let place = if py.version_info() < (3, 16) {
                let (set, get) = (events.getattr("_set_running_loop")?, events.getattr("_get_running_loop")?);
                RunningTaskPlace::find(&set, &get, &swap)?
            } else {
                None
            };
            return Ok(match place {
                Some(place) => Self::Place(place, table),
                None => Self::Swap(swap.unbind()),
            });
        }
        Ok(Self::Table(table))
    }
}

/// What the `__class__` of `object` says: asyncio's class for an object of our class of that name, so that `isinstance` finds it there. A class that derives from
/// ours is only itself.
pub(crate) fn shown_class<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (py, class) = (object.py(), object.get_type());
    if class.module()? != "rasyncio" {
        return Ok(class.into_any());
    }
    let (library, name) = (stdlib(py), class.name()?);
    let name = name.to_str()?;
    let found = library.primitives.class_of(py, name).or_else(|| library.streams.class_of(py, name));
    Ok(found.unwrap_or_else(|| class.into_any()))
}

/// What `dir()` says of such an object: the attributes that it has, and those that asyncio's class has.
pub(crate) fn shown_names<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (py, class) = (object.py(), object.get_type());
    let names = PySet::empty(py)?;
    let told = py.get_type::<PyAny>().call_method1(intern!(py, "__dir__"), (object,))?;
    for source in [class.dir()?.into_any(), told] {
        names.call_method1(intern!(py, "update"), (source,))?;
    }
    Ok(names.into_any())
}

/// Whether `error` is one that asyncio lets through everything: SystemExit or KeyboardInterrupt.
pub(crate) fn must_propagate(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// asyncio's name for where the block of a timeout stands.
pub(crate) fn timeout_state<'py>(py: Python<'py>, value: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("asyncio.timeouts")?.getattr("_State")?.call1((value,))
}
