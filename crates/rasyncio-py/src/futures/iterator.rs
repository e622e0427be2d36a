//! `FutureIter`: what `await future` steps.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::state::Status;
use super::{Future, Outcome};
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::machine::Quick;
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::send::Sent;
use crate::ffi::slots::{SendSlot, next_result};
use crate::ffi::stop::{self, stop_iteration};

/// The iterator behind `await future`: yields the future once while it is pending, then returns its result.
#[pyclass(frozen, name = "FutureIter", module = "rasyncio")]
pub(crate) struct FutureIter {
    future: GilCell<Option<Py<Future>>>,
}

impl FutureIter {
    #[inline]
    pub(crate) fn make<'py>(future: &Bound<'py, Future>) -> PyResult<Bound<'py, Self>> {
        let py = future.py();
        recycle::make(
            py,
            future.clone().unbind(),
            |this: &Bound<'py, Self>, future| this.get().future.with(py, |place| *place = Some(future)),
            |future| Self { future: GilCell::new(Some(future)) },
        )
    }

    #[inline]
    fn step<'py>(&self, py: Python<'py>) -> Sent<'py> {
        let Some(future) = self.future.with(py, |place| Some(place.as_ref()?.clone_ref(py).into_bound(py)))
        else {
            return Sent::Returned(py.None().into_bound(py));
        };
        let sent = Future::await_step(&future);
        if !matches!(sent, Sent::Yielded(_)) {
            drop(self.future.take(py).map(|future| future.into_bound(py)));
        }
        sent
    }
}

impl Future {
    /// A step of whoever awaits `this`: yields it once while it is pending, then gives its result or raises its exception.
    #[inline]
    pub(crate) fn await_step<'py>(this: &Bound<'py, Self>) -> Sent<'py> {
        let py = this.py();
        match this.get().look(py) {
            Seen::Waits => return Sent::Yielded(this.clone().into_any()),
            Seen::Result(result) => return Sent::Returned(result),
            Seen::Other => {}
        }
        match this.get().outcome(py) {
            Outcome::Pending => Sent::Raised(exceptions::runtime("await wasn't used with future")),
            Outcome::Result(result) => Sent::Returned(result),
            Outcome::Raise(error) => Sent::Raised(error),
        }
    }
}

impl Future {
    /// What awaiting finds; a future that is waited for from now on is marked.
    #[inline]
    fn look<'py>(&self, py: Python<'py>) -> Seen<'py> {
        self.state.with(py, |state| match (state.status, &state.outcome) {
            (Status::Pending, _) if !state.blocking => {
                state.blocking = true;
                Seen::Waits
            }
            (Status::Finished, Some(result)) if !state.failed => {
                Seen::Result(result.clone_ref(py).into_bound(py))
            }
            _ => Seen::Other,
        })
    }
}

/// The two usual things that a step finds; everything else takes the long way.
enum Seen<'py> {
    Waits,
    Result(Bound<'py, PyAny>),
    Other,
}

impl Recycle for FutureIter {
    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        let py = this.py();
        stop::forget(py);
        drop(this.get().future.take(py).map(|future| future.into_bound(py)));
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

impl SendSlot for FutureIter {
    #[inline]
    fn quick<'py>(this: &Bound<'py, Self>) -> Quick<'py> {
        let py = this.py();
        let quick = this.get().future.with(py, |place| {
            let Some(future) = place else {
                return Quick::Declined;
            };
            match future.get().look(py) {
                Seen::Waits => Quick::Yielded(future.bind(py).clone().into_any()),
                Seen::Result(result) => Quick::Returned(result),
                Seen::Other => Quick::Declined,
            }
        });
        if matches!(quick, Quick::Returned(_)) {
            drop(this.get().future.take(py).map(|future| future.into_bound(py)));
        }
        quick
    }

    #[inline]
    fn send<'py>(this: &Bound<'py, Self>, _value: &Bound<'py, PyAny>) -> Sent<'py> {
        this.get().step(this.py())
    }
}

#[pymethods]
impl FutureIter {
    /// An iterator that is awaited again goes on where it stands; having the slot also gives the type its table of async slots.
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        next_result(self.step(py))
    }

    /// Goes on like `next()`; the value is not used.
    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        match self.step(py) {
            Sent::Yielded(object) => Ok(object),
            Sent::Returned(value) => Err(stop_iteration(&value)),
            Sent::Raised(error) => Err(error),
        }
    }

    /// Raises an exception, given as an instance or as class, value and traceback, out of the await.
    #[pyo3(signature = (r#type, value = None, traceback = None))]
    fn throw(
        &self,
        r#type: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let error = crate::coroutines::thrown(r#type, value, traceback)?;
        drop(self.future.take(r#type.py()));
        Err(error)
    }

    /// Lets go of the future.
    fn close(&self, py: Python<'_>) {
        drop(self.future.take(py));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.future.peek(|future| visit.call(future)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.future.take(py));
    }
}
