//! Accepting: one `Listener` per listening socket of a serving server.

use std::io;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use rasyncio_core::net::{AcceptBackoff, AcceptFailure};
use rasyncio_core::reactor::{Accepted, Operation, Token};

use super::Server;
use crate::coroutines::{Coroutine, wait_holding};
use crate::event_loop::tls::End;
use crate::event_loop::{Loop, Source};
use crate::exceptions::{self, Report};
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::futures::Future;
use crate::interop::{must_propagate, stdlib};
use crate::transports::socket_info::address_to_python;
use crate::transports::tcp::TcpTransport;

/// A socket that is listened on.
#[pyclass(frozen, name = "_Listener", module = "rasyncio._rasyncio")]
pub(crate) struct Listener {
    server: Py<Server>,
    socket: Py<PyAny>,
    /// Each connection is served in a copy of it.
    context: Py<PyAny>,
    state: GilCell<State>,
}

#[derive(Default)]
struct State {
    /// Its place in the reactor, until it is ended.
    token: Option<Token>,
    backoff: AcceptBackoff,
    /// The timer that ends a pause.
    resume: Option<Py<PyAny>>,
}

/// Whether to take another connection in this turn.
enum After {
    GoOn,
    Stop,
}

impl Listener {
    /// Accepts connections of `server` from `socket`, which listens already.
    pub(super) fn begin(server: &Bound<'_, Server>, socket: Py<PyAny>) -> PyResult<Py<Self>> {
        let py = server.py();
        let fd: i32 = socket.bind(py).call_method0(intern!(py, "fileno"))?.extract()?;
        let context = match &server.get().context {
            Some(context) => context.clone_ref(py),
            None => context::copy_current(py)?,
        };
        let state = GilCell::default();
        let listener = Self { server: server.clone().unbind(), socket, context, state };
        let listener = Py::new(py, listener)?;
        let held = listener.clone_ref(py);
        let (token, armed) = server.get().event_loop.get().with_reactor(py, |reactor| {
            let token = reactor.insert(fd, Source::Listener(held));
            (token, reactor.arm(token, Operation::Accept))
        })?;
        listener.get().state.with(py, |state| state.token = Some(token));
        if let Err(error) = armed {
            Self::end(listener.bind(py))?;
            return Err(exceptions::os_error(&error));
        }
        Ok(listener)
    }

