//! `sleep()`: a machine that yields once, or that awaits a future of ours which a native timer ends.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::ensure::running_loop;
use crate::coroutines::{Coroutine, Quick, Resume, Steps};
use crate::event_loop::{Alarm, Loop, NativeTimer, TimerAction};
use crate::ffi::call::attached;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::ffi::send::Sent;
use crate::futures::Future;

/// `asyncio.sleep()`.
pub(crate) struct SleepFunction;

impl Function for SleepFunction {
    const NAME: &'static CStr = c"sleep";
    const DOCUMENTATION: &'static CStr = c"sleep(delay, result=None)\n--\n\n\
        Waits `delay` seconds and returns `result`; 0 or less lets everything else that is ready run once.\n\n\
        Raises ValueError for NaN.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [delay, result] = arguments.bind(&PARAMETERS)?;
        let delay = functions::given(delay)?.clone().unbind();
        let result = result.map_or_else(|| py.None(), |result| result.clone().unbind());
        Ok(Coroutine::of(py, "sleep", Sleep::Unstarted { delay, result })?.into_any())
    }
}

/// An awaitable that lets the loop run one turn.
pub(crate) fn next_turn(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let machine = Sleep::Unstarted { delay: 0i32.into_pyobject(py)?.into_any().unbind(), result: py.None() };
    Ok(Coroutine::of(py, "sleep", machine)?.into_any().unbind())
}

static PARAMETERS: Parameters<2> =
    Parameters { function: "sleep", names: ["delay", "result"], positional: 2, required: 1 };

enum Sleep {
    Unstarted {
        delay: Py<PyAny>,
        result: Py<PyAny>,
    },
    /// Yielded to the others, for a delay of nothing.
    Yielded {
        result: Py<PyAny>,
    },
    Waiting {
        future: Py<Future>,
        alarm: Alarm,
        result: Py<PyAny>,
    },
    Ended,
}

impl Steps for Sleep {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        match (std::mem::replace(self, Self::Ended), resume) {
            (Self::Unstarted { delay, result }, Resume::Next) => {
                let delay = delay.into_bound(py);
                match is_positive(&delay) {
                    Ok(false) => {
                        *self = Self::Yielded { result };
                        Sent::Yielded(py.None().into_bound(py))
                    }
                    Ok(true) => self.begin(&delay, result).unwrap_or_else(Sent::Raised),
                    Err(error) => Sent::Raised(error),
                }
            }
            (Self::Yielded { result }, Resume::Next) => Sent::Returned(result.into_bound(py)),
            (Self::Waiting { future, alarm, result }, resume) => {
                end(&future.into_bound(py), alarm, result, resume)
            }
            (_, Resume::Throw(error)) => Sent::Raised(error),
            (Self::Ended, Resume::Next) => Sent::Returned(py.None().into_bound(py)),
        }
    }

    #[inline]
    fn quick<'py>(&mut self, py: Python<'py>, is_first: bool) -> Quick<'py> {
        match std::mem::replace(self, Self::Ended) {
            Self::Unstarted { delay, result } if is_first && is_nothing(delay.bind(py)) => {
                drop(delay.into_bound(py));
                *self = Self::Yielded { result };
                Quick::Yielded(py.None().into_bound(py))
            }
            Self::Yielded { result } => Quick::Returned(result.into_bound(py)),
            other => {
                *self = other;
                Quick::Declined
            }
        }
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        if !matches!(self, Self::Ended) {
            attached(py, || drop(self));
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Unstarted { delay, result } => {
                visit.call(delay)?;
                visit.call(result)
            }
            Self::Yielded { result } => visit.call(result),
            Self::Waiting { future, alarm, result } => {
                visit.call(future)?;
                alarm.visit(visit)?;
                visit.call(result)
            }
            Self::Ended => Ok(()),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Waiting { future, .. } => Some(future.bind(py).clone().into_any()),
            Self::Unstarted { .. } | Self::Yielded { .. } | Self::Ended => None,
        }
    }
}

impl Sleep {
    fn begin<'py>(&mut self, delay: &Bound<'py, PyAny>, result: Py<PyAny>) -> PyResult<Sent<'py>> {
        let py = delay.py();
        if delay.cast_exact::<PyInt>().is_err() && delay.extract::<f64>().is_ok_and(f64::is_nan) {
            return Err(PyValueError::new_err("Invalid delay: NaN (not a number)"));
        }
        let event_loop = running_loop(py)?;
        let future = Future::of_loop(&event_loop)?;
        let timer =
            NativeTimer { action: &WAKE, receiver: future.clone().into_any().unbind(), generation: 0 };
        let alarm = Loop::set_timer_later(&event_loop, delay, timer)?;
        let yielded = Future::yield_to_task(&future);
        *self = Self::Waiting { future: future.unbind(), alarm, result };
        Ok(yielded)
    }
}

/// Whether `delay` is no time at all: a plain number that is 0 or less.
#[inline]
fn is_nothing(delay: &Bound<'_, PyAny>) -> bool {
    if let Ok(seconds) = delay.cast_exact::<PyInt>() {
        return seconds.extract::<i64>().is_ok_and(|seconds| seconds <= 0);
    }
    delay.cast_exact::<PyFloat>().is_ok_and(|seconds| seconds.value() <= 0.0)
}

/// `delay > 0`, or rather not `delay <= 0`.
#[inline]
fn is_positive(delay: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(seconds) = delay.cast_exact::<PyFloat>() {
        let seconds = seconds.value();
        return Ok(seconds > 0.0 || seconds.is_nan());
    }
    if let Ok(seconds) = delay.cast_exact::<PyInt>()
        && let Ok(seconds) = seconds.extract::<i64>()
    {
        return Ok(seconds > 0);
    }
    Ok(!delay.le(0)?)
}

fn end<'py>(future: &Bound<'py, Future>, alarm: Alarm, result: Py<PyAny>, resume: Resume) -> Sent<'py> {
    let py = future.py();
    let woken = future.get().resumed(py, resume);
    if woken.is_err() {
        // Cancelled, or left in another way: the timer has nobody to wake.
        future.get().abandon(py);
        let given_up = future.get().event_loop(py).and_then(|event_loop| alarm.cancel(event_loop.bind(py)));
        if let Err(error) = given_up {
            return Sent::Raised(error);
        }
    }
    match woken {
        Ok(_) => Sent::Returned(result.into_bound(py)),
        Err(error) => Sent::Raised(error),
    }
}

/// asyncio: futures.py `_set_result_unless_cancelled`.
pub(crate) static WAKE: TimerAction =
    TimerAction { name: "_set_result_unless_cancelled", is_cancelled: is_done, run: wake };

fn is_done(future: &Bound<'_, PyAny>, _generation: u64) -> bool {
    future.cast::<Future>().is_ok_and(|future| future.get().is_done(future.py()))
}

fn wake(future: &Bound<'_, PyAny>) -> PyResult<()> {
    Future::finish(future.cast::<Future>()?, future.py().None())
}
