//! `wait_for()`: one awaitable and a timeout.
//!
//! From 3.12 on it is the awaitable in the block of a `Timeout`; up to 3.11 the awaitable becomes a task, whose end or the timer wakes a future.

use std::ffi::CStr;

use pyo3::exceptions::PyBaseException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::{Timeout, timed_out};
use crate::coroutines::{Coroutine, Delegate, Resume, Steps};
#[cfg(not(Py_3_12))]
use crate::event_loop::{Alarm, Loop, NativeTimer};
use crate::exceptions::{self, Raised};
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::ffi::send::Sent;
use crate::futures::Future;
use crate::futures::callback::DoneAction;
#[cfg(Py_3_12)]
use crate::interop::stdlib;
use crate::tasks::{self, running_loop};

/// `asyncio.wait_for()`.
pub(super) struct WaitForFunction;

impl Function for WaitForFunction {
    const NAME: &'static CStr = c"wait_for";
    const DOCUMENTATION: &'static CStr = c"wait_for(fut, timeout)\n--\n\n\
        Awaits `fut` and returns its result; cancels it and raises TimeoutError after `timeout` seconds (None: never).\n\n\
        Being cancelled cancels `fut` too. If `fut` returns a result in spite of being cancelled, that is the result.";

    #[inline]
    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [awaitable, timeout] = arguments.bind(&PARAMETERS)?;
        let timeout = functions::given(timeout)?;
        let machine = WaitFor::Unstarted {
            awaitable: functions::given(awaitable)?.clone().unbind(),
            timeout: (!timeout.is_none()).then(|| timeout.clone().unbind()),
        };
        Ok(Coroutine::of(py, "wait_for", machine)?.into_any())
    }
}

static PARAMETERS: Parameters<2> =
    Parameters { function: "wait_for", names: ["fut", "timeout"], positional: 2, required: 2 };

enum WaitFor {
    Unstarted {
        awaitable: Py<PyAny>,
        timeout: Option<Py<PyAny>>,
    },
    /// The awaitable is awaited, in the block of a timeout if there is one.
    Inside {
        timeout: Option<Py<Timeout>>,
        awaited: Delegate,
    },
    /// `waiter` is done when `future` is, or when the time is over.
    #[cfg(not(Py_3_12))]
    Watching {
        future: Py<PyAny>,
        waiter: Py<Future>,
        alarm: Alarm,
    },
    /// `future` was cancelled; `waiter` is done when it is. Then `error` is raised; None: its own, if it is another than the cancellation.
    Cancelling {
        future: Py<PyAny>,
        waiter: Py<Future>,
        error: Option<Py<PyBaseException>>,
    },
    Ended,
}

impl Steps for WaitFor {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let stepped = match (std::mem::replace(self, Self::Ended), resume) {
            (Self::Inside { timeout, awaited }, resume) => self.go_on(py, timeout, awaited, resume),
            (Self::Unstarted { awaitable, timeout }, Resume::Next) => {
                let timeout = timeout.map(|timeout| timeout.into_bound(py));
                self.begin(awaitable.into_bound(py), timeout.as_ref())
            }
            #[cfg(not(Py_3_12))]
            (Self::Watching { future, waiter, alarm }, resume) => {
                self.on_watched(&future.into_bound(py), &waiter.into_bound(py), alarm, resume)
            }
            (Self::Cancelling { future, waiter, error }, resume) => {
                on_cancelled(&future.into_bound(py), &waiter.into_bound(py), error, resume)
            }
            (Self::Unstarted { .. } | Self::Ended, Resume::Throw(error)) => Err(error),
            (Self::Ended, Resume::Next) => Ok(Sent::Returned(py.None().into_bound(py))),
        };
        stepped.unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Unstarted { awaitable, timeout } => {
                visit.call(awaitable)?;
                visit.call(timeout)
            }
            Self::Inside { timeout, awaited } => {
                visit.call(timeout)?;
                awaited.visit(visit)
            }
            #[cfg(not(Py_3_12))]
            Self::Watching { future, waiter, alarm } => {
                visit.call(future)?;
                visit.call(waiter)?;
                alarm.visit(visit)
            }
            Self::Cancelling { future, waiter, error } => {
                visit.call(future)?;
                visit.call(waiter)?;
                visit.call(error)
            }
            Self::Ended => Ok(()),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Inside { awaited, .. } => Some(awaited.iterator(py)),
            #[cfg(not(Py_3_12))]
            Self::Watching { waiter, .. } => Some(waiter.bind(py).clone().into_any()),
            Self::Cancelling { waiter, .. } => Some(waiter.bind(py).clone().into_any()),
            Self::Unstarted { .. } | Self::Ended => None,
        }
    }
}

