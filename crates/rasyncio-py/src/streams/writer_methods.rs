//! What Python sees of a `StreamWriter`: its methods, and the attributes that libraries use.

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::writer::{StreamWriter, ask};
use crate::coroutines::Coroutine;
use crate::event_loop::Loop;
use crate::ffi::call::call_method_one;
use crate::ffi::methods::{self, Arguments, FastMethod, Light};
use crate::futures::waiting;
use crate::interop::{shown_class, shown_names};
use crate::transports::direct;

#[pymethods]
impl StreamWriter {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(transport, protocol, reader, loop)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::default()
    }

    fn __init__(
        this: &Bound<'_, Self>,
        transport: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        reader: &Bound<'_, PyAny>,
        r#loop: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        Self::begin(this, transport, protocol, reader, r#loop)
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    /// The connection.
    #[getter(transport)]
    fn transport_from_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.transport(py)
    }

    /// Sends a list of bytes-like objects.
    fn writelines(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        call_method_one(&this.get().transport(py)?, intern!(py, "writelines"), data).map(drop)
    }

    /// Tells the peer, after everything was sent, that nothing more comes; reading goes on.
    fn write_eof<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        ask(this, intern!(this.py(), "write_eof"))
    }

    /// Whether `write_eof()` works.
    fn can_write_eof<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        ask(this, intern!(this.py(), "can_write_eof"))
    }

    /// Closes the connection after everything was sent.
    fn close<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        ask(this, intern!(this.py(), "close"))
    }

    /// Whether the connection is closing or closed.
    fn is_closing<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        ask(this, intern!(this.py(), "is_closing"))
    }

    /// Waits until the connection is closed. Raises what it was lost to.
    #[pyo3(name = "wait_closed")]
    fn wait_closed_from_python<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Self::wait_closed(this)
    }

    /// What is known of the connection, as its transport says.
    #[pyo3(signature = (name, default = None))]
    fn get_extra_info<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        self.transport(py)?.call_method1(intern!(py, "get_extra_info"), (name, default))
    }

    /// Goes on with TLS, on both sides of the connection at the same point.
    ///
    /// Parameters: those of `loop.start_tls()`; the timeouts in seconds.
    #[pyo3(signature = (sslcontext, *, server_hostname = None, ssl_handshake_timeout = None, ssl_shutdown_timeout = None))]
    #[cfg(Py_3_12)]
    #[pyo3(name = "start_tls")]
    fn start_tls_from_python<'py>(
        this: &Bound<'py, Self>,
        sslcontext: Py<PyAny>,
        server_hostname: Option<&Bound<'py, PyAny>>,
        ssl_handshake_timeout: Option<&Bound<'py, PyAny>>,
        ssl_shutdown_timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let options = PyDict::new(this.py());
        options.set_item("server_hostname", server_hostname)?;
        options.set_item("ssl_handshake_timeout", ssl_handshake_timeout)?;
        options.set_item("ssl_shutdown_timeout", ssl_shutdown_timeout)?;
        Self::start_tls(this, sslcontext, &options)
    }

    /// Goes on with TLS, on both sides of the connection at the same point.
    ///
    /// Parameters: those of `loop.start_tls()`; the timeout in seconds.
    #[pyo3(signature = (sslcontext, *, server_hostname = None, ssl_handshake_timeout = None))]
    #[cfg(not(Py_3_12))]
    #[pyo3(name = "start_tls")]
    fn start_tls_from_python<'py>(
        this: &Bound<'py, Self>,
        sslcontext: Py<PyAny>,
        server_hostname: Option<&Bound<'py, PyAny>>,
        ssl_handshake_timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let options = PyDict::new(this.py());
        options.set_item("server_hostname", server_hostname)?;
        options.set_item("ssl_handshake_timeout", ssl_handshake_timeout)?;
        Self::start_tls(this, sslcontext, &options)
    }

    /// A writer that nobody closed closes its transport and says so.
    fn __del__(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::die(this)
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let (name, transport) = (this.get_type().name()?, this.get().transport(py)?.repr()?);
        Ok(match this.get().reader(py) {
            Some(reader) => format!("<{name} transport={transport} reader={}>", reader.repr()?),
            None => format!("<{name} transport={transport}>"),
        })
    }

    #[getter]
    fn _transport<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.transport(py)
    }

    #[setter(_transport)]
    fn set_transport(&self, py: Python<'_>, value: Py<PyAny>) {
        drop(self.state.with(py, |state| state.transport.replace(value)));
    }

    #[getter]
    fn _protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    #[setter(_protocol)]
    fn set_protocol(&self, py: Python<'_>, value: Py<PyAny>) {
        drop(self.state.with(py, |state| state.protocol.replace(value)));
    }

    #[getter]
    fn _reader<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.reader(py)
    }

    #[setter(_reader)]
    fn set_reader(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.reader, value);
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop(py)
    }

    #[setter(_loop)]
    fn set_loop(&self, py: Python<'_>, value: Py<PyAny>) {
        drop(self.state.with(py, |state| state.event_loop.replace(value)));
    }

    /// A future that is done.
    #[getter]
    fn _complete_fut<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let made = self.state.with(py, |state| state.complete.as_ref().map(|made| made.bind(py).clone()));
        if let Some(made) = made {
            return Ok(made);
        }
        let future = Loop::new_future(&self.event_loop(py)?)?;
        waiting::wake(&future, &py.None().into_bound(py))?;
        let kept = future.clone().unbind();
        drop(self.state.with(py, |state| state.complete.replace(kept)));
        Ok(future)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| state.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}

impl StreamWriter {
    /// Adds the methods that programs call all the time.
    pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
        methods::install::<Write>(py)?;
        Light::<Self>::to_class(py).alone(
            c"drain",
            c"drain($self)\n--\n\nWaits until there is room to write: to be awaited after each `write()`. \
              Raises what the connection was lost to.",
            |this| Ok(Self::drain(this)?.into_any()),
        )?;
        Ok(())
    }
}

/// `StreamWriter.write()`.
struct Write;

impl FastMethod for Write {
    type Class = StreamWriter;
    const NAME: &'static CStr = c"write";
    const DOCUMENTATION: &'static CStr = c"write($self, data)\n--\n\n\
        Sends `data` (bytes, bytearray or memoryview), as it is at this moment, without waiting.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, StreamWriter>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let data = arguments.one("StreamWriter.write", "data")?;
        direct::write(&this.get().transport(py)?, data)?;
        Ok(py.None().into_bound(py))
    }
}
