//! TLS over a transport of any kind (asyncio: `sslproto.py`).
//!
//! asyncio has two objects per connection, a protocol for the transport below (here: the carrier) and a transport for the protocol above. Neither
//! lives without the other, so here they are one. Over our own `TcpTransport` cipher text is handed up and down without a Python call; any other
//! transport, a TLS transport too, is used through its methods.
//!
//! Files by job: `engine` (records; knows nothing of the rest), `handshake`, `reading`, `writing`, `closing` (every way to the end), `methods` (what
//! Python sees). This file: what a TLS transport knows.
//! Invariant: after each call of the engine, the carrier or the protocol the phase is looked at again, because Python code may have run.

mod closing;
mod engine;
mod handshake;
mod methods;
mod reading;
mod writing;

pub(super) use methods::add_methods;

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use rasyncio_core::buffer::{WaterMarks, WriteQueue};

use engine::{Engine, Settled};

use super::flow_control::water_marks;
use super::reading::is_buffered;
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
use crate::ffi::warning;
use crate::futures::Future;

/// A connection that speaks TLS.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#transports>
#[pyclass(frozen, weakref, dict, name = "_SSLProtocolTransport", module = "rasyncio")]
pub(crate) struct TlsTransport {
    event_loop: Py<Loop>,
    /// Seconds; None: asyncio's default.
    handshake_timeout: Option<Py<PyAny>>,
    shutdown_timeout: Option<Py<PyAny>>,
    state: GilCell<State>,
}

/// Where the TLS connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not begun, or over.
    Unwrapped,
    Handshake,
    Wrapped,
    /// Nothing new is written; what was written and received goes its way.
    Flushing,
    /// We said goodbye and wait for the peer's.
    Shutdown,
}

/// What the protocol was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    ConnectionMade,
    EofReceived,
    ConnectionLost,
}

/// What the end was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    Open,
    /// `close()` or `abort()` was called, or the carrier is lost.
    Closed,
    /// `close()` was called after that.
    Abandoned,
}

/// Plain text on its way to the protocol.
struct Reading {
    /// The protocol does not want any.
    paused: bool,
    /// The carrier was told to pause because too much waits.
    carrier_paused: bool,
    marks: WaterMarks,
}

/// Plain text on its way out.
struct Writing {
    /// What is not encrypted yet.
    backlog: WriteQueue<PyBackedBytes>,
    encrypting: Encrypting,
    /// The protocol was told to pause.
    paused: bool,
    /// The carrier told us to.
    carrier_paused: bool,
    marks: WaterMarks,
}

/// Who is going to encrypt the backlog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encrypting {
    Nobody,
    /// The carrier will ask for it at the end of this turn.
    Later,
    /// Somebody is at it.
    Now,
}

/// The changing part.
struct State {
    phase: Phase,
    told: Told,
    /// Until the carrier is lost and `close()` was called once more than needed.
    security: Option<Arc<Security>>,
    /// The transport below, until it is lost.
    carrier: Option<Py<PyAny>>,
    /// Until the carrier is lost.
    protocol: Option<Py<PyAny>>,
    /// The protocol lends its own memory (`asyncio.BufferedProtocol`).
    buffered: bool,
    /// Set when the handshake is done.
    waiter: Option<Py<Future>>,
    settled: Option<Settled>,
    closing: Closing,
    /// The writes in vain, as asyncio counts them.
    conn_lost: u32,
    /// The carrier's peer sends no more.
    eof_received: bool,
    reading: Reading,
    writing: Writing,
    handshake_timer: Option<Py<PyAny>>,
    shutdown_timer: Option<Py<PyAny>>,
    /// In debug mode.
    handshake_began: Option<f64>,
}

impl State {
    /// Takes note of the end; whether it was open.
    fn close(&mut self) -> bool {
        let was_open = self.closing == Closing::Open;
        if was_open {
            self.closing = Closing::Closed;
        }
        was_open
    }
}