impl WaitFor {
    #[inline]
    fn begin<'py>(
        &mut self,
        awaitable: Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Sent<'py>> {
        if let Some(timeout) = timeout
            && timeout.le(0)?
        {
            return self.begin_late(&awaitable);
        }
        self.begin_in_time(awaitable, timeout)
    }

    #[cfg(Py_3_12)]
    #[inline]
    fn begin_in_time<'py>(
        &mut self,
        awaitable: Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Sent<'py>> {
        let py = awaitable.py();
        let block = match timeout {
            Some(_) => {
                let block = Timeout::after(py, timeout)?;
                Timeout::enter(&block)?;
                Some(block)
            }
            // asyncio: the block of no timeout is entered too, which only a task can.
            None if stdlib(py).running_task(&running_loop(py)?)?.is_none() => {
                return Err(exceptions::runtime("Timeout should be used inside a task"));
            }
            None => None,
        };
        match Delegate::begin(&awaitable) {
            Ok(awaited) => {
                drop(awaitable);
                self.go_on(py, block.map(Bound::unbind), awaited, Resume::Next)
            }
            Err(error) => Err(leave(py, block.as_ref(), error)),
        }
    }

    /// Steps what is awaited, and leaves the block if it ended.
    #[inline]
    fn go_on<'py>(
        &mut self,
        py: Python<'py>,
        timeout: Option<Py<Timeout>>,
        awaited: Delegate,
        resume: Resume,
    ) -> PyResult<Sent<'py>> {
        match awaited.step(py, resume) {
            Sent::Yielded(value) => {
                *self = Self::Inside { timeout, awaited };
                Ok(Sent::Yielded(value))
            }
            Sent::Returned(result) => {
                if let Some(timeout) = timeout {
                    Timeout::exit(&timeout.into_bound(py), None)?;
                }
                Ok(Sent::Returned(result))
            }
            Sent::Raised(error) => {
                Err(leave(py, timeout.map(|timeout| timeout.into_bound(py)).as_ref(), error))
            }
        }
    }

    /// The time is over already: the awaitable is cancelled unless it is done.
    fn begin_late<'py>(&mut self, awaitable: &Bound<'py, PyAny>) -> PyResult<Sent<'py>> {
        let event_loop = running_loop(awaitable.py())?;
        let future = if cfg!(Py_3_12) {
            tasks::ensure_future(awaitable, None)?
        } else {
            tasks::ensure_future(awaitable, Some(&event_loop))?
        };
        if tasks::is_done(&future)? {
            return tasks::result_of(&future).map(Sent::Returned);
        }
        self.cancel_and_wait(&future, &event_loop, None)
    }

    fn cancel_and_wait<'py>(
        &mut self,
        future: &Bound<'py, PyAny>,
        event_loop: &Bound<'py, PyAny>,
        error: Option<PyErr>,
    ) -> PyResult<Sent<'py>> {
        let py = future.py();
        let waiter = Future::of_loop(event_loop)?;
        tasks::when_done(future, &RELEASE, waiter.as_any())?;
        tasks::cancel(future, None)?;
        *self = Self::Cancelling {
            future: future.clone().unbind(),
            waiter: waiter.clone().unbind(),
            error: error.map(|error| error.into_value(py)),
        };
        Ok(Future::yield_to_task(&waiter))
    }

    #[cfg(not(Py_3_12))]
    fn begin_in_time<'py>(
        &mut self,
        awaitable: Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Sent<'py>> {
        let py = awaitable.py();
        let event_loop = running_loop(py)?;
        let Some(timeout) = timeout else {
            let awaited = Delegate::begin(&awaitable)?;
            drop(awaitable);
            return self.go_on(py, None, awaited, Resume::Next);
        };
        let waiter = Future::of_loop(&event_loop)?;
        let receiver = waiter.clone().into_any().unbind();
        let timer = NativeTimer { action: &tasks::WAKE, receiver, generation: 0 };
        let alarm = Loop::set_timer_later(&event_loop, timeout, timer)?;
        let future = match tasks::ensure_future(&awaitable, Some(&event_loop)) {
            Ok(future) => future,
            Err(error) => {
                waiter.get().abandon(py);
                alarm.cancel(&event_loop)?;
                return Err(error);
            }
        };
        tasks::when_done(&future, &RELEASE, waiter.as_any())?;
        *self = Self::Watching { future: future.unbind(), waiter: waiter.clone().unbind(), alarm };
        Ok(Future::yield_to_task(&waiter))
    }

    #[cfg(not(Py_3_12))]
    fn on_watched<'py>(
        &mut self,
        future: &Bound<'py, PyAny>,
        waiter: &Bound<'py, Future>,
        alarm: Alarm,
        resume: Resume,
    ) -> PyResult<Sent<'py>> {
        let py = future.py();
        let woken = waiter.get().resumed(py, resume);
        let event_loop = waiter.get().event_loop(py)?.into_bound(py);
        waiter.get().abandon(py);
        alarm.cancel(&event_loop)?;
        let error = match woken {
            Err(error) if !exceptions::is_cancelled(py, &error) => return Err(error),
            woken => woken.err(),
        };
        if tasks::is_done(future)? {
            return tasks::result_of(future).map(Sent::Returned);
        }
        tasks::no_longer_when_done(future, &RELEASE, waiter.as_any())?;
        self.cancel_and_wait(future, &event_loop, error)
    }
}

