//! `FlowControlMixin`: who waits until the transport has room again (`drain()`).

use pyo3::exceptions::{PyAssertionError, PyAttributeError, PyConnectionResetError, PyNotImplementedError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::is_debug;
use crate::coroutines::{Coroutine, Resume, Steps};
use crate::event_loop::{Loop, current_loop};
use crate::ffi::call::call_method_one;
use crate::ffi::cell::GilCell;
use crate::ffi::send::Sent;
use crate::futures::waiting::{self, Waiting};
use crate::interop::{shown_class, shown_names, stdlib};
use crate::locks::Waiters;

/// A protocol that is told to pause and to go on, and lets `StreamWriter.drain()` wait meanwhile.
///
/// Parameters: `loop`, by default the current one.
#[pyclass(frozen, subclass, weakref, dict, name = "FlowControlMixin", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct FlowControl {
    state: GilCell<State>,
    drain_waiters: Waiters,
}

#[derive(Default)]
struct State {
    event_loop: Option<Py<PyAny>>,
    paused: bool,
    connection_lost: bool,
}

impl FlowControl {
    /// What `__init__` does.
    pub(crate) fn begin(this: &Bound<'_, Self>, event_loop: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = this.py();
        let event_loop = match event_loop {
            Some(event_loop) => event_loop.clone(),
            None => current_loop(py)?,
        };
        let fresh = State { event_loop: Some(event_loop.unbind()), ..State::default() };
        drop(this.get().state.replace(py, fresh));
        this.get().drain_waiters.clear(py);
        Ok(())
    }

    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.bind(py).clone()))
            .ok_or_else(|| PyAttributeError::new_err("the protocol has no attribute '_loop'"))
    }

    /// Whether `drain()` has nothing to wait for.
    #[inline]
    pub(super) fn has_room(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| !state.paused && !state.connection_lost)
    }

    /// A line in the log of debug mode; `text` shows the protocol with `%r`.
    fn log_debug(this: &Bound<'_, Self>, text: &str) -> PyResult<()> {
        let py = this.py();
        if is_debug(&this.get().event_loop(py)?)? {
            stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), (text, this))?;
        }
        Ok(())
    }

    /// Everybody who waits goes on, or gets `exception`.
    fn release(&self, py: Python<'_>, exception: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let none = py.None().into_bound(py);
        let Some(exception) = exception else {
            return self.drain_waiters.wake(&none, usize::MAX).map(drop);
        };
        for waiter in self.drain_waiters.deque(py)?.try_iter()? {
            let waiter = waiter?;
            if !waiting::is_done(&waiter)? {
                call_method_one(&waiter, intern!(py, "set_exception"), exception)?;
            }
        }
        Ok(())
    }

    /// `connection_lost()`. `error` is None where there is none.
    pub(crate) fn lose(this: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let paused = this.get().state.with(py, |state| {
            state.connection_lost = true;
            state.paused
        });
        if paused { this.get().release(py, Some(error).filter(|error| !error.is_none())) } else { Ok(()) }
    }
}

#[pymethods]
impl FlowControl {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(loop=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::default()
    }

    #[pyo3(signature = (r#loop = None))]
    fn __init__(this: &Bound<'_, Self>, r#loop: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        Self::begin(this, r#loop)
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    /// The transport has more to send than it likes: `drain()` waits from now on.
    fn pause_writing(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().state.with(this.py(), |state| std::mem::replace(&mut state.paused, true)) {
            return Err(PyAssertionError::new_err(()));
        }
        Self::log_debug(this, "%r pauses writing")
    }

    /// The transport has caught up: who waits in `drain()` goes on.
    fn resume_writing(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if !this.get().state.with(py, |state| std::mem::replace(&mut state.paused, false)) {
            return Err(PyAssertionError::new_err(()));
        }
        Self::log_debug(this, "%r resumes writing")?;
        this.get().release(py, None)
    }

    /// The connection is gone; `exc` says why, or is None. Who waits in `drain()` gets it.
    fn connection_lost(this: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::lose(this, exc)
    }

    /// Called by the transport; a class that derives from this one may override it.
    fn connection_made(&self, transport: &Bound<'_, PyAny>) {
        let _ = transport;
    }

    /// The same for bytes that were received.
    fn data_received(&self, data: &Bound<'_, PyAny>) {
        let _ = data;
    }

    /// The same for the end of what is received.
    fn eof_received(&self) {}

    fn _drain_helper<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "FlowControlMixin._drain_helper", Draining::new(this))
    }

    fn _get_close_waiter(&self, stream: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = stream;
        Err(PyNotImplementedError::new_err(()))
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop(py)
    }

    #[setter(_loop)]
    fn set_loop(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.event_loop, value);
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.paused)
    }

    #[setter(_paused)]
    fn set_paused(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.paused = value);
    }

    #[getter]
    fn _connection_lost(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.connection_lost)
    }

    #[setter(_connection_lost)]
    fn set_connection_lost(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.connection_lost = value);
    }

    #[getter]
    fn _drain_waiters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.drain_waiters.deque(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| visit.call(&state.event_loop)).unwrap_or(Ok(()))?;
        self.drain_waiters.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
        self.drain_waiters.clear(py);
    }
}

/// Waits until the protocol is not paused (`_drain_helper()`).
pub(super) struct Draining {
    flow: Py<FlowControl>,
    waiting: Option<Waiting>,
}

impl Draining {
    #[inline]
    pub(super) fn new(flow: &Bound<'_, FlowControl>) -> Self {
        Self { flow: flow.clone().unbind(), waiting: None }
    }

    #[inline]
    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let flow = self.flow.bind(py).clone();
        let waiting = if let Some(waiting) = &self.waiting {
            waiting
        } else {
            let (lost, paused) = flow.get().state.with(py, |state| (state.connection_lost, state.paused));
            if lost {
                return Err(PyConnectionResetError::new_err("Connection lost"));
            }
            if !paused {
                return Ok(Sent::Returned(py.None().into_bound(py)));
            }
            let future = Loop::new_future(&flow.get().event_loop(py)?)?;
            flow.get().drain_waiters.push(&future)?;
            self.waiting.insert(Waiting::begin(&future)?)
        };
        let sent = waiting.step(py, resume);
        if matches!(sent, Sent::Yielded(_)) {
            return Ok(sent);
        }
        flow.get().drain_waiters.remove(&waiting.future(py))?;
        Ok(match sent {
            Sent::Returned(_) => Sent::Returned(py.None().into_bound(py)),
            sent => sent,
        })
    }
}

impl Steps for Draining {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.flow)?;
        self.waiting.as_ref().map_or(Ok(()), |waiting| waiting.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waiting.as_ref().map(|waiting| waiting.awaited(py))
    }
}
