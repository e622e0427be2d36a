//! `CoroutineFunction`: what stands for an `async def` of asyncio's, a function or a method.
//!
//! asyncio's are functions written in Python, and one can tell that calling them gives a coroutine: `unittest.mock` puts an `AsyncMock` in their place,
//! frameworks choose how to call what they are given. No built-in function can say that of itself, so these are objects of a class of their own. To who
//! asks they are functions: the code of one of the same name and signature stands for theirs (`shape`).

use std::ffi::{CStr, CString};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::ffi::forwarding::{self, Behind, StandsFor};
use crate::ffi::functions::{self, Function, Vectorcall};
use crate::interop::stdlib;

// No description of its own: `__doc__` is the function's.
#[pyclass(frozen, weakref, name = "function", module = "rasyncio")]
pub(crate) struct CoroutineFunction {
    vectorcall: Vectorcall,
    name: &'static str,
    /// Of a method.
    owner: Option<Py<PyType>>,
    signature: String,
    description: Option<String>,
    /// The built-in function or method that it stands for, if there is one.
    behind: Option<Behind>,
    /// A function of Python's with this name and signature, made when somebody asks for a part of it.
    shape: PyOnceLock<Py<PyAny>>,
}

/// Makes coroutine functions of those functions and methods in the module that are such in asyncio.
pub(crate) fn adopt(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for name in FUNCTIONS {
        let function = CoroutineFunction::instead_of(name, None, module.getattr(name)?)?;
        module.setattr(name, function)?;
    }
    for (class, names) in METHODS {
        let class = module.getattr(class)?.cast_into::<PyType>()?;
        for name in names {
            let method = CoroutineFunction::instead_of(name, Some(&class), class.getattr(*name)?)?;
            forwarding::set_beside_slot(&class, name, &method)?;
        }
    }
    Ok(())
}

impl CoroutineFunction {
    /// Adds the function `F` to the module.
    pub(crate) fn add<F: Function>(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let (name, documentation) = (text(F::NAME), text(F::DOCUMENTATION));
        let (signature, description) = documentation.split_once("\n--\n\n").unwrap_or_default();
        let function = Self {
            vectorcall: Vectorcall::of::<F>(),
            name,
            owner: None,
            signature: signature.strip_prefix(name).unwrap_or(signature).to_owned(),
            description: Some(description.to_owned()),
            behind: None,
            shape: PyOnceLock::new(),
        };
        module.add(name, function.into_object(module.py())?)
    }

    /// What stands for `callable`, which is called `name` and is a method if it has an owner.
    fn instead_of<'py>(
        name: &'static str,
        owner: Option<&Bound<'py, PyType>>,
        callable: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = callable.py();
        let signature = callable.getattr(intern!(py, "__text_signature__"))?.extract()?;
        let description = callable.getattr(intern!(py, "__doc__"))?.extract()?;
        let behind = Behind::of(callable);
        let function = Self {
            vectorcall: behind.vectorcall::<Self>(),
            name,
            owner: owner.map(|owner| owner.clone().unbind()),
            signature,
            description,
            behind: Some(behind),
            shape: PyOnceLock::new(),
        };
        Ok(function.into_object(py)?.into_any())
    }

    fn into_object(self, py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        let function = Bound::new(py, self)?;
        functions::install_vectorcall(&function, |function| &function.vectorcall);
        forwarding::install_binding::<Self>(py);
        Ok(function)
    }

    fn shape<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let made = self.shape.get_or_try_init(py, || -> PyResult<_> {
            let source = format!("async def {}{}: pass", self.name, self.signature.replace('$', ""));
            let namespace = PyDict::new(py);
            // Some defaults are constants of this module.
            namespace.set_item("socket", py.import("socket")?)?;
            py.run(&CString::new(source)?, Some(&namespace), None)?;
            Ok(namespace.as_any().get_item(self.name)?.unbind())
        })?;
        Ok(made.bind(py))
    }
}

impl StandsFor for CoroutineFunction {
    #[inline]
    fn behind(&self) -> Option<&Behind> {
        self.behind.as_ref()
    }
}

