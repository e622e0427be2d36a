//! Cipher text that arrives, and the plain text that becomes of it.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::engine::{Engine, Outcome, RECORD};
use super::{Phase, TlsTransport, Told};
use crate::ffi::bytes;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::interop::{must_propagate, stdlib};
use crate::streams::StreamReader;
use crate::transports::direct::deliver;
use crate::transports::reading::reader_of;

/// How far reading got.
enum Read {
    /// All that is there was handed over.
    Everything,
    /// The peer said goodbye.
    Goodbye,
    /// The protocol's memory is full, and more is there.
    Part,
}

/// Who has the plain text.
enum Taken<'py> {
    Nothing,
    /// The `StreamReader` that it is for, if that could take it; it is not told yet.
    Put(PyResult<()>),
    /// Nobody yet.
    Copy(Bound<'py, PyBytes>),
}

impl TlsTransport {
    /// Bytes of the carrier, which lends them.
    #[inline]
    pub(in crate::transports) fn receive(this: &Bound<'_, Self>, cipher_text: &[u8]) -> PyResult<()> {
        let security = this.get().security(this.py())?;
        security.engine.feed_and_run(this.py(), cipher_text, || Self::on_fed(this))
    }

    /// Bytes were fed.
    pub(super) fn on_fed(this: &Bound<'_, Self>) -> PyResult<()> {
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

    /// The records that are there, as many as the loop's memory takes.
    fn read_copy(this: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<Read> {
        let py = this.py();
        let own = this.get();
        let security = own.security(py)?;
        let reader = reader_of(protocol);
        if reader.is_none() && security.engine.unread(py)? >= MUCH {
            return Self::read_much(&security.engine, protocol);
        }
        let (read, taken) = own.event_loop.get().with_plain_text(py, |memory| {
            let size = memory.len();
            let engine = &security.engine;
            let (read, filled) =
                read_records(py, engine, size, |filled| engine.read(py, &mut memory[filled..]));
            let plain_text = &memory[..filled];
            // What came before a failure is good.
            let taken = match &reader {
                _ if plain_text.is_empty() => Taken::Nothing,
                Some(reader) => Taken::Put(reader.get().put(py, plain_text)),
                None => Taken::Copy(PyBytes::new(py, plain_text)),
            };
            (read, taken)
        });
        match (taken, &reader) {
            (Taken::Copy(data), _) => deliver(protocol, &data)?,
            (Taken::Put(put), Some(reader)) => put.and_then(|()| StreamReader::on_fed(reader))?,
            (Taken::Put(_), None) | (Taken::Nothing, _) => {}
        }
        read
    }

    /// All records that are there, decrypted where the protocol gets them: a copy would cost more than to make room for what comes with a record too.
    fn read_much(engine: &Engine, protocol: &Bound<'_, PyAny>) -> PyResult<Read> {
        let py = protocol.py();
        // Plain text is never longer than its records.
        let room = engine.unread(py)? + engine.pending(py)?;
        let mut read = Ok(Read::Everything);
        let data = bytes::filled(py, room, |memory| {
            let filled;
            (read, filled) =
                read_records(py, engine, room, |filled| engine.read_new(py, &mut memory[filled..]));
            Ok(Ok(filled))
        })??;
        // What came before a failure is good.
        if !data.as_bytes().is_empty() {
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
            match engine.read_into(&memory, filled) {
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

/// Decrypts what is there, by `read_behind` so many bytes, into memory of `size`; how many bytes that were.
fn read_records(
    py: Python<'_>,
    engine: &Engine,
    size: usize,
    mut read_behind: impl FnMut(usize) -> PyResult<Outcome<usize>>,
) -> (PyResult<Read>, usize) {
    let mut filled = 0;
    loop {
        match read_behind(filled) {
            Ok(Outcome::Done(0)) => return (Ok(Read::Goodbye), filled),
            Ok(Outcome::Done(count)) => {
                filled += count;
                let full = count >= RECORD || filled == size;
                match engine.may_have_more(py, full) {
                    Ok(true) if filled == size => return (Ok(Read::Part), filled),
                    Ok(true) => {}
                    Ok(false) => return (Ok(Read::Everything), filled),
                    Err(error) => return (Err(error), filled),
                }
            }
            Ok(Outcome::WantsMore) => return (Ok(Read::Everything), filled),
            Err(error) => return (Err(error), filled),
        }
    }
}

/// From so many bytes of cipher text on, plain text is not copied.
const MUCH: usize = 16 * 1024;
