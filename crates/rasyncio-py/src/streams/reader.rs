//! `StreamReader`: what it knows, how bytes come in, and when the transport has to pause.

use pyo3::exceptions::{PyAssertionError, PyAttributeError, PyNotImplementedError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};

use super::buffer::Buffer;
use super::{DEFAULT_LIMIT, is_debug};
use crate::event_loop::{Loop, current_loop};
use crate::exceptions;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::attributes;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::ffi::cell::GilCell;
use crate::futures::waiting;
use crate::interop::stdlib;

/// What was received from a connection, to be read by one task at a time.
///
/// Parameters: `limit`, in bytes: a line may be as long, and twice as much may wait to be read; ValueError unless it is more than 0. `loop`, by default the
/// current one.
///
/// <https://docs.python.org/3/library/asyncio-stream.html#asyncio.StreamReader>
#[pyclass(frozen, subclass, weakref, dict, name = "StreamReader", module = "rasyncio")]
pub(crate) struct StreamReader {
    pub(super) state: GilCell<State>,
}

pub(super) struct State {
    pub(super) buffer: Buffer,
    pub(super) limit: Limit,
    pub(super) event_loop: Option<Py<PyAny>>,
    /// The future of who waits for bytes.
    pub(super) waiter: Option<Py<PyAny>>,
    pub(super) exception: Option<Py<PyAny>>,
    pub(super) transport: Option<Py<PyAny>>,
    /// In debug mode.
    pub(super) source_traceback: Option<Py<PyAny>>,
    pub(super) eof: bool,
    /// The transport was told to pause.
    pub(super) paused: bool,
}

/// The limit as it was given, and in bytes.
pub(super) struct Limit {
    given: Option<Py<PyAny>>,
    pub(super) bytes: usize,
}

impl Limit {
    /// More than there can be, where it is infinite.
    pub(super) fn of(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes = match given.extract::<i64>() {
            Ok(bytes) => usize::try_from(bytes).unwrap_or(0),
            // A float counts as what is below it; what is no number was refused before, or is when it is used.
            Err(_) => {
                given.call_method0(intern!(given.py(), "__floor__")).map_or(Ok(usize::MAX), |floor| {
                    if floor.lt(0)? { Ok(0) } else { Ok::<_, PyErr>(floor.extract().unwrap_or(usize::MAX)) }
                })?
            }
        };
        Ok(Self { given: Some(given.clone().unbind()), bytes })
    }

    pub(super) fn shown<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &self.given {
            Some(given) => given.bind(py).clone(),
            None => PyInt::new(py, self.bytes).into_any(),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            buffer: Buffer::Empty,
            limit: Limit { given: None, bytes: DEFAULT_LIMIT },
            event_loop: None,
            waiter: None,
            exception: None,
            transport: None,
            source_traceback: None,
            eof: false,
            paused: false,
        }
    }
}

impl Default for StreamReader {
    fn default() -> Self {
        Self { state: GilCell::new(State::default()) }
    }
}

