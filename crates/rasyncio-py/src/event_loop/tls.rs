//! TLS through the standard library's `asyncio.sslproto.SSLProtocol` over our transports (asyncio: `selector_events.py`, `base_events.py`).

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use super::Loop;
use crate::coroutines::{Coroutine, wait_for};
use crate::exceptions;
use crate::futures::Future;
use crate::interop::stdlib;
use crate::transports::tcp::TcpTransport;

/// What `ssl=` and the arguments that go with it said.
pub(super) struct TlsOptions {
    /// None: asyncio's default context.
    context: Option<Py<PyAny>>,
    server_hostname: Option<Py<PyAny>>,
    handshake_timeout: Option<Py<PyAny>>,
    shutdown_timeout: Option<Py<PyAny>>,
}

impl TlsOptions {
    /// From the arguments of the method that opens or accepts connections; `ssl` is truthy.
    pub(super) fn new(
        ssl: &Bound<'_, PyAny>,
        server_hostname: Option<Py<PyAny>>,
        handshake_timeout: Option<Py<PyAny>>,
        shutdown_timeout: Option<Py<PyAny>>,
    ) -> Self {
        let context = (!ssl.is_instance_of::<PyBool>()).then(|| ssl.clone().unbind());
        Self { context, server_hostname, handshake_timeout, shutdown_timeout }
    }

    /// Shows the collector what is held.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        visit.call(&self.server_hostname)?;
        visit.call(&self.handshake_timeout)?;
        visit.call(&self.shutdown_timeout)
    }

    /// The protocol that a transport gets so that `protocol` sees the plain text. `waiter` is set when the handshake is done.
    pub(super) fn protocol<'py>(
        &self,
        event_loop: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, Future>>,
        server_side: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.make(event_loop, protocol, waiter, server_side, true)
    }

    fn make<'py>(
        &self,
        event_loop: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, Future>>,
        server_side: bool,
        call_connection_made: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let Some(class) = &stdlib(py).ssl_protocol else {
            return Err(exceptions::runtime("Python ssl module is not available"));
        };
        let keywords = PyDict::new(py);
        keywords.set_item("ssl_handshake_timeout", &self.handshake_timeout)?;
        keywords.set_item("ssl_shutdown_timeout", &self.shutdown_timeout)?;
        keywords.set_item("call_connection_made", call_connection_made)?;
        let arguments = (event_loop, protocol, &self.context, waiter, server_side, &self.server_hostname);
        class.bind(py).call(arguments, Some(&keywords))
    }
}

/// A TLS transport over the connected socket `sock`; `waiter` is set when the handshake is done.
pub(super) fn attach<'py>(
    event_loop: &Bound<'py, Loop>,
    sock: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: &Bound<'py, Future>,
    options: &TlsOptions,
    server_side: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let tls = options.protocol(event_loop, protocol, Some(waiter), server_side)?;
    TcpTransport::from_python_socket(event_loop, sock, &tls, None, None)?;
    application_transport(&tls)
}

/// The transport that the user's protocol sees.
pub(super) fn application_transport<'py>(tls: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    tls.getattr(intern!(tls.py(), "_app_transport"))
}

/// TypeError for a socket that speaks TLS by itself: it cannot be used without blocking.
pub(super) fn refuse_tls_socket(sock: &Bound<'_, PyAny>) -> PyResult<()> {
    let library = stdlib(sock.py());
    if sock.get_type().is(&library.socket_class) {
        return Ok(());
    }
    match &library.ssl_socket {
        Some(class) if sock.is_instance(class.bind(sock.py()))? => {
            Err(PyTypeError::new_err("Socket cannot be of type SSLSocket"))
        }
        _ => Ok(()),
    }
}

