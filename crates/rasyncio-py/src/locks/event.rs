//! `Event`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::gate::{Answer, Gate, Pass};
use super::waiters::{LoopBound, Waiters};
use super::{boolean, none, shown};
use crate::coroutines::Coroutine;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::Light;

/// A flag that tasks wait for until another sets it.
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.Event>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Event", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct Event {
    value: GilCell<bool>,
    waiters: Waiters,
}

impl Event {
    /// An event that is not set.
    pub(crate) fn fresh(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Bound::new(py, PyClassInitializer::from(LoopBound::default()).add_subclass(Self::default()))
    }

    #[inline]
    pub(crate) fn value(&self, py: Python<'_>) -> bool {
        self.value.get(py)
    }

    #[inline]
    pub(crate) fn unset(&self, py: Python<'_>) {
        self.value.set(py, false);
    }

    /// Sets the flag and wakes everybody.
    #[inline]
    pub(crate) fn set_flag(&self, py: Python<'_>) -> PyResult<()> {
        if !self.value.with(py, |value| std::mem::replace(value, true)) {
            self.waiters.wake(&boolean(py, true), usize::MAX)?;
        }
        Ok(())
    }
}

impl Event {
    /// Adds the methods that programs call all the time.
    pub(super) fn add_methods(py: Python<'_>) -> PyResult<()> {
        Light::<Self>::to_class(py)
            .alone(c"is_set", c"is_set($self)\n--\n\nWhether the flag is set.", |this| {
                Ok(boolean(this.py(), this.get().value(this.py())))
            })?
            .alone(
                c"set",
                c"set($self)\n--\n\nSets the flag: every task that waits is woken, and `wait()` returns at once from now on.",
                |this| none(this.py(), this.get().set_flag(this.py())),
            )?
            .alone(c"clear", c"clear($self)\n--\n\nTakes the flag back: `wait()` waits again.", |this| {
                this.get().unset(this.py());
                none(this.py(), Ok(()))
            })?
            .alone(c"wait", c"wait($self)\n--\n\nWaits until the flag is set; returns True.", |this| {
                Ok(Coroutine::of(this.py(), "Event.wait", Pass::new(this, Answer::True))?.into_any())
            })?;
        Ok(())
    }
}

impl Gate for Event {
    fn waiters<'a>(this: &'a Bound<'_, Self>) -> &'a Waiters {
        &this.get().waiters
    }

    fn binding<'a, 'py>(this: &'a Bound<'py, Self>) -> &'a Bound<'py, LoopBound> {
        this.as_super()
    }

    #[inline]
    fn try_pass(this: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(this.get().value(this.py()))
    }

    #[inline]
    fn after_wait(
        _this: &Bound<'_, Self>,
        _future: &Bound<'_, PyAny>,
        _error: Option<&PyErr>,
    ) -> PyResult<()> {
        Ok(())
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        PyClassInitializer::from(LoopBound::default()).add_subclass(Self::default())
    }

    fn __init__(&self, py: Python<'_>) {
        self.unset(py);
        self.waiters.clear(py);
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let state = if this.get().value(py) { "set" } else { "unset" };
        shown(this.as_any(), state, this.get().waiters.len(py)?)
    }

    #[getter]
    fn _value(&self, py: Python<'_>) -> bool {
        self.value(py)
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
