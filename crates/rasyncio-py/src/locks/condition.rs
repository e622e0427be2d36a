//! `Condition`; the waiting itself is in `wait`.

mod wait;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

pub(super) use wait::Wait;
use wait::{Acquiring, WaitFor};

use super::gate::{self, Answer, Held, Inner, Pass};
use super::lock::Lock;
use super::shown;
use super::waiters::{LoopBound, Waiters};
use crate::coroutines::Coroutine;
use crate::exceptions;
use crate::ffi::call::call_method_none;
use crate::ffi::cell::GilCell;

/// Tasks wait until another one notifies them; all of them hold a lock when they look at what they share.
///
/// Parameters: `lock`, a `Lock` or anything with its methods (default: a new one).
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.Condition>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Condition", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct Condition {
    guard: GilCell<Option<Guard>>,
    waiters: Waiters,
}

/// The lock behind a condition.
enum Guard {
    Native(Py<Lock>),
    /// Another library's, or a subclass with methods of its own.
    Other(Py<PyAny>),
}

impl Guard {
    fn of(lock: &Bound<'_, PyAny>) -> Self {
        match lock.cast_exact::<Lock>() {
            Ok(lock) => Self::Native(lock.clone().unbind()),
            Err(_) => Self::Other(lock.clone().unbind()),
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Native(lock) => Self::Native(lock.clone_ref(py)),
            Self::Other(lock) => Self::Other(lock.clone_ref(py)),
        }
    }

    fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Native(lock) => lock.bind(py).clone().into_any(),
            Self::Other(lock) => lock.bind(py).clone(),
        }
    }

    fn is_locked(&self, py: Python<'_>) -> PyResult<bool> {
        match self {
            Self::Native(lock) => Ok(lock.get().is_locked(py)),
            Self::Other(lock) => call_method_none(lock.bind(py), intern!(py, "locked"))?.is_truthy(),
        }
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Native(lock) => Lock::release(lock.bind(py)),
            Self::Other(lock) => call_method_none(lock.bind(py), intern!(py, "release")).map(drop),
        }
    }

    fn begin_acquire(&self, py: Python<'_>) -> PyResult<Acquiring> {
        Ok(match self {
            Self::Native(lock) => Inner::Native(Pass::new(lock.bind(py), Answer::True)),
            Self::Other(lock) => Inner::Other(gate::begin_acquire(lock.bind(py))?),
        })
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Native(lock) => visit.call(lock),
            Self::Other(lock) => visit.call(lock),
        }
    }
}

impl Condition {
    /// A condition with a lock of its own.
    pub(super) fn fresh(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        let condition = Bound::new(py, Self::unguarded())?;
        condition.get().set_lock(py, None)?;
        Ok(condition)
    }

    fn unguarded() -> PyClassInitializer<Self> {
        PyClassInitializer::from(LoopBound::default()).add_subclass(Self::default())
    }

