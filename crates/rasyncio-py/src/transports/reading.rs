//! Bytes that arrive: handed to the protocol as `bytes`, or read into memory that it lends (`BufferedProtocol`).

use std::io;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rasyncio_core::reactor::Token;

use super::direct::deliver;
use super::life::Transport;
use super::tcp::TcpTransport;
use super::tls::TlsTransport;
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::ffi::{buffer, bytes};
use crate::interop::stdlib;
use crate::streams::{StreamReader, StreamReaderProtocol};

/// How a protocol takes what arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receiver {
    /// As `bytes`.
    Copies,
    /// In memory that it lends (`asyncio.BufferedProtocol`).
    Lends,
    /// It is our own TLS.
    Tls,
    /// It is our own and hands them on to a `StreamReader`, unless somebody gave it methods of its own.
    Stream,
}

impl Receiver {
    pub(super) fn of(protocol: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(if protocol.is_exact_instance_of::<TlsTransport>() {
            Self::Tls
        } else if protocol.is_exact_instance_of::<StreamReaderProtocol>() {
            Self::Stream
        } else if is_buffered(protocol)? {
            Self::Lends
        } else {
            Self::Copies
        })
    }
}

/// Whether the protocol wants to be read into.
pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    protocol.is_instance(stdlib(protocol.py()).buffered_protocol.bind(protocol.py()))
}

impl TcpTransport {
    pub(super) fn read_ready(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        // An earlier callback of this turn may have paused or closed the transport: its bytes then stay in the kernel.
        let found = this.get().state.with(py, |state| {
            let protocol = state.life.protocol.as_ref().filter(|_| state.life.is_reading())?;
            Some((state.life.token?, protocol.bind(py).clone(), state.receiver))
        });
        let Some((token, protocol, receiver)) = found else {
            return Ok(());
        };
        let protocol = &protocol;
        match receiver {
            Receiver::Copies => Self::read_copy(this, event_loop, token, protocol, |data| {
                call_method_one(protocol, intern!(py, "data_received"), data.as_any()).map(drop)
            }),
            Receiver::Lends => Self::read_into_protocol(this, event_loop, token, protocol),
            Receiver::Tls => Self::read_cipher_text(this, event_loop, token, protocol),
            Receiver::Stream => match reader_of(protocol) {
                Some(reader) => Self::read_stream(this, event_loop, token, protocol, &reader),
                None => Self::read_copy(this, event_loop, token, protocol, |data| deliver(protocol, data)),
            },
        }
    }

    fn read_cipher_text(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        token: Token,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let tls = protocol.cast_exact::<TlsTransport>()?;
        if tls.get().shakes_hands(py) && !event_loop.get().admits_handshake(py) {
            return Ok(());
        }
        let received = event_loop.get().with_scratch(py, |scratch| {
            let received = event_loop.get().with_reactor(py, |reactor| reactor.receive(token, scratch))?;
            // Nobody else needs the memory before this is done: a connection reads once a turn.
            PyResult::Ok(received.map(|count| match count {
                0 => None,
                count => Some(TlsTransport::receive(tls, &scratch[..count])),
            }))
        })?;
        match received {
            Ok(None) => Self::read_end(this, protocol),
            Ok(Some(handled)) => handled.or_else(|error| {
                // asyncio's TLS is a BufferedProtocol.
                let message = "Fatal error: protocol.buffer_updated() call failed.";
                Self::fatal_error(this, error, message)
            }),
            Err(error) => Self::read_failed(this, &error),
        }
    }

    fn read_stream(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        token: Token,
        protocol: &Bound<'_, PyAny>,
        reader: &Bound<'_, StreamReader>,
    ) -> PyResult<()> {
        let py = this.py();
        let received = event_loop.get().with_scratch(py, |scratch| {
            let received = event_loop.get().with_reactor(py, |reactor| reactor.receive(token, scratch))?;
            PyResult::Ok(received.map(|count| {
                let put = if count > 0 { reader.get().put(py, &scratch[..count]) } else { Ok(()) };
                (count, put)
            }))
        })?;
        let (count, put) = match received {
            Ok(received) => received,
            Err(error) => return Self::read_failed(this, &error),
        };
        if count == 0 {
            return Self::read_end(this, protocol);
        }
        put.and_then(|()| StreamReader::on_fed(reader))
            .or_else(|error| Self::fatal_error(this, error, DATA_RECEIVED_FAILED))
    }

