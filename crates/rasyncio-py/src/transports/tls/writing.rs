//! Plain text on its way out: collected during a turn and encrypted together at its end, as much as the carrier takes; and when the protocol is
//! asked to pause.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyString};
use rasyncio_core::buffer::{Removed, WriteQueue};

use super::engine::Outcome;
use super::{Encrypting, Phase, State, TlsTransport};
use crate::exceptions::Report;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::interop::must_propagate;
use crate::transports::flow_control::Block;
use crate::transports::life::{count_vain_write, warn_of_vain_write};
use crate::transports::tcp::TcpTransport;
use crate::transports::writing::{any_block, is_bytes_like};

/// What is to be done after plain text was given to a transport.
enum Next {
    Nothing,
    /// The connection is over: a warning if this happens again and again.
    Ignore {
        warn: bool,
    },
    EncryptLater,
    EncryptNow,
}

/// What is encrypted in one go.
pub(super) enum Piece {
    /// This part of a block.
    Part(PyBackedBytes, usize, usize),
    /// Several small blocks, put together.
    Joined(Vec<u8>),
}

impl TlsTransport {
    pub(in crate::transports) fn write(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if !is_bytes_like(data) {
            let name = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!("data: expecting a bytes-like instance, got {name}")));
        }
        let block = any_block(data)?;
        if block.is_empty() { Ok(()) } else { Self::collect(this, std::iter::once(block)) }
    }

    pub(super) fn write_lines(this: &Bound<'_, Self>, pieces: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut blocks = Vec::new();
        for piece in pieces.try_iter()? {
            blocks.push(any_block(&piece?)?);
        }
        Self::collect(this, blocks.into_iter())
    }

    fn collect(this: &Bound<'_, Self>, blocks: impl Iterator<Item = PyBackedBytes>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let running = own.event_loop.get().is_turning();
        match own.state.with(py, |state| state.accept(blocks, running)) {
            Next::Nothing | Next::Ignore { warn: false } => Ok(()),
            Next::Ignore { warn: true } => warn_of_vain_write(py, "SSL connection is closed"),
            Next::EncryptLater => match own.carrier(py) {
                Some(carrier) => match carrier.cast_exact::<TcpTransport>() {
                    Ok(stream) => {
                        TcpTransport::flush_soon(stream);
                        Ok(())
                    }
                    // Nobody else's transport calls us at the end of a turn.
                    Err(_) => Self::flush(this),
                },
                None => Ok(()),
            },
            Next::EncryptNow => Self::flush(this),
        }
    }

    /// Keeps plain text for a test of asyncio's, which wants it to wait until something else happens.
    pub(super) fn append_to_backlog(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = any_block(data)?;
        let empty = self.state.with(data.py(), |state| state.writing.backlog.push(block));
        drop(empty);
        Ok(())
    }

    /// Encrypts what was collected and hands it to the carrier. What fails ends the connection; only what must pass does.
    pub(in crate::transports) fn flush(this: &Bound<'_, Self>) -> PyResult<()> {
        let outcome = Self::encrypt_collected(this);
        Self::end_on_failure(this, outcome)
    }

    pub(super) fn encrypt_collected(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().state.with(this.py(), |state| state.begins_encrypting(false)) {
            Self::encrypt(this)?;
        }
        Self::control_writing(this)
    }

    /// Before the end: what the carrier does not take now waits in the engine.
    pub(super) fn encrypt_everything(this: &Bound<'_, Self>) -> PyResult<()> {
        while this.get().state.with(this.py(), |state| state.begins_encrypting(true)) {
            if !Self::encrypt(this)? {
                break;
            }
        }
        Self::control_writing(this)
    }

    /// Encrypts until nothing is left or the carrier has enough; false if the engine wants to read first.
    fn encrypt(this: &Bound<'_, Self>) -> PyResult<bool> {
        let outcome = Self::encrypt_pieces(this);
        this.get().state.with(this.py(), |state| state.writing.encrypting = Encrypting::Nobody);
        outcome
    }

    fn encrypt_pieces(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let own = this.get();
        let security = own.security(py)?;
        let mut done = Removed::new();
        while let Some(piece) = own.state.with(py, |state| Piece::first_of(&state.writing.backlog, py)) {
            let Outcome::Done(count) = security.engine.write(py, piece)? else {
                Self::hand_over(this)?;
                return Ok(false);
            };
            own.state.with(py, |state| {
                // Python code of the context's may have aborted the connection.
                let count = count.min(state.writing.backlog.size());
                state.writing.backlog.advance(count, &mut done);
            });
            done.clear();
            Self::hand_over(this)?;
            if !own.state.with(py, |state| state.may_encrypt() && !state.writing.carrier_paused) {
                break;
            }
        }
        Ok(true)
    }

    /// Hands what the engine has for the peer to the carrier.
    pub(super) fn send_outgoing(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::hand_over(this)?;
        Self::control_writing(this)
    }

    /// `send_outgoing` without a word to the protocol.
    fn hand_over(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let carrier = own.state.with(py, |state| {
            let takes = !state.writing.carrier_paused;
            state.carrier.as_ref().filter(|_| takes).map(|carrier| carrier.clone_ref(py))
        });
        let Some(carrier) = carrier else {
            return Ok(());
        };
        let cipher_text = own.security(py)?.engine.take(py)?;
        if cipher_text.as_ref().is_empty() {
            return Ok(());
        }
        let carrier = carrier.into_bound(py);
        if let Ok(stream) = carrier.cast_exact::<TcpTransport>() {
            return TcpTransport::write_block(stream, cipher_text);
        }
        let cipher_text = match cipher_text {
            Block::Python(bytes) => bytes.into_pyobject(py)?.into_any(),
            Block::Own(bytes) => PyBytes::new(py, &bytes).into_any(),
        };
        call_method_one(&carrier, intern!(py, "write"), &cipher_text).map(drop)
    }

    /// The carrier has enough for now.
    pub(super) fn on_carrier_full(&self, py: Python<'_>) {
        self.state.with(py, |state| state.writing.carrier_paused = true);
    }

    /// The carrier has room again.
    pub(super) fn on_carrier_free(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().state.with(this.py(), |state| state.writing.carrier_paused = false);
        Self::send_outgoing(this)?;
        Self::flush(this)
    }

    /// The bytes that the carrier did not take. What this turn only collected is offered to it first: asyncio would have done so.
    pub(super) fn buffered_size(this: &Bound<'_, Self>) -> PyResult<usize> {
        if this.get().event_loop.get().check_usable().is_ok() {
            Self::flush(this)?;
        }
        this.get().write_buffer_size(this.py())
    }

    fn write_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        let (paused, size) =
            self.state.with(py, |state| (state.writing.carrier_paused, state.writing.backlog.size()));
        // A carrier that is not paused has taken everything.
        Ok(if paused { size + self.security(py)?.engine.unsent(py)? } else { size })
    }

    /// Tells the protocol to pause or to go on.
    pub(super) fn control_writing(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        // The protocol could close the transport in the midst of it.
        if own.state.with(py, |state| state.writing.encrypting == Encrypting::Now) {
            return Ok(());
        }
        let size = own.write_buffer_size(py)?;
        let pauses = own.state.with(py, |state| {
            let pauses = !state.writing.paused && size > 0 && size >= state.writing.marks.high();
            let resumes = state.writing.paused && state.writing.marks.is_at_or_below_low(size);
            state.writing.paused ^= pauses || resumes;
            (pauses || resumes).then_some(pauses)
        });
        match pauses {
            None => Ok(()),
            Some(true) => {
                let (name, message) = (intern!(py, "pause_writing"), "protocol.pause_writing() failed");
                Self::tell_writer(this, name, message)
            }
            Some(false) => {
                let (name, message) = (intern!(py, "resume_writing"), "protocol.resume_writing() failed");
                Self::tell_writer(this, name, message)
            }
        }
    }

    fn tell_writer(this: &Bound<'_, Self>, name: &Bound<'_, PyString>, message: &str) -> PyResult<()> {
        let py = this.py();
        let Some(protocol) = this.get().protocol(py) else {
            return Ok(());
        };
        match call_method_none(&protocol, name) {
            Ok(_) => Ok(()),
            Err(error) if must_propagate(py, &error) => Err(error),
            Err(error) => Report::of_error(py, message, &error)?
                .with("transport", this)?
                .with("protocol", this)?
                .tell(this.get().event_loop.bind(py)),
        }
    }
}

