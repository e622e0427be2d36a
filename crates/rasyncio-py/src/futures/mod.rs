//! `Future`: a result that is not there yet (asyncio: futures.py).
//!
//! Files by job: `state` (what a future knows), this file (what Rust code does with one), `methods` (what Python sees),
//! `iterator` (what `await` steps), `callback` (done callbacks written in Rust), `awaiters` (for call graphs), `waiting` (awaiting any future from Rust). Invariant: callbacks leave a future once, in the order they were added, through the loop.

mod awaiters;
pub(crate) mod callback;
mod iterator;
mod methods;
pub(crate) mod state;
pub(crate) mod waiting;

use std::sync::OnceLock;

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use pyo3::{ffi, intern};

use callback::DoneCallback;
pub(crate) use iterator::FutureIter;
pub(crate) use methods::SetResult;
pub(crate) use methods::with_own_name;
use state::{Callback, Callbacks, FutureState, Status};

use crate::event_loop::{Loop, Ready};
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::{Finalize, Released};
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::slots::AwaitSlot;
use crate::interop::stdlib;
use crate::tasks::TaskWakeup;

/// A result that will be there later, made by `loop.create_future()`.
///
/// <https://docs.python.org/3/library/asyncio-future.html#asyncio.Future>
#[pyclass(frozen, subclass, weakref, dict, name = "Future", module = "rasyncio")]
pub(crate) struct Future {
    pub(super) state: GilCell<FutureState>,
}

/// What awaiting a future comes to at this moment.
pub(crate) enum Outcome<'py> {
    Pending,
    Result(Bound<'py, PyAny>),
    Raise(PyErr),
}

impl Future {
    /// A pending future of `event_loop`.
    #[inline]
    pub(crate) fn pending(event_loop: Py<PyAny>) -> Self {
        let mut state = FutureState::uninitialised();
        state.event_loop = Some(event_loop);
        Self { state: GilCell::new(state) }
    }

