//! `TcpTransport`: one connection of a stream socket. What it knows, how it is made, how it begins.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use pyo3::exceptions::{PyResourceWarning, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{ffi, intern};
use rasyncio_core::net::{self, PeerAddress};
use rasyncio_core::reactor::{Operation, Token};

use super::flow_control::Output;
use super::socket_info::{Endpoint, Socket};
use crate::event_loop::{Loop, Server, Source};
use crate::exceptions;
use crate::ffi::call::call_method_one;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::ffi::finalize::Finalize;
use crate::futures::Future;
use crate::interop::stdlib;

/// A connection, made by `create_connection()` and by servers.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#transports>
#[pyclass(frozen, weakref, name = "_SelectorSocketTransport", module = "rasyncio")]
pub(crate) struct TcpTransport {
    pub(super) event_loop: Py<Loop>,
    /// The one that was current when the transport was made: the protocol is called in it.
    pub(super) context: Py<PyAny>,
    pub(super) fd: RawFd,
    pub(super) state: GilCell<State>,
}

/// The changing part.
pub(super) struct State {
    /// Its place in the reactor, until the socket is closed.
    pub(super) token: Option<Token>,
    /// Until `connection_lost()` was called.
    pub(super) protocol: Option<Py<PyAny>>,
    /// The protocol lends its own memory (`asyncio.BufferedProtocol`).
    pub(super) buffered: bool,
    pub(super) reading_paused: bool,
    /// `close()` was called, or the connection broke: nothing is read any more.
    pub(super) closing: bool,
    /// 0 until the call of `connection_lost()` is scheduled; from then on it counts the writes in vain, as asyncio does.
    pub(super) conn_lost: u32,
    pub(super) server: Option<Py<Server>>,
    pub(super) endpoint: Endpoint,
    pub(super) output: Output,
}

impl State {
    #[inline]
    pub(super) fn is_reading(&self) -> bool {
        !self.closing && !self.reading_paused
    }

    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.conn_lost > 0
    }
}

impl TcpTransport {
    /// A transport over the user's socket object, which it closes at the end. `waiter` is set when the protocol knows of the connection.
    pub(crate) fn from_python_socket(
        event_loop: &Bound<'_, Loop>,
        sock: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        waiter: Option<Py<Future>>,
        server: Option<Py<Server>>,
    ) -> PyResult<Py<Self>> {
        let py = event_loop.py();
        let fd: RawFd = sock.call_method0(intern!(py, "fileno"))?.extract()?;
        if fd < 0 {
            return Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}")));
        }
        let endpoint = Endpoint::of_object(sock, fd)?;
        let transport = Self::make(event_loop, fd, endpoint, protocol, server)?;
        Self::begin(&transport, event_loop, waiter);
        Ok(transport.unbind())
    }

    /// A transport over an accepted connection. A Python socket object is made only if somebody asks for it.
    pub(crate) fn from_accepted(
        event_loop: &Bound<'_, Loop>,
        fd: OwnedFd,
        peer: PeerAddress,
        protocol: &Bound<'_, PyAny>,
        server: Option<Py<Server>>,
    ) -> PyResult<Py<Self>> {
        let number = fd.as_raw_fd();
        let endpoint = Endpoint::of_descriptor(fd, peer);
        let transport = Self::make(event_loop, number, endpoint, protocol, server)?;
        Self::begin(&transport, event_loop, None);
        Ok(transport.unbind())
    }

    fn make<'py>(
        event_loop: &Bound<'py, Loop>,
        fd: RawFd,
        endpoint: Endpoint,
        protocol: &Bound<'py, PyAny>,
        server: Option<Py<Server>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        event_loop.get().check_usable()?;
        if endpoint.is_internet() {
            // Small writes go out at once. A failure (the peer is gone already) shows when the transport reads or writes.
            let _ = net::set_nodelay(fd);
        }
        let state = State {
            token: None,
            protocol: Some(protocol.clone().unbind()),
            buffered: is_buffered(protocol)?,
            reading_paused: false,
            closing: false,
            conn_lost: 0,
            server: server.as_ref().map(|server| server.clone_ref(py)),
            endpoint,
            output: Output::default(),
        };
        let context = context::copy_current(py)?;
        let event_loop_kept = event_loop.clone().unbind();
        let transport =
            Bound::new(py, Self { event_loop: event_loop_kept, context, fd, state: GilCell::new(state) })?;
        let idle = Source::idle_stream(&transport)?;
        let token = event_loop.get().with_reactor(py, |reactor| reactor.insert(fd, idle))?;
        transport.get().state.with(py, |state| state.token = Some(token));
        if let Some(server) = server {
            Server::attach(server.bind(py), Some(transport.as_any()))?;
        }
        Ok(transport)
    }

    /// asyncio's order: `connection_made()`, then reading begins, then whoever waits for the connection goes on.
    fn begin(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>, waiter: Option<Py<Future>>) {
        let transport = this.clone().unbind();
        event_loop
            .get()
            .defer(this.py(), move |event_loop| Self::on_connected(transport.bind(event_loop.py()), waiter));
    }

    fn on_connected(this: &Bound<'_, Self>, waiter: Option<Py<Future>>) -> PyResult<()> {
        let py = this.py();
        let mut outcome = Ok(());
        if let Some(protocol) = this.get().protocol(py) {
            let (protocol, name) = (protocol.bind(py), intern!(py, "connection_made"));
            let made = this.get().in_context(py, || call_method_one(protocol, name, this.as_any()));
            if let Err(error) = made {
                outcome = Self::report_callback(this, protocol, name, this.as_any(), error);
            }
        }
        let begun = Self::begin_reading(this);
        if let Some(waiter) = waiter
            && !waiter.get().is_done(py)
        {
            Future::finish(waiter.bind(py), py.None())?;
        }
        outcome.and(begun)
    }

    /// The reactor completed `operation` on the socket. Fails only with what must end the program.
    pub(crate) fn on_io(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        operation: Operation,
    ) -> PyResult<()> {
        let own = this.get();
        own.in_context(this.py(), || match operation {
            Operation::Receive => Self::read_ready(this, event_loop),
            Operation::Send => Self::write_ready(this),
            Operation::Readable | Operation::Writable | Operation::Accept => Ok(()),
        })
    }

    #[inline]
    pub(super) fn in_context<R>(&self, py: Python<'_>, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        context::run_in(py, &self.context, body)?
    }

    pub(super) fn protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.protocol.as_ref().map(|protocol| protocol.clone_ref(py)))
    }

    /// Arms or disarms the socket for `operation`, as the state wants it. On a closed loop there is nothing to do.
    ///
    /// The loop keeps a transport alive only while it waits for the kernel: one that is paused and forgotten can be collected.
    pub(super) fn set_armed(
        this: &Bound<'_, Self>,
        operation: Operation,
        armed: bool,
    ) -> PyResult<std::io::Result<()>> {
        let py = this.py();
        let Some(token) = this.get().state.with(py, |state| state.token) else {
            return Ok(Ok(()));
        };
        let event_loop = this.get().event_loop.get();
        if event_loop.check_usable().is_err() {
            return Ok(Ok(()));
        }
        let mut held = armed.then(|| Source::Stream(this.clone().unbind()));
        let mut idle = if armed { None } else { Some(Source::idle_stream(this)?) };
        let outcome = event_loop.with_reactor(py, |reactor| {
            let outcome = if armed {
                reactor.arm(token, operation)
            } else {
                reactor.disarm(token, operation);
                Ok(())
            };
            let waits =
                reactor.is_armed(token, Operation::Receive) || reactor.is_armed(token, Operation::Send);
            let wanted = if waits { held.take() } else { idle.take() };
            let old = match (wanted, reactor.get_mut(token)) {
                (Some(wanted), Some(source)) => Some(std::mem::replace(source, wanted)),
                (wanted, _) => wanted,
            };
            (outcome, old)
        });
        let (outcome, old) = outcome?;
        drop(old);
        Ok(outcome)
    }
}

