//! The only file that imports the standard library's asyncio, logging, ssl and contextvars.
//!
//! Names are taken once, at import, before `install()` can replace them: what stands here is always the standard library's own.

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyType};

use crate::ffi::call::call_two;
use crate::ffi::current_task::RunningTaskPlace;

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
    pub(crate) future_repr: Py<PyAny>,
    pub(crate) task_repr: Py<PyAny>,
    pub(crate) task_get_stack: Py<PyAny>,
    pub(crate) task_print_stack: Py<PyAny>,
    pub(crate) format_callback: Py<PyAny>,
    /// It hides a callback's arguments unless it is told `debug=True`.
    pub(crate) format_callback_hides: bool,
    pub(crate) extract_stack: Py<PyAny>,
    pub(crate) iscoroutine: Py<PyAny>,
    pub(crate) iscoroutinefunction: Py<PyAny>,
    pub(crate) ensure_future: Py<PyAny>,
    pub(crate) gather: Py<PyAny>,
    pub(crate) wrap_future: Py<PyAny>,
    pub(crate) logger: Py<PyAny>,
    pub(crate) socket_class: Py<PyAny>,
    pub(crate) transport_socket: Py<PyAny>,
    pub(crate) sleep: Py<PyAny>,
    pub(crate) resolver: Resolver,
    pub(crate) sendfile: Sendfile,
    /// The module `asyncio.constants`, for what programs change there.
    pub(crate) constants: Py<PyAny>,
    /// `sys.audit`.
    pub(crate) audit: Py<PyAny>,
    pub(crate) stream_reader_protocol: Py<PyAny>,
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

/// Names and addresses, as Python's socket module has them.
pub(crate) struct Resolver {
    pub(crate) getaddrinfo: Py<PyAny>,
    /// The builtin that `getaddrinfo` calls.
    pub(crate) native_getaddrinfo: Py<PyAny>,
    pub(crate) getnameinfo: Py<PyAny>,
    /// These three are the interpreter's: no other library had put its own in their places before.
    pub(crate) is_native: bool,
    pub(crate) gaierror: Py<PyAny>,
    pub(crate) address_family: Py<PyAny>,
    pub(crate) socket_kind: Py<PyAny>,
}

/// What locks and queues use.
pub(crate) struct Primitives {
    pub(crate) broken_barrier_error: Py<PyType>,
    pub(crate) barrier_state: Py<PyAny>,
    pub(crate) queue_empty: Py<PyType>,
    pub(crate) queue_full: Py<PyType>,
    /// From 3.13.
    pub(crate) queue_shut_down: Option<Py<PyType>>,
    pub(crate) heappush: Py<PyAny>,
    pub(crate) heappop: Py<PyAny>,
    /// What stands in asyncio's place of our primitives and queues, by name.
    classes: Vec<(&'static str, Py<PyAny>)>,
}

/// What has to do with child processes.
pub(crate) struct Subprocess {
    pub(crate) transport_class: Py<PyAny>,
    pub(crate) write_protocol: Py<PyAny>,
    pub(crate) read_protocol: Py<PyAny>,
    /// Waiting for a child ends when the child does; before 3.14 when its transport has lost everything.
    pub(crate) wait_ends_at_exit: bool,
    /// Up to 3.13.
    pub(crate) watchers: Option<Watchers>,
}

/// Where a program may have a watcher for children: with the policy.
pub(crate) struct Watchers {
    pub(crate) get_policy: Py<PyAny>,
    /// The method of asyncio's own policy, which makes a watcher where there is none.
    pub(crate) default_method: Py<PyAny>,
}

/// What transports and the loop say to each other of sending files.
pub(crate) struct Sendfile {
    pub(crate) not_available: Py<PyType>,
    /// Values of `_sendfile_compatible`.
    pub(crate) unsupported: Py<PyAny>,
    pub(crate) try_native: Py<PyAny>,
    pub(crate) fallback: Py<PyAny>,
}

/// What is used of the module `ssl`.
pub(crate) struct Ssl {
    pub(crate) socket_class: Py<PyAny>,
    pub(crate) context_class: Py<PyAny>,
    pub(crate) object_class: Py<PyAny>,
    pub(crate) memory_bio: Py<PyAny>,
    pub(crate) error: Py<PyAny>,
    /// Not an error: more bytes of the peer are needed first.
    pub(crate) want_read_error: Py<PyAny>,
    pub(crate) syscall_error: Py<PyAny>,
    pub(crate) certificate_error: Py<PyAny>,
    /// What all of its transports say that they are.
    pub(crate) transport_class: Py<PyAny>,
    module: Py<PyAny>,
}

impl Ssl {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let ssl = py.import("ssl")?;
        let take = |name: &str| -> PyResult<Py<PyAny>> { Ok(ssl.getattr(name)?.unbind()) };
        Ok(Self {
            socket_class: take("SSLSocket")?,
            context_class: take("SSLContext")?,
            object_class: take("SSLObject")?,
            memory_bio: py.import("_ssl")?.getattr("MemoryBIO")?.unbind(),
            error: take("SSLError")?,
            want_read_error: take("SSLWantReadError")?,
            syscall_error: take("SSLSyscallError")?,
            certificate_error: take("CertificateError")?,
            transport_class: py.import("asyncio.sslproto")?.getattr("_SSLProtocolTransport")?.unbind(),
            module: ssl.clone().into_any().unbind(),
        })
    }