/// What makes the connection a TLS connection.
struct Security {
    engine: Engine,
    /// The `ssl.SSLContext`.
    context: Py<PyAny>,
}

/// How TLS is to be spoken.
pub(crate) struct Terms<'a, 'py> {
    /// None: asyncio's default for clients.
    pub(crate) context: Option<&'a Bound<'py, PyAny>>,
    pub(crate) server_side: bool,
    pub(crate) server_hostname: Option<&'a Bound<'py, PyAny>>,
    pub(crate) handshake_timeout: Option<&'a Bound<'py, PyAny>>,
    pub(crate) shutdown_timeout: Option<&'a Bound<'py, PyAny>>,
    /// The protocol has a connection already: `connection_made()` is not called.
    pub(crate) upgrades: bool,
}

impl TlsTransport {
    /// A TLS transport for `protocol`, without a carrier yet. `waiter` is set when the handshake is done.
    pub(crate) fn make<'py>(
        event_loop: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        terms: &Terms<'_, 'py>,
        waiter: Option<Py<Future>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let handshake_timeout = positive("ssl_handshake_timeout", terms.handshake_timeout)?;
        let shutdown_timeout = positive("ssl_shutdown_timeout", terms.shutdown_timeout)?;
        let hostname = match terms.server_hostname {
            Some(hostname) if !terms.server_side && hostname.is_truthy()? => Some(hostname),
            _ => None,
        };
        let context = match terms.context {
            Some(context) if context.is_truthy()? => context.clone(),
            _ => default_context(py, terms.server_side, hostname)?,
        };
        // Up to 3.13 `wrap_bio()` does not ask, and nobody's name would be checked.
        if !terms.server_side
            && hostname.is_none()
            && context.getattr(intern!(py, "check_hostname"))?.is_truthy()?
        {
            return Err(PyValueError::new_err("check_hostname requires server_hostname"));
        }
        let engine = Engine::make(&context, terms.server_side, hostname)?;
        let security = Security { engine, context: context.unbind() };
        let state = State {
            security: Some(Arc::new(security)),
            phase: Phase::Unwrapped,
            told: if terms.upgrades { Told::ConnectionMade } else { Told::Nothing },
            carrier: None,
            protocol: Some(protocol.clone().unbind()),
            buffered: is_buffered(protocol)?,
            waiter,
            settled: None,
            closing: Closing::Open,
            conn_lost: 0,
            eof_received: false,
            reading: Reading {
                paused: false,
                carrier_paused: false,
                marks: water_marks(None, None, READ_HIGH)?,
            },
            writing: Writing {
                backlog: WriteQueue::new(),
                encrypting: Encrypting::Nobody,
                paused: false,
                carrier_paused: false,
                marks: water_marks(None, None, WRITE_HIGH)?,
            },
            handshake_timer: None,
            shutdown_timer: None,
            handshake_began: None,
        };
        let event_loop = event_loop.clone().unbind();
        new_with_dict(
            py,
            Self { event_loop, handshake_timeout, shutdown_timeout, state: GilCell::new(state) },
        )
    }

    /// Names the carrier before it calls `connection_made()`, so that closing ends it even before that.
    pub(crate) fn ride(this: &Bound<'_, Self>, carrier: &Bound<'_, PyAny>) {
        let kept = carrier.clone().unbind();
        let old = this.get().state.with(this.py(), |state| state.carrier.replace(kept));
        drop(old);
    }

    /// A transport that never got a carrier is none to warn of.
    pub(crate) fn discard(&self, py: Python<'_>) {
        self.state.with(py, State::close);
    }

    /// Whether its loop is closed, so that nothing can be ended in order any more.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.event_loop.get().check_usable().is_err()
    }

    /// Whether the handshake is under way.
    #[inline]
    pub(in crate::transports) fn shakes_hands(&self, py: Python<'_>) -> bool {
        self.phase(py) == Phase::Handshake
    }

    /// Whether there was a handshake: the carrier was not gone before it.
    pub(crate) fn is_settled(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.settled.is_some())
    }

    /// Puts plain bytes that were received before under the first that the carrier brings: they belong to the handshake.
    pub(crate) fn feed_early(&self, py: Python<'_>, cipher_text: &[u8]) -> PyResult<()> {
        self.security(py)?.engine.feed(py, cipher_text)
    }

    /// Held by whoever uses it: Python code may let go of it meanwhile. RuntimeError after that.
    #[inline]
    fn security(&self, py: Python<'_>) -> PyResult<Arc<Security>> {
        let security = self.state.with(py, |state| state.security.clone());
        security.ok_or_else(|| exceptions::runtime("the transport is closed"))
    }

    fn phase(&self, py: Python<'_>) -> Phase {
        self.state.with(py, |state| state.phase)
    }

    /// Goes from one phase to the next, unless something else happened meanwhile; whether it did.
    fn advance(&self, py: Python<'_>, from: Phase, to: Phase) -> bool {
        self.state.with(py, |state| {
            let is_there = state.phase == from;
            if is_there {
                state.phase = to;
            }
            is_there
        })
    }

    fn carrier<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let carrier =
            self.state.with(py, |state| state.carrier.as_ref().map(|carrier| carrier.clone_ref(py)));
        carrier.map(|carrier| carrier.into_bound(py))
    }

    fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol =
            self.state.with(py, |state| state.protocol.as_ref().map(|protocol| protocol.clone_ref(py)));
        protocol.map(|protocol| protocol.into_bound(py))
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.handshake_timeout)?;
        visit.call(&self.shutdown_timeout)?;
        self.state
            .peek(|state| {
                if let Some(security) = &state.security {
                    security.engine.visit(visit)?;
                    visit.call(&security.context)?;
                }
                visit.call(&state.carrier)?;
                visit.call(&state.protocol)?;
                visit.call(&state.waiter)?;
                if let Some(settled) = &state.settled {
                    settled.visit(visit)?;
                }
                visit.call(&state.handshake_timer)?;
                visit.call(&state.shutdown_timer)
            })
            .unwrap_or(Ok(()))
    }

    fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let ends = (state.carrier.take(), state.protocol.take(), state.waiter.take());
            (
                ends,
                state.security.take(),
                state.settled.take(),
                state.handshake_timer.take(),
                state.shutdown_timer.take(),
            )
        });
        drop(dropped);
    }
}

