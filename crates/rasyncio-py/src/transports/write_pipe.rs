//! `WritePipeTransport`: the end of a pipe that is written (asyncio: `unix_events._UnixWritePipeTransport`).
//!
//! Bytes go to the kernel as they are written, not collected as those for sockets: each `write()` that finds nothing waiting is one system call
//! of its own, so a device sees the messages that the program wrote, and other writers of a FIFO do not get in between.

use std::io;
use std::sync::OnceLock;

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyNotImplementedError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{ffi, intern};
use rasyncio_core::buffer::Removed;
use rasyncio_core::pipe::Kind;
use rasyncio_core::reactor::Operation;

use super::flow_control::{Block, FlowControl, Output, Sending, Writer};
use super::life::{Life, Transport, count_vain_write, warn_of_vain_write};
use super::pipe::{AnyPipe, End, Held, PipeTransport};
use super::shared_methods::{life_methods, pipe_methods, writing_methods};
use super::writing::{block, is_bytes_like};
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
use crate::futures::Future;
use crate::interop::stdlib;

/// The writing end of a pipe, a FIFO, a socket or a character device, made by `connect_write_pipe()`.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#write-only-transports>
#[pyclass(frozen, weakref, dict, name = "_UnixWritePipeTransport", module = "rasyncio")]
pub(crate) struct WritePipeTransport {
    end: End,
    state: GilCell<State>,
}

struct State {
    held: Held,
    output: Output,
    /// Writes that nobody will read, and the one that failed.
    vain_writes: u32,
}

/// What is to be done after bytes were given to a transport.
enum Next {
    Ignore { warn: bool },
    Send,
    MaybePause,
}

impl WritePipeTransport {
    /// A transport over `pipe`, an object with `fileno()` and `close()`, which it closes at the end. `waiter` is set when the protocol knows of it.
    pub(crate) fn open(
        event_loop: &Bound<'_, Loop>,
        pipe: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        waiter: Py<Future>,
    ) -> PyResult<Py<PyAny>> {
        let refusal = "Pipe transport is only for pipes, sockets and character devices";
        let (end, held) = End::open(event_loop, pipe, protocol, refusal)?;
        let state = State { held, output: Output::default(), vain_writes: 0 };
        let transport = new_with_dict(event_loop.py(), Self { end, state: GilCell::new(state) })?;
        Self::begin(&transport, Some(waiter));
        Ok(transport.into_any().unbind())
    }

    pub(super) fn on_ready(this: &Bound<'_, Self>, operation: Operation) -> PyResult<()> {
        this.get().in_context(this.py(), || {
            if operation == Self::READING { Self::on_hang_up(this) } else { Self::write_ready(this) }
        })
    }

    /// Nobody reads any more. What a socket at the other end might have sent means the same: there is nobody here to read it.
    fn on_hang_up(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().life(py, |life| life.is_lost()) {
            return Ok(());
        }
        Self::log_closed_by_peer(this)?;
        let is_sent = this.get().state.with(py, |state| state.output.queue.is_empty());
        Self::force_close(this, (!is_sent).then(|| PyBrokenPipeError::new_err(())))
    }

    fn write_block(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        if !is_bytes_like(data) {
            return Err(PyAssertionError::new_err(data.repr()?.unbind()));
        }
        let block = block(data)?;
        if block.is_empty() {
            return Ok(());
        }
        match this.get().state.with(py, |state| state.accept(Block::Python(block))) {
            Next::Ignore { warn: false } => Ok(()),
            Next::Ignore { warn: true } => {
                warn_of_vain_write(py, "pipe closed by peer or os.write(pipe, data) raised exception.")
            }
            Next::Send => {
                Self::send_queue(this)?;
                Self::maybe_pause_protocol(this)
            }
            Next::MaybePause => Self::maybe_pause_protocol(this),
        }
    }

    /// The kernel has room again.
    fn write_ready(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let waits = this
            .get()
            .state
            .with(py, |state| !state.held.life.is_lost() && state.output.sending == Sending::Refused);
        if !waits {
            return Ok(());
        }
        Self::send_queue(this)?;
        if this.get().is_sent(py) {
            // asyncio: a pipe that is not empty yet goes on being paused, however little is left.
            Self::maybe_resume_protocol(this)?;
            if this.get().life(py, |life| life.closing) && this.get().is_sent(py) {
                Self::end_reading(this)?;
                return Self::lose(this, None);
            }
        }
        Ok(())
    }

    /// Whether everything is sent, and the end not yet announced.
    fn is_sent(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.output.queue.is_empty() && !state.held.life.is_lost())
    }

    /// Gives the kernel what it takes.
    fn send_queue(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let fd = own.end.fd;
        let mut sent = Removed::new();
        let (before, outcome, after) = own.state.with(py, |state| {
            let before = state.output.sending;
            let outcome =
                own.end.event_loop.get().with_reactor(py, |reactor| {
                    state.output.send(|slices| reactor.write(fd, slices), &mut sent)
                });
            (before, outcome, state.output.sending)
        });
        drop(sent);
        own.end.event_loop.get().look_next_turn(py);
        let watched = match outcome? {
            Ok(()) if before != after => Self::set_armed(this, Self::WRITING, after == Sending::Refused)?,
            other => other,
        };
        match watched {
            Ok(()) => Ok(()),
            Err(error) => {
                own.state.with(py, |state| state.vain_writes += 1);
                let message = "Fatal write error on pipe transport";
                Self::fatal_error(this, exceptions::os_error(&error), message)
            }
        }
    }

    /// Takes no more; the pipe is closed when everything is sent.
    fn end_writing(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().life(py, |life| std::mem::replace(&mut life.closing, true)) {
            return Ok(());
        }
        if this.get().is_sent(py) {
            Self::end_reading(this)?;
            return Self::lose(this, None);
        }
        Ok(())
    }
}

