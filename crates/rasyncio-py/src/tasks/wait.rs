//! `wait()`: until the first, the first that fails, or the last of some futures is done.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PySet, PyTuple};

use super::ensure::{is_coroutine, is_future, running_loop};
use super::outcome::{self, Ended};
use super::sleep::WAKE;
use crate::coroutines::{Coroutine, Resume, Steps};
use crate::event_loop::{Alarm, Loop, NativeTimer};
use crate::ffi::cell::GilCell;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::ffi::send::Sent;
use crate::futures::Future;
use crate::futures::callback::DoneAction;

/// `asyncio.wait()`.
pub(crate) struct WaitFunction;

impl Function for WaitFunction {
    const NAME: &'static CStr = c"wait";
    const DOCUMENTATION: &'static CStr =
        c"wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n\
        Waits for futures; returns two sets of them: those that are done, and the others.\n\n\
        Parameters: `fs`, futures and tasks, at least one; `timeout`, seconds after which it returns in any case (None: never); `return_when`, \
        `FIRST_COMPLETED`, `FIRST_EXCEPTION` or `ALL_COMPLETED`. Raises TypeError for coroutines, ValueError for no futures.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [futures, timeout, return_when] = arguments.bind(&PARAMETERS)?;
        let machine = Wait::Unstarted {
            futures: functions::given(futures)?.clone().unbind(),
            timeout: timeout.filter(|timeout| !timeout.is_none()).map(|timeout| timeout.clone().unbind()),
            return_when: return_when.map(|return_when| return_when.clone().unbind()),
        };
        Ok(Coroutine::of(py, "wait", machine)?.into_any())
    }
}

static PARAMETERS: Parameters<3> =
    Parameters { function: "wait", names: ["fs", "timeout", "return_when"], positional: 1, required: 1 };

/// What ends the wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    First,
    FirstException,
    All,
}

impl Until {
    fn of(return_when: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(return_when) = return_when else {
            return Ok(Self::All);
        };
        for (name, until) in [
            ("FIRST_COMPLETED", Self::First),
            ("FIRST_EXCEPTION", Self::FirstException),
            ("ALL_COMPLETED", Self::All),
        ] {
            if return_when.eq(name)? {
                return Ok(until);
            }
        }
        Err(PyValueError::new_err(format!("Invalid return_when value: {}", return_when.str()?)))
    }
}

/// The receiver of the futures' callbacks.
#[pyclass(frozen, name = "_Waiting", module = "rasyncio")]
struct Waiting {
    left: GilCell<usize>,
    until: Until,
    /// What the task awaits.
    waiter: Py<Future>,
}

#[pymethods]
impl Waiting {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.waiter)
    }
}

/// asyncio: tasks.py `_wait`, the inner function.
static COMPLETED: DoneAction =
    DoneAction { name: "_wait.<locals>._on_completion", run: on_completion, awaiter: awaiter_of };

fn on_completion(waiting: &Bound<'_, PyAny>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = waiting.py();
    let waiting = waiting.cast::<Waiting>()?.get();
    let left = waiting.left.with(py, |left| {
        *left = left.saturating_sub(1);
        *left
    });
    let ends = left == 0
        || match waiting.until {
            Until::First => true,
            Until::FirstException => matches!(Ended::of(future)?, Ended::Exception(_)),
            Until::All => false,
        };
    let waiter = waiting.waiter.bind(py);
    if ends && !waiter.get().is_done(py) { Future::finish(waiter, py.None()) } else { Ok(()) }
}

fn awaiter_of(waiting: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    waiting.cast::<Waiting>().ok()?.get().waiter.get().first_waiter(waiting.py())
}

enum Wait {
    Unstarted { futures: Py<PyAny>, timeout: Option<Py<PyAny>>, return_when: Option<Py<PyAny>> },
    Suspended { futures: Py<PySet>, waiting: Py<Waiting>, alarm: Option<Alarm> },
    Ended,
}

