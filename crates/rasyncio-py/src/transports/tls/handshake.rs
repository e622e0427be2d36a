//! The handshake: begun by the carrier's `connection_made()`, ended by success, failure or a timeout.

use pyo3::exceptions::{PyConnectionAbortedError, PyConnectionResetError, PyException};
use pyo3::intern;
use pyo3::prelude::*;

use super::closing::FATAL;
use super::engine::{Outcome, library};
use super::{Closing, Phase, TlsTransport, Told};
use crate::event_loop::Loop;
use crate::exceptions::Raised;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::futures::Future;
use crate::interop::stdlib;

impl TlsTransport {
    /// The carrier is connected.
    pub(super) fn begin(this: &Bound<'_, Self>, carrier: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        Self::ride(this, carrier);
        // Closed before the connection was there: the carrier is about to be lost.
        let begins =
            own.state.with(py, |state| state.closing == Closing::Open && state.phase == Phase::Unwrapped);
        if !begins {
            return Ok(());
        }
        let began = if own.event_loop.get().is_debug(py) {
            Self::log_debug(this, "%r starts SSL handshake")?;
            Some(Loop::now(own.event_loop.bind(py))?)
        } else {
            None
        };
        let timer = Self::call_later(
            this,
            own.handshake_timeout.as_ref(),
            HANDSHAKE_TIMEOUT,
            intern!(py, "_check_handshake_timeout"),
        )?;
        let old = own.state.with(py, |state| {
            state.phase = Phase::Handshake;
            state.handshake_began = began;
            state.handshake_timer.replace(timer)
        });
        drop(old);
        Self::shake_hands(this)
    }

    /// Goes on with the handshake as far as the peer's bytes reach. What fails besides TLS goes to the caller.
    pub(super) fn shake_hands(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        match this.get().security(py)?.engine.handshake(py) {
            Ok(Outcome::WantsMore) => Self::send_outgoing(this),
            Ok(Outcome::Done(())) => Self::on_shaken(this),
            Err(error) if error.is_instance(py, library(py)?.error.bind(py)) => {
                Self::handshake_failed(this, error)
            }
            Err(error) => Err(error),
        }
    }

    fn on_shaken(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        own.cancel_handshake_timer(py)?;
        // The context's callbacks may have ended it all.
        if !own.advance(py, Phase::Handshake, Phase::Wrapped) {
            return Ok(());
        }
        let settled = match own.security(py)?.engine.settled(py) {
            Ok(settled) => settled,
            Err(error) if error.is_instance_of::<PyException>(py) => {
                return Self::handshake_failed(this, error);
            }
            Err(error) => return Err(error),
        };
        let (began, old, announces) = own.state.with(py, |state| {
            let announces = state.told == Told::Nothing;
            if announces {
                state.told = Told::ConnectionMade;
            }
            (state.handshake_began, state.settled.replace(settled), announces)
        });
        drop(old);
        if let Some(began) = began.filter(|_| own.event_loop.get().is_debug(py)) {
            let milliseconds = (Loop::now(own.event_loop.bind(py))? - began) * 1e3;
            let arguments = ("%r: SSL handshake took %.1f ms", this, milliseconds);
            stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), arguments)?;
        }
        if announces && let Some(protocol) = own.protocol(py) {
            call_method_one(&protocol, intern!(py, "connection_made"), this.as_any())?;
        }
        own.wake_waiter(py, None)?;
        Self::read_available(this)
    }

    /// The handshake came to nothing.
    pub(super) fn handshake_failed(this: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        own.cancel_handshake_timer(py)?;
        own.state.with(py, |state| state.phase = Phase::Unwrapped);
        let message = if error.is_instance(py, library(py)?.certificate_error.bind(py)) {
            "SSL handshake failed on verifying the certificate"
        } else {
            "SSL handshake failed"
        };
        Self::fatal_error(this, &error, message)?;
        own.wake_waiter(py, Some(error))
    }

    /// The peer sends no more, before the handshake is done.
    pub(super) fn handshake_cut_off(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::handshake_failed(this, PyConnectionResetError::new_err(()))
    }

    pub(super) fn handshake_took_too_long(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().phase(py) != Phase::Handshake {
            return Ok(());
        }
        let timeout = match &this.get().handshake_timeout {
            Some(timeout) => timeout.bind(py).str()?.to_string(),
            None => format!("{HANDSHAKE_TIMEOUT:?}"),
        };
        let text = format!("SSL handshake is taking longer than {timeout} seconds: aborting the connection");
        Self::fatal_error(this, &PyConnectionAbortedError::new_err(text), FATAL)
    }

    /// Whoever waits for the handshake goes on, or gets `error`.
    pub(super) fn wake_waiter(&self, py: Python<'_>, error: Option<PyErr>) -> PyResult<()> {
        let Some(waiter) = self.state.with(py, |state| state.waiter.take()) else {
            return Ok(());
        };
        if waiter.get().is_done(py) {
            return Ok(());
        }
        match error {
            None => Future::finish(waiter.bind(py), py.None()),
            Some(error) => {
                let exception = error.raised(py);
                call_method_one(waiter.bind(py).as_any(), intern!(py, "set_exception"), exception.as_any())
                    .map(drop)
            }
        }
    }

    pub(super) fn cancel_handshake_timer(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.with(py, |state| state.handshake_timer.take()) {
            Some(timer) => call_method_none(timer.bind(py), intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }
}

/// asyncio: `constants.SSL_HANDSHAKE_TIMEOUT`, in seconds.
const HANDSHAKE_TIMEOUT: f64 = 60.0;
