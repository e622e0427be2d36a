//! What Python sees of a `Future`.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyGenericAlias, PySet, PyTuple, PyType};

use super::callback::{DoneAction, DoneCallback};
use super::state::{Callback, Callbacks, FutureState, Status};
use super::{Future, FutureIter, Outcome, message_slot};
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::{Arguments, FastMethod};
use crate::ffi::{context, finalize};
use crate::interop::stdlib;
use crate::tasks::TaskWakeup;

/// A callback and its context, as `_callbacks` lists them.
type ShownCallback = (Py<PyAny>, Option<Py<PyAny>>);

#[pymethods]
impl Future {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(*, loop=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self { state: GilCell::new(FutureState::uninitialised()) }
    }

    /// Parameters: `loop`, the event loop (default: the running one, or the policy's).
    #[pyo3(signature = (*, r#loop = None))]
    fn __init__(this: &Bound<'_, Self>, r#loop: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        Self::check_may_initialise(this)?;
        match r#loop {
            Some(event_loop) => this.get().initialise(event_loop),
            None => this.get().initialise(&crate::event_loop::current_loop(this.py())?),
        }
    }

    /// `asyncio.Future`, so that `isinstance` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        stdlib(py).future_class.clone_ref(py)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(cls.py(), cls.as_any(), item)
    }

    /// The result. Raises the exception that was set, CancelledError, or InvalidStateError when it is not done.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.check_may_be_done(py)?;
        match self.outcome(py) {
            Outcome::Pending => Err(exceptions::invalid_state(py, "Result is not set.")),
            Outcome::Result(result) => Ok(result.unbind()),
            Outcome::Raise(error) => Err(error),
        }
    }

    /// The exception that was set, or None. Raises CancelledError, or InvalidStateError when it is not done.
    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.check_may_be_done(py)?;
        match self.status(py) {
            Status::Cancelled => Err(self.cancelled_error(py)),
            Status::Pending => Err(exceptions::invalid_state(py, "Exception is not set.")),
            Status::Finished => Ok(self.state.with(py, |state| {
                if !state.failed {
                    return None;
                }
                state.log_traceback = false;
                state.outcome.as_ref().map(|exception| exception.clone_ref(py))
            })),
        }
    }

    /// Ends with `exception`, an instance or a class. Raises InvalidStateError when it is done already, TypeError for anything else.
    #[pyo3(signature = (exception, /))]
    fn set_exception(this: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        this.get().event_loop(this.py())?;
        if this.get().is_done(this.py()) {
            return Err(Self::already_done(this));
        }
        Self::fail(this, &Self::checked_exception(exception)?)
    }

    /// Calls `fn(self)` through the loop when it is done; in a copy of the current context unless `context` says another.
    #[pyo3(signature = (r#fn, /, *, context = None))]
    fn add_done_callback(
        this: &Bound<'_, Self>,
        r#fn: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        this.get().event_loop(py)?;
        let context = match context {
            Some(context) => context,
            None => context::copy_current(py)?,
        };
        Self::add_callback(this, Callback::Call { callback: r#fn, context })
    }

    /// Removes every callback that equals `fn`; returns how many there were.
    #[pyo3(signature = (r#fn, /))]
    fn remove_done_callback(&self, py: Python<'_>, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.event_loop(py)?;
        // Comparing calls Python, which may add callbacks meanwhile: they go behind those that stay.
        let taken = self.state.with(py, |state| std::mem::take(&mut state.callbacks));
        let mut kept = Vec::new();
        let mut removed = 0;
        let mut failure = None;
        taken.drain(|candidate| {
            let same = match &candidate {
                Callback::Call { callback, .. } if failure.is_none() => callback.bind(py).eq(r#fn),
                Callback::Wake(task) if failure.is_none() => Ok(TaskWakeup::is_of(r#fn, task)),
                Callback::Native { action, receiver } if failure.is_none() => {
                    Ok(DoneCallback::is_of(r#fn, action, receiver))
                }
                _ => Ok(false),
            };
            match same {
                Ok(true) => removed += 1,
                Ok(false) => kept.push(candidate),
                Err(error) => {
                    failure = Some(error);
                    kept.push(candidate);
                }
            }
            Ok(())
        })?;
        self.state.with(py, |state| {
            let added = std::mem::replace(&mut state.callbacks, Callbacks::from_vec(kept));
            if let Callbacks::One(callback) = added {
                state.callbacks.push(callback);
            } else if let Callbacks::Many(all) = added {
                for callback in all {
                    state.callbacks.push(callback);
                }
            }
        });
        failure.map_or(Ok(removed), Err)
    }

    /// Cancels and schedules the callbacks; returns False when it is done already.
    #[pyo3(name = "cancel", signature = (msg = None))]
    fn cancel_from_python(this: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        this.get().event_loop(this.py())?;
        Self::cancel(this, msg)
    }

    /// Whether it was cancelled.
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.status(py) == Status::Cancelled
    }

    /// Whether it has a result or an exception, or was cancelled.
    fn done(&self, py: Python<'_>) -> bool {
        self.is_done(py)
    }

    /// The event loop it belongs to.
    fn get_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.event_loop(py)
    }

    fn _make_cancelled_error(&self, py: Python<'_>) -> Py<PyAny> {
        self.cancelled_error(py).into_value(py).into_any()
    }

    #[getter]
    fn _state(&self, py: Python<'_>) -> &'static str {
        self.status(py).name()
    }

    #[getter]
    fn _asyncio_future_blocking(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.blocking)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_asyncio_future_blocking(&self, py: Python<'_>, value: bool) -> PyResult<()> {
        self.event_loop(py)?;
        self.state.with(py, |state| state.blocking = value);
        Ok(())
    }

    /// Who awaits this future, for call graphs: None, or a set of tasks and futures.
    #[getter]
    fn _asyncio_awaited_by<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PySet>>> {
        let awaiters = Self::awaiters(this);
        if awaiters.is_empty() { Ok(None) } else { PySet::new(this.py(), awaiters).map(Some) }
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.event_loop(py).ok()
    }

    #[getter]
    fn _callbacks(&self, py: Python<'_>) -> PyResult<Option<Vec<ShownCallback>>> {
        enum Seen {
            Task(Py<crate::tasks::Task>),
            Native(&'static DoneAction, Py<PyAny>),
            Call(Py<PyAny>, Py<PyAny>),
        }
        let seen: Vec<Seen> = self.state.with(py, |state| {
            let all = state.callbacks.as_slice().iter();
            all.map(|callback| match callback {
                Callback::Wake(task) => Seen::Task(task.clone_ref(py)),
                Callback::Native { action, receiver } => Seen::Native(action, receiver.clone_ref(py)),
                Callback::Call { callback, context } => {
                    Seen::Call(callback.clone_ref(py), context.clone_ref(py))
                }
            })
            .collect()
        });
        if seen.is_empty() {
            return Ok(None);
        }
        let shown = seen.into_iter().map(|callback| match callback {
            Seen::Task(task) => {
                let context = task.get().context(py);
                Ok((TaskWakeup::make(py, task)?.into_any(), context))
            }
            Seen::Native(action, receiver) => {
                Ok((DoneCallback::make(py, action, receiver)?.into_any(), None))
            }
            Seen::Call(callback, context) => Ok((callback, Some(context))),
        });
        shown.collect::<PyResult<_>>().map(Some)
    }

    #[getter]
    fn _result(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            if state.failed { None } else { state.outcome.as_ref().map(|result| result.clone_ref(py)) }
        })
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            if state.failed { state.outcome.as_ref().map(|error| error.clone_ref(py)) } else { None }
        })
    }

    #[getter]
    fn _log_traceback(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.log_traceback)
    }

    #[setter(_log_traceback)]
    fn set_log_traceback(&self, py: Python<'_>, value: bool) -> PyResult<()> {
        if value {
            return Err(PyValueError::new_err("_log_traceback can only be set to False"));
        }
        self.state.with(py, |state| state.log_traceback = false);
        Ok(())
    }

    #[getter]
    fn _cancel_message(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.extra.as_ref()?.cancel_message.as_ref().map(|message| message.clone_ref(py))
        })
    }

    #[setter(_cancel_message)]
    fn set_cancel_message(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let mut value = value;
        self.state.with(py, |state| message_slot(state, &mut value));
        drop(value);
    }

    #[getter]
    fn _source_traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.extra.as_ref()?.source_traceback.as_ref().map(|traceback| traceback.clone_ref(py))
        })
    }

    fn __await__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, FutureIter>> {
        FutureIter::make(this)
    }

    fn __iter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, FutureIter>> {
        FutureIter::make(this)
    }

    /// The finalizer of subclasses: a class that Python makes looks for this name, and does not inherit the slot without it.
    fn __del__(this: &Bound<'_, Self>) {
        finalize::say_last_words(this);
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        this.get().event_loop(py)?;
        with_own_name(this.as_any(), "Future", &stdlib(py).shows.future)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| state.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            (
                std::mem::take(&mut state.callbacks),
                state.outcome.take(),
                state.extra.take(),
                state.event_loop.take(),
            )
        });
        drop(dropped);
    }
}

/// What `show`, asyncio's function, makes of `object`. It asks `__class__` for the name: that is asyncio's own class, also for a subclass of ours.
pub(crate) fn with_own_name(object: &Bound<'_, PyAny>, name: &str, show: &Py<PyAny>) -> PyResult<String> {
    let text: String = show.bind(object.py()).call1((object,))?.extract()?;
    match text.strip_prefix('<').and_then(|text| text.strip_prefix(name)) {
        Some(rest) => Ok(format!("<{}{rest}", object.get_type().name()?)),
        None => Ok(text),
    }
}

/// `Future.set_result()`.
pub(crate) struct SetResult;

impl FastMethod for SetResult {
    type Class = Future;
    const NAME: &'static CStr = c"set_result";
    const DOCUMENTATION: &'static CStr = c"set_result($self, result, /)\n--\n\n\
        Ends with `result`. Raises InvalidStateError when it is done already.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Future>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let result = arguments.only("Future.set_result")?.clone().unbind();
        this.get().check_initialised(this.py())?;
        Future::finish(this, result)?;
        Ok(this.py().None().into_bound(this.py()))
    }
}