impl StreamReader {
    /// A reader for a connection that we make ourselves.
    pub(crate) fn make<'py>(
        event_loop: &Bound<'py, PyAny>,
        limit: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let reader = new_with_dict(event_loop.py(), Self::default())?;
        Self::begin(&reader, limit, Some(event_loop))?;
        Ok(reader)
    }

    /// What `__init__` does.
    pub(super) fn begin(
        this: &Bound<'_, Self>,
        limit: Option<Bound<'_, PyAny>>,
        event_loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        let mut fresh = State::default();
        if let Some(limit) = limit {
            if limit.le(0)? {
                return Err(PyValueError::new_err("Limit cannot be <= 0"));
            }
            fresh.limit = Limit::of(&limit)?;
        }
        let event_loop = match event_loop {
            Some(event_loop) => event_loop.clone(),
            None => current_loop(py)?,
        };
        if is_debug(&event_loop)? {
            fresh.source_traceback = Some(stdlib(py).extract_stack.bind(py).call0()?.unbind());
        }
        fresh.event_loop = Some(event_loop.unbind());
        drop(this.get().state.replace(py, fresh));
        Ok(())
    }

    /// `object`, if it is a reader whose methods are the ones here.
    #[inline]
    pub(super) fn plain<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Self>> {
        if attributes::is_plain::<Self>(object) { object.cast_exact::<Self>().ok() } else { None }
    }

    #[inline]
    pub(super) fn is_plain(this: &Bound<'_, Self>) -> bool {
        attributes::is_plain::<Self>(this.as_any())
    }

    pub(super) fn shown_limit<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.state.with(py, |state| state.limit.shown(py))
    }

    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.bind(py).clone()))
            .ok_or_else(|| PyAttributeError::new_err("'StreamReader' object has no attribute '_loop'"))
    }

    pub(super) fn source_traceback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| Some(state.source_traceback.as_ref()?.bind(py).clone()))
    }

    pub(super) fn transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| Some(state.transport.as_ref()?.bind(py).clone()))
    }

    /// What `set_exception()` was given.
    #[inline]
    pub(super) fn failure<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.exception.as_ref().map(|exception| exception.bind(py).clone()))
    }

    #[inline]
    pub(super) fn has_failed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.exception.is_some())
    }

    /// Fails with what `set_exception()` was given.
    #[inline]
    pub(super) fn check_failure(&self, py: Python<'_>) -> PyResult<()> {
        match self.failure(py) {
            Some(exception) => Err(PyErr::from_value(exception)),
            None => Ok(()),
        }
    }

    /// `feed_data()` of the `bytes` that a transport received.
    #[inline]
    pub(super) fn feed(this: &Bound<'_, Self>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        let py = this.py();
        this.get().state.with(py, |state| {
            state.check_open()?;
            if data.as_bytes().is_empty() { Ok(()) } else { state.buffer.push_object(data) }
        })?;
        if data.as_bytes().is_empty() { Ok(()) } else { Self::on_fed(this) }
    }

    /// The first half of `feed_data()`, for bytes that are only lent. Runs no Python code; `on_fed` has to follow.
    #[inline]
    pub(crate) fn put(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.state.with(py, |state| {
            state.check_open()?;
            state.buffer.push(py, data)
        })
    }

    /// The second half: wakes who waits, and lets the transport pause if more waits than twice the limit.
    #[inline]
    pub(crate) fn on_fed(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        Self::wake(this)?;
        let transport = this.get().state.with(py, |state| {
            let transport = state.transport.as_ref().filter(|_| !state.paused)?;
            let is_much = state.buffer.len(py) > state.limit.bytes.saturating_mul(2);
            is_much.then(|| transport.bind(py).clone())
        });
        match transport {
            Some(transport) => Self::pause(this, &transport),
            None => Ok(()),
        }
    }

    fn pause(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let forgotten = match call_method_none(transport, intern!(py, "pause_reading")) {
            Ok(_) => {
                this.get().state.with(py, |state| state.paused = true);
                None
            }
            // It cannot pause, and is not asked again.
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                this.get().state.with(py, |state| state.transport.take())
            }
            Err(error) => return Err(error),
        };
        drop(forgotten);
        Ok(())
    }

    /// `feed_eof()`.
    pub(super) fn end(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().state.with(this.py(), |state| state.eof = true);
        Self::wake(this)
    }

    /// `set_exception()`.
    pub(super) fn fail(this: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let kept = (!exception.is_none()).then(|| exception.clone().unbind());
        let (old, waiter) = this
            .get()
            .state
            .with(py, |state| (std::mem::replace(&mut state.exception, kept), state.waiter.take()));
        drop(old);
        let Some(waiter) = waiter.map(|waiter| waiter.into_bound(py)) else {
            return Ok(());
        };
        if !waiting::is_cancelled(&waiter)? {
            call_method_one(&waiter, intern!(py, "set_exception"), exception)?;
        }
        Ok(())
    }

    /// Wakes who waits, through the method that a subclass may have.
    #[inline]
    fn wake(this: &Bound<'_, Self>) -> PyResult<()> {
        if Self::is_plain(this) {
            return Self::wake_waiter(this);
        }
        call_method_none(this.as_any(), intern!(this.py(), "_wakeup_waiter")).map(drop)
    }

    #[inline]
    pub(super) fn wake_waiter(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(waiter) = this.get().state.with(py, |state| state.waiter.take()) else {
            return Ok(());
        };
        waiting::wake(&waiter.into_bound(py), &py.None().into_bound(py)).map(drop)
    }

    /// `set_transport()`.
    pub(super) fn attach(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let mut kept = Some(transport.clone().unbind());
        this.get().state.with(py, |state| {
            if state.transport.is_none() {
                state.transport = kept.take();
            }
        });
        match kept {
            None => Ok(()),
            Some(_) => Err(PyAssertionError::new_err("Transport already set")),
        }
    }

    /// Something was read: the transport goes on once little enough waits. Through the method that a subclass may have.
    #[inline]
    pub(super) fn on_read(this: &Bound<'_, Self>) -> PyResult<()> {
        if Self::is_plain(this) {
            return Self::maybe_resume(this);
        }
        call_method_none(this.as_any(), intern!(this.py(), "_maybe_resume_transport")).map(drop)
    }

    #[inline]
    pub(super) fn maybe_resume(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let resumes = this.get().state.with(py, |state| {
            let resumes = state.paused && state.buffer.len(py) <= state.limit.bytes;
            state.paused &= !resumes;
            resumes
        });
        if resumes { Self::resume(this) } else { Ok(()) }
    }

    fn resume(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        match this.get().transport(py) {
            Some(transport) => call_method_none(&transport, intern!(py, "resume_reading")).map(drop),
            None => Err(PyAttributeError::new_err("'NoneType' object has no attribute 'resume_reading'")),
        }
    }

    /// Begins to wait for bytes, for the method `name`: the future that is done when some have come, or the end.
    #[inline]
    pub(super) fn begin_wait<'py>(this: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let (waits, ended, was_paused) = this.get().state.with(py, |state| {
            let waits = state.waiter.is_some();
            let goes_on = !waits && !state.eof;
            (waits, state.eof, goes_on && std::mem::replace(&mut state.paused, false))
        });
        if waits {
            return Err(exceptions::runtime(format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )));
        }
        if ended {
            return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
        }
        // Nothing would ever come.
        if was_paused {
            Self::resume(this)?;
        }
        let future = Loop::new_future(&this.get().event_loop(py)?)?;
        let kept = future.clone().unbind();
        let old = this.get().state.with(py, |state| {
            state.buffer.compact(py);
            state.waiter.replace(kept)
        });
        drop(old);
        Ok(future)
    }

    /// The wait for `future` is over, however it ended.
    #[inline]
    pub(super) fn end_wait(&self, future: &Bound<'_, PyAny>) {
        let py = future.py();
        // Whoever woke it took it out, and somebody else may wait by now.
        let waiter = self.state.with(py, |state| state.waiter.take_if(|waiter| waiter.is(future)));
        drop(waiter.map(|waiter| waiter.into_bound(py)));
    }
}

impl State {
    #[inline]
    pub(super) fn check_open(&self) -> PyResult<()> {
        if self.eof { Err(PyAssertionError::new_err("feed_data after feed_eof")) } else { Ok(()) }
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.limit.given)?;
        visit.call(&self.event_loop)?;
        visit.call(&self.waiter)?;
        visit.call(&self.exception)?;
        visit.call(&self.transport)?;
        visit.call(&self.source_traceback)
    }
}