impl Source {
    fn idle_stream(transport: &Bound<'_, TcpTransport>) -> PyResult<Self> {
        Ok(Self::IdleStream(PyWeakrefReference::new(transport.as_any())?.unbind()))
    }
}

/// Whether the protocol wants to be read into.
pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    protocol.is_instance(stdlib(protocol.py()).buffered_protocol.bind(protocol.py()))
}

impl Loop {
    /// `RuntimeError` when a transport uses the descriptor: watching it besides would steal the transport's bytes.
    pub(crate) fn check_not_transport(&self, py: Python<'_>, fd: RawFd) -> PyResult<()> {
        if self.check_usable().is_err() {
            return Ok(());
        }
        let found = self.with_reactor(py, |reactor| match reactor.get(reactor.find(fd)?)? {
            Source::Stream(transport) => Some(Ok(transport.clone_ref(py))),
            Source::IdleStream(transport) => Some(Err(transport.clone_ref(py))),
            Source::Watch { .. } | Source::Listener(_) | Source::Signals => None,
        })?;
        let transport = match found {
            Some(Ok(transport)) => Some(transport.into_bound(py)),
            Some(Err(idle)) => idle.bind(py).upgrade_as::<TcpTransport>()?,
            None => None,
        };
        let Some(transport) = transport else {
            return Ok(());
        };
        if transport.get().state.with(py, |state| state.closing) {
            return Ok(());
        }
        let text = transport.repr()?;
        Err(exceptions::runtime(format!("File descriptor {fd} is used by transport {text}")))
    }
}

impl Finalize for TcpTransport {
    #[inline]
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().state.with(this.py(), |state| !state.endpoint.is_closed())
    }

    /// As asyncio: a transport that nobody closed says so and closes its socket, without a word to the protocol.
    fn finalize(this: &Bound<'_, Self>) {
        if let Err(error) = Self::warn_unclosed(this) {
            error.write_unraisable(this.py(), Some(this.as_any()));
        }
        if let Err(error) = Self::release(this) {
            error.write_unraisable(this.py(), Some(this.as_any()));
        }
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

impl TcpTransport {
    fn warn_unclosed(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let keywords = PyDict::new(py);
        keywords.set_item("source", this)?;
        let warning = (format!("unclosed transport {}", this.repr()?), py.get_type::<PyResourceWarning>());
        stdlib(py).warn.bind(py).call(warning, Some(&keywords))?;
        Ok(())
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.context)?;
        self.state
            .peek(|state| {
                visit.call(&state.protocol)?;
                visit.call(&state.server)?;
                state.endpoint.visit(visit)
            })
            .unwrap_or(Ok(()))
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let socket = std::mem::replace(&mut state.endpoint.socket, Socket::Closed);
            (state.protocol.take(), state.server.take(), socket)
        });
        drop(dropped);
    }
}
