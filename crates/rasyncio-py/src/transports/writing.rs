//! Bytes on their way out: collected during a turn and sent together at its end, or at once when they are many.

use std::io;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use rasyncio_core::buffer::Removed;
use rasyncio_core::net;
use rasyncio_core::reactor::Operation;

use super::flow_control::{Block, Sending, Writer};
use super::life::{SENDING_IN_VAIN, Transport, warn_of_vain_write};
use super::reading::Receiver;
use super::tcp::{State, TcpTransport};
use super::tls::TlsTransport;
use crate::event_loop::Loop;
use crate::exceptions;

/// What is to be done after bytes were given to a transport.
enum Next {
    Nothing,
    /// `write_eof()` was called before.
    RefuseAfterEof,
    RefuseBesideFile,
    /// The connection is gone: a warning if this happens again and again.
    Ignore {
        warn: bool,
    },
    SendLater,
    SendNow,
    MaybePause,
}

impl TcpTransport {
    pub(super) fn write(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = block(data)?;
        let block = (!block.is_empty()).then_some(Block::Python(block));
        Self::collect(this, block.into_iter(), "write")
    }

    /// asyncio up to 3.11 joins the pieces; since 3.12 each is looked at by itself.
    pub(super) fn write_lines(this: &Bound<'_, Self>, pieces: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        if py.version_info() < (3, 12) {
            let joined = PyBytes::new(py, b"").call_method1(intern!(py, "join"), (pieces,))?;
            return Self::write(this, &joined);
        }
        let mut blocks = Vec::new();
        for piece in pieces.try_iter()? {
            let block = any_block(&piece?)?;
            if !block.is_empty() {
                blocks.push(Block::Python(block));
            }
        }
        Self::collect(this, blocks.into_iter(), "writelines")
    }

    /// Sends cipher text.
    pub(super) fn write_block(this: &Bound<'_, Self>, block: Block) -> PyResult<()> {
        Self::collect(this, std::iter::once(block), "write")
    }

    /// Calls for a flush at the end of the turn, for which TLS collects plain text.
    pub(super) fn flush_soon(this: &Bound<'_, Self>) {
        let py = this.py();
        let own = this.get();
        let is_known = own.state.with(py, |state| match state.output.sending {
            Sending::Idle => {
                state.output.sending = Sending::Collected;
                false
            }
            Sending::Collected => true,
            Sending::Refused => false,
        });
        if !is_known {
            own.event_loop.get().flush_later(py, this.clone().unbind());
        }
    }

    /// Queues blocks, none of them empty.
    fn collect(
        this: &Bound<'_, Self>,
        blocks: impl ExactSizeIterator<Item = Block>,
        method: &str,
    ) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let event_loop = own.event_loop.get();
        let running = event_loop.is_turning();
        let mut blocks = blocks;
        match own.state.with(py, |state| state.accept(&mut blocks, running)) {
            Next::Nothing | Next::Ignore { warn: false } => Ok(()),
            Next::RefuseAfterEof => {
                Err(exceptions::runtime(format!("Cannot call {method}() after write_eof()")))
            }
            Next::RefuseBesideFile => {
                Err(exceptions::runtime(format!("unable to {method}; sendfile is in progress")))
            }
            Next::Ignore { warn: true } => warn_of_vain_write(py, SENDING_IN_VAIN),
            Next::SendLater => {
                event_loop.flush_later(py, this.clone().unbind());
                Ok(())
            }
            Next::SendNow => {
                Self::send_collected(this)?;
                Self::maybe_pause_protocol(this)
            }
            Next::MaybePause => Self::maybe_pause_protocol(this),
        }
    }

    /// The end of a turn in which the transport collected bytes. Fails only with what must end the program.
    pub(crate) fn flush(this: &Bound<'_, Self>, _event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let own = this.get();
        if own.state.with(this.py(), |state| state.receiver == Receiver::Tls) {
            // TLS may have to tell the protocol to pause.
            return own.in_context(this.py(), || Self::send_collected(this));
        }
        Self::send_collected(this)
    }

    /// Sends what this turn collected now; the kernel's last refusal is respected.
    pub(super) fn send_collected(this: &Bound<'_, Self>) -> PyResult<()> {
        let cell = &this.get().state;
        let (collected, tls) =
            cell.with(this.py(), |state| (state.output.sending == Sending::Collected, state.tls(this.py())));
        let Some(tls) = tls else {
            return if collected { Self::send_queue(this).map(drop) } else { Ok(()) };
        };
        // What it collected comes first. What it has to pass on holds up nothing that it handed over before.
        let encrypted = TlsTransport::flush(tls.bind(this.py()).cast_exact::<TlsTransport>()?);
        let collected = cell.with(this.py(), |state| state.output.sending == Sending::Collected);
        encrypted.and(if collected { Self::send_queue(this).map(drop) } else { Ok(()) })
    }

    /// The kernel has room again.
    pub(super) fn write_ready(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let (waits, is_empty) = this.get().state.with(py, |state| {
            let waits = !state.life.is_lost() && state.output.sending == Sending::Refused;
            (waits, state.output.queue.is_empty())
        });
        // Only a file waits for room without anything in the queue. Its turn ends the wait.
        if waits && is_empty && Self::ring_for_file(this)? {
            return Ok(());
        }
        if !waits || !Self::send_queue(this)? {
            return Ok(());
        }
        Self::maybe_resume_protocol(this)?;
        // What the protocol wrote just now: nobody looks for the end of a closing transport after a flush.
        Self::send_collected(this)?;
        let (is_done, closing, eof) = this.get().state.with(py, |state| {
            let is_done = state.output.queue.is_empty() && !state.life.is_lost();
            (is_done, state.life.closing, state.output.eof)
        });
        if is_done {
            Self::ring_for_file(this)?;
        }
        match (is_done, closing, eof) {
            (true, true, _) => Self::lose(this, None),
            (true, false, true) => match net::shutdown_write(this.get().fd) {
                Ok(()) => Ok(()),
                Err(error) => Self::write_failed(this, &error),
            },
            _ => Ok(()),
        }
    }

    /// Gives the kernel what it takes; false if the connection is broken.
    pub(super) fn send_queue(this: &Bound<'_, Self>) -> PyResult<bool> {
        let (before, outcome, after) = this.get().offer_queue(this.py())?;
        Self::on_offered(this, before, outcome, after)
    }

    /// The kernel was offered what waits: who was going to send it, what the kernel said, and who is now. False if the connection is broken.
    #[inline]
    pub(super) fn on_offered(
        this: &Bound<'_, Self>,
        before: Sending,
        outcome: io::Result<()>,
        after: Sending,
    ) -> PyResult<bool> {
        let armed = match outcome {
            Ok(()) if before != Sending::Refused && after == Sending::Refused => {
                Self::set_armed(this, Operation::Send, true)?
            }
            Ok(()) if before == Sending::Refused && after != Sending::Refused => {
                Self::set_armed(this, Operation::Send, false)?
            }
            other => other,
        };
        match armed {
            Ok(()) => Ok(true),
            Err(error) => Self::write_failed(this, &error).map(|()| false),
        }
    }

    /// Offers the kernel what waits. Answers who was going to send it, what the kernel said, and who is now.
    #[inline]
    fn offer_queue(&self, py: Python<'_>) -> PyResult<(Sending, io::Result<()>, Sending)> {
        let mut sent = Removed::new();
        let (before, outcome, after) = self.state.with(py, |state| {
            let before = state.output.sending;
            let outcome = match state.life.token {
                Some(token) => self.event_loop.get().with_reactor(py, |reactor| {
                    state.output.send(|slices| reactor.send(token, slices), &mut sent)
                }),
                None => Ok(Ok(())),
            };
            (before, outcome, state.output.sending)
        });
        drop(sent);
        outcome.map(|outcome| (before, outcome, after))
    }

    /// Offers the kernel what this turn collected, for a connection that ends whatever the kernel says.
    pub(super) fn offer_collected(&self, py: Python<'_>) {
        let collected = self.state.with(py, |state| state.output.sending == Sending::Collected);
        if collected && self.event_loop.get().check_usable().is_ok() {
            drop(self.offer_queue(py));
        }
    }

    fn write_failed(this: &Bound<'_, Self>, error: &io::Error) -> PyResult<()> {
        let message = "Fatal write error on socket transport";
        let error = exceptions::os_error(error);
        this.get().note_file_failure(this.py(), &error);
        Self::fatal_error(this, error, message)
    }

    /// Nothing more will be written; the peer is told when everything is sent.
    pub(super) fn end_writing(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let begins = this.get().state.with(py, |state| {
            let begins = !state.life.closing && !state.output.eof;
            state.output.eof |= begins;
            begins
        });
        if !begins {
            return Ok(());
        }
        Self::send_collected(this)?;
        let is_sent =
            this.get().state.with(py, |state| state.output.queue.is_empty() && !state.life.is_lost());
        if is_sent {
            net::shutdown_write(this.get().fd).map_err(|error| exceptions::os_error(&error))?;
        }
        Ok(())
    }

    /// The bytes that the kernel did not take yet. What this turn only collected is offered to it first: asyncio would have done so.
    pub(super) fn buffered_size(this: &Bound<'_, Self>) -> PyResult<usize> {
        if this.get().event_loop.get().check_usable().is_ok() {
            Self::send_collected(this)?;
        }
        Ok(this.get().state.with(this.py(), |state| state.output.queue.size()))
    }
}