impl State {
    /// Takes the block, if it can still be sent, and decides what comes next.
    fn accept(&mut self, block: Block) -> Next {
        if self.vain_writes > 0 || self.held.life.closing {
            return Next::Ignore { warn: count_vain_write(&mut self.vain_writes) };
        }
        // `push` hands only an empty block back.
        drop(self.output.queue.push(block));
        if self.output.sending == Sending::Refused { Next::MaybePause } else { Next::Send }
    }
}

impl Transport for WritePipeTransport {
    const READ_ERROR: &'static str = "Fatal error on pipe transport";
    const READING: Operation = Operation::Readable;
    const WRITING: Operation = Operation::Writable;

    fn event_loop(&self) -> &Py<Loop> {
        &self.end.event_loop
    }

    fn context(&self) -> &Py<PyAny> {
        &self.end.context
    }

    fn life<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Life) -> R) -> R {
        self.state.with(py, |state| look(&mut state.held.life))
    }

    fn set_armed(this: &Bound<'_, Self>, operation: Operation, armed: bool) -> PyResult<io::Result<()>> {
        Self::set_watched(this, operation, armed)
    }

    fn forget_unsent(&self, py: Python<'_>) {
        let unsent = self.state.with(py, |state| {
            state.output.sending = Sending::Idle;
            state.output.queue.take_all()
        });
        drop(unsent);
    }

    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::release_pipe(this)
    }

    /// There is nothing to read, but a pipe or a socket without a reader is found readable. A terminal is really read by somebody else.
    fn begin_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().end.kind == Kind::CharacterDevice || this.get().life(this.py(), |life| life.closing) {
            return Ok(());
        }
        match Self::set_armed(this, Self::READING, true)? {
            Ok(()) => Ok(()),
            Err(error) => Self::fatal_error(this, exceptions::os_error(&error), Self::READ_ERROR),
        }
    }
}

impl Writer for WritePipeTransport {
    fn flow<R>(&self, py: Python<'_>, look: impl FnOnce(&mut FlowControl, usize) -> R) -> R {
        self.state.with(py, |state| {
            let size = state.output.queue.size();
            look(&mut state.output.flow, size)
        })
    }
}

impl PipeTransport for WritePipeTransport {
    fn end(&self) -> &End {
        &self.end
    }

    fn pipe<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Option<Py<PyAny>>) -> R) -> R {
        self.state.with(py, |state| look(&mut state.held.pipe))
    }

    fn watcher(this: &Bound<'_, Self>) -> AnyPipe {
        AnyPipe::Write(this.clone().unbind())
    }
}

life_methods!(WritePipeTransport);
writing_methods!(WritePipeTransport);
pipe_methods!(WritePipeTransport);

#[pymethods]
impl WritePipeTransport {
    /// asyncio's mix-in of all transports that write: an `asyncio.Transport`, so that `isinstance` finds it.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).flow_control_mixin.clone_ref(this.py())
    }

    /// Takes no more; what was written is sent, then `connection_lost(None)` is called and the pipe closed.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::end_writing(this)
    }

    /// Writes `data` (bytes, bytearray or memoryview), as it is at this moment, without waiting.
    ///
    /// `AssertionError` for anything else.
    fn write(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::write_block(this, data)
    }

    /// Writes a list of bytes-like objects, joined.
    fn writelines(this: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let joined = PyBytes::new(py, b"").call_method1(intern!(py, "join"), (list_of_data,))?;
        Self::write_block(this, &joined)
    }

    /// `close()`: a pipe has no other end.
    fn write_eof(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::end_writing(this)
    }

    /// Whether `write_eof()` works: it does.
    #[expect(clippy::unused_self, reason = "a method of asyncio.WriteTransport")]
    fn can_write_eof(&self) -> bool {
        true
    }

    /// How many bytes the kernel did not take yet.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        self.flow(py, |_, size| size)
    }

    /// Above `high` unsent bytes the protocol is asked to pause, and to go on when all are sent.
    #[pyo3(signature = (high = None, low = None))]
    fn set_write_buffer_limits(this: &Bound<'_, Self>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        this.get().set_limits(this.py(), high, low)?;
        Self::maybe_pause_protocol(this)
    }

    /// NotImplementedError: nothing is read here.
    #[expect(clippy::unused_self, reason = "a method of asyncio.Transport")]
    fn is_reading(&self) -> PyResult<bool> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// NotImplementedError: nothing is read here.
    #[expect(clippy::unused_self, reason = "a method of asyncio.Transport")]
    fn pause_reading(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// NotImplementedError: nothing is read here.
    #[expect(clippy::unused_self, reason = "a method of asyncio.Transport")]
    fn resume_reading(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    #[getter]
    fn _conn_lost(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.vain_writes)
    }

    fn __repr__(this: &Bound<'_, Self>) -> String {
        let size = this.get().flow(this.py(), |_, size| size);
        Self::shown_pipe(this, Self::WRITING, &format!(" bufsize={size}"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let look = |state: &State| self.end.visit(&visit).and_then(|()| state.held.visit(&visit));
        self.state.peek(look).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| (state.held.life.protocol.take(), state.held.pipe.take()));
        drop(dropped);
    }
}

impl Finalize for WritePipeTransport {
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