    fn read_copy(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        token: Token,
        protocol: &Bound<'_, PyAny>,
        deliver: impl FnOnce(&Bound<'_, PyBytes>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = this.py();
        let expects_much = this.get().state.with(py, |state| state.receives_much);
        let data = if expects_much {
            bytes::filled(py, Loop::SCRATCH_SIZE, |memory| {
                event_loop.get().with_reactor(py, |reactor| reactor.receive_new(token, memory))
            })?
        } else {
            event_loop.get().with_scratch(py, |scratch| {
                let received =
                    event_loop.get().with_reactor(py, |reactor| reactor.receive(token, scratch))?;
                PyResult::Ok(received.map(|count| PyBytes::new(py, &scratch[..count])))
            })?
        };
        let is_much = data.as_ref().is_ok_and(|data| data.as_bytes().len() >= MUCH);
        if is_much != expects_much {
            this.get().state.with(py, |state| state.receives_much = is_much);
        }
        let data = match data {
            Ok(data) if data.as_bytes().is_empty() => return Self::read_end(this, protocol),
            Ok(data) => data,
            Err(error) => return Self::read_failed(this, &error),
        };
        deliver(&data).or_else(|error| Self::fatal_error(this, error, DATA_RECEIVED_FAILED))
    }

    fn read_into_protocol(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        token: Token,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let memory = match lent_memory(protocol) {
            Ok(memory) => memory,
            Err(error) => {
                let message = "Fatal error: protocol.get_buffer() call failed.";
                return Self::fatal_error(this, error, message);
            }
        };
        if !this.get().state.with(py, |state| state.life.is_reading()) {
            return Ok(());
        }
        let received = buffer::fill(&memory, |memory| {
            event_loop.get().with_reactor(py, |reactor| reactor.receive(token, memory))
        });
        let count = match received.and_then(|received| received) {
            Ok(Ok(0)) => return Self::read_end(this, protocol),
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return Self::read_failed(this, &error),
            Err(error) => return Self::fatal_error(this, error, Self::READ_ERROR),
        };
        let count = count.into_pyobject(py)?.into_any();
        match call_method_one(protocol, intern!(py, "buffer_updated"), &count) {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = "Fatal error: protocol.buffer_updated() call failed.";
                Self::fatal_error(this, error, message)
            }
        }
    }

    fn read_failed(this: &Bound<'_, Self>, error: &io::Error) -> PyResult<()> {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            return Ok(());
        }
        Self::fatal_error(this, exceptions::os_error(error), Self::READ_ERROR)
    }

    /// The peer sends no more: the protocol says whether the connection stays open for writing.
    fn read_end(this: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::log_debug(this, "%r received EOF")?;
        let answer = call_method_none(protocol, intern!(this.py(), "eof_received"))
            .and_then(|answer| answer.is_truthy());
        match answer {
            Ok(true) => Self::end_reading(this),
            Ok(false) => Self::close_gracefully(this),
            Err(error) => {
                let message = "Fatal error: protocol.eof_received() call failed.";
                Self::fatal_error(this, error, message)
            }
        }
    }
}

/// The reader that bytes are for, if the protocol and the reader are ours and plain.
#[inline]
pub(super) fn reader_of<'py>(protocol: &Bound<'py, PyAny>) -> Option<Bound<'py, StreamReader>> {
    StreamReaderProtocol::reader_for(StreamReaderProtocol::plain(protocol)?)
}

/// What the protocol's `get_buffer()` gives; an error if it has no room.
fn lent_memory<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = protocol.py();
    let any_size = (-1_i32).into_pyobject(py)?.into_any();
    let memory = call_method_one(protocol, intern!(py, "get_buffer"), &any_size)?;
    if memory.len()? == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    Ok(memory)
}

/// From so many bytes on, the next ones are received into an object of their own: a copy would cost more than to make it too large.
const MUCH: usize = 128 * 1024;

const DATA_RECEIVED_FAILED: &str = "Fatal error: protocol.data_received() call failed.";