impl State {
    /// Takes the blocks, if they can still be sent, and decides what comes next.
    fn accept(&mut self, blocks: impl Iterator<Item = PyBackedBytes>, loop_is_running: bool) -> Next {
        if !matches!(self.phase, Phase::Handshake | Phase::Wrapped) {
            return Next::Ignore { warn: count_vain_write(&mut self.conn_lost) };
        }
        // `push` hands only an empty block back.
        blocks.for_each(|block| drop(self.writing.backlog.push(block)));
        if self.phase == Phase::Handshake || self.writing.backlog.is_empty() {
            return Next::Nothing;
        }
        if self.writing.carrier_paused || !loop_is_running || self.writing.backlog.size() >= ROUND {
            return Next::EncryptNow;
        }
        if self.writing.encrypting != Encrypting::Nobody {
            return Next::Nothing;
        }
        self.writing.encrypting = Encrypting::Later;
        Next::EncryptLater
    }

    fn may_encrypt(&self) -> bool {
        matches!(self.phase, Phase::Wrapped | Phase::Flushing) && !self.writing.backlog.is_empty()
    }

    fn begins_encrypting(&mut self, carrier_does_not_matter: bool) -> bool {
        if self.writing.encrypting == Encrypting::Now {
            return false;
        }
        let begins = self.may_encrypt() && (carrier_does_not_matter || !self.writing.carrier_paused);
        self.writing.encrypting = if begins { Encrypting::Now } else { Encrypting::Nobody };
        begins
    }
}