fn text(constant: &'static CStr) -> &'static str {
    constant.to_str().unwrap_or_default()
}

#[pymethods]
impl CoroutineFunction {
    #[getter]
    fn __name__(&self) -> &'static str {
        self.name
    }

    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(match &self.owner {
            Some(owner) => format!("{}.{}", owner.bind(py).qualname()?, self.name),
            None => self.name.to_owned(),
        })
    }

    #[getter]
    fn __doc__(&self) -> Option<&str> {
        self.description.as_deref()
    }

    #[getter]
    fn __text_signature__(&self) -> &str {
        &self.signature
    }

    /// `types.FunctionType`, so that `inspect` and `unittest.mock` take it for what it stands for.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        stdlib(py).coroutines.function_class.clone_ref(py)
    }

    /// What else a function has: its code, the values of its defaults.
    fn __getattr__<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.shape(name.py())?.getattr(name.str()?)
    }

    /// A function in a class is a method, as one written in Python.
    fn __get__<'py>(
        this: &Bound<'py, Self>,
        instance: &Bound<'py, PyAny>,
        owner: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = owner;
        forwarding::bound_to(this.as_any(), instance)
    }

    /// Pickled and copied by name.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match &self.owner {
            None => self.name.into_pyobject(py)?.into_any(),
            Some(owner) => {
                let getattr = py.import(intern!(py, "builtins"))?.getattr(intern!(py, "getattr"))?;
                (getattr, (owner, self.name)).into_pyobject(py)?.into_any()
            }
        })
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("<function {} at {:?}>", this.get().__qualname__(this.py())?, this.as_ptr()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(behind) = &self.behind {
            visit.call(behind.callable())?;
        }
        visit.call(&self.owner)
    }
}

/// What asyncio has as `async def`.
const FUNCTIONS: [&str; 6] = [
    "create_subprocess_exec",
    "create_subprocess_shell",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
];

/// The same of classes.
///
/// The interpreter calls them a little slower than built-in methods (`async with lock`: 2183 instructions instead of 2044), but no mock of a lock could be
/// entered if its methods did not say what they are.
const METHODS: [(&str, &[&str]); 15] = [
    ("Barrier", &["__aenter__", "__aexit__", "abort", "reset", "wait"]),
    ("Condition", &["__aenter__", "__aexit__", "acquire", "wait", "wait_for"]),
    ("Event", &["wait"]),
    ("FlowControlMixin", &["_drain_helper"]),
    ("Lock", &["__aenter__", "__aexit__", "acquire"]),
    ("Process", &["_feed_stdin", "_noop", "_read_stream", "communicate", "wait"]),
    ("Queue", &["get", "join", "put"]),
    ("Semaphore", &["__aenter__", "__aexit__", "acquire"]),
    ("Server", &["__aenter__", "__aexit__", "serve_forever", "start_serving", "wait_closed"]),
    ("StreamReader", &["__anext__", "_wait_for_data", "read", "readexactly", "readline", "readuntil"]),
    ("StreamWriter", &["drain", "start_tls", "wait_closed"]),
    ("TaskGroup", &["__aenter__", "__aexit__"]),
    ("Timeout", &["__aenter__", "__aexit__"]),
    ("_UnixSubprocessTransport", &["_wait"]),
    (
        "_Loop",
        &[
            "_sendfile_native",
            "_sock_sendfile_native",
            "connect_accepted_socket",
            "connect_read_pipe",
            "connect_write_pipe",
            "create_connection",
            "create_datagram_endpoint",
            "create_server",
            "create_unix_connection",
            "create_unix_server",
            "getaddrinfo",
            "getnameinfo",
            "sendfile",
            "shutdown_asyncgens",
            "shutdown_default_executor",
            "sock_accept",
            "sock_connect",
            "sock_recv",
            "sock_recv_into",
            "sock_recvfrom",
            "sock_recvfrom_into",
            "sock_sendall",
            "sock_sendfile",
            "sock_sendto",
            "start_tls",
            "subprocess_exec",
            "subprocess_shell",
        ],
    ),
];
