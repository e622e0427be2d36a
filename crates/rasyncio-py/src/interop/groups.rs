//! What is taken from the standard library, by what it has to do with.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyType};

use crate::ffi::openssl::OpenSsl;

/// Names and addresses, as Python's socket module has them.
pub(crate) struct Resolver {
    /// The modules `socket` and `_socket`.
    pub(crate) module: Py<PyAny>,
    pub(crate) native_module: Py<PyAny>,
    pub(crate) getaddrinfo: Py<PyAny>,
    /// The builtin that `getaddrinfo` calls.
    pub(crate) native_getaddrinfo: Py<PyAny>,
    pub(crate) getnameinfo: Py<PyAny>,
    /// These three are the interpreter's: no other library had put its own in their places before.
    pub(crate) is_native: bool,
    pub(crate) gaierror: Py<PyAny>,
    pub(crate) address_families: Py<PyDict>,
    pub(crate) socket_kinds: Py<PyDict>,
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
    /// What stands in asyncio's place of our primitives, queues, groups, timeouts and runners, by name.
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
    openssl: PyOnceLock<Option<OpenSsl>>,
}

impl Ssl {
    /// OpenSSL itself, if it can be called without Python.
    pub(crate) fn openssl(&'static self, py: Python<'_>) -> Option<&'static OpenSsl> {
        let find = || {
            let module = py.import("_ssl").ok()?;
            OpenSsl::find(&module).ok().flatten()
        };
        self.openssl.get_or_init(py, find).as_ref()
    }

    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
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
            openssl: PyOnceLock::new(),
        })
    }

    /// `ssl.create_default_context()`, as it is now: programs replace it to set their own defaults.
    pub(crate) fn create_default_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.module.bind(py).call_method0(intern!(py, "create_default_context"))
    }
}

/// How futures and tasks are shown.
pub(crate) struct Shows {
    pub(crate) future: Py<PyAny>,
    pub(crate) task: Py<PyAny>,
    pub(crate) get_stack: Py<PyAny>,
    pub(crate) print_stack: Py<PyAny>,
}

/// How coroutines and their functions are told.
pub(crate) struct Coroutines {
    /// `types.CoroutineType`.
    pub(crate) class: Py<PyAny>,
    pub(crate) iscoroutine: Py<PyAny>,
    pub(crate) iscoroutinefunction: Py<PyAny>,
    /// `types.FunctionType`.
    pub(crate) function_class: Py<PyAny>,
    /// The code of asyncio's eager task factories, by which libraries tell them; they came with 3.12.
    pub(crate) eager_factory_code: Option<Py<PyAny>>,
    /// `types.CellType`.
    pub(crate) cell_class: Py<PyAny>,
}

/// What rasyncio uses of `concurrent.futures`.
pub(crate) struct Concurrent {
    pub(crate) future_class: Py<PyAny>,
    pub(crate) cancelled_error: Py<PyType>,
    pub(crate) invalid_state_error: Py<PyType>,
}

/// How asyncio is told who awaits a future of its own.
pub(super) struct CallGraph {
    pub(super) add: Py<PyAny>,
    pub(super) discard: Py<PyAny>,
}

impl Resolver {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
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
            address_families: members(&socket.getattr("AddressFamily")?)?.unbind(),
            socket_kinds: members(&socket.getattr("SocketKind")?)?.unbind(),
            module: socket.into_any().unbind(),
            native_module: native.into_any().unbind(),
        })
    }
}

/// The members of an enumeration by their values.
fn members<'py>(enumeration: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let members = PyDict::new(enumeration.py());
    for member in enumeration.try_iter()? {
        let member = member?;
        members.set_item(member.getattr("value")?, member)?;
    }
    Ok(members)
}

impl Primitives {
    pub(super) fn load(
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

    /// asyncio's class of that name, e.g. `Lock`.
    pub(crate) fn class_of<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
        let found = self.classes.iter().find(|(known, _)| *known == name);
        found.map(|(_, class)| class.bind(py).clone())
    }
}

impl Subprocess {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
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

impl Sendfile {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
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

impl Shows {
    pub(super) fn load(take: impl Fn(&str, &str) -> PyResult<Py<PyAny>>) -> PyResult<Self> {
        Ok(Self {
            future: take("asyncio.base_futures", "_future_repr")?,
            task: take("asyncio.base_tasks", "_task_repr")?,
            get_stack: take("asyncio.base_tasks", "_task_get_stack")?,
            print_stack: take("asyncio.base_tasks", "_task_print_stack")?,
        })
    }
}

impl Coroutines {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
        let coroutines = py.import("asyncio.coroutines")?;
        // The public name warns from 3.14 on.
        let is_function = if cfg!(Py_3_14) { "_iscoroutinefunction" } else { "iscoroutinefunction" };
        let types = py.import("types")?;
        let eager_factory = py.import("asyncio.tasks")?.getattr_opt("eager_task_factory")?;
        let eager_factory_code = match eager_factory {
            Some(factory) => factory.getattr_opt("__code__")?.map(Bound::unbind),
            None => None,
        };
        Ok(Self {
            class: types.getattr("CoroutineType")?.unbind(),
            eager_factory_code,
            cell_class: types.getattr("CellType")?.unbind(),
            iscoroutine: coroutines.getattr("iscoroutine")?.unbind(),
            iscoroutinefunction: coroutines.getattr(is_function)?.unbind(),
            function_class: types.getattr("FunctionType")?.unbind(),
        })
    }
}

impl Concurrent {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
        let module = py.import("concurrent.futures")?;
        let class =
            |name| -> PyResult<Py<PyType>> { Ok(module.getattr(name)?.cast_into::<PyType>()?.unbind()) };
        Ok(Self {
            future_class: module.getattr("Future")?.unbind(),
            cancelled_error: class("CancelledError")?,
            invalid_state_error: class("InvalidStateError")?,
        })
    }
}

impl CallGraph {
    pub(super) fn load(py: Python<'_>) -> PyResult<Option<Self>> {
        if !cfg!(Py_3_14) {
            return Ok(None);
        }
        let futures = py.import("asyncio.futures")?;
        Ok(Some(Self {
            add: futures.getattr("future_add_to_awaited_by")?.unbind(),
            discard: futures.getattr("future_discard_from_awaited_by")?.unbind(),
        }))
    }
}

const PRIMITIVES: [(&str, &str); 12] = [
    ("asyncio.locks", "Lock"),
    ("asyncio.locks", "Event"),
    ("asyncio.locks", "Condition"),
    ("asyncio.locks", "Semaphore"),
    ("asyncio.locks", "BoundedSemaphore"),
    ("asyncio.locks", "Barrier"),
    ("asyncio.queues", "Queue"),
    ("asyncio.queues", "PriorityQueue"),
    ("asyncio.queues", "LifoQueue"),
    ("asyncio.runners", "Runner"),
    ("asyncio.taskgroups", "TaskGroup"),
    ("asyncio.timeouts", "Timeout"),
];
