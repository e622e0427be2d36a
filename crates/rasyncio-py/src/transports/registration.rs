//! The place of its own that the transport of a socket has in the reactor: nobody else watches the descriptor.

use std::io;

use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use rasyncio_core::reactor::Operation;

use super::life::Transport;
use crate::event_loop::Source;

/// A class of transports whose descriptors are theirs alone.
pub(super) trait Registered: Transport {
    /// What the loop keeps of the transport while that waits for the kernel.
    fn source(this: Py<Self>) -> Source;

    /// Enters the transport of the descriptor `fd` into the reactor; it waits for nothing yet.
    fn enter(this: &Bound<'_, Self>, fd: i32) -> PyResult<()> {
        let py = this.py();
        let idle = idle_source(this)?;
        let token = this.get().event_loop().get().with_reactor(py, |reactor| reactor.insert(fd, idle))?;
        this.get().life(py, |life| life.token = Some(token));
        Ok(())
    }

    /// `set_armed()` for such a class.
    ///
    /// The loop keeps a transport alive only while it waits for the kernel: one that is paused and forgotten can be collected.
    fn arm(this: &Bound<'_, Self>, operation: Operation, armed: bool) -> PyResult<io::Result<()>> {
        let py = this.py();
        let Some(token) = this.get().life(py, |life| life.token) else {
            return Ok(Ok(()));
        };
        let event_loop = this.get().event_loop().get();
        if event_loop.check_usable().is_err() {
            return Ok(Ok(()));
        }
        let mut held = armed.then(|| Self::source(this.clone().unbind()));
        let mut idle = if armed { None } else { Some(idle_source(this)?) };
        let outcome = event_loop.with_reactor(py, |reactor| {
            let outcome = if armed {
                reactor.arm(token, operation)
            } else {
                reactor.disarm(token, operation);
                Ok(())
            };
            let waits = reactor.is_armed(token, Self::READING) || reactor.is_armed(token, Self::WRITING);
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

    /// Whether the transport waits for `operation`.
    fn is_armed(&self, py: Python<'_>, operation: Operation) -> bool {
        let Some(token) = self.life(py, |life| life.token) else {
            return false;
        };
        let armed = self.event_loop().get().with_reactor(py, |reactor| reactor.is_armed(token, operation));
        armed.unwrap_or(false)
    }

    /// Takes the transport out of the reactor, which must happen before its descriptor is closed, and lets go of the protocol.
    fn leave(&self, py: Python<'_>) {
        let (token, protocol) = self.life(py, |life| {
            life.closing = true;
            (life.token.take(), life.protocol.take())
        });
        // A closed loop has let go of it already.
        if let Some(token) = token
            && let Ok(source) = self.event_loop().get().with_reactor(py, |reactor| reactor.remove(token))
        {
            drop(source);
        }
        drop(protocol);
    }
}

/// What the loop keeps of a transport that waits for nothing.
fn idle_source<T: Transport>(transport: &Bound<'_, T>) -> PyResult<Source> {
    Ok(Source::IdleTransport(PyWeakrefReference::new(transport.as_any())?.unbind()))
}
