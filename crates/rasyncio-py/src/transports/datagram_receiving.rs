//! Datagrams that arrive: several are taken from the kernel in one call, and handed to the protocol one after the other.
//!
//! Each callback may close, abort or pause the transport, or stop the loop: then those behind it are dropped, or held until the protocol wants them,
//! as if they were still with the kernel.

use std::io;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rasyncio_core::net::PeerAddress;
use rasyncio_core::reactor::Datagrams;

use super::datagram::{DatagramTransport, Incoming};
use super::life::Transport;
use super::senders::Sender;
use super::socket_info::{Family, address_to_python};
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::call::call_method_two;

/// What becomes of the next datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Deliver,
    Hold,
    Drop,
}

impl DatagramTransport {
    pub(super) fn read_ready(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        // An earlier callback of this turn may have paused or closed the transport: its datagrams then stay in the kernel.
        let (is_reading, holds) =
            this.get().state.with(py, |state| (state.life.is_reading(), !state.held.is_empty()));
        match this.get().family {
            _ if !is_reading => Ok(()),
            _ if holds => Self::deliver_held(this),
            Family::Inet4 | Family::Inet6 => Self::receive(this, event_loop, INTERNET_ROOM),
            Family::Unix => Self::receive(this, event_loop, ROOM),
            Family::Other => Self::receive_through_python(this),
        }
    }

    fn receive(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>, room: usize) -> PyResult<()> {
        let py = this.py();
        event_loop.get().with_datagrams(py, |datagrams| {
            datagrams.prepare(room);
            let own = this.get();
            let outcome = own.state.with(py, |state| {
                let token = state.life.token?;
                let size = state.burst.size();
                let outcome = event_loop
                    .get()
                    .with_reactor(py, |reactor| reactor.receive_datagrams(token, datagrams, size));
                state.burst.on_received(datagrams.len());
                Some(outcome)
            });
            match outcome.transpose()? {
                Some(Ok(())) => Self::deliver(this, datagrams),
                Some(Err(error)) => Self::receive_failed(this, &error),
                None => Ok(()),
            }
        })
    }

    fn receive_failed(this: &Bound<'_, Self>, error: &io::Error) -> PyResult<()> {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            return Ok(());
        }
        let told = this.get().tell_error(this.py(), exceptions::os_error(error));
        told.or_else(|error| Self::report(this, CALLBACK_RAISED, error))
    }

    fn deliver(this: &Bound<'_, Self>, datagrams: &Datagrams) -> PyResult<()> {
        let py = this.py();
        let mut outcome = Ok(());
        let mut next = Next::Deliver;
        for index in 0..datagrams.len() {
            let Some((data, from)) = datagrams.get(index).filter(|_| next != Next::Drop) else {
                break;
            };
            let data = PyBytes::new(py, data);
            let from = this.get().sender(py, from)?;
            if next == Next::Hold {
                let datagram = Incoming { data: data.unbind(), from: from.unbind() };
                this.get().state.with(py, |state| state.held.push_back(datagram));
                continue;
            }
            outcome = Self::hand_over(this, &data, &from);
            next = this.get().next(py, outcome.is_err());
        }
        Self::deliver_later(this);
        outcome
    }

    /// Hands over what was held back, as far as the protocol wants it.
    fn deliver_held(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let mut outcome = Ok(());
        while this.get().next(py, outcome.is_err()) == Next::Deliver {
            let Some(Incoming { data, from }) = this.get().state.with(py, |state| state.held.pop_front())
            else {
                break;
            };
            outcome = Self::hand_over(this, data.bind(py), from.bind(py));
        }
        Self::deliver_later(this);
        outcome
    }

    /// Sees to it that what is held is delivered: nobody else might look for it before more comes from the kernel.
    pub(super) fn deliver_later(this: &Bound<'_, Self>) {
        let py = this.py();
        let own = this.get();
        if !own.state.with(py, |state| state.life.is_reading() && !state.held.is_empty()) {
            return;
        }
        let transport = this.clone().unbind();
        own.event_loop.get().defer(py, move |event_loop| {
            let transport = transport.bind(event_loop.py());
            transport.get().in_context(event_loop.py(), || Self::deliver_held(transport))
        });
    }

    /// What becomes of the datagrams behind one whose callback was called, and perhaps ends the program.
    fn next(&self, py: Python<'_>, ends_program: bool) -> Next {
        let (closing, paused) = self.life(py, |life| (life.closing, life.reading_paused));
        if closing {
            Next::Drop
        } else if paused || ends_program || self.event_loop.get().is_stopping() {
            Next::Hold
        } else {
            Next::Deliver
        }
    }

    fn hand_over(this: &Bound<'_, Self>, data: &Bound<'_, PyBytes>, from: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let Some(protocol) = this.get().protocol(py) else {
            return Ok(());
        };
        let name = intern!(py, "datagram_received");
        match call_method_two(protocol.bind(py), name, data, from) {
            Ok(_) => Ok(()),
            Err(error) => Self::report(this, CALLBACK_RAISED, error),
        }
    }

    /// The address as Python sees it; the same object as before if the sender is known.
    fn sender<'py>(&self, py: Python<'py>, address: &PeerAddress) -> PyResult<Bound<'py, PyAny>> {
        if let Some(known) = self.state.with(py, |state| state.senders.find(py, address)) {
            return Ok(known.into_bound(py));
        }
        let object = address_to_python(py, address)?;
        let sender = Sender { address: address.clone(), object: object.clone().unbind() };
        let old = self.state.with(py, |state| state.senders.remember(sender));
        drop(old);
        Ok(object)
    }

    /// For the families whose addresses only Python's socket object knows.
    fn receive_through_python(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(socket) = this.get().socket(py) else {
            return Ok(());
        };
        let received = socket.call_method1(intern!(py, "recvfrom"), (ROOM,));
        match received.and_then(|received| received.extract::<(Bound<'_, PyBytes>, Bound<'_, PyAny>)>()) {
            Ok((data, from)) => Self::hand_over(this, &data, &from),
            Err(error) if would_block(py, &error) => Ok(()),
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                let told = this.get().tell_error(py, error);
                told.or_else(|error| Self::report(this, CALLBACK_RAISED, error))
            }
            Err(error) => Self::fatal_error(this, error, Self::READ_ERROR),
        }
    }
}

/// Whether a call of a socket object's found nothing to do.
pub(super) fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

/// As much as asyncio asks for (`_SelectorTransport.max_size`).
const ROOM: usize = 256 * 1024;

/// No datagram of IP is longer than what its 16 bits of length can say.
const INTERNET_ROOM: usize = 64 * 1024;

/// asyncio's words for its handle's callback.
const CALLBACK_RAISED: &str = "Exception in callback _SelectorDatagramTransport._read_ready()";
