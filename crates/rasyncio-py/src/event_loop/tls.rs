//! Where TLS comes in: what `ssl=` and its companions mean, and `start_tls()` (asyncio: `base_events.py`, `selector_events.py`).

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyByteArray};

use super::Loop;
use crate::coroutines::{Coroutine, Held, wait_holding};
use crate::exceptions;
use crate::futures::Future;
use crate::interop::{Ssl, stdlib};
use crate::transports::direct;
use crate::transports::tcp::TcpTransport;
use crate::transports::tls::{Terms, TlsTransport};

/// What `ssl=` and the arguments that go with it said.
pub(super) struct TlsOptions {
    /// None: asyncio's default context.
    context: Option<Py<PyAny>>,
    server_hostname: Option<Py<PyAny>>,
    handshake_timeout: Option<Py<PyAny>>,
    shutdown_timeout: Option<Py<PyAny>>,
}

/// Which end a transport is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
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

    pub(super) fn context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.context.as_ref().map(|context| context.clone_ref(py))
    }

    pub(super) fn handshake_timeout(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.handshake_timeout.as_ref().map(|seconds| seconds.clone_ref(py))
    }

    pub(super) fn shutdown_timeout(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.shutdown_timeout.as_ref().map(|seconds| seconds.clone_ref(py))
    }

    /// Shows the collector what is held.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        visit.call(&self.server_hostname)?;
        visit.call(&self.handshake_timeout)?;
        visit.call(&self.shutdown_timeout)
    }

    /// A TLS transport for `protocol` over the transport that `carrier` makes for it. `waiter` is set when the handshake is done.
    pub(super) fn attach<'py>(
        &self,
        event_loop: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        waiter: &Bound<'py, Future>,
        end: End,
        carrier: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Py<TcpTransport>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let tls = self.make(event_loop, protocol, waiter, end, false)?;
        match carrier(tls.as_any()) {
            Ok(carrier) => TlsTransport::ride(&tls, carrier.bind(py).as_any()),
            Err(error) => {
                tls.get().discard(py);
                return Err(error);
            }
        }
        Ok(tls.into_any())
    }

    fn make<'py>(
        &self,
        event_loop: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        waiter: &Bound<'py, Future>,
        end: End,
        upgrades: bool,
    ) -> PyResult<Bound<'py, TlsTransport>> {
        let py = event_loop.py();
        let bound = |option: &Option<Py<PyAny>>| option.as_ref().map(|option| option.bind(py).clone());
        let (context, server_hostname) = (bound(&self.context), bound(&self.server_hostname));
        let (handshake, shutdown) = (bound(&self.handshake_timeout), bound(&self.shutdown_timeout));
        let terms = Terms {
            context: context.as_ref(),
            server_side: end == End::Server,
            server_hostname: server_hostname.as_ref(),
            handshake_timeout: handshake.as_ref(),
            shutdown_timeout: shutdown.as_ref(),
            upgrades,
        };
        TlsTransport::make(event_loop, protocol, &terms, Some(waiter.clone().unbind()))
    }
}

/// TypeError for a socket that speaks TLS by itself: it cannot be used without blocking.
pub(super) fn refuse_tls_socket(sock: &Bound<'_, PyAny>) -> PyResult<()> {
    let library = stdlib(sock.py());
    if sock.get_type().is(&library.socket_class) {
        return Ok(());
    }
    match &library.ssl {
        Some(Ssl { socket_class, .. }) if sock.is_instance(socket_class.bind(sock.py()))? => {
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
        let end = if server_side { End::Server } else { End::Client };
        Coroutine::make(this.py(), "EventLoop.start_tls", async move {
            let (waiter, upgrade) = Python::attach(|py| {
                let event_loop = event_loop;
                check_upgrade(transport.bind(py), sslcontext.bind(py))?;
                let options = TlsOptions {
                    context: Some(sslcontext),
                    server_hostname,
                    handshake_timeout: ssl_handshake_timeout,
                    shutdown_timeout: ssl_shutdown_timeout,
                };
                let protocol = protocol;
                Upgrade::begin(event_loop.bind(py), transport, protocol.bind(py), &options, end)
            })?;
            let (outcome, upgrade) = wait_holding(waiter, upgrade).await;
            Python::attach(|py| upgrade.finish(py, outcome))
        })
    }
}

fn check_upgrade(transport: &Bound<'_, PyAny>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = transport.py();
    let Some(ssl) = &stdlib(py).ssl else {
        return Err(exceptions::runtime("Python ssl module is not available"));
    };
    if !context.is_instance(ssl.context_class.bind(py))? {
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
    tls: Py<TlsTransport>,
    /// What is scheduled to begin it.
    handles: [Py<PyAny>; 2],
}

impl Held for Upgrade {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.transport)?;
        visit.call(&self.tls)?;
        self.handles.iter().try_for_each(|handle| visit.call(handle))
    }
}