    /// A pending future of `event_loop`, as an object of its own; in the memory of a dead one if there is one.
    #[inline]
    pub(crate) fn make<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        recycle::make(
            py,
            event_loop.clone().unbind(),
            |this: &Bound<'py, Self>, owner| {
                this.get().state.with(py, |state| state.event_loop = Some(owner));
            },
            Self::pending,
        )
    }

    /// Ties a future that Python made to its loop; `source_traceback` in debug mode only.
    pub(crate) fn initialise(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let debug = event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        let traceback = if debug { Some(stdlib(py).extract_stack.bind(py).call0()?.unbind()) } else { None };
        let mut fresh = FutureState::uninitialised();
        fresh.event_loop = Some(event_loop.clone().unbind());
        if traceback.is_some() {
            fresh.extra().source_traceback = traceback;
        }
        let old = self.state.replace(py, fresh);
        drop(old);
        Ok(())
    }

    #[inline]
    pub(crate) fn status(&self, py: Python<'_>) -> Status {
        self.state.with(py, |state| state.status)
    }

    #[inline]
    pub(crate) fn is_done(&self, py: Python<'_>) -> bool {
        self.status(py) != Status::Pending
    }

    /// The loop, or RuntimeError when `__init__` never ran.
    #[inline]
    pub(crate) fn event_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.state
            .with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py)))
            .ok_or_else(|| exceptions::runtime("Future object is not initialized."))
    }

    /// RuntimeError when `__init__` never ran.
    #[inline]
    pub(crate) fn check_initialised(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.with(py, |state| state.event_loop.is_some()) {
            return Ok(());
        }
        Err(exceptions::runtime("Future object is not initialized."))
    }

    /// RuntimeError when `__init__` ran before: asyncio's answer from 3.15 on, where it started afresh until then.
    pub(crate) fn check_may_initialise(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if py.version_info() < (3, 15) || this.get().check_initialised(py).is_err() {
            return Ok(());
        }
        let name = this.get_type().fully_qualified_name()?;
        Err(exceptions::runtime(format!("{name} object is already initialized")))
    }

    /// InvalidStateError when `__init__` never ran: asyncio's answer where there cannot be a result.
    #[inline]
    fn check_may_be_done(&self, py: Python<'_>) -> PyResult<()> {
        self.check_initialised(py).map_err(|error| exceptions::invalid_state(py, error.value(py).to_string()))
    }

    /// Whether it ended with a result: neither pending nor cancelled nor failed.
    #[inline]
    pub(crate) fn has_result(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.status == Status::Finished && !state.failed)
    }

    /// Result or exception if there is one; the exception then counts as retrieved.
    #[inline]
    pub(crate) fn outcome<'py>(&self, py: Python<'py>) -> Outcome<'py> {
        enum Found<'py> {
            Pending,
            Cancelled,
            Result(Bound<'py, PyAny>),
            Exception(Py<PyAny>, Option<Py<PyAny>>),
        }
        let found = self.state.with(py, |state| match (state.status, &state.outcome) {
            (Status::Pending, _) => Found::Pending,
            (Status::Cancelled, _) => Found::Cancelled,
            (Status::Finished, Some(outcome)) if state.failed => {
                state.log_traceback = false;
                let traceback = state.extra.as_ref().and_then(|extra| extra.exception_traceback.as_ref());
                Found::Exception(outcome.clone_ref(py), traceback.map(|traceback| traceback.clone_ref(py)))
            }
            (Status::Finished, Some(outcome)) => Found::Result(outcome.clone_ref(py).into_bound(py)),
            (Status::Finished, None) => Found::Result(py.None().into_bound(py)),
        });
        match found {
            Found::Pending => Outcome::Pending,
            Found::Cancelled => Outcome::Raise(self.cancelled_error(py)),
            Found::Result(result) => Outcome::Result(result),
            Found::Exception(exception, traceback) => {
                let exception = exception.into_bound(py);
                let restored = exception.call_method1(intern!(py, "with_traceback"), (traceback,));
                Outcome::Raise(restored.map_or_else(|error| error, PyErr::from_value))
            }
        }
    }

    /// The CancelledError for whoever awaits this: the one that ended the task, the first time, else a new one.
    pub(crate) fn cancelled_error(&self, py: Python<'_>) -> PyErr {
        let (first, message) = self.state.with(py, |state| match &mut state.extra {
            Some(extra) => (
                extra.cancelled_error.take(),
                extra.cancel_message.as_ref().map(|message| message.clone_ref(py)),
            ),
            None => (None, None),
        });
        match first {
            Some(first) => PyErr::from_value(first.into_bound(py)),
            None => exceptions::cancelled(py, message.as_ref()),
        }
    }

    /// Cancels; false when it is done already.
    pub(crate) fn cancel(this: &Bound<'_, Self>, message: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = this.py();
        let mut message = message;
        let cancelled = this.get().state.with(py, |state| {
            state.log_traceback = false;
            if state.status != Status::Pending {
                return false;
            }
            state.status = Status::Cancelled;
            message_slot(state, &mut message);
            true
        });
        if cancelled {
            Self::schedule_callbacks(this)?;
        }
        Ok(cancelled)
    }

    /// Ends with `result`; InvalidStateError when it is done already.
    #[inline]
    pub(crate) fn finish(this: &Bound<'_, Self>, result: Py<PyAny>) -> PyResult<()> {
        let py = this.py();
        let mut result = Some(result);
        let accepted = this.get().state.with(py, |state| {
            if state.status != Status::Pending {
                return false;
            }
            state.outcome = result.take();
            state.status = Status::Finished;
            true
        });
        if accepted { Self::schedule_callbacks(this) } else { Err(Self::already_done(this)) }
    }

    /// Ends with an exception object; InvalidStateError when it is done already.
    pub(crate) fn fail(this: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let traceback = exception.getattr(intern!(py, "__traceback__"))?;
        let mut parts =
            Some((exception.clone().unbind(), (!traceback.is_none()).then(|| traceback.unbind())));
        let accepted = this.get().state.with(py, |state| {
            if state.status != Status::Pending {
                return false;
            }
            if let Some((exception, traceback)) = parts.take() {
                state.outcome = Some(exception);
                if traceback.is_some() {
                    state.extra().exception_traceback = traceback;
                }
            }
            state.failed = true;
            state.log_traceback = true;
            state.status = Status::Finished;
            true
        });
        if accepted { Self::schedule_callbacks(this) } else { Err(Self::already_done(this)) }
    }

    fn already_done(this: &Bound<'_, Self>) -> PyErr {
        let py = this.py();
        match this.repr() {
            Ok(repr) => exceptions::invalid_state(py, format!("{}: {repr}", this.get().status(py).name())),
            Err(error) => error,
        }
    }

    /// Registers `callback`, or schedules it at once when the future is done.
    pub(crate) fn add_callback(this: &Bound<'_, Self>, callback: Callback) -> PyResult<()> {
        let py = this.py();
        let mut callback = Some(callback);
        this.get().state.with(py, |state| {
            if state.status == Status::Pending
                && let Some(callback) = callback.take()
            {
                state.callbacks.push(callback);
            }
        });
        match callback {
            Some(callback) => {
                let event_loop = this.get().event_loop(py)?.into_bound(py);
                match Loop::with_our_call_soon(&event_loop) {
                    Some(native) => Self::schedule_native(this, native, callback),
                    None => Self::schedule_foreign(this, &event_loop, callback),
                }
            }
            None => Ok(()),
        }
    }

    /// Hands every callback to the loop.
    #[inline]
    fn schedule_callbacks(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let (callbacks, event_loop) = this.get().state.with(py, |state| {
            let callbacks = std::mem::take(&mut state.callbacks);
            if matches!(callbacks, Callbacks::None) {
                return (callbacks, None);
            }
            (callbacks, state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py).into_bound(py)))
        });
        let Some(event_loop) = event_loop else {
            return Ok(());
        };
        match Loop::with_our_call_soon(&event_loop) {
            Some(native) => callbacks.drain(|callback| Self::schedule_native(this, native, callback)),
            None => callbacks.drain(|callback| Self::schedule_foreign(this, &event_loop, callback)),
        }
    }

    #[inline]
    fn schedule_native(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        callback: Callback,
    ) -> PyResult<()> {
        let future = this.clone().unbind();
        let entry = match callback {
            Callback::Wake(task) => Ready::Wakeup { task, future: future.into_any() },
            Callback::Native { action, receiver } => Ready::Native { action, receiver, future },
            Callback::Call { callback, context } => Ready::FutureCallback { callback, future, context },
        };
        event_loop.get().schedule(this.py(), entry)
    }

    fn schedule_foreign(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, PyAny>,
        callback: Callback,
    ) -> PyResult<()> {
        let py = this.py();
        let (callback, context) = match callback {
            Callback::Wake(task) => {
                let context = task.get().context(py);
                (TaskWakeup::make(py, task)?.into_any(), context)
            }
            Callback::Native { action, receiver } => {
                (DoneCallback::make(py, action, receiver)?.into_any(), None)
            }
            Callback::Call { callback, context } => (callback, Some(context)),
        };
        let keywords = [("context", context)].into_py_dict(py)?;
        event_loop.call_method(intern!(py, "call_soon"), (callback, this), Some(&keywords))?;
        Ok(())
    }

    /// The exception that `set_exception()` was given, as an instance that may be raised into an await.
    fn checked_exception<'py>(exception: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let exception = if exception.is_instance_of::<pyo3::types::PyType>() {
            exception.call0()?
        } else {
            exception.clone()
        };
        if exception.is_instance_of::<PyStopIteration>() {
            return Self::instead_of_stop_iteration(exception);
        }
        if !exception.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            return Err(PyTypeError::new_err("invalid exception object"));
        }
        Ok(exception)
    }

    /// A StopIteration would end the coroutine that awaits the future as if it returned.
    fn instead_of_stop_iteration(exception: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
        let py = exception.py();
        let text = "StopIteration interacts badly with generators and cannot be raised into a Future";
        if py.version_info() < (3, 12, 6) {
            // asyncio: one of a derived class is taken as it is.
            let is_refused = exception.is_exact_instance_of::<PyStopIteration>();
            return if is_refused { Err(PyTypeError::new_err(text)) } else { Ok(exception) };
        }
        let replacement = exceptions::runtime(text).into_value(py).into_bound(py).into_any();
        replacement.setattr(intern!(py, "__cause__"), &exception)?;
        replacement.setattr(intern!(py, "__context__"), &exception)?;
        Ok(replacement)
    }

    /// Reports an exception that nobody looked at.
    fn report_unretrieved(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let (exception, traceback, event_loop) = this.get().state.with(py, |state| {
            state.log_traceback = false;
            let traceback = state.extra.as_ref().and_then(|extra| extra.source_traceback.as_ref());
            (
                state.outcome.as_ref().map(|exception| exception.clone_ref(py)),
                traceback.map(|traceback| traceback.clone_ref(py)),
                state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py)),
            )
        });
        let report = PyDict::new(py);
        report.set_item("message", format!("{} exception was never retrieved", this.get_type().name()?))?;
        report.set_item("exception", exception)?;
        report.set_item("future", this)?;
        if let Some(traceback) = traceback {
            report.set_item("source_traceback", traceback)?;
        }
        if let Some(event_loop) = event_loop {
            event_loop.bind(py).call_method1(intern!(py, "call_exception_handler"), (report,))?;
        }
        Ok(())
    }

    /// Lets go of everything: the future is dying.
    #[inline]
    pub(crate) fn release_state(&self, py: Python<'_>) {
        let (event_loop, outcome, callbacks, extra) = self.state.with(py, |state| {
            let callbacks = std::mem::take(&mut state.callbacks);
            (state.event_loop.take(), state.outcome.take(), callbacks, state.extra.take())
        });
        drop(event_loop.map(|event_loop| event_loop.into_bound(py)));
        drop(outcome.map(|outcome| outcome.into_bound(py)));
        drop((callbacks, extra));
    }

    /// What a dying future, and a task after its own words, has to say.
    pub(crate) fn last_words(this: &Bound<'_, Self>) {
        let py = this.py();
        if this.get().state.with(py, |state| state.log_traceback)
            && let Err(error) = Self::report_unretrieved(this)
        {
            error.write_unraisable(py, Some(this));
        }
    }
}

/// Stores the message of a cancellation; None leaves no trace.
pub(crate) fn message_slot(state: &mut FutureState, message: &mut Option<Py<PyAny>>) {
    if message.is_some() || state.extra.as_ref().is_some_and(|extra| extra.cancel_message.is_some()) {
        std::mem::swap(&mut state.extra().cancel_message, message);
    }
}

impl AwaitSlot for Future {
    #[inline]
    fn iterator<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Ok(FutureIter::make(this)?.into_any())
    }
}

impl Recycle for Future {
    const HAS_FINALIZER: bool = true;

    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        !Self::has_last_words(this)
    }

    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        let py = this.py();
        this.get().release_state(py);
        this.get().state.with(py, FutureState::reset);
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

impl Finalize for Future {
    #[inline]
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().state.with(this.py(), |state| state.log_traceback)
    }

    fn finalize(this: &Bound<'_, Self>) {
        Self::last_words(this);
    }

    fn release(this: &Bound<'_, Self>) -> Released {
        Self::release_state(this.get(), this.py());
        Released::Everything
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}