impl Piece {
    /// Small blocks are copied together, as every record costs a call and its own overhead; a large one is taken as it is.
    fn first_of(backlog: &WriteQueue<PyBackedBytes>, py: Python<'_>) -> Option<Self> {
        let (first, written) = backlog.first()?;
        let left = first.len() - written;
        if left >= JOINED || left == backlog.size() {
            return Some(Self::Part(first.clone_ref(py), written, written + left.min(ROUND)));
        }
        let mut joined = Vec::with_capacity(backlog.size().min(ROUND));
        for slice in backlog.unwritten() {
            let room = ROUND - joined.len();
            joined.extend_from_slice(&slice[..slice.len().min(room)]);
            if joined.len() == ROUND {
                break;
            }
        }
        Some(Self::Joined(joined))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Joined(bytes) => bytes,
            Self::Part(block, start, end) => &block[*start..*end],
        }
    }

    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Joined(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
            Self::Part(block, start, end) => {
                let is_whole = start == 0 && end == block.len();
                let bytes = block.into_pyobject(py)?;
                if is_whole {
                    return Ok(bytes.into_any());
                }
                PyMemoryView::from(&bytes)?.get_item(PySlice::new(py, signed(start), signed(end), 1))
            }
        }
    }
}

/// An offset in a buffer of Python's, which are never larger than `isize::MAX`.
pub(super) fn signed(offset: usize) -> isize {
    isize::try_from(offset).unwrap_or(isize::MAX)
}

/// Plain text that is encrypted and handed to the carrier in one go: enough that its overhead does not matter, few enough for the cache, and for
/// the carrier to say in time that it has enough.
const ROUND: usize = 64 * 1024;

/// Blocks of this size are not copied.
const JOINED: usize = 8 * 1024;
