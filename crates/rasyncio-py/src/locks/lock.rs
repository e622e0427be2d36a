//! `Lock`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::gate::{self, Answer, ENTER, EXIT, Gate, Held, Pass};
use super::waiters::{LoopBound, Waiters};
use super::{boolean, none, shown};
use crate::coroutines::Coroutine;
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::Light;

/// A mutual exclusion lock for tasks, not owned by any of them. Who waits for it gets it in the order they came.
///
///     async with lock:
///         ...
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.Lock>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Lock", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct Lock {
    locked: GilCell<bool>,
    waiters: Waiters,
}

impl Lock {
    pub(super) fn free() -> PyClassInitializer<Self> {
        PyClassInitializer::from(LoopBound::default()).add_subclass(Self::default())
    }

    #[inline]
    pub(super) fn is_locked(&self, py: Python<'_>) -> bool {
        self.locked.get(py)
    }
}

impl Lock {
    /// Adds the methods that programs call all the time.
    pub(super) fn add_methods(py: Python<'_>) -> PyResult<()> {
        Light::<Self>::to_class(py)
            .alone(
                c"acquire",
                c"acquire($self)\n--\n\nWaits until the lock is free and takes it; returns True.",
                |this| Ok(Self::acquire(this)?.into_any()),
            )?
            .alone(
                c"release",
                c"release($self)\n--\n\nFrees the lock, and wakes the task that waits longest. RuntimeError when it is free already.",
                |this| none(this.py(), Self::release(this)),
            )?
            .alone(c"locked", c"locked($self)\n--\n\nWhether somebody has the lock.", |this| {
                Ok(boolean(this.py(), this.get().is_locked(this.py())))
            })?
            .alone(c"__aenter__", ENTER, |this| Ok(gate::enter(this)?.into_any()))?
            .exit(EXIT, |this| Ok(gate::leave(this)?.into_any()))?;
        Ok(())
    }

    #[inline]
    pub(super) fn acquire<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Lock.acquire", Pass::new(this, Answer::True))
    }
}

impl Gate for Lock {
    fn waiters<'a>(this: &'a Bound<'_, Self>) -> &'a Waiters {
        &this.get().waiters
    }

    fn binding<'a, 'py>(this: &'a Bound<'py, Self>) -> &'a Bound<'py, LoopBound> {
        this.as_super()
    }

    #[inline]
    fn try_pass(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let lock = this.get();
        if lock.is_locked(py) || !lock.waiters.all_cancelled(py)? {
            return Ok(false);
        }
        lock.locked.set(py, true);
        Ok(true)
    }

    fn after_wait(this: &Bound<'_, Self>, _future: &Bound<'_, PyAny>, error: Option<&PyErr>) -> PyResult<()> {
        let py = this.py();
        match error {
            None => this.get().locked.set(py, true),
            // Who was woken and cancelled at once passes the turn on.
            Some(error) if exceptions::is_cancelled(py, error) && !this.get().is_locked(py) => {
                this.get().waiters.wake_head(&boolean(py, true))?;
            }
            Some(_) => {}
        }
        Ok(())
    }
}

impl Held for Lock {
    #[inline]
    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if !this.get().locked.with(py, std::mem::take) {
            return Err(exceptions::runtime("Lock is not acquired."));
        }
        this.get().waiters.wake_head(&boolean(py, true))
    }
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::free()
    }

    fn __init__(&self, py: Python<'_>) {
        self.locked.set(py, false);
        self.waiters.clear(py);
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let state = if this.get().is_locked(py) { "locked" } else { "unlocked" };
        shown(this.as_any(), state, this.get().waiters.len(py)?)
    }

    #[getter]
    fn _locked(&self, py: Python<'_>) -> bool {
        self.is_locked(py)
    }

    #[getter]
    fn _waiters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.waiters.deque(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiters.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.waiters.clear(py);
    }
}