#[pymethods]
impl Loop {
    /// Speaks TLS on `transport` from now on; returns the transport that `protocol` should use instead.
    #[pyo3(signature = (
        transport, protocol, sslcontext, *, server_side = false, server_hostname = None,
        ssl_handshake_timeout = None, ssl_shutdown_timeout = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn start_tls<'py>(
        this: &Bound<'py, Self>,
        transport: Py<PyAny>,
        protocol: Py<PyAny>,
        sslcontext: Py<PyAny>,
        server_side: bool,
        server_hostname: Option<Py<PyAny>>,
        ssl_handshake_timeout: Option<Py<PyAny>>,
        ssl_shutdown_timeout: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.start_tls", async move {
            let upgrade = Python::attach(|py| {
                check_upgrade(transport.bind(py), sslcontext.bind(py))?;
                let options = TlsOptions {
                    context: Some(sslcontext),
                    server_hostname,
                    handshake_timeout: ssl_handshake_timeout,
                    shutdown_timeout: ssl_shutdown_timeout,
                };
                let event_loop = event_loop.bind(py);
                Upgrade::begin(event_loop, transport, protocol.bind(py), &options, server_side)
            })?;
            let waiter = Python::attach(|py| upgrade.waiter.clone_ref(py));
            let outcome = wait_for(waiter).await;
            Python::attach(|py| upgrade.finish(py, outcome))
        })
    }
}

fn check_upgrade(transport: &Bound<'_, PyAny>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = transport.py();
    let Some(class) = &stdlib(py).ssl_context else {
        return Err(exceptions::runtime("Python ssl module is not available"));
    };
    if !context.is_instance(class.bind(py))? {
        return Err(PyTypeError::new_err(format!(
            "sslcontext is expected to be an instance of ssl.SSLContext, got {}",
            context.repr()?
        )));
    }
    let compatible = transport.getattr_opt(intern!(py, "_start_tls_compatible"))?;
    if !compatible.map_or(Ok(false), |compatible| compatible.is_truthy())? {
        let text = format!("transport {} is not supported by start_tls()", transport.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    Ok(())
}

/// A transport on its way from plain text to TLS.
struct Upgrade {
    transport: Py<PyAny>,
    tls: Py<PyAny>,
    waiter: Py<PyAny>,
    /// What is scheduled to begin it.
    handles: [Py<PyAny>; 2],
}

impl Upgrade {
    fn begin(
        event_loop: &Bound<'_, Loop>,
        transport: Py<PyAny>,
        protocol: &Bound<'_, PyAny>,
        options: &TlsOptions,
        server_side: bool,
    ) -> PyResult<Self> {
        let py = event_loop.py();
        let waiter = Bound::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
        let tls = options.make(event_loop, protocol, Some(&waiter), server_side, false)?;
        let carrier = transport.bind(py);
        // Nothing may be received between the change of protocols and connection_made().
        carrier.call_method0(intern!(py, "pause_reading"))?;
        if server_side {
            hand_over_buffered(protocol, &tls)?;
        }
        carrier.call_method1(intern!(py, "set_protocol"), (&tls,))?;
        let call_soon = intern!(py, "call_soon");
        let connection_made = tls.getattr(intern!(py, "connection_made"))?;
        let resume_reading = carrier.getattr(intern!(py, "resume_reading"))?;
        let handles = [
            event_loop.call_method1(call_soon, (connection_made, carrier))?.unbind(),
            event_loop.call_method1(call_soon, (resume_reading,))?.unbind(),
        ];
        Ok(Self { transport, tls: tls.unbind(), waiter: waiter.into_any().unbind(), handles })
    }

    fn finish(&self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let Err(error) = outcome else {
            return Ok(application_transport(self.tls.bind(py))?.unbind());
        };
        self.transport.bind(py).call_method0(intern!(py, "close"))?;
        for handle in &self.handles {
            handle.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        Err(error)
    }
}

/// A client may send its hello right behind the plain text: what a StreamReader holds of it belongs to TLS.
fn hand_over_buffered(protocol: &Bound<'_, PyAny>, tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = protocol.py();
    if !protocol.is_instance(stdlib(py).stream_reader_protocol.bind(py))? {
        return Ok(());
    }
    let reader = protocol.getattr_opt(intern!(py, "_stream_reader"))?;
    let Some(reader) = reader.filter(|reader| !reader.is_none()) else {
        return Ok(());
    };
    let buffer = reader.getattr(intern!(py, "_buffer"))?;
    if buffer.is_truthy()? {
        let incoming = tls.getattr(intern!(py, "_incoming"))?;
        incoming.call_method1(intern!(py, "write"), (&buffer,))?;
        buffer.call_method0(intern!(py, "clear"))?;
    }
    Ok(())
}
