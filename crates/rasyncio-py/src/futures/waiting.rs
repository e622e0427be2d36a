//! Awaiting a future from Rust, of whatever library it is; a future of ours costs no Python call.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::state::{Callbacks, Status};
use super::{Future, Outcome};
use crate::coroutines::{Delegate, Resume};
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::call::{attached, call_method_none, call_method_one};
use crate::ffi::send::Sent;
use crate::tasks::Task;

/// A future that a state machine of ours awaits: what `await future` steps, without an iterator where the future is ours.
pub(crate) enum Waiting {
    Native(Py<Future>),
    Foreign { future: Py<PyAny>, delegate: Delegate },
}

impl Waiting {
    /// Begins to await `future`; nothing has happened before the first `step`.
    #[inline]
    pub(crate) fn begin(future: &Bound<'_, PyAny>) -> PyResult<Self> {
        match as_native(future) {
            Some(future) => Ok(Self::Native(future.clone().unbind())),
            None => Ok(Self::Foreign { future: future.clone().unbind(), delegate: Delegate::begin(future)? }),
        }
    }

    /// Yields while the future is pending, then gives its result or raises its exception.
    #[inline]
    pub(crate) fn step<'py>(&self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        match self {
            Self::Native(future) => match resume {
                Resume::Next => Future::await_step(future.bind(py)),
                Resume::Throw(error) => Sent::Raised(error),
            },
            Self::Foreign { delegate, .. } => delegate.step(py, resume),
        }
    }

    /// Whether the next step gives a result and calls no Python code.
    #[inline]
    pub(crate) fn has_result(&self, py: Python<'_>) -> bool {
        match self {
            Self::Native(future) => future.get().has_result(py),
            Self::Foreign { .. } => false,
        }
    }

    #[inline]
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Native(future) => future.bind(py).clone().into_any(),
            Self::Foreign { future, .. } => future.bind(py).clone(),
        }
    }

    #[inline]
    pub(crate) fn let_go(self, py: Python<'_>) {
        match self {
            Self::Native(future) => drop(future.into_bound(py)),
            Self::Foreign { .. } => attached(py, || drop(self)),
        }
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Native(future) => visit.call(future),
            Self::Foreign { future, delegate } => {
                visit.call(future)?;
                delegate.visit(visit)
            }
        }
    }

    /// For `cr_await`.
    pub(crate) fn awaited<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Native(future) => future.bind(py).clone().into_any(),
            Self::Foreign { delegate, .. } => delegate.iterator(py),
        }
    }
}

/// For machines that await a future which they made themselves.
impl Future {
    /// A pending future of a loop of any kind.
    #[inline]
    pub(crate) fn of_loop<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let future = Self::make(event_loop)?;
        if Loop::unchanged(event_loop).is_none_or(|own| own.get().is_debug(event_loop.py())) {
            future.get().initialise(event_loop)?;
        }
        Ok(future)
    }

    /// What a machine that awaits this future hands to its task; the task resumes it when this is done.
    #[inline]
    pub(crate) fn yield_to_task<'py>(this: &Bound<'py, Self>) -> Sent<'py> {
        this.get().state.with(this.py(), |state| state.blocking = true);
        Sent::Yielded(this.clone().into_any())
    }

    /// What a machine that awaited this future goes on with: an error that was thrown in, or the outcome.
    pub(crate) fn resumed<'py>(&self, py: Python<'py>, resume: Resume) -> PyResult<Bound<'py, PyAny>> {
        match resume {
            Resume::Throw(error) => Err(error),
            Resume::Next => match self.outcome(py) {
                Outcome::Result(result) => Ok(result),
                Outcome::Raise(error) => Err(error),
                Outcome::Pending => Err(exceptions::runtime("await wasn't used with future")),
            },
        }
    }

    /// Ends a pending future without a word to anybody: only a machine had it, which has ended itself.
    pub(crate) fn abandon(&self, py: Python<'_>) {
        let callbacks = self.state.with(py, |state| {
            if state.status != Status::Pending {
                return Callbacks::None;
            }
            state.status = Status::Cancelled;
            std::mem::take(&mut state.callbacks)
        });
        drop(callbacks);
    }
}

/// A `Future` or `Task` of ours, and of no subclass, which may have methods of its own.
#[inline]
fn as_native<'a, 'py>(future: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Future>> {
    if let Ok(future) = future.cast_exact::<Future>() {
        return Some(future);
    }
    future.cast_exact::<Task>().ok().map(Bound::as_super)
}

/// `future.done()`.
#[inline]
pub(crate) fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = future.py();
    match as_native(future) {
        Some(future) => Ok(future.get().is_done(py)),
        None => call_method_none(future, intern!(py, "done"))?.is_truthy(),
    }
}

/// `future.cancelled()`.
#[inline]
pub(crate) fn is_cancelled(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = future.py();
    match as_native(future) {
        Some(future) => Ok(future.get().status(py) == Status::Cancelled),
        None => call_method_none(future, intern!(py, "cancelled"))?.is_truthy(),
    }
}

/// `future.cancel()`.
pub(crate) fn cancel(future: &Bound<'_, PyAny>) -> PyResult<()> {
    match future.cast_exact::<Future>() {
        Ok(future) => drop(Future::cancel(future, None)?),
        Err(_) => drop(call_method_none(future, intern!(future.py(), "cancel"))?),
    }
    Ok(())
}

/// Gives `future` the result `value` unless it is done already; whether it did.
#[inline]
pub(crate) fn wake(future: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_done(future)? {
        return Ok(false);
    }
    match future.cast_exact::<Future>() {
        Ok(future) => Future::finish(future, value.clone().unbind())?,
        // Another library's code: PyO3 may not know that the thread is attached.
        Err(_) => Python::attach(|py| call_method_one(future, intern!(py, "set_result"), value).map(drop))?,
    }
    Ok(true)
}
