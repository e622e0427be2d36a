//! Cipher text that arrives, and the plain text that becomes of it.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use super::engine::{Outcome, RECORD};
use super::{Phase, TlsTransport, Told};
use crate::ffi::call::{call_method_none, call_method_one};
use crate::interop::{must_propagate, stdlib};
use crate::transports::direct::deliver;

/// How far reading got.
enum Read {
    /// All that is there was handed over.
    Everything,
    /// The peer said goodbye.
    Goodbye,
    /// The protocol's memory is full, and more is there.
    Part,
}

impl TlsTransport {
    /// Takes bytes of the carrier; `on_fed` does the rest, when nothing of the carrier's is lent any more.
    #[inline]
    pub(in crate::transports) fn feed(&self, py: Python<'_>, cipher_text: &[u8]) -> PyResult<()> {
        self.security(py)?.engine.feed(py, cipher_text)
    }

    /// Bytes were fed.
    pub(in crate::transports) fn on_fed(this: &Bound<'_, Self>) -> PyResult<()> {
        match this.get().phase(this.py()) {
            Phase::Wrapped => Self::read_available(this),
            Phase::Handshake => Self::shake_hands(this),
            Phase::Flushing => Self::flush_and_shut_down(this),
            Phase::Shutdown => Self::shut_down(this),
            Phase::Unwrapped => Ok(()),
        }
    }

    /// The carrier's peer sends no more; whether the carrier is to stay open all the same.
    pub(super) fn on_carrier_eof(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let own = this.get();
        own.state.with(py, |state| state.eof_received = true);
        let ended = Self::log_debug(this, "%r received EOF").and_then(|()| Self::end_with_carrier(this));
        if let Err(error) = &ended
            && error.is_instance_of::<PyException>(py)
            && let Some(carrier) = own.carrier(py)
        {
            call_method_none(&carrier, intern!(py, "close"))?;
        }
        ended
    }

    fn end_with_carrier(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let own = this.get();
        own.advance(py, Phase::Wrapped, Phase::Flushing);
        match own.phase(py) {
            Phase::Handshake => Self::handshake_cut_off(this)?,
            Phase::Flushing => Self::flush_and_shut_down(this)?,
            Phase::Shutdown => Self::shut_down(this)?,
            Phase::Wrapped | Phase::Unwrapped => {}
        }
        // It still flushes when the protocol does not read: what waits for that is handed over before the end.
        Ok(own.phase(py) == Phase::Flushing)
    }

    /// Hands over what can be read and sends what came of it. What fails ends the connection; only what must pass does.
    pub(super) fn read_available(this: &Bound<'_, Self>) -> PyResult<()> {
        let outcome = Self::read_and_answer(this);
        Self::end_on_failure(this, outcome)
    }

    fn read_and_answer(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        loop {
            match Self::read_once(this)? {
                Read::Everything => break,
                Read::Goodbye => {
                    Self::tell_eof(this)?;
                    Self::begin_shutdown(this)?;
                    break;
                }
                // The others have their turn first.
                Read::Part if own.phase(py) == Phase::Wrapped => {
                    Self::call_soon(this, intern!(py, "_read_on"))?;
                    break;
                }
                // Nobody comes back to it: the end follows at once.
                Read::Part => {}
            }
        }
        Self::encrypt_collected(this)?;
        // A key update, a renegotiation or an alert is answered by the engine itself.
        if own.security(py)?.engine.unsent(py)? > 0 {
            Self::send_outgoing(this)?;
        }
        Self::control_carrier_reading(this)
    }

    fn read_once(this: &Bound<'_, Self>) -> PyResult<Read> {
        let py = this.py();
        let found = this.get().state.with(py, |state| {
            let reads = matches!(state.phase, Phase::Wrapped | Phase::Flushing) && !state.reading.paused;
            let protocol = state.protocol.as_ref().filter(|_| reads)?;
            Some((protocol.clone_ref(py), state.buffered))
        });
        match found {
            Some((protocol, true)) => Self::read_into_protocol(this, protocol.bind(py)),
            Some((protocol, false)) => Self::read_copy(this, protocol.bind(py)),
            None => Ok(Read::Everything),
        }
    }