impl Steps for Wait {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let stepped = match (std::mem::replace(self, Self::Ended), resume) {
            (Self::Unstarted { futures, timeout, return_when }, Resume::Next) => {
                let (timeout, return_when) = (timeout.map(|timeout| timeout.into_bound(py)), return_when);
                let return_when = return_when.as_ref().map(|return_when| return_when.bind(py));
                self.begin(futures.bind(py), timeout.as_ref(), return_when)
            }
            (Self::Suspended { futures, waiting, alarm }, resume) => {
                end(&futures.into_bound(py), &waiting.into_bound(py), alarm, resume)
            }
            (_, Resume::Throw(error)) => Err(error),
            (Self::Ended, Resume::Next) => Ok(Sent::Returned(py.None().into_bound(py))),
        };
        stepped.unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Unstarted { futures, timeout, return_when } => {
                visit.call(futures)?;
                visit.call(timeout)?;
                visit.call(return_when)
            }
            Self::Suspended { futures, waiting, alarm } => {
                visit.call(futures)?;
                visit.call(waiting)?;
                alarm.as_ref().map_or(Ok(()), |alarm| alarm.visit(visit))
            }
            Self::Ended => Ok(()),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Suspended { waiting, .. } => Some(waiting.get().waiter.bind(py).clone().into_any()),
            Self::Unstarted { .. } | Self::Ended => None,
        }
    }
}

impl Wait {
    fn begin<'py>(
        &mut self,
        futures: &Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
        return_when: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Sent<'py>> {
        let py = futures.py();
        if is_future(futures)? || is_coroutine(futures)? {
            let text = format!("expect a list of futures, not {}", futures.get_type().name()?);
            return Err(PyTypeError::new_err(text));
        }
        if !futures.is_truthy()? {
            return Err(PyValueError::new_err("Set of Tasks/Futures is empty."));
        }
        let until = Until::of(return_when)?;
        let futures = PySet::new(py, futures.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        for future in &futures {
            if is_coroutine(&future)? {
                return Err(PyTypeError::new_err("Passing coroutines is forbidden, use tasks explicitly."));
            }
        }
        let event_loop = running_loop(py)?;
        if futures.is_empty() {
            // An iterator that had nothing: only a collection is asked before.
            return Err(PyAssertionError::new_err("Set of Futures is empty."));
        }
        let waiter = Future::of_loop(&event_loop)?;
        let alarm = match timeout {
            Some(timeout) => {
                let receiver = waiter.clone().into_any().unbind();
                let timer = NativeTimer { action: &WAKE, receiver, generation: 0 };
                Some(Loop::set_timer_later(&event_loop, timeout, timer)?)
            }
            None => None,
        };
        let left = GilCell::new(futures.len());
        let waiting = Bound::new(py, Waiting { left, until, waiter: waiter.clone().unbind() })?;
        for future in &futures {
            outcome::when_done(&future, &COMPLETED, waiting.as_any())?;
        }
        *self = Self::Suspended { futures: futures.unbind(), waiting: waiting.unbind(), alarm };
        Ok(Future::yield_to_task(&waiter))
    }
}

fn end<'py>(
    futures: &Bound<'py, PySet>,
    waiting: &Bound<'py, Waiting>,
    alarm: Option<Alarm>,
    resume: Resume,
) -> PyResult<Sent<'py>> {
    let py = futures.py();
    let waiter = waiting.get().waiter.bind(py);
    let woken = waiter.get().resumed(py, resume);
    waiter.get().abandon(py);
    if let Some(alarm) = alarm {
        alarm.cancel(waiter.get().event_loop(py)?.bind(py))?;
    }
    let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
    for future in futures {
        if outcome::is_done(&future)? {
            done.add(&future)?;
        } else {
            pending.add(&future)?;
        }
        outcome::no_longer_when_done(&future, &COMPLETED, waiting.as_any())?;
    }
    woken?;
    Ok(Sent::Returned(PyTuple::new(py, [done, pending])?.into_any()))
}
