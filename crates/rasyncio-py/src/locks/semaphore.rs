//! `Semaphore` and `BoundedSemaphore`.

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::count::{Count, GivenCount};
use super::gate::{self, Answer, ENTER, EXIT, Gate, Held, Pass};
use super::waiters::{LoopBound, Waiters};
use super::{boolean, none, shown};
use crate::coroutines::Coroutine;
use crate::exceptions;
use crate::ffi::call::call_method_none;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::Light;
use crate::futures::waiting;

/// Lets a number of tasks in at a time. Who waits comes in in the order they came.
///
/// Parameters: `value`, how many may be in at once; ValueError when it is negative.
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.Semaphore>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Semaphore", module = "rasyncio")]
pub(crate) struct Semaphore {
    value: GilCell<Count>,
    waiters: Waiters,
}

/// A semaphore that raises ValueError when it is released more often than it was acquired.
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.BoundedSemaphore>
#[pyclass(frozen, subclass, extends = Semaphore, name = "BoundedSemaphore", module = "rasyncio")]
pub(crate) struct BoundedSemaphore {
    bound: GilCell<Count>,
}

impl Semaphore {
    #[inline]
    fn add(&self, py: Python<'_>, more: i8) {
        self.value.with(py, |value| *value = value.plus(more));
    }

    /// Nobody comes in at once: it is full, or others wait already.
    #[inline]
    fn is_locked(&self, py: Python<'_>) -> PyResult<bool> {
        let full = self.value.get(py).compared(Count::Whole(0)).is_some_and(std::cmp::Ordering::is_eq);
        Ok(full || !self.waiters.all_cancelled(py)?)
    }

    /// Gives a place to the first who waits; false when nobody does.
    #[inline]
    fn wake_next(&self, py: Python<'_>) -> PyResult<bool> {
        if self.waiters.len(py)? == 0 {
            return Ok(false);
        }
        // The place is taken before the future is told: what a foreign one does then already sees it taken.
        self.add(py, -1);
        let woken = self.waiters.wake(&boolean(py, true), 1);
        if !matches!(woken, Ok(1)) {
            self.add(py, 1);
        }
        Ok(woken? == 1)
    }

    fn begin(&self, py: Python<'_>, GivenCount(count): GivenCount) -> PyResult<()> {
        if count.compared(Count::Whole(0)).is_some_and(std::cmp::Ordering::is_lt) {
            return Err(PyValueError::new_err("Semaphore initial value must be >= 0"));
        }
        self.value.set(py, count);
        self.waiters.clear(py);
        Ok(())
    }

    #[inline]
    fn let_in(&self, py: Python<'_>) -> PyResult<()> {
        self.add(py, 1);
        self.wake_next(py)?;
        Ok(())
    }
}

impl Semaphore {
    /// Adds the methods that programs call all the time.
    pub(super) fn add_methods(py: Python<'_>) -> PyResult<()> {
        Light::<Self>::to_class(py)
            .alone(
                c"acquire",
                c"acquire($self)\n--\n\nWaits for a place and takes it; returns True.",
                |this| {
                    let machine = Pass::new(this, Answer::True);
                    Ok(Coroutine::of(this.py(), "Semaphore.acquire", machine)?.into_any())
                },
            )?
            .alone(
                c"release",
                c"release($self)\n--\n\nGives a place back, and wakes the task that waits longest.",
                |this| none(this.py(), this.get().let_in(this.py())),
            )?
            .alone(c"locked", c"locked($self)\n--\n\nWhether who comes now has to wait.", |this| {
                Ok(boolean(this.py(), this.get().is_locked(this.py())?))
            })?
            .alone(c"__aenter__", ENTER, |this| Ok(gate::enter(this)?.into_any()))?
            .exit(EXIT, |this| Ok(gate::leave(this)?.into_any()))?;
        Light::<BoundedSemaphore>::to_class(py).alone(
            c"release",
            c"release($self)\n--\n\nGives a place back, and wakes the task that waits longest. ValueError when nobody had it.",
            |this| none(this.py(), BoundedSemaphore::release(this)),
        )?;
        Ok(())
    }
}