    /// Accepts no more. The socket is not closed here.
    pub(super) fn end(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let (token, resume) = own.state.with(py, |state| (state.token.take(), state.resume.take()));
        let event_loop = own.server.get().event_loop.get();
        // A closed loop has let go of it already.
        if let Some(token) = token
            && let Ok(source) = event_loop.with_reactor(py, |reactor| reactor.remove(token))
        {
            drop(source);
        }
        if let Some(resume) = resume {
            resume.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        Ok(())
    }

    /// Connections wait. Fails only with what must end the program.
    pub(crate) fn on_acceptable(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let backlog = usize::try_from(own.server.get().backlog).unwrap_or(0);
        for _ in 0..backlog.saturating_add(1).min(ACCEPTS_PER_TURN) {
            // A protocol factory may have closed the server.
            let Some(token) = own.state.with(py, |state| state.token) else {
                return Ok(());
            };
            match event_loop.get().with_reactor(py, |reactor| reactor.accept(token))? {
                Ok(accepted) => Self::serve(this, event_loop, accepted)?,
                Err(error) => match Self::on_failure(this, event_loop, &error)? {
                    After::GoOn => {}
                    After::Stop => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// Makes protocol and transport of one connection. What fails there costs this connection only.
    fn serve(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>, accepted: Accepted) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        if event_loop.get().is_debug(py) {
            let peer = address_to_python(py, &accepted.peer)?;
            let arguments = ("%r got a new connection from %r", &own.server, peer);
            stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), arguments)?;
        }
        let context = context::run_in(py, &own.context, || context::copy_current(py))??;
        let mut protocol = None;
        let made = context::run_in(py, &context, || {
            let made = own.server.get().protocol_factory.bind(py).call0()?;
            let protocol = protocol.insert(made);
            own.connect(event_loop, accepted, protocol)
        })?;
        match made {
            Ok(()) => Ok(()),
            Err(error) => report_connection(event_loop, &error, protocol.as_ref(), None),
        }
    }

    fn connect(
        &self,
        event_loop: &Bound<'_, Loop>,
        accepted: Accepted,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = event_loop.py();
        let server = self.server.get();
        if server.is_closed(py) {
            // The factory closed it: as for a connection that comes too late.
            return Ok(());
        }
        let owner = Some(self.server.clone_ref(py));
        let Some(options) = &server.tls else {
            let Accepted { fd, peer } = accepted;
            TcpTransport::from_accepted(event_loop, fd, peer, protocol, owner)?;
            return Ok(());
        };
        let waiter = Server::future(self.server.bind(py))?;
        let transport = options.attach(event_loop, protocol, waiter.bind(py), End::Server, |tls| {
            TcpTransport::from_accepted(event_loop, accepted.fd, accepted.peer, tls, owner)
        })?;
        let handshake = shake_hands(event_loop, &waiter, protocol, &transport)?;
        event_loop.call_method1(intern!(py, "create_task"), (handshake,))?;
        Ok(())
    }

    fn on_failure(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        error: &io::Error,
    ) -> PyResult<After> {
        let py = this.py();
        let now = Loop::now(event_loop)?;
        let failure = this.get().state.with(py, |state| state.backoff.on_failure(error, now));
        let (message, report) = match failure {
            AcceptFailure::Drained => return Ok(After::Stop),
            AcceptFailure::Retry => return Ok(After::GoOn),
            AcceptFailure::Pause { resume_at, report } => {
                Self::pause(this, event_loop, resume_at)?;
                event_loop.get().wait_for_descriptor(py, this.clone().unbind());
                ("socket.accept() out of system resource", report)
            }
            // asyncio would be told again and again in each turn.
            AcceptFailure::Fatal => {
                Self::pause(this, event_loop, now + PAUSE_WHEN_BROKEN)?;
                ("socket.accept() failed", true)
            }
        };
        if report {
            let shown = stdlib(py).transport_socket.bind(py).call1((&this.get().socket,))?;
            let error = exceptions::os_error(error);
            Report::of_error(py, message, &error)?.with("socket", shown)?.tell(event_loop)?;
        }
        Ok(After::Stop)
    }

    /// Leaves the connections in the kernel's backlog until `resume_at`.
    fn pause(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>, resume_at: f64) -> PyResult<()> {
        let py = this.py();
        let cell = &this.get().state;
        let Some(token) = cell.with(py, |state| state.token) else {
            return Ok(());
        };
        event_loop.get().with_reactor(py, |reactor| reactor.disarm(token, Operation::Accept))?;
        let resume = this.getattr(intern!(py, "_resume"))?;
        let timer = event_loop.call_method1(intern!(py, "call_at"), (resume_at, resume))?.unbind();
        let old = cell.with(py, |state| state.resume.replace(timer));
        drop(old);
        Ok(())
    }

    /// Ends a pause, if there is one.
    pub(crate) fn resume(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let (token, timer) = own.state.with(py, |state| (state.token, state.resume.take()));
        let (Some(token), Some(timer)) = (token, timer) else {
            return Ok(());
        };
        timer.bind(py).call_method0(intern!(py, "cancel"))?;
        let event_loop = own.server.get().event_loop.get();
        let armed = event_loop.with_reactor(py, |reactor| reactor.arm(token, Operation::Accept))?;
        armed.map_err(|error| exceptions::os_error(&error))
    }
}

#[pymethods]
impl Listener {
    /// The end of a pause.
    fn _resume(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::resume(this)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.server)?;
        visit.call(&self.socket)?;
        visit.call(&self.context)?;
        self.state.peek(|state| visit.call(&state.resume)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| state.resume.take());
        drop(dropped);
    }
}

/// Waits for the TLS handshake of an accepted connection, and ends the connection if it fails.
fn shake_hands<'py>(
    event_loop: &Bound<'py, Loop>,
    waiter: &Py<Future>,
    protocol: &Bound<'py, PyAny>,
    transport: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, Coroutine>> {
    let py = event_loop.py();
    let waiter = waiter.clone_ref(py).into_any();
    let held = [event_loop.as_any(), protocol, transport].map(|object| object.clone().unbind());
    Coroutine::make(py, "EventLoop._accept_connection", async move {
        let (outcome, [event_loop, protocol, transport]) = wait_holding(waiter, held).await;
        Python::attach(|py| {
            let event_loop = event_loop.bind(py).cast::<Loop>()?;
            // On a closed loop nothing can be closed in order any more.
            if let Err(error) = outcome
                && event_loop.get().check_usable().is_ok()
            {
                let transport = transport.bind(py);
                transport.call_method0(intern!(py, "close"))?;
                // A handshake fails for the peer's reasons, so it is news in debug mode only.
                if event_loop.get().is_debug(py) || must_propagate(py, &error) {
                    let protocol = protocol.bind(py);
                    report_connection(event_loop, &error, Some(protocol), Some(transport))?;
                }
            }
            Ok(py.None())
        })
    })
}

/// Reports what one connection was lost to; fails with what must end the program.
fn report_connection(
    event_loop: &Bound<'_, Loop>,
    error: &PyErr,
    protocol: Option<&Bound<'_, PyAny>>,
    transport: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = event_loop.py();
    if must_propagate(py, error) {
        return Err(error.clone_ref(py));
    }
    Report::of_error(py, "Error on transport creation for incoming connection", error)?
        .with_some("protocol", protocol)?
        .with_some("transport", transport)?
        .tell(event_loop)
}

/// At most so many connections are taken in a turn, whatever the backlog (asyncio takes as many as that): the default backlog. A flood of new
/// clients then holds up those that are connected by milliseconds only; the rest stays in the kernel until the next turn.
const ACCEPTS_PER_TURN: usize = 100;

/// Seconds until a listening socket that failed for no reason we know is tried again.
const PAUSE_WHEN_BROKEN: f64 = 1.0;
