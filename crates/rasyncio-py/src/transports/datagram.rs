//! `DatagramTransport`: one socket of datagrams. What it knows, how it is made, how it ends (asyncio: `selector_events._SelectorDatagramTransport`).

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{ffi, intern};
use rasyncio_core::net::Burst;
use rasyncio_core::reactor::Operation;

use super::datagram_sending::SHORTEST_PAUSE;
use super::flow_control::{FlowControl, Writer};
use super::life::{Life, Transport};
use super::registration::Registered;
use super::senders::Senders;
use super::socket_info::{Endpoint, Family, Socket, SocketTransport};
use crate::event_loop::{Loop, Source};
use crate::ffi::allocation::new_with_dict;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::ffi::finalize::Finalize;
use crate::futures::Future;

/// A socket of datagrams, made by `create_datagram_endpoint()`.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#datagram-transports>
#[pyclass(frozen, weakref, dict, name = "_SelectorDatagramTransport", module = "rasyncio")]
pub(crate) struct DatagramTransport {
    pub(super) event_loop: Py<Loop>,
    context: Py<PyAny>,
    pub(super) fd: RawFd,
    pub(super) family: Family,
    /// The only one that may be sent to.
    pub(super) address: Option<Py<PyAny>>,
    /// The socket itself is connected.
    pub(super) has_peer: bool,
    pub(super) state: GilCell<State>,
}

/// The changing part.
pub(super) struct State {
    pub(super) life: Life,
    pub(super) endpoint: Endpoint,
    pub(super) flow: FlowControl,
    /// What the kernel refused to take at once.
    pub(super) unsent: VecDeque<Outgoing>,
    /// Its size, as asyncio counts it.
    pub(super) unsent_size: usize,
    /// Seconds that a receiver without room is left alone before it is asked again.
    pub(super) next_pause: f64,
    /// What was received together with a datagram whose callback paused the transport or ended the run.
    pub(super) held: VecDeque<Incoming>,
    pub(super) burst: Burst,
    pub(super) senders: Senders,
}

/// A datagram that waits to be sent.
pub(super) struct Outgoing {
    pub(super) data: Py<PyBytes>,
    pub(super) to: Py<PyAny>,
}

/// A datagram that waits for the protocol.
pub(super) struct Incoming {
    pub(super) data: Py<PyBytes>,
    pub(super) from: Py<PyAny>,
}

impl DatagramTransport {
    /// A transport over `sock`, which it closes at the end. With an `address`, nobody else can be sent to. `waiter` is set when the protocol
    /// knows of the transport.
    pub(crate) fn make(
        event_loop: &Bound<'_, Loop>,
        sock: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        address: Option<Py<PyAny>>,
        waiter: Py<Future>,
    ) -> PyResult<Py<Self>> {
        let py = event_loop.py();
        event_loop.get().check_usable()?;
        let fd: RawFd = sock.call_method0(intern!(py, "fileno"))?.extract()?;
        if fd < 0 {
            return Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}")));
        }
        event_loop.get().check_not_transport(sock, fd)?;
        let endpoint = Endpoint::of_object(sock, fd)?;
        let transport = Self {
            event_loop: event_loop.clone().unbind(),
            context: context::copy_current(py)?,
            fd,
            family: endpoint.family(),
            address,
            has_peer: endpoint.has_named_peer(py)?,
            state: GilCell::new(State {
                life: Life::new(protocol),
                endpoint,
                flow: FlowControl::default(),
                unsent: VecDeque::new(),
                unsent_size: 0,
                next_pause: SHORTEST_PAUSE,
                held: VecDeque::new(),
                burst: Burst::new(),
                senders: Senders::default(),
            }),
        };
        let transport = new_with_dict(py, transport)?;
        Self::enter(&transport, fd)?;
        Self::begin(&transport, Some(waiter));
        Ok(transport.unbind())
    }

    /// The reactor completed `operation` on the socket. Fails only with what must end the program.
    pub(crate) fn on_io(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        operation: Operation,
    ) -> PyResult<()> {
        this.get().in_context(this.py(), || match operation {
            Operation::ReceiveDatagrams => Self::read_ready(this, event_loop),
            Operation::Send => Self::write_ready(this),
            _ => Ok(()),
        })
    }

    /// `close()`: nothing is received any more; what waits is sent first.
    pub(super) fn close_gracefully(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().life(py, |life| std::mem::replace(&mut life.closing, true)) {
            return Ok(());
        }
        Self::end_reading(this)?;
        if this.get().state.with(py, |state| state.unsent.is_empty()) {
            Self::stop_waiting_for_room(this)?;
            return Self::lose(this, None);
        }
        Ok(())
    }

    /// The Python socket, until it is closed.
    pub(super) fn socket<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.endpoint(py, |endpoint| match &endpoint.socket {
            Socket::Object(object) => Some(object.clone_ref(py)),
            Socket::Descriptor(_) | Socket::Closed => None,
        })
        .map(|object| object.into_bound(py))
    }

    /// Calls `error_received()`. What that raises is the caller's.
    pub(super) fn tell_error(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        if let Some(protocol) = self.protocol(py) {
            let error = error.into_value(py).into_bound(py);
            crate::ffi::call::call_method_one(protocol.bind(py), intern!(py, "error_received"), &error)?;
        }
        Ok(())
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.context)?;
        visit.call(&self.address)?;
        let visited = self.state.peek(|state| {
            state.life.visit(visit)?;
            state.endpoint.visit(visit)?;
            // Addresses may be any object of the user's; the bytes lead nowhere.
            state.unsent.iter().try_for_each(|datagram| visit.call(&datagram.to))
        });
        visited.unwrap_or(Ok(()))
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let socket = std::mem::replace(&mut state.endpoint.socket, Socket::Closed);
            (state.life.protocol.take(), socket, std::mem::take(&mut state.unsent))
        });
        drop(dropped);
    }
}

impl Transport for DatagramTransport {
    const READ_ERROR: &'static str = "Fatal read error on datagram transport";
    const READING: Operation = Operation::ReceiveDatagrams;
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
        let unsent = self.state.with(py, |state| {
            state.unsent_size = 0;
            std::mem::take(&mut state.unsent)
        });
        drop(unsent);
    }

    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        own.leave(py);
        own.forget_unsent(py);
        let (socket, held, senders) = own.state.with(py, |state| {
            let socket = std::mem::replace(&mut state.endpoint.socket, Socket::Closed);
            (socket, std::mem::take(&mut state.held), std::mem::take(&mut state.senders))
        });
        drop((held, senders));
        let closed = socket.close(py);
        own.event_loop.get().on_descriptor_closed(py)?;
        closed
    }
}

impl Registered for DatagramTransport {
    fn source(this: Py<Self>) -> Source {
        Source::Datagrams(this)
    }
}

impl SocketTransport for DatagramTransport {
    fn endpoint<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Endpoint) -> R) -> R {
        self.state.with(py, |state| look(&mut state.endpoint))
    }
}

impl Writer for DatagramTransport {
    fn flow<R>(&self, py: Python<'_>, look: impl FnOnce(&mut FlowControl, usize) -> R) -> R {
        self.state.with(py, |state| look(&mut state.flow, state.unsent_size))
    }
}

impl Finalize for DatagramTransport {
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