impl Gate for Semaphore {
    fn waiters<'a>(this: &'a Bound<'_, Self>) -> &'a Waiters {
        &this.get().waiters
    }

    fn binding<'a, 'py>(this: &'a Bound<'py, Self>) -> &'a Bound<'py, LoopBound> {
        this.as_super()
    }

    #[inline]
    fn try_pass(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let is_locked = if <Self as Held>::is_plain(this) {
            this.get().is_locked(py)?
        } else {
            call_method_none(this.as_any(), intern!(py, "locked"))?.is_truthy()?
        };
        if is_locked {
            return Ok(false);
        }
        this.get().add(py, -1);
        Ok(true)
    }

    fn after_wait(this: &Bound<'_, Self>, future: &Bound<'_, PyAny>, error: Option<&PyErr>) -> PyResult<()> {
        let py = this.py();
        let semaphore = this.get();
        if let Some(error) = error
            && exceptions::is_cancelled(py, error)
            && waiting::is_done(future)?
            && !waiting::is_cancelled(future)?
        {
            // It was given a place, and was cancelled before it could take it.
            semaphore.add(py, 1);
        }
        // Others may have come meanwhile, and waited only because of the order.
        while semaphore.value.get(py).is_positive() {
            if !semaphore.wake_next(py)? {
                break;
            }
        }
        Ok(())
    }
}

impl Held for Semaphore {
    #[inline]
    fn is_plain(this: &Bound<'_, Self>) -> bool {
        this.is_exact_instance_of::<Self>() || this.is_exact_instance_of::<BoundedSemaphore>()
    }

    #[inline]
    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        match this.cast::<BoundedSemaphore>() {
            Ok(bounded) => BoundedSemaphore::release(bounded),
            Err(_) => this.get().let_in(this.py()),
        }
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(value=1)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        let semaphore = Self { value: GilCell::new(Count::Whole(1)), waiters: Waiters::default() };
        PyClassInitializer::from(LoopBound::default()).add_subclass(semaphore)
    }

    #[pyo3(signature = (value = GivenCount::ONE))]
    fn __init__(&self, py: Python<'_>, value: GivenCount) -> PyResult<()> {
        self.begin(py, value)
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let semaphore = this.get();
        let waiting = semaphore.waiters.len(py)?;
        if semaphore.is_locked(py)? {
            return shown(this.as_any(), "locked", waiting);
        }
        let value = semaphore.value.get(py).shown(py);
        shown(this.as_any(), &format!("unlocked, value:{value}"), waiting)
    }

    #[getter]
    fn _value<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.value.get(py).shown(py)
    }

    /// Programs change the number of places through this.
    #[setter(_value)]
    fn set_value(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.value.set(value.py(), Count::of(value)?);
        Ok(())
    }

    #[getter]
    fn _waiters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.waiters.deque(py)
    }

    /// Gives a place to the first who waits; returns whether somebody did.
    fn _wake_up_next(&self, py: Python<'_>) -> PyResult<bool> {
        self.wake_next(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiters.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.waiters.clear(py);
    }
}

impl BoundedSemaphore {
    #[inline]
    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let semaphore = this.as_super().get();
        let bound = this.get().bound.get(py);
        if semaphore.value.get(py).compared(bound).is_some_and(std::cmp::Ordering::is_ge) {
            return Err(PyValueError::new_err("BoundedSemaphore released too many times"));
        }
        semaphore.let_in(py)
    }
}

#[pymethods]
impl BoundedSemaphore {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(value=1)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        Semaphore::new(args, kwargs).add_subclass(Self { bound: GilCell::new(Count::Whole(1)) })
    }

    #[pyo3(signature = (value = GivenCount::ONE))]
    fn __init__(this: &Bound<'_, Self>, value: GivenCount) -> PyResult<()> {
        this.get().bound.set(this.py(), value.0);
        this.as_super().get().begin(this.py(), value)
    }

    #[getter]
    fn _bound_value<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.bound.get(py).shown(py)
    }

    #[setter(_bound_value)]
    fn set_bound_value(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.bound.set(value.py(), Count::of(value)?);
        Ok(())
    }
}