    /// `ssl.create_default_context()`, as it is now: programs replace it to set their own defaults.
    pub(crate) fn create_default_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.module.bind(py).call_method0(intern!(py, "create_default_context"))
    }
}

/// How this version of Python is told which task runs.
enum CurrentTask {
    /// Up to 3.13: a dictionary from loops to tasks.
    Table(Py<PyDict>),
    /// From 3.14: a place in the thread state.
    Place(RunningTaskPlace),
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
            future_repr: take("asyncio.base_futures", "_future_repr")?,
            task_repr: take("asyncio.base_tasks", "_task_repr")?,
            task_get_stack: take("asyncio.base_tasks", "_task_get_stack")?,
            task_print_stack: take("asyncio.base_tasks", "_task_print_stack")?,
            format_callback: take("asyncio.format_helpers", "_format_callback_source")?,
            format_callback_hides: !take("asyncio.format_helpers", "_format_callback_source")?
                .getattr(py, "__kwdefaults__")?
                .is_none(py),
            extract_stack: take("asyncio.format_helpers", "extract_stack")?,
            iscoroutine: take("asyncio.coroutines", "iscoroutine")?,
            iscoroutinefunction: if py.version_info() >= (3, 14) {
                // The public name warns from 3.14 on.
                take("asyncio.coroutines", "_iscoroutinefunction")?
            } else {
                take("asyncio.coroutines", "iscoroutinefunction")?
            },
            ensure_future: take("asyncio.tasks", "ensure_future")?,
            gather: take("asyncio.tasks", "gather")?,
            wrap_future: take("asyncio.futures", "wrap_future")?,
            logger: take("asyncio.log", "logger")?,
            socket_class: take("socket", "socket")?,
            transport_socket: take("asyncio.trsock", "TransportSocket")?,
            sleep: take("asyncio.tasks", "sleep")?,
            resolver: Resolver::load(py)?,
            sendfile: Sendfile::load(py)?,
            constants: py.import("asyncio.constants")?.into_any().unbind(),
            audit: take("sys", "audit")?,
            stream_reader_protocol: take("asyncio.streams", "StreamReaderProtocol")?,
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
        if let CurrentTask::Place(place) = &self.current {
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
            CurrentTask::Place(place) => place.replace(py, task),
            CurrentTask::Swap(swap) => {
                let none = py.None().into_bound(py);
                let previous = call_two(swap.bind(py), event_loop, task.unwrap_or(&none))?;
                (!previous.is_none()).then_some(previous)
            }
        };
        Ok(previous)
    }
}