    fn set_lock(&self, py: Python<'_>, lock: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let guard = match lock {
            Some(lock) => {
                // A lock without them is refused here, not at the first use.
                for name in [intern!(py, "locked"), intern!(py, "acquire"), intern!(py, "release")] {
                    lock.getattr(name)?;
                }
                Guard::of(lock)
            }
            None => Guard::Native(Bound::new(py, Lock::free())?.unbind()),
        };
        drop(self.guard.replace(py, Some(guard)));
        self.waiters.clear(py);
        Ok(())
    }

    #[inline]
    fn guard(&self, py: Python<'_>) -> PyResult<Guard> {
        self.guard
            .with(py, |guard| guard.as_ref().map(|guard| guard.clone_ref(py)))
            .ok_or_else(|| exceptions::runtime("Condition object is not initialized."))
    }

    /// Its lock, where that is ours.
    pub(super) fn native_lock<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Lock>>> {
        Ok(match self.guard(py)? {
            Guard::Native(lock) => Some(lock.into_bound(py)),
            Guard::Other(_) => None,
        })
    }

    /// Wakes the first `count` who are not woken yet; RuntimeError when nobody holds the lock.
    pub(super) fn wake(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        if !self.guard(py)?.is_locked(py)? {
            return Err(exceptions::runtime("cannot notify on un-acquired lock"));
        }
        self.wake_unchecked(py, count)
    }

    #[inline]
    fn wake_unchecked(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let no = pyo3::types::PyBool::new(py, false).to_owned().into_any();
        self.waiters.wake(&no, count)?;
        Ok(())
    }

    pub(super) fn wake_all(&self, py: Python<'_>) -> PyResult<()> {
        self.wake(py, self.waiters.len(py)?)
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(lock=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::unguarded()
    }

    #[pyo3(signature = (lock = None))]
    fn __init__(&self, py: Python<'_>, lock: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.set_lock(py, lock)
    }

    /// Whether somebody holds the lock.
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        self.guard(py)?.is_locked(py)
    }

    /// Waits until the lock is free and takes it: what the `acquire()` of the lock gives.
    fn acquire<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.guard(py)? {
            Guard::Native(lock) => Ok(Lock::acquire(lock.bind(py))?.into_any()),
            Guard::Other(lock) => call_method_none(lock.bind(py), intern!(py, "acquire")),
        }
    }

    /// Frees the lock. RuntimeError when nobody holds it.
    fn release<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.guard(py)? {
            Guard::Native(lock) => Lock::release(lock.bind(py)).map(|()| py.None().into_bound(py)),
            Guard::Other(lock) => call_method_none(lock.bind(py), intern!(py, "release")),
        }
    }

    /// Gives the lock up, waits to be notified, and takes the lock again; returns True. RuntimeError when nobody holds the lock.
    ///
    /// It may return without a notification: look again at what was waited for, or use `wait_for()`.
    fn wait<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Condition.wait", Wait::new(this))
    }

    /// Waits until `predicate()` gives something true, which is returned. It is called with the lock held.
    fn wait_for<'py>(this: &Bound<'py, Self>, predicate: Py<PyAny>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Condition.wait_for", WaitFor::new(this, predicate))
    }

    /// Wakes the first `n` tasks that wait; they go on when they get the lock. RuntimeError when nobody holds the lock.
    #[pyo3(signature = (n = 1))]
    fn notify(&self, py: Python<'_>, n: isize) -> PyResult<()> {
        self.wake(py, usize::try_from(n).unwrap_or(0))
    }

    /// Wakes every task that waits. RuntimeError when nobody holds the lock.
    fn notify_all(&self, py: Python<'_>) -> PyResult<()> {
        self.wake_all(py)
    }

    fn __aenter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Coroutine>> {
        match self.guard(py)? {
            Guard::Native(lock) => gate::enter(lock.bind(py)),
            Guard::Other(lock) => gate::enter_other(lock.bind(py)),
        }
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __aexit__<'py>(
        &self,
        exc_type: &Bound<'py, PyAny>,
        exc: &Bound<'py, PyAny>,
        tb: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let _ = (exc, tb);
        let py = exc_type.py();
        match self.guard(py)? {
            Guard::Native(lock) => gate::leave(lock.bind(py)),
            Guard::Other(lock) => gate::leave_other(lock.bind(py)),
        }
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let state = if this.get().guard(py)?.is_locked(py)? { "locked" } else { "unlocked" };
        shown(this.as_any(), state, this.get().waiters.len(py)?)
    }

    #[getter]
    fn _lock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.guard(py)?.object(py))
    }

    #[getter]
    fn _waiters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.waiters.deque(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiters.visit(&visit)?;
        self.guard.peek(|guard| guard.as_ref().map_or(Ok(()), |guard| guard.visit(&visit))).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.waiters.clear(py);
        drop(self.guard.take(py));
    }
}
