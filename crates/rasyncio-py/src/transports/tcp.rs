//! `TcpTransport`: one connection of a stream socket. What it knows, how it is made, how it begins.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::{ffi, intern};
use rasyncio_core::net::{self, PeerAddress};
use rasyncio_core::reactor::Operation;

use super::flow_control::{Output, Sending};
use super::life::{Life, Transport};
use super::reading::Receiver;
use super::registration::Registered;
use super::socket_info::{Endpoint, Socket, SocketTransport};
use crate::event_loop::{Loop, Server, Source};
use crate::exceptions;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::ffi::finalize::Finalize;
use crate::futures::Future;

/// A connection, made by `create_connection()` and by servers.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#transports>
#[pyclass(frozen, weakref, dict, name = "_SelectorSocketTransport", module = "rasyncio")]
pub(crate) struct TcpTransport {
    pub(super) event_loop: Py<Loop>,
    /// The one that was current when the transport was made: the protocol is called in it.
    pub(super) context: Py<PyAny>,
    pub(super) fd: RawFd,
    pub(super) state: GilCell<State>,
}

/// The changing part.
pub(super) struct State {
    pub(super) life: Life,
    pub(super) receiver: Receiver,
    /// The last read brought so much that the next one is made for as much.
    pub(super) receives_much: bool,
    pub(super) server: Option<Py<Server>>,
    pub(super) endpoint: Endpoint,
    pub(super) output: Output,
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
        Self::begin(&transport, waiter);
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
        Self::begin(&transport, None);
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
            life: Life::new(protocol),
            receiver: Receiver::of(protocol)?,
            receives_much: false,
            server: server.as_ref().map(|server| server.clone_ref(py)),
            endpoint,
            output: Output::default(),
        };
        let context = context::copy_current(py)?;
        let event_loop_kept = event_loop.clone().unbind();
        let transport =
            new_with_dict(py, Self { event_loop: event_loop_kept, context, fd, state: GilCell::new(state) })?;
        Self::enter(&transport, fd)?;
        if let Some(server) = server {
            Server::attach(server.bind(py), Some(transport.as_any()))?;
        }
        Ok(transport)
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
            _ => Ok(()),
        })
    }
}

impl Transport for TcpTransport {
    const READ_ERROR: &'static str = "Fatal read error on socket transport";
    const READING: Operation = Operation::Receive;
    const WRITING: Operation = Operation::Send;

    fn event_loop(&self) -> &Py<Loop> {
        &self.event_loop
    }

    fn context(&self) -> &Py<PyAny> {
        &self.context
    }

    #[inline]
    fn life<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Life) -> R) -> R {
        self.state.with(py, |state| look(&mut state.life))
    }

    fn set_armed(this: &Bound<'_, Self>, operation: Operation, armed: bool) -> PyResult<io::Result<()>> {
        Self::arm(this, operation, armed)
    }

    fn forget_unsent(&self, py: Python<'_>) {
        self.offer_collected(py);
        let unsent = self.state.with(py, |state| {
            state.output.sending = Sending::Idle;
            state.output.queue.take_all()
        });
        drop(unsent);
    }

    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::release_socket(this)
    }
}

impl Registered for TcpTransport {
    fn source(this: Py<Self>) -> Source {
        Source::Stream(this)
    }
}

impl SocketTransport for TcpTransport {
    fn endpoint<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Endpoint) -> R) -> R {
        self.state.with(py, |state| look(&mut state.endpoint))
    }
}

impl Loop {
    /// `RuntimeError` when a transport uses the descriptor: watching it besides would steal the transport's bytes. `given` is what the
    /// user said for it.
    pub(crate) fn check_not_transport(&self, given: &Bound<'_, PyAny>, fd: RawFd) -> PyResult<()> {
        let py = given.py();
        if self.check_usable().is_err() {
            return Ok(());
        }
        let found = self.with_reactor(py, |reactor| reactor.get(reactor.find(fd)?)?.transport(py))?;
        let Some(transport) = found.and_then(|found| found.upgrade(py)) else {
            return Ok(());
        };
        if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
            return Ok(());
        }
        let (given, transport) = (given.repr()?, transport.repr()?);
        Err(exceptions::runtime(format!("File descriptor {given} is used by transport {transport}")))
    }
}

impl Finalize for TcpTransport {
    #[inline]
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().state.with(this.py(), |state| !state.endpoint.is_closed())
    }

    fn finalize(this: &Bound<'_, Self>) {
        Self::die_unclosed(this);
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

impl TcpTransport {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.context)?;
        self.state
            .peek(|state| {
                state.life.visit(visit)?;
                visit.call(&state.server)?;
                state.output.file.as_ref().map_or(Ok(()), |turn| turn.visit(visit))?;
                state.endpoint.visit(visit)
            })
            .unwrap_or(Ok(()))
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let socket = std::mem::replace(&mut state.endpoint.socket, Socket::Closed);
            (state.life.protocol.take(), state.server.take(), state.output.file.take(), socket)
        });
        drop(dropped);
    }
}
