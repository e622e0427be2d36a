//! `TimerHandle`: callbacks that are to run at a time (asyncio: events.py). The loop's heap orders them.

use pyo3::basic::CompareOp;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};

use super::{Call, Handle};
use crate::event_loop::Loop;
use crate::ffi::call::attached;
use crate::ffi::cell::GilCell;
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::interop::stdlib;

/// A callback that is to run at a time, returned by `call_later()` and `call_at()`.
///
/// <https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.TimerHandle>
#[pyclass(frozen, subclass, extends = Handle, name = "TimerHandle", module = "rasyncio")]
pub(crate) struct TimerHandle {
    when: GilCell<When>,
    scheduled: GilCell<bool>,
}

/// A time of the loop's clock in seconds, which asyncio keeps as it was given.
#[derive(Clone, Copy)]
pub(crate) struct When {
    seconds: f64,
    is_integer: bool,
}

impl When {
    pub(crate) fn of(when: &Bound<'_, PyAny>) -> PyResult<Self> {
        let seconds: f64 = when.extract()?;
        // Above, not every integer is a float.
        let is_integer = when.is_exact_instance_of::<PyInt>() && seconds.abs() < TWO_TO_THE_53;
        Ok(Self { seconds, is_integer })
    }

    pub(crate) fn seconds(self) -> f64 {
        self.seconds
    }

    pub(super) fn shown(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let seconds = self.seconds.into_pyobject(py)?.into_any();
        if self.is_integer { seconds.call_method0(intern!(py, "__int__")) } else { Ok(seconds) }
    }
}

impl From<f64> for When {
    fn from(seconds: f64) -> Self {
        Self { seconds, is_integer: false }
    }
}

impl TimerHandle {
    /// A timer that is about to be put into the loop's heap.
    #[inline]
    pub(crate) fn make(py: Python<'_>, when: When, call: Call) -> PyResult<Bound<'_, Self>> {
        recycle::make(
            py,
            (when, call),
            |this: &Bound<'_, Self>, (when, call)| {
                this.as_super().get().refill(py, call);
                this.get().when.set(py, when);
                this.get().scheduled.set(py, true);
            },
            |(when, call)| Self::initializer(when, call, true),
        )
    }

    #[inline]
    fn initializer(when: When, call: Call, is_scheduled: bool) -> PyClassInitializer<Self> {
        let timer = Self { when: GilCell::new(when), scheduled: GilCell::new(is_scheduled) };
        PyClassInitializer::from(Handle { call: GilCell::new(call) }).add_subclass(timer)
    }

    /// When it is due, in seconds.
    #[inline]
    fn seconds(&self, py: Python<'_>) -> f64 {
        self.when.get(py).seconds
    }

    /// `cancel()`.
    #[inline]
    pub(super) fn cancel(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if Handle::cancel_once(this.as_super())? && this.get().scheduled.get(py) {
            let event_loop = this.as_super().get().event_loop(py);
            match event_loop.cast::<Loop>() {
                Ok(event_loop) => event_loop.get().on_timer_cancelled(py),
                Err(_) => attached(py, || {
                    event_loop.call_method1(intern!(py, "_timer_handle_cancelled"), (this,)).map(drop)
                })?,
            }
        }
        Ok(())
    }

    /// The loop took it out of its heap.
    pub(crate) fn unschedule(&self, py: Python<'_>) {
        self.scheduled.set(py, false);
    }

    fn key<'py>(this: &Bound<'py, Self>) -> PyResult<Key<'py>> {
        let py = this.py();
        let handle = this.as_super().get();
        Ok((this.get().seconds(py), handle._callback(py), handle._args(py)?, handle.is_cancelled(py)))
    }

    fn equals(this: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let (when, callback, arguments, cancelled) = Self::key(this)?;
        let (other_when, other_callback, other_arguments, other_cancelled) = Self::key(other)?;
        #[expect(clippy::float_cmp, reason = "asyncio compares the times exactly")]
        let same = when == other_when && cancelled == other_cancelled;
        Ok(same
            && callback.into_pyobject(py)?.eq(other_callback)?
            && arguments.into_pyobject(py)?.eq(other_arguments)?)
    }
}

#[pymethods]
impl TimerHandle {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(when, callback, args, loop, context=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::initializer(When::from(0.0), Call::default(), false)
    }

    #[pyo3(signature = (when, callback, args, r#loop, context = None))]
    fn __init__(
        this: &Bound<'_, Self>,
        when: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyAny>,
        r#loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        let when = When::of(when)?;
        this.as_super().get().__init__(py, callback, args, r#loop, context)?;
        this.get().when.set(py, when);
        Ok(())
    }

    /// `asyncio.TimerHandle`, so that `isinstance` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        stdlib(py).timer_handle_class.clone_ref(py)
    }

    /// When the callback is due, in seconds of the loop's clock (`loop.time()`).
    fn when<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.when.get(py).shown(py)
    }

    #[getter]
    fn _when<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.when.get(py).shown(py)
    }

    #[getter]
    fn _scheduled(&self, py: Python<'_>) -> bool {
        self.scheduled.get(py)
    }

    #[setter(_scheduled)]
    fn set_scheduled(&self, py: Python<'_>, value: bool) {
        self.scheduled.set(py, value);
    }

    fn _repr_info(this: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        Handle::repr_info(this.as_super(), Some(this.get().when.get(this.py())))
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.seconds(py).into_pyobject(py)?.hash()
    }

    fn __richcmp__(
        this: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        operation: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let py = this.py();
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented());
        };
        let (when, other_when) = (this.get().seconds(py), other.get().seconds(py));
        let answer = match operation {
            CompareOp::Lt => when < other_when,
            CompareOp::Gt => when > other_when,
            CompareOp::Le => when < other_when || Self::equals(this, other)?,
            CompareOp::Ge => when > other_when || Self::equals(this, other)?,
            CompareOp::Eq => Self::equals(this, other)?,
            CompareOp::Ne => !Self::equals(this, other)?,
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }
}

impl Recycle for TimerHandle {
    const KEPT: usize = recycle::MANY;

    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        this.as_super().get().is_simple(this.py())
    }

    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        this.as_super().get().empty(this.py());
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

/// What asyncio compares.
type Key<'py> = (f64, Option<Py<PyAny>>, Option<Bound<'py, PyTuple>>, bool);

const TWO_TO_THE_53: f64 = 9_007_199_254_740_992.0;
