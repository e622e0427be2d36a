//! `Server`: listening sockets and the connections that came through them (asyncio: `base_events.Server`).
//!
//! Files by job: this file (what a server knows, and how it starts and ends), `server/methods` (what Python sees), `server/listener` (accepting).
//! Invariant: whoever waits in `wait_closed()` is woken once, when the server is closed and its last connection is gone.

mod listener;
mod methods;

use std::collections::HashMap;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefMethods, PyWeakrefReference};

pub(crate) use listener::Listener;

use super::Loop;
use super::tls::TlsOptions;
use super::unix::SocketFile;
use crate::exceptions;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::futures::Future;
use crate::interop::stdlib;

/// A server, made by `create_server()`.
///
/// <https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Server>
#[pyclass(frozen, weakref, dict, name = "Server", module = "rasyncio")]
pub(crate) struct Server {
    event_loop: Py<Loop>,
    protocol_factory: Py<PyAny>,
    tls: Option<TlsOptions>,
    backlog: i32,
    /// What connections are served in a copy of: from 3.15 the context that the server was made in, before that the one that it starts in.
    context: Option<Py<PyAny>>,
    state: GilCell<State>,
}

struct State {
    /// None when the server is closed.
    sockets: Option<Vec<Py<PyAny>>>,
    listeners: Vec<Py<Listener>>,
    connections: Connections,
    /// Those in `wait_closed()`; None when they were woken.
    waiters: Option<Vec<Py<Future>>>,
    serving: bool,
    /// What `serve_forever()` waits for. Only its coroutine holds it, which shows it to the garbage collector.
    forever: Option<Py<PyWeakrefReference>>,
    /// What goes when the server is closed.
    socket_file: Option<SocketFile>,
}

/// The connections that are not gone yet. They are known weakly: the server keeps no abandoned transport alive.
#[derive(Default)]
struct Connections {
    /// By the address of the transport, which takes itself out before it dies.
    known: HashMap<usize, Py<PyWeakrefReference>>,
    /// Those of `_attach()` without a transport, as asyncio had it up to 3.12.
    anonymous: usize,
}

impl Connections {
    fn len(&self) -> usize {
        self.known.len() + self.anonymous
    }
}

impl Server {
    pub(super) fn make(
        event_loop: &Bound<'_, Loop>,
        sockets: Vec<Py<PyAny>>,
        protocol_factory: Py<PyAny>,
        tls: Option<TlsOptions>,
        backlog: i32,
    ) -> PyResult<Py<Self>> {
        let py = event_loop.py();
        let context = if py.version_info() >= (3, 15) { Some(context::copy_current(py)?) } else { None };
        let state = State {
            sockets: Some(sockets),
            listeners: Vec::new(),
            connections: Connections::default(),
            waiters: Some(Vec::new()),
            serving: false,
            forever: None,
            socket_file: None,
        };
        let event_loop = event_loop.clone().unbind();
        let state = GilCell::new(state);
        let server = Self { event_loop, protocol_factory, tls, backlog, context, state };
        new_with_dict(py, server).map(Bound::unbind)
    }

    /// Makes closing the server remove the file of its Unix socket.
    pub(super) fn remove_when_closed(&self, py: Python<'_>, file: Option<SocketFile>) {
        self.state.put(py, |state| &mut state.socket_file, file);
    }

    /// Listens on all sockets and accepts from now on; does nothing on a server that does so already.
    pub(super) fn begin_serving(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let sockets = own.state.with(py, |state| {
            if state.serving {
                return Some(Vec::new());
            }
            let sockets = state.sockets.as_ref()?;
            let sockets = sockets.iter().map(|socket| socket.clone_ref(py)).collect();
            state.serving = true;
            Some(sockets)
        });
        let Some(sockets) = sockets else {
            return Err(closed(this));
        };
        for socket in sockets {
            socket.bind(py).call_method1(intern!(py, "listen"), (own.backlog,))?;
            let listener = Listener::begin(this, socket)?;
            own.state.with(py, |state| state.listeners.push(listener));
        }
        Ok(())
    }

    /// Closes the listening sockets; connections stay.
    pub(super) fn end_serving(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let taken = own.state.with(py, |state| {
            let sockets = state.sockets.take()?;
            state.serving = false;
            let listeners = std::mem::take(&mut state.listeners);
            let ends = (state.socket_file.take(), state.forever.take());
            Some((sockets, listeners, ends))
        });
        let Some((sockets, listeners, (socket_file, forever))) = taken else {
            return Ok(());
        };
        for listener in listeners {
            Listener::end(listener.bind(py))?;
        }
        for socket in sockets {
            socket.bind(py).call_method0(intern!(py, "close"))?;
        }
        if let Some(file) = socket_file {
            file.remove(py)?;
        }
        if let Some(forever) = forever
            && let Some(forever) = forever.bind(py).upgrade_as::<Future>()?
            && !forever.get().is_done(py)
        {
            Future::cancel(&forever, None)?;
        }
        Self::wake_when_over(this)
    }

