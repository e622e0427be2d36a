//! The end: with goodbyes on both sides, cut short, or by a failure. Every way leads through the carrier to one call of `connection_lost()`.

use std::sync::Arc;

use pyo3::exceptions::{PyException, PyOSError, PyTimeoutError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::engine::{Outcome, library};
use super::{Closing, Phase, Security, State, TlsTransport, Told};
use crate::exceptions::{self, Raised, Report};
use crate::ffi::call::{call_method_none, call_method_one};
use crate::transports::life::{Transport, log_debug, log_failure};
use crate::transports::tcp::TcpTransport;

impl TlsTransport {
    /// `close()`: what was written is sent, then come the goodbyes, then the end of the carrier.
    pub(super) fn close_gracefully(this: &Bound<'_, Self>) -> PyResult<()> {
        let (was_open, dropped) = this.get().state.with(this.py(), |state| {
            let was_open = state.close();
            if !was_open {
                state.closing = Closing::Abandoned;
            }
            (was_open, state.let_go())
        });
        drop(dropped);
        if was_open { Self::begin_shutdown(this) } else { Ok(()) }
    }

    pub(super) fn begin_shutdown(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        match own.phase(py) {
            // Not begun yet: the carrier would go on without us. Otherwise it is on its way out already.
            Phase::Unwrapped => own.end_carrier(py, None),
            Phase::Handshake => Self::abort(this, None),
            Phase::Wrapped => {
                own.state.with(py, |state| {
                    state.close();
                    state.phase = Phase::Flushing;
                });
                Self::start_shutdown_timer(this)?;
                Self::flush_and_shut_down(this)
            }
            // The peer's end was only waiting for the protocol to read, which it now never will.
            Phase::Flushing
                if own.state.with(py, |state| state.eof_received && state.closing != Closing::Open) =>
            {
                Self::flush_and_shut_down(this)
            }
            Phase::Flushing | Phase::Shutdown => Ok(()),
        }
    }

    fn start_shutdown_timer(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let name = intern!(py, "_check_shutdown_timeout");
        let timer = Self::call_later(this, own.shutdown_timeout.as_ref(), SHUTDOWN_TIMEOUT, name)?;
        let old = own.state.with(py, |state| state.shutdown_timer.replace(timer));
        drop(old);
        Ok(())
    }

    pub(super) fn shutdown_took_too_long(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        if matches!(own.phase(py), Phase::Flushing | Phase::Shutdown) {
            return own.end_carrier(py, Some(PyTimeoutError::new_err("SSL shutdown timed out")));
        }
        Ok(())
    }

    /// Hands over what was received, encrypts what was written, then says goodbye.
    pub(super) fn flush_and_shut_down(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        Self::read_available(this)?;
        let waits_for_protocol = own
            .state
            .with(py, |state| state.eof_received && state.reading.paused && state.closing == Closing::Open);
        if waits_for_protocol {
            return Ok(());
        }
        let encrypted = Self::encrypt_everything(this);
        Self::end_on_failure(this, encrypted)?;
        if own.state.with(py, |state| !state.writing.backlog.is_empty() && !state.eof_received) {
            // A renegotiation holds it up: the peer's bytes get it going again.
            return Ok(());
        }
        if own.advance(py, Phase::Flushing, Phase::Shutdown) { Self::shut_down(this) } else { Ok(()) }
    }

    /// Says goodbye, or looks whether the peer did.
    pub(super) fn shut_down(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let outcome = if own.state.with(py, |state| state.eof_received) {
            Ok(Outcome::Done(()))
        } else {
            own.security(py)?.engine.shutdown(py)
        };
        match outcome {
            Ok(Outcome::WantsMore) => {
                Self::send_outgoing(this)?;
                Self::control_carrier_reading(this)
            }
            Ok(Outcome::Done(())) => {
                Self::send_outgoing(this)?;
                Self::tell_eof(this)?;
                Self::on_goodbyes_said(this)
            }
            Err(error) if error.is_instance(py, library(py)?.error.bind(py)) => {
                Self::fatal_error(this, &error, FATAL)
            }
            Err(error) => Err(error),
        }
    }

    fn on_goodbyes_said(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let Some(carrier) = own.carrier(py) else {
            return Ok(());
        };
        // The carrier sends what it has first, which takes for ever if the peer does not read.
        if own.state.with(py, |state| state.shutdown_timer.is_none()) {
            Self::start_shutdown_timer(this)?;
        }
        let close = carrier.getattr(intern!(py, "close"))?;
        own.event_loop.bind(py).call_method1(intern!(py, "call_soon"), (close,)).map(drop)
    }

    /// Ends the connection now; what was not sent is lost. `error` goes to `connection_lost()`.
    pub(super) fn abort(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        Self::encrypt_last(this)?;
        let unsent = own.state.with(py, |state| {
            state.close();
            state.phase = Phase::Unwrapped;
            state.writing.backlog.take_all()
        });
        drop(unsent);
        own.end_carrier(py, error)
    }

    /// What this turn collected goes to the carrier before the connection ends; asyncio encrypts in `write()`. Only what must pass does.
    fn encrypt_last(this: &Bound<'_, Self>) -> PyResult<()> {
        match Self::encrypt_collected(this) {
            Err(error) if error.is_instance_of::<PyException>(this.py()) => Ok(()),
            other => other,
        }
    }

    fn end_carrier(&self, py: Python<'_>, error: Option<PyErr>) -> PyResult<()> {
        let Some(carrier) = self.carrier(py) else {
            return Ok(());
        };
        if let Ok(stream) = carrier.cast_exact::<TcpTransport>() {
            return TcpTransport::force_close(stream, error);
        }
        let force_close = carrier.getattr_opt(intern!(py, "_force_close"))?;
        match force_close {
            Some(force_close) => force_close.call1((error.map(|error| error.raised(py)),)).map(drop),
            // A transport of the user's own need not have it.
            None => call_method_none(&carrier, intern!(py, "abort")).map(drop),
        }
    }

    /// A failure that ends the connection. What the network or OpenSSL does to us (`OSError`) is worth a line in debug mode only.
    pub(super) fn fatal_error(this: &Bound<'_, Self>, error: &PyErr, message: &str) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let carrier = own.carrier(py);
        Self::encrypt_last(this)?;
        own.state.with(py, |state| {
            if state.phase != Phase::Handshake {
                state.phase = Phase::Unwrapped;
            }
        });
        own.end_carrier(py, Some(error.clone_ref(py)))?;
        if error.is_instance_of::<PyOSError>(py) {
            log_failure(own.event_loop.get(), this.as_any(), error, message)?;
        } else if !exceptions::is_cancelled(py, error) {
            Report::of_error(py, message, error)?
                .with("transport", carrier)?
                .with("protocol", this)?
                .tell(own.event_loop.bind(py))?;
        }
        Ok(())
    }

    /// What fails while bytes are moved ends the connection; what is no `Exception` goes on to the carrier.
    pub(super) fn end_on_failure(this: &Bound<'_, Self>, outcome: PyResult<()>) -> PyResult<()> {
        match outcome {
            Err(error) if error.is_instance_of::<PyException>(this.py()) => {
                Self::fatal_error(this, &error, "Fatal error on SSL protocol")
            }
            other => other,
        }
    }

    /// The carrier is gone.
    pub(super) fn on_carrier_lost(this: &Bound<'_, Self>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let (tells, dropped, protocol, timers) = own.state.with(py, |state| {
            state.close();
            state.conn_lost = state.conn_lost.saturating_add(1);
            let knows = matches!(state.told, Told::ConnectionMade | Told::EofReceived);
            let tells = knows && state.phase != Phase::Handshake;
            if tells {
                state.told = Told::ConnectionLost;
            }
            state.phase = Phase::Unwrapped;
            let timers = [state.handshake_timer.take(), state.shutdown_timer.take()];
            let (carrier, unsent) = (state.carrier.take(), state.writing.backlog.take_all());
            (tells, (carrier, unsent, state.let_go()), state.protocol.take(), timers)
        });
        for timer in timers.into_iter().flatten() {
            call_method_none(timer.bind(py), intern!(py, "cancel"))?;
        }
        drop(dropped);
        if let Some(protocol) = protocol.filter(|_| tells) {
            let told = protocol.bind(py).getattr(intern!(py, "connection_lost"))?;
            own.event_loop.bind(py).call_method1(intern!(py, "call_soon"), (told, reason))?;
        }
        own.wake_waiter(py, (!reason.is_none()).then(|| PyErr::from_value(reason.clone())))
    }

    /// Calls the method `name` after `timeout` seconds; None: after `default`.
    pub(super) fn call_later(
        this: &Bound<'_, Self>,
        timeout: Option<&Py<PyAny>>,
        default: f64,
        name: &Bound<'_, PyString>,
    ) -> PyResult<Py<PyAny>> {
        let py = this.py();
        let method = this.getattr(name)?;
        let (event_loop, call_later) = (this.get().event_loop.bind(py), intern!(py, "call_later"));
        let timer = match timeout {
            Some(timeout) => event_loop.call_method1(call_later, (timeout, method)),
            None => event_loop.call_method1(call_later, (default, method)),
        };
        Ok(timer?.unbind())
    }

    /// Calls the method `name` in the next turn.
    pub(super) fn call_soon(this: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        let py = this.py();
        let method = this.getattr(name)?;
        call_method_one(this.get().event_loop.bind(py).as_any(), intern!(py, "call_soon"), &method).map(drop)
    }

    /// A line about this transport in the log of debug mode; `text` shows it with `%r`.
    pub(super) fn log_debug(this: &Bound<'_, Self>, text: &str) -> PyResult<()> {
        log_debug(this.get().event_loop.get(), this.as_any(), text)
    }
}

impl State {
    /// As asyncio: whoever closes a transport that is closed wants nothing more of it, so that a protocol which keeps it keeps no context.
    fn let_go(&mut self) -> Option<Arc<Security>> {
        if self.closing == Closing::Abandoned && self.carrier.is_none() { self.security.take() } else { None }
    }
}

/// asyncio: `constants.SSL_SHUTDOWN_TIMEOUT`, in seconds.
const SHUTDOWN_TIMEOUT: f64 = 30.0;

/// What failed, where nothing more is known.
pub(super) const FATAL: &str = "Fatal error on transport";