/// The cancelled future is done, or the wait for that was cancelled.
fn on_cancelled<'py>(
    future: &Bound<'py, PyAny>,
    waiter: &Bound<'py, Future>,
    error: Option<Py<PyBaseException>>,
    resume: Resume,
) -> PyResult<Sent<'py>> {
    let py = future.py();
    let woken = waiter.get().resumed(py, resume);
    waiter.get().abandon(py);
    tasks::no_longer_when_done(future, &RELEASE, waiter.as_any())?;
    woken?;
    if let Some(error) = error {
        return Err(PyErr::from_value(error.into_bound(py).into_any()));
    }
    match tasks::result_of(future) {
        Ok(result) => Ok(Sent::Returned(result)),
        Err(error) if exceptions::is_cancelled(py, &error) => Err(timed_out(&error.raised(py))?),
        Err(error) => Err(error),
    }
}

/// What leaves the block of a timeout when `error` was raised in it.
#[inline]
fn leave(py: Python<'_>, timeout: Option<&Bound<'_, Timeout>>, error: PyErr) -> PyErr {
    match timeout {
        Some(timeout) => Timeout::exit(timeout, Some(&error.raised(py))).err().unwrap_or(error),
        None => error,
    }
}

/// asyncio: tasks.py `_release_waiter`.
static RELEASE: DoneAction = DoneAction { name: "_release_waiter", run: release, awaiter: awaiter_of };

fn release(waiter: &Bound<'_, PyAny>, _future: &Bound<'_, PyAny>) -> PyResult<()> {
    let waiter = waiter.cast::<Future>()?;
    if waiter.get().is_done(waiter.py()) { Ok(()) } else { Future::finish(waiter, waiter.py().None()) }
}

fn awaiter_of(waiter: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    waiter.cast::<Future>().ok()?.get().first_waiter(waiter.py())
}
