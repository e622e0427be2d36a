//! What waits to be sent, and when the protocol is asked to pause and to go on (asyncio: `transports._FlowControlMixin`).

use std::io;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyString;
use rasyncio_core::buffer::{WaterMarks, WriteQueue};
use rasyncio_core::reactor::{Reactor, Token};

use super::tcp::TcpTransport;
use crate::event_loop::Source;
use crate::ffi::call::call_method_none;

/// Who is going to send what waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sending {
    /// Nothing waits.
    #[default]
    Idle,
    /// The loop, at the end of this turn.
    Collected,
    /// We, when the kernel has room again: it refused the last time.
    Refused,
}

/// The writing side of a transport.
#[derive(Default)]
pub(super) struct Output {
    pub(super) queue: WriteQueue<PyBackedBytes>,
    pub(super) marks: WaterMarks,
    pub(super) sending: Sending,
    pub(super) protocol_paused: bool,
    /// `write_eof()` was called.
    pub(super) eof: bool,
}

impl Output {
    /// Sends until everything is gone or the kernel refuses. What is gone is put into `sent`, for the caller to drop.
    pub(super) fn send(
        &mut self,
        reactor: &mut Reactor<Source>,
        token: Token,
        sent: &mut Vec<PyBackedBytes>,
    ) -> io::Result<()> {
        while !self.queue.is_empty() {
            let slices = self.queue.io_slices(SLICES);
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            let count = match reactor.send(token, &slices) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            drop(slices);
            self.queue.advance(count, sent);
            if count < offered {
                self.sending = Sending::Refused;
                return Ok(());
            }
        }
        self.sending = Sending::Idle;
        Ok(())
    }

    /// Whether the protocol is to be told to pause; it counts as told.
    fn begins_pause(&mut self) -> bool {
        let pauses = !self.protocol_paused && self.marks.is_above_high(self.queue.size());
        self.protocol_paused |= pauses;
        pauses
    }

    /// Whether the protocol is to be told to go on; it counts as told.
    fn ends_pause(&mut self) -> bool {
        let resumes = self.protocol_paused && self.marks.is_at_or_below_low(self.queue.size());
        self.protocol_paused &= !resumes;
        resumes
    }
}

impl TcpTransport {
    pub(super) fn maybe_pause_protocol(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().state.with(py, |state| state.output.begins_pause()) {
            let (name, message) = (intern!(py, "pause_writing"), "protocol.pause_writing() failed");
            return Self::tell_writer(this, name, message);
        }
        Ok(())
    }

    pub(super) fn maybe_resume_protocol(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().state.with(py, |state| state.output.ends_pause()) {
            let (name, message) = (intern!(py, "resume_writing"), "protocol.resume_writing() failed");
            return Self::tell_writer(this, name, message);
        }
        Ok(())
    }

    fn tell_writer(this: &Bound<'_, Self>, name: &Bound<'_, PyString>, message: &str) -> PyResult<()> {
        let Some(protocol) = this.get().protocol(this.py()) else {
            return Ok(());
        };
        match call_method_none(protocol.bind(this.py()), name) {
            Ok(_) => Ok(()),
            Err(error) => Self::report(this, message, error),
        }
    }

    /// `set_write_buffer_limits()`: what is not given is filled in, what does not fit together is a `ValueError`.
    pub(super) fn set_limits(this: &Bound<'_, Self>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        let py = this.py();
        // Python's `//` rounds down, also for a negative number, which the text below then shows.
        let shown_high = high.or(low.map(|low| low.saturating_mul(4)));
        let shown_low = low.or(high.map(|high| high.div_euclid(4)));
        let refused = || {
            let (high, low) = (shown_high.unwrap_or_default(), shown_low.unwrap_or_default());
            PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0"))
        };
        let unsigned =
            |limit: Option<i64>| limit.map(|limit| usize::try_from(limit).map_err(|_| refused())).transpose();
        let (high, low) = (unsigned(high)?, unsigned(low)?);
        let marks = WaterMarks::new(high, low).map_err(|_| refused())?;
        this.get().state.with(py, |state| state.output.marks = marks);
        Self::send_collected(this)?;
        Self::maybe_pause_protocol(this)
    }
}

/// Blocks per system call: enough that many small writes of one turn cost one call, few enough for the stack.
const SLICES: usize = 128;