impl State {
    /// The protocol, if it is our own TLS, which collects as well.
    #[inline]
    pub(super) fn tls(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let tls = self.life.protocol.as_ref().filter(|_| self.receiver == Receiver::Tls);
        tls.map(|tls| tls.clone_ref(py))
    }

    /// Takes the blocks, if they can still be sent, and decides what comes next.
    fn accept(&mut self, blocks: &mut impl ExactSizeIterator<Item = Block>, loop_is_running: bool) -> Next {
        if self.output.eof {
            return Next::RefuseAfterEof;
        }
        if self.output.file.is_some() {
            return Next::RefuseBesideFile;
        }
        if blocks.len() == 0 {
            return Next::Nothing;
        }
        if self.life.is_lost() {
            return Next::Ignore { warn: self.life.count_vain_write() };
        }
        let output = &mut self.output;
        // `push` hands only an empty block back.
        blocks.for_each(|block| drop(output.queue.push(block)));
        let is_much = output.flow.marks.is_above_high(output.queue.size());
        match output.sending {
            Sending::Refused => Next::MaybePause,
            // Nobody would flush before the loop runs again.
            Sending::Collected if is_much || !loop_is_running => Next::SendNow,
            Sending::Collected => Next::Nothing,
            Sending::Idle => {
                output.sending = Sending::Collected;
                if is_much || !loop_is_running { Next::SendNow } else { Next::SendLater }
            }
        }
    }
}