impl Sendfile {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
        let not_available = py.import("asyncio.exceptions")?.getattr("SendfileNotAvailableError")?;
        Ok(Self {
            not_available: not_available.cast_into::<PyType>()?.unbind(),
            unsupported: modes.getattr("UNSUPPORTED")?.unbind(),
            try_native: modes.getattr("TRY_NATIVE")?.unbind(),
            fallback: modes.getattr("FALLBACK")?.unbind(),
        })
    }
}

impl Resolver {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let (socket, native) = (py.import("socket")?, py.import("_socket")?);
        let getaddrinfo = socket.getattr("getaddrinfo")?;
        let native_getaddrinfo = native.getattr("getaddrinfo")?;
        let getnameinfo = socket.getattr("getnameinfo")?;
        let globals = getaddrinfo.getattr_opt(intern!(py, "__globals__"))?;
        let is_native = globals.is_some_and(|globals| globals.is(socket.dict()))
            && native_getaddrinfo.is_instance_of::<PyCFunction>()
            && getnameinfo.is_instance_of::<PyCFunction>();
        Ok(Self {
            getaddrinfo: getaddrinfo.unbind(),
            native_getaddrinfo: native_getaddrinfo.unbind(),
            getnameinfo: getnameinfo.unbind(),
            is_native,
            gaierror: socket.getattr("gaierror")?.unbind(),
            address_family: socket.getattr("AddressFamily")?.unbind(),
            socket_kind: socket.getattr("SocketKind")?.unbind(),
        })
    }
}

impl Primitives {
    fn load(
        take: impl Fn(&str, &str) -> PyResult<Py<PyAny>>,
        class: impl Fn(&str, &str) -> PyResult<Py<PyType>>,
    ) -> PyResult<Self> {
        Ok(Self {
            broken_barrier_error: class("asyncio.exceptions", "BrokenBarrierError")?,
            barrier_state: take("asyncio.locks", "_BarrierState")?,
            queue_empty: class("asyncio.queues", "QueueEmpty")?,
            queue_full: class("asyncio.queues", "QueueFull")?,
            queue_shut_down: class("asyncio.queues", "QueueShutDown").ok(),
            heappush: take("heapq", "heappush")?,
            heappop: take("heapq", "heappop")?,
            classes: PRIMITIVES
                .iter()
                .map(|(module, name)| Ok((*name, take(module, name)?)))
                .collect::<PyResult<_>>()?,
        })
    }

    /// asyncio's class of a primitive or queue, e.g. `Lock`.
    pub(crate) fn class_of<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
        let found = self.classes.iter().find(|(known, _)| *known == name);
        found.map(|(_, class)| class.bind(py).clone())
    }
}

impl Subprocess {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let module = py.import("asyncio.base_subprocess")?;
        // gh-119710: what this method touches tells whether it wakes those who wait.
        let exited = module.getattr("BaseSubprocessTransport")?.getattr("_process_exited")?;
        let names = exited.getattr("__code__")?.getattr("co_names")?;
        let unix_events = py.import("asyncio.unix_events")?;
        let watchers = if py.version_info() < (3, 14) {
            let get_policy = py.import("asyncio.events")?.getattr("get_event_loop_policy")?.unbind();
            let policy = unix_events.getattr("DefaultEventLoopPolicy")?;
            Some(Watchers { get_policy, default_method: policy.getattr("get_child_watcher")?.unbind() })
        } else {
            None
        };
        Ok(Self {
            transport_class: unix_events.getattr("_UnixSubprocessTransport")?.unbind(),
            write_protocol: module.getattr("WriteSubprocessPipeProto")?.unbind(),
            read_protocol: module.getattr("ReadSubprocessPipeProto")?.unbind(),
            wait_ends_at_exit: names.contains("_exit_waiters")?,
            watchers,
        })
    }
}