    /// A connection came in; `transport` is None where asyncio up to 3.12 does not say which.
    pub(crate) fn attach(this: &Bound<'_, Self>, transport: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let known = match transport {
            Some(transport) => {
                Some((transport.as_ptr() as usize, PyWeakrefReference::new(transport)?.unbind()))
            }
            None => None,
        };
        let old = this.get().state.with(this.py(), |state| {
            let connections = &mut state.connections;
            if known.is_none() {
                connections.anonymous += 1;
            }
            known.and_then(|(address, reference)| connections.known.insert(address, reference))
        });
        drop(old);
        Ok(())
    }

    /// A connection is gone.
    pub(crate) fn detach(this: &Bound<'_, Self>, transport: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let address = transport.map(|transport| transport.as_ptr() as usize);
        let old = this.get().state.with(this.py(), |state| {
            let connections = &mut state.connections;
            if address.is_none() {
                connections.anonymous = connections.anonymous.saturating_sub(1);
            }
            address.and_then(|address| connections.known.remove(&address))
        });
        drop(old);
        Self::wake_when_over(this)
    }

    /// Whether no connection can come any more.
    fn is_closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.sockets.is_none())
    }

    /// Wakes those in `wait_closed()` if the server is closed and no connection is left.
    fn wake_when_over(this: &Bound<'_, Self>) -> PyResult<()> {
        let is_over =
            this.get().state.with(this.py(), |state| state.sockets.is_none() && state.connections.len() == 0);
        if is_over { Self::wake_waiters(this) } else { Ok(()) }
    }

    fn wake_waiters(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let waiters = this.get().state.with(py, |state| state.waiters.take());
        for waiter in waiters.unwrap_or_default() {
            if !waiter.get().is_done(py) {
                Future::finish(waiter.bind(py), py.None())?;
            }
        }
        Ok(())
    }

    /// What `wait_closed()` has to wait for; None: nothing. Up to 3.11 a closed server keeps nobody waiting, whatever its connections do.
    fn closed_waiter(this: &Bound<'_, Self>) -> PyResult<Option<Py<Future>>> {
        let py = this.py();
        let looks_at_connections = py.version_info() >= (3, 12);
        let waiter = Self::future(this)?;
        let kept = waiter.clone_ref(py);
        let waits = this.get().state.with(py, |state| match &mut state.waiters {
            Some(waiters) if looks_at_connections || state.sockets.is_some() => {
                waiters.push(kept);
                None
            }
            _ => Some(kept),
        });
        Ok(if waits.is_none() { Some(waiter) } else { None })
    }

    fn future(this: &Bound<'_, Self>) -> PyResult<Py<Future>> {
        let event_loop = this.get().event_loop.clone_ref(this.py());
        Py::new(this.py(), Future::pending(event_loop.into_any()))
    }

    /// The transports that are not gone.
    fn transports<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let known: Vec<Py<PyWeakrefReference>> = self.state.with(py, |state| {
            state.connections.known.values().map(|reference| reference.clone_ref(py)).collect()
        });
        known.iter().filter_map(|reference| reference.bind(py).upgrade()).collect()
    }

    fn call_transports(&self, py: Python<'_>, method: &str) -> PyResult<()> {
        for transport in self.transports(py) {
            transport.call_method0(method)?;
        }
        Ok(())
    }

    /// The listening sockets as asyncio shows them to users.
    fn shown_sockets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let sockets: Vec<Py<PyAny>> = self
            .state
            .with(py, |state| state.sockets.iter().flatten().map(|socket| socket.clone_ref(py)).collect());
        let class = stdlib(py).transport_socket.bind(py);
        let shown = sockets.into_iter().map(|socket| class.call1((socket,)));
        PyTuple::new(py, shown.collect::<PyResult<Vec<_>>>()?)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.protocol_factory)?;
        visit.call(&self.context)?;
        if let Some(tls) = &self.tls {
            tls.visit(visit)?;
        }
        self.state
            .peek(|state| {
                state.sockets.iter().flatten().try_for_each(|socket| visit.call(socket))?;
                state.listeners.iter().try_for_each(|listener| visit.call(listener))?;
                state.waiters.iter().flatten().try_for_each(|waiter| visit.call(waiter))?;
                if let Some(file) = &state.socket_file {
                    file.visit(visit)?;
                }
                visit.call(&state.forever)
            })
            .unwrap_or(Ok(()))
    }

    fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let listeners = std::mem::take(&mut state.listeners);
            (state.sockets.take(), listeners, state.waiters.take(), state.forever.take())
        });
        drop(dropped);
    }
}

fn closed(server: &Bound<'_, Server>) -> PyErr {
    match server.repr() {
        Ok(repr) => exceptions::runtime(format!("server {repr} is closed")),
        Err(error) => error,
    }
}