/// Whether transports take it for bytes.
pub(super) fn is_bytes_like(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
}

/// The bytes of what `write()` takes, safe from later changes.
pub(super) fn block(data: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    let py = data.py();
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(PyBackedBytes::from(bytes.clone()));
    }
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(PyBackedBytes::from(PyBytes::new(py, bytes.as_bytes())));
    }
    if let Ok(bytes) = data.cast::<PyByteArray>() {
        return Ok(PyBackedBytes::from(bytes.clone()));
    }
    if let Ok(view) = data.cast::<PyMemoryView>() {
        return view_block(view);
    }
    let expected = if py.version_info() >= (3, 14) {
        "bytes, bytearray, or memoryview object"
    } else {
        "bytes-like object"
    };
    let name = data.get_type().name()?.repr()?;
    Err(PyTypeError::new_err(format!("data argument must be a {expected}, not {name}")))
}

/// The bytes of any bytes-like object, which is what `writelines()` takes.
pub(super) fn any_block(data: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    if data.is_exact_instance_of::<PyBytes>() {
        return block(data);
    }
    view_block(&PyMemoryView::from(data)?)
}

fn view_block(view: &Bound<'_, PyMemoryView>) -> PyResult<PyBackedBytes> {
    let copy = view.call_method0(intern!(view.py(), "tobytes"))?;
    Ok(PyBackedBytes::from(copy.cast_into::<PyBytes>()?))
}
