//! `ReadPipeTransport`: the end of a pipe that is read (asyncio: `unix_events._UnixReadPipeTransport`).

use std::io;
use std::sync::OnceLock;

use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{ffi, intern};
use rasyncio_core::reactor::Operation;

use super::direct::deliver;
use super::life::{Life, Transport};
use super::pipe::{AnyPipe, End, Held, PipeTransport};
use super::shared_methods::{life_methods, pipe_methods, reading_methods};
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::call::call_method_none;
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
use crate::futures::Future;
use crate::interop::{must_propagate, stdlib};

/// The reading end of a pipe, a FIFO, a socket or a character device, made by `connect_read_pipe()`.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#read-only-transports>
#[pyclass(frozen, weakref, dict, name = "_UnixReadPipeTransport", module = "rasyncio")]
pub(crate) struct ReadPipeTransport {
    end: End,
    held: GilCell<Held>,
}

impl ReadPipeTransport {
    /// A transport over `pipe`, an object with `fileno()` and `close()`, which it closes at the end. `waiter` is set when the protocol knows of it.
    pub(crate) fn open(
        event_loop: &Bound<'_, Loop>,
        pipe: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        waiter: Py<Future>,
    ) -> PyResult<Py<PyAny>> {
        let refusal = "Pipe transport is for pipes/sockets only.";
        let (end, held) = End::open(event_loop, pipe, protocol, refusal)?;
        let transport = new_with_dict(event_loop.py(), Self { end, held: GilCell::new(held) })?;
        Self::begin(&transport, Some(waiter));
        Ok(transport.into_any().unbind())
    }

    pub(super) fn on_ready(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        this.get().in_context(this.py(), || Self::read(this, event_loop))
    }

    fn read(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        // An earlier callback of this turn may have paused or closed the transport: its bytes then stay in the kernel.
        let protocol = this.get().life(py, |life| {
            let protocol = life.protocol.as_ref().filter(|_| life.is_reading());
            protocol.map(|protocol| protocol.clone_ref(py))
        });
        let Some(protocol) = protocol else {
            return Ok(());
        };
        let fd = this.get().end.fd;
        let data = event_loop.get().with_scratch(py, |scratch| {
            let read = event_loop.get().with_reactor(py, |reactor| reactor.read(fd, scratch))?;
            PyResult::Ok(read.map(|count| PyBytes::new(py, &scratch[..count])))
        })?;
        let protocol = protocol.bind(py);
        match data {
            Ok(data) if data.as_bytes().is_empty() => Self::on_end(this, protocol),
            // A protocol that raises is told of more, unlike that of a socket: asyncio.
            Ok(data) => {
                deliver(protocol, &data).or_else(|error| Self::report(this, READ_READY_RAISED, error))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Self::fatal_error(this, exceptions::os_error(&error), Self::READ_ERROR),
        }
    }

    /// Nobody writes any more.
    fn on_end(this: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::log_closed_by_peer(this)?;
        this.get().life(this.py(), |life| life.closing = true);
        Self::end_reading(this)?;
        let (transport, protocol) = (this.clone().unbind(), protocol.clone().unbind());
        this.get().end.event_loop.get().defer(this.py(), move |event_loop| {
            let py = event_loop.py();
            let (this, protocol, name) = (transport.bind(py), protocol.bind(py), intern!(py, "eof_received"));
            match this.get().in_context(py, || call_method_none(protocol, name)) {
                Ok(_) => Ok(()),
                Err(error) => Self::report_callback(this, protocol, name, &[], error),
            }
        });
        Self::lose(this, None)
    }
}

impl Transport for ReadPipeTransport {
    const READ_ERROR: &'static str = "Fatal read error on pipe transport";
    const READING: Operation = Operation::Readable;
    const WRITING: Operation = Operation::Writable;

    fn event_loop(&self) -> &Py<Loop> {
        &self.end.event_loop
    }