impl Upgrade {
    /// Gives what is set when the handshake is done, too.
    fn begin(
        event_loop: &Bound<'_, Loop>,
        transport: Py<PyAny>,
        protocol: &Bound<'_, PyAny>,
        options: &TlsOptions,
        end: End,
    ) -> PyResult<(Py<PyAny>, Self)> {
        let py = event_loop.py();
        let waiter = Bound::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
        let tls = options.make(event_loop, protocol, &waiter, end, true)?;
        let begun = Self::switch(event_loop, transport.bind(py), protocol, &tls, end);
        let handles = begun.inspect_err(|_| tls.get().discard(py))?;
        Ok((waiter.into_any().unbind(), Self { transport, tls: tls.unbind(), handles }))
    }

    fn switch(
        event_loop: &Bound<'_, Loop>,
        carrier: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        tls: &Bound<'_, TlsTransport>,
        end: End,
    ) -> PyResult<[Py<PyAny>; 2]> {
        let py = event_loop.py();
        // Nothing may be received between the change of protocols and connection_made().
        carrier.call_method0(intern!(py, "pause_reading"))?;
        if end == End::Server {
            hand_over_buffered(protocol, tls)?;
        }
        carrier.call_method1(intern!(py, "set_protocol"), (tls,))?;
        let call_soon = intern!(py, "call_soon");
        let connection_made = tls.getattr(intern!(py, "connection_made"))?;
        let resume_reading = carrier.getattr(intern!(py, "resume_reading"))?;
        Ok([
            event_loop.call_method1(call_soon, (connection_made, carrier))?.unbind(),
            event_loop.call_method1(call_soon, (resume_reading,))?.unbind(),
        ])
    }

    fn finish(self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let Err(error) = outcome else {
            // asyncio: a transport that was closed in order before it could be upgraded gives None.
            let is_settled = self.tls.bind(py).get().is_settled(py);
            return Ok(if is_settled { self.tls.into_any() } else { py.None() });
        };
        if self.tls.bind(py).get().is_orphaned() {
            return Err(error);
        }
        self.transport.bind(py).call_method0(intern!(py, "close"))?;
        for handle in &self.handles {
            handle.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        Err(error)
    }
}

/// A client may send its hello right behind the plain text: what a StreamReader holds of it belongs to TLS.
fn hand_over_buffered(protocol: &Bound<'_, PyAny>, tls: &Bound<'_, TlsTransport>) -> PyResult<()> {
    let py = protocol.py();
    if !direct::is_stream_protocol(protocol)? {
        return Ok(());
    }
    let reader = protocol.getattr_opt(intern!(py, "_stream_reader"))?;
    let Some(reader) = reader.filter(|reader| !reader.is_none()) else {
        return Ok(());
    };
    let buffer = reader.getattr(intern!(py, "_buffer"))?;
    if buffer.is_truthy()? {
        tls.get().feed_early(py, &PyBackedBytes::from(buffer.cast::<PyByteArray>()?.clone()))?;
        buffer.call_method0(intern!(py, "clear"))?;
    }
    Ok(())
}