/// A timeout that was given must be one.
fn positive(name: &str, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    let Some(timeout) = timeout.filter(|timeout| !timeout.is_none()) else {
        return Ok(None);
    };
    if timeout.le(0)? {
        let text = format!("{name} should be a positive number, got {}", timeout.str()?);
        return Err(PyValueError::new_err(text));
    }
    Ok(Some(timeout.clone().unbind()))
}

/// asyncio: `sslproto._create_transport_context`.
fn default_context<'py>(
    py: Python<'py>,
    server_side: bool,
    hostname: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if server_side {
        return Err(PyValueError::new_err("Server side SSL needs a valid SSLContext"));
    }
    let context = engine::library(py)?.create_default_context(py)?;
    if hostname.is_none() {
        context.setattr(intern!(py, "check_hostname"), false)?;
    }
    Ok(context)
}

impl Finalize for TlsTransport {
    #[inline]
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().state.with(this.py(), |state| state.closing == Closing::Open)
    }

    /// As asyncio: a transport that nobody closed says so.
    fn finalize(this: &Bound<'_, Self>) {
        let text = "unclosed transport <asyncio._SSLProtocolTransport object>";
        if let Err(error) = warning::resource(this.as_any(), text) {
            error.write_unraisable(this.py(), Some(this.as_any()));
        }
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

/// asyncio: `constants.FLOW_CONTROL_HIGH_WATER_SSL_READ` and `FLOW_CONTROL_HIGH_WATER_SSL_WRITE`.
const READ_HIGH: usize = 256 * 1024;
const WRITE_HIGH: usize = 512 * 1024;