    fn context(&self) -> &Py<PyAny> {
        &self.end.context
    }

    fn life<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Life) -> R) -> R {
        self.held.with(py, |held| look(&mut held.life))
    }

    fn set_armed(this: &Bound<'_, Self>, operation: Operation, armed: bool) -> PyResult<io::Result<()>> {
        Self::set_watched(this, operation, armed)
    }

    fn forget_unsent(&self, _py: Python<'_>) {}

    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::release_pipe(this)
    }

    /// A device that cannot be watched, such as `/dev/null`, is reported and stays open: asyncio.
    fn begin_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        if !this.get().life(this.py(), |life| life.is_reading()) {
            return Ok(());
        }
        match Self::set_armed(this, Self::READING, true)? {
            Ok(()) => Ok(()),
            Err(error) => Self::report(this, ADD_READER_RAISED, exceptions::os_error(&error)),
        }
    }

    /// The same device is an error here.
    fn resume(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().life(this.py(), Life::ends_pause) {
            let watched = Self::set_armed(this, Self::READING, true)?;
            watched.map_err(|error| exceptions::os_error(&error))?;
            Self::log_debug(this, "%r resumes reading")?;
        }
        Ok(())
    }

    /// The other side of a terminal going away (EIO) is worth a line in debug mode only; any other failure is not expected.
    fn fatal_error(this: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        if is_input_output_error(py, &error)? {
            Self::log_failure(this, &error, message)?;
        } else {
            Self::report(this, message, error.clone_ref(py))?;
        }
        Self::force_close(this, Some(error))
    }
}

fn is_input_output_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    if !error.is_instance_of::<PyOSError>(py) {
        return Ok(false);
    }
    let number: Option<i32> = error.value(py).getattr(intern!(py, "errno"))?.extract()?;
    Ok(number == Some(EIO))
}

impl PipeTransport for ReadPipeTransport {
    fn end(&self) -> &End {
        &self.end
    }

    fn pipe<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Option<Py<PyAny>>) -> R) -> R {
        self.held.with(py, |held| look(&mut held.pipe))
    }

    fn watcher(this: &Bound<'_, Self>) -> AnyPipe {
        AnyPipe::Read(this.clone().unbind())
    }
}

life_methods!(ReadPipeTransport);
reading_methods!(ReadPipeTransport);
pipe_methods!(ReadPipeTransport);

#[pymethods]
impl ReadPipeTransport {
    /// As much as is read at once, in bytes.
    #[classattr]
    #[pyo3(name = "max_size")]
    const MAX_SIZE: usize = Loop::SCRATCH_SIZE;

    /// `asyncio.ReadTransport`, so that `isinstance` finds it.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).read_transport_class.clone_ref(this.py())
    }

    /// Stops reading; `connection_lost(None)` is called and the pipe closed.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().life(this.py(), |life| life.closing) {
            return Ok(());
        }
        Self::force_close(this, None)
    }

    /// Goes on after `pause_reading()`. May be called again.
    fn resume_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::resume(this)
    }

    fn __repr__(this: &Bound<'_, Self>) -> String {
        Self::shown_pipe(this, Self::READING, "")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.held.peek(|held| self.end.visit(&visit).and_then(|()| held.visit(&visit))).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = self.held.with(py, |held| (held.life.protocol.take(), held.pipe.take()));
        drop(dropped);
    }
}

impl Finalize for ReadPipeTransport {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().pipe(this.py(), |pipe| pipe.is_some())
    }

    fn finalize(this: &Bound<'_, Self>) {
        Self::die_unclosed(this);
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

/// asyncio's words for what a callback of the loop raised.
const READ_READY_RAISED: &str = "Exception in callback _UnixReadPipeTransport._read_ready()";
const ADD_READER_RAISED: &str = "Exception in callback _UnixReadPipeTransport._add_reader()";

/// The number is the same on all of Linux.
const EIO: i32 = 5;
