//! What waits to be sent, and when the protocol is asked to pause and to go on (asyncio: `transports._FlowControlMixin`).

use std::io::{self, IoSlice};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyString;
use rasyncio_core::buffer::{Removed, WaterMarks, WriteQueue};
use rasyncio_core::reactor::Operation;

use super::file_sending::FileTurn;
use super::life::Transport;
use super::registration::Registered;
use super::tcp::TcpTransport;
use crate::ffi::call::call_method_none;

/// Bytes on their way out, which nobody changes.
pub(super) enum Block {
    Python(PyBackedBytes),
    /// Ours, such as cipher text.
    Own(Vec<u8>),
}

impl AsRef<[u8]> for Block {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Python(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

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

/// When the protocol is asked to pause and to go on.
#[derive(Default)]
pub(super) struct FlowControl {
    pub(super) marks: WaterMarks,
    pub(super) protocol_paused: bool,
}

/// The writing side of a stream transport.
#[derive(Default)]
pub(super) struct Output {
    pub(super) queue: WriteQueue<Block>,
    pub(super) flow: FlowControl,
    pub(super) sending: Sending,
    /// `write_eof()` was called.
    pub(super) eof: bool,
    /// A `sendfile()` is under way: nobody else may write.
    pub(super) file: Option<Box<FileTurn>>,
}

impl Output {
    /// Gives `send` what waits, until everything is gone or it takes less. What is gone is put into `removed`, for the caller to drop.
    #[inline]
    pub(super) fn send(
        &mut self,
        mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        removed: &mut Removed<Block>,
    ) -> io::Result<()> {
        while !self.queue.is_empty() {
            let (offered, taken) = self.queue.show(SLICES, &mut send);
            if !self.on_answer(offered, taken, removed)? {
                return Ok(());
            }
        }
        self.sending = Sending::Idle;
        Ok(())
    }

    /// The first `offered` bytes of what waits were offered, and so many of them taken. Whether more may be offered now.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each write to a connection, and small there")]
    pub(super) fn on_answer(
        &mut self,
        offered: usize,
        taken: io::Result<usize>,
        removed: &mut Removed<Block>,
    ) -> io::Result<bool> {
        let count = match taken {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.queue.advance(count, removed);
        if count < offered {
            self.sending = Sending::Refused;
        }
        Ok(count == offered)
    }
}

impl FlowControl {
    /// Whether the protocol is to be told to pause; it counts as told.
    fn begins_pause(&mut self, size: usize) -> bool {
        let pauses = !self.protocol_paused && self.marks.is_above_high(size);
        self.protocol_paused |= pauses;
        pauses
    }

    /// Whether the protocol is to be told to go on; it counts as told.
    fn ends_pause(&mut self, size: usize) -> bool {
        let resumes = self.protocol_paused && self.marks.is_at_or_below_low(size);
        self.protocol_paused &= !resumes;
        resumes
    }
}

/// A transport that is written to.
pub(super) trait Writer: Transport {
    /// Looks at the flow control, or changes it, knowing how much waits to be sent; as in `GilCell::with`.
    fn flow<R>(&self, py: Python<'_>, look: impl FnOnce(&mut FlowControl, usize) -> R) -> R;

    fn maybe_pause_protocol(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().flow(py, FlowControl::begins_pause) {
            let (name, message) = (intern!(py, "pause_writing"), "protocol.pause_writing() failed");
            return Self::tell_writer(this, name, message);
        }
        Ok(())
    }

    fn maybe_resume_protocol(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().flow(py, FlowControl::ends_pause) {
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

    /// The `repr()` of asyncio for the transport of a socket.
    fn shown(&self, py: Python<'_>, name: &str, fd: i32) -> String
    where
        Self: Registered,
    {
        let size = self.flow(py, |_, size| size);
        let stage = self.life(py, |life| match (life.token.is_none(), life.closing) {
            (true, _) => " closed",
            (false, true) => " closing",
            (false, false) => "",
        });
        let head = format!("<{name}{stage} fd={fd}");
        if stage == " closed" || self.event_loop().get().check_usable().is_err() {
            return format!("{head}>");
        }
        let polls = |operation: Operation| if self.is_armed(py, operation) { "polling" } else { "idle" };
        let (read, write) = (polls(Self::READING), polls(Self::WRITING));
        format!("{head} read={read} write=<{write}, bufsize={size}>>")
    }

    /// The limits as `(low, high)`.
    fn limits(&self, py: Python<'_>) -> (usize, usize) {
        self.flow(py, |flow, _| (flow.marks.low(), flow.marks.high()))
    }

    /// `set_write_buffer_limits()`: what is not given is filled in, what does not fit together is a `ValueError`. Whether the protocol is to pause
    /// is for the caller to ask.
    fn set_limits(&self, py: Python<'_>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        let marks = water_marks(high, low, DEFAULT_HIGH)?;
        self.flow(py, |flow, _| flow.marks = marks);
        Ok(())
    }
}

/// Water marks from what Python gave: what is not given is filled in, what does not fit together is a `ValueError`.
pub(super) fn water_marks(high: Option<i64>, low: Option<i64>, default_high: usize) -> PyResult<WaterMarks> {
    // Python's `//` rounds down, also for a negative number, which the text below then shows.
    let shown_high = high.or(low.map(|low| low.saturating_mul(4)));
    let shown_low = low.or(high.map(|high| high.div_euclid(4)));
    let refused = || {
        let (high, low) = (shown_high.unwrap_or_default(), shown_low.unwrap_or_default());
        PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0"))
    };
    let unsigned =
        |limit: Option<i64>| limit.map(|limit| usize::try_from(limit).map_err(|_| refused())).transpose();
    WaterMarks::with_default(unsigned(high)?, unsigned(low)?, default_high).map_err(|_| refused())
}

impl Writer for TcpTransport {
    #[inline]
    fn flow<R>(&self, py: Python<'_>, look: impl FnOnce(&mut FlowControl, usize) -> R) -> R {
        self.state.with(py, |state| {
            let size = state.output.queue.size();
            look(&mut state.output.flow, size)
        })
    }
}

/// asyncio: `_FlowControlMixin._set_write_buffer_limits`.
const DEFAULT_HIGH: usize = 64 * 1024;

/// Blocks per system call: enough that many small writes of one turn cost one call, few enough for the stack.
pub(super) const SLICES: usize = 128;