    /// The records that are there, as one `bytes`.
    fn read_copy(this: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<Read> {
        let py = this.py();
        let security = this.get().security(py)?;
        let engine = &security.engine;
        let mut first: Option<Bound<'_, PyBytes>> = None;
        let mut rest: Vec<Bound<'_, PyBytes>> = Vec::new();
        let read = loop {
            match engine.read(py) {
                Ok(Outcome::Done(chunk)) => {
                    let size = chunk.as_bytes().len();
                    if size == 0 {
                        break Ok(Read::Goodbye);
                    }
                    if first.is_none() {
                        first = Some(chunk);
                    } else {
                        rest.push(chunk);
                    }
                    if !engine.may_have_more(py, size == RECORD)? {
                        break Ok(Read::Everything);
                    }
                }
                Ok(Outcome::WantsMore) => break Ok(Read::Everything),
                // What came before it is good.
                Err(error) => break Err(error),
            }
        };
        if let Some(first) = first {
            let data = if rest.is_empty() { first } else { joined(py, &first, &rest)? };
            deliver(protocol, &data)?;
        }
        read
    }

    /// As much as the protocol's memory takes.
    fn read_into_protocol(this: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<Read> {
        let py = this.py();
        let security = this.get().security(py)?;
        let engine = &security.engine;
        let hint = engine.unread(py)?.into_pyobject(py)?;
        let memory = call_method_one(protocol, intern!(py, "get_buffer"), hint.as_any())?;
        let size = memory.len()?;
        if size == 0 {
            return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
        }
        let mut filled = 0;
        let read = loop {
            let read = if filled == 0 {
                engine.read_into(&memory, size)
            } else {
                // A view, as slicing a bytearray would give a copy.
                let free = PySlice::new(py, signed(filled), signed(size), 1);
                engine.read_into(&PyMemoryView::from(&memory)?.get_item(free)?, size - filled)
            };
            match read {
                Ok(Outcome::Done(0)) => break Ok(Read::Goodbye),
                Ok(Outcome::Done(count)) => filled += count.min(size - filled),
                Ok(Outcome::WantsMore) => break Ok(Read::Everything),
                Err(error) => break Err(error),
            }
            let full = filled == size;
            if !engine.may_have_more(py, full)? {
                break Ok(Read::Everything);
            }
            if full {
                break Ok(Read::Part);
            }
        };
        if filled > 0 {
            let count = filled.into_pyobject(py)?;
            call_method_one(protocol, intern!(py, "buffer_updated"), count.as_any())?;
        }
        read
    }

    /// Tells the protocol, once, that the peer sends no more.
    pub(super) fn tell_eof(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let protocol = own.state.with(py, |state| {
            let tells = state.told == Told::ConnectionMade;
            let protocol = state.protocol.as_ref().filter(|_| tells)?;
            state.told = Told::EofReceived;
            Some(protocol.clone_ref(py))
        });
        let Some(protocol) = protocol else {
            return Ok(());
        };
        let answer = call_method_none(protocol.bind(py), intern!(py, "eof_received"));
        match answer.and_then(|answer| answer.is_truthy()) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let text = "returning true from eof_received() has no effect when using ssl";
                stdlib(py).logger.bind(py).call_method1(intern!(py, "warning"), (text,)).map(drop)
            }
            Err(error) if must_propagate(py, &error) => Err(error),
            Err(error) => Self::fatal_error(this, &error, "Error calling eof_received()"),
        }
    }

    /// `resume_reading()`.
    pub(super) fn resume(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let resumes = this.get().state.with(py, |state| std::mem::replace(&mut state.reading.paused, false));
        if resumes { Self::call_soon(this, intern!(py, "_read_on")) } else { Ok(()) }
    }

    /// Bounds what waits for a protocol that does not read.
    pub(super) fn control_carrier_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let size = own.security(py)?.engine.unread(py)?;
        let method = own.state.with(py, |state| {
            let pauses = !state.reading.carrier_paused && size > 0 && size >= state.reading.marks.high();
            let resumes = state.reading.carrier_paused && state.reading.marks.is_at_or_below_low(size);
            state.reading.carrier_paused ^= pauses || resumes;
            match (pauses, resumes) {
                (true, _) => Some(intern!(py, "pause_reading")),
                (_, true) => Some(intern!(py, "resume_reading")),
                _ => None,
            }
        });
        match (method, own.carrier(py)) {
            (Some(method), Some(carrier)) => call_method_none(&carrier, method).map(drop),
            _ => Ok(()),
        }
    }
}

fn joined<'py>(
    py: Python<'py>,
    first: &Bound<'py, PyBytes>,
    rest: &[Bound<'py, PyBytes>],
) -> PyResult<Bound<'py, PyBytes>> {
    let pieces = std::iter::once(first).chain(rest);
    let size = pieces.clone().map(|piece| piece.as_bytes().len()).sum();
    PyBytes::new_with(py, size, |memory| {
        let mut free = memory;
        for piece in pieces {
            let (place, behind) = free.split_at_mut(piece.as_bytes().len());
            place.copy_from_slice(piece.as_bytes());
            free = behind;
        }
        Ok(())
    })
}

/// An offset in a buffer of Python's, which are never larger than `isize::MAX`.
pub(super) fn signed(offset: usize) -> isize {
    isize::try_from(offset).unwrap_or(isize::MAX)
}