impl CurrentTask {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let tasks = py.import("asyncio.tasks")?;
        if py.version_info() >= (3, 14) {
            let events = py.import("asyncio.events")?;
            let swap = tasks.getattr("_swap_current_task")?;
            let place = if py.version_info() < (3, 16) {
                let (set, get) = (events.getattr("_set_running_loop")?, events.getattr("_get_running_loop")?);
                RunningTaskPlace::find(&set, &get, &swap)?
            } else {
                None
            };
            return Ok(place.map_or_else(|| Self::Swap(swap.unbind()), Self::Place));
        }
        Ok(Self::Table(tasks.getattr("_current_tasks")?.cast_into::<PyDict>()?.unbind()))
    }
}

/// Whether `error` is one that asyncio lets through everything: SystemExit or KeyboardInterrupt.
pub(crate) fn must_propagate(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Lets `asyncio.all_tasks()` see the tasks of our loops, whatever thread asks.
///
/// asyncio's registry of third-party tasks is a WeakSet; adding each task to it costs more than creating the task. Our
/// loops know their tasks anyway, so the registry is taught once, when the first loop is made, to list those behind its own.
/// `tasks_of_all_loops()` gives them.
pub(crate) fn extend_all_tasks(py: Python<'_>, tasks_of_all_loops: &Bound<'_, PyCFunction>) -> PyResult<()> {
    let registry = task_registry(py)?;
    let plain = py.import("weakref")?.getattr("WeakSet")?;
    let own = plain.getattr("__iter__")?;
    let chain = py.import("itertools")?.getattr("chain")?;
    let arguments =
        (own.unbind(), registry.clone().unbind(), chain.unbind(), tasks_of_all_loops.clone().unbind());
    let iterate =
        PyCFunction::new_closure(py, None, None, move |call_arguments, _| -> PyResult<Py<PyAny>> {
            let py = call_arguments.py();
            let (own, registry, chain, ours) = &arguments;
            let theirs = own.bind(py).call1((registry,))?;
            Ok(chain.bind(py).call1((theirs, ours.bind(py).call0()?))?.unbind())
        })?;
    let namespace = PyDict::new(py);
    namespace.set_item("__iter__", iterate)?;
    namespace.set_item("__module__", "rasyncio")?;
    namespace
        .set_item("__doc__", "asyncio's registry of tasks, with the tasks of rasyncio's loops behind it.")?;
    let class = py.get_type::<PyType>().call1(("TaskRegistry", (plain,), namespace))?;
    registry.setattr(intern!(py, "__class__"), class)
}

/// The WeakSet behind `asyncio.all_tasks()`. From 3.14 it belongs to the C module, which shows it to the collector only.
fn task_registry(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let tasks = py.import("asyncio.tasks")?;
    if py.version_info() < (3, 12) {
        return tasks.getattr("_all_tasks");
    }
    if py.version_info() < (3, 14) {
        return tasks.getattr("_scheduled_tasks");
    }
    let weak_set = py.import("weakref")?.getattr("WeakSet")?;
    let referents = py.import("gc")?.call_method1("get_referents", (py.import("_asyncio")?,))?;
    for referent in referents.try_iter()? {
        let referent = referent?;
        if referent.is_instance(&weak_set)? {
            return Ok(referent);
        }
    }
    tasks.getattr("_scheduled_tasks")
}

const PRIMITIVES: [(&str, &str); 9] = [
    ("asyncio.locks", "Lock"),
    ("asyncio.locks", "Event"),
    ("asyncio.locks", "Condition"),
    ("asyncio.locks", "Semaphore"),
    ("asyncio.locks", "BoundedSemaphore"),
    ("asyncio.locks", "Barrier"),
    ("asyncio.queues", "Queue"),
    ("asyncio.queues", "PriorityQueue"),
    ("asyncio.queues", "LifoQueue"),
];
