//! `as_completed()`: the results of awaitables in the order in which they are done.
//!
//! The iterator is its own queue: of the futures that are done, and of the futures by which tasks wait for the next one.

use std::collections::VecDeque;
use std::ffi::CStr;

use pyo3::exceptions::{PyStopAsyncIteration, PyTimeoutError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PySet;

use super::by_address::ByAddress;
use super::ensure::{ensure_future, is_coroutine, is_future};
use super::outcome;
use crate::coroutines::{Coroutine, Resume, Steps};
use crate::event_loop::{Alarm, Loop, NativeTimer, TimerAction, current_loop};
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::ffi::send::Sent;
use crate::futures::Future;
use crate::futures::callback::DoneAction;
use crate::interop::stdlib;

/// `asyncio.as_completed()`.
pub(super) struct AsCompletedFunction;

impl Function for AsCompletedFunction {
    const NAME: &'static CStr = c"as_completed";
    const DOCUMENTATION: &'static CStr = c"as_completed(fs, *, timeout=None)\n--\n\n\
        Runs awaitables concurrently; an iterator of coroutines, each of which gives the next result that is there.\n\n\
        From 3.13 on also an asynchronous iterator, of the futures themselves (tasks for coroutines). Parameters: `timeout`, seconds after which \
        TimeoutError is raised (None: never).";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [awaitables, timeout] = arguments.bind(&PARAMETERS)?;
        let request = Request {
            awaitables: functions::given(awaitables)?.clone().unbind(),
            timeout: timeout.filter(|timeout| !timeout.is_none()).map(|timeout| timeout.clone().unbind()),
        };
        let iterator = Bound::new(py, AsCompleted { state: GilCell::new(State::of(request)) })?;
        if cfg!(Py_3_13) {
            AsCompleted::begin(&iterator)?;
        }
        Ok(iterator.into_any())
    }
}

static PARAMETERS: Parameters<2> =
    Parameters { function: "as_completed", names: ["fs", "timeout"], positional: 1, required: 1 };

/// The iterator of `as_completed()`.
#[pyclass(frozen, weakref, name = "_AsCompletedIterator", module = "rasyncio")]
pub(crate) struct AsCompleted {
    state: GilCell<State>,
}

/// What the function was given.
struct Request {
    awaitables: Py<PyAny>,
    timeout: Option<Py<PyAny>>,
}

struct State {
    /// Up to 3.12 nothing begins before the first `next()`.
    request: Option<Request>,
    /// In the order they were done; None for one that was not done in time.
    done: VecDeque<Option<Py<PyAny>>>,
    pending: ByAddress<Py<PyAny>>,
    /// How many were not handed out.
    left: usize,
    /// By which tasks wait for the next one.
    waiters: VecDeque<Py<Future>>,
    alarm: Option<Alarm>,
    event_loop: Option<Py<PyAny>>,
    /// The task that called the function, for call graphs.
    parent: Option<Py<PyAny>>,
}

impl State {
    fn of(request: Request) -> Self {
        Self {
            request: Some(request),
            done: VecDeque::new(),
            pending: ByAddress::default(),
            left: 0,
            waiters: VecDeque::new(),
            alarm: None,
            event_loop: None,
            parent: None,
        }
    }
}

/// asyncio: tasks.py `_AsCompletedIterator._handle_completion`.
static COMPLETED: DoneAction =
    DoneAction { name: "_AsCompletedIterator._handle_completion", run: on_completion, awaiter: parent_of };

/// asyncio: tasks.py `_AsCompletedIterator._handle_timeout`.
static TIMED_OUT: TimerAction =
    TimerAction { name: "_AsCompletedIterator._handle_timeout", is_cancelled: is_complete, run: on_timeout };

impl AsCompleted {
    /// Starts what the function was given, unless that was done before.
    fn begin(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(request) = this.get().state.with(py, |state| state.request.take()) else {
            return Ok(());
        };
        let awaitables = request.awaitables.bind(py);
        check_iterable(awaitables)?;
        let event_loop = current_loop(py)?;
        let parent = match stdlib(py).running_loop(py)? {
            Some(running) if cfg!(Py_3_14) => stdlib(py).running_task(&running)?.map(Bound::unbind),
            _ => None,
        };
        let kept = event_loop.clone().unbind();
        this.get().state.with(py, |state| {
            state.event_loop = Some(kept);
            state.parent = parent;
        });
        let different = PySet::new(py, awaitables.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        let mut futures = Vec::with_capacity(different.len());
        for awaitable in &different {
            futures.push(ensure_future(&awaitable, Some(&event_loop))?);
        }
        for future in futures {
            let owned = future.clone().unbind();
            let is_known = this.get().state.with(py, |state| {
                let old = state.pending.insert(future.as_ptr().addr(), owned);
                state.left += usize::from(old.is_none());
                old
            });
            if is_known.is_none() {
                outcome::when_done(&future, &COMPLETED, this.as_any())?;
            }
        }
        if let Some(timeout) = request.timeout
            && this.get().state.with(py, |state| state.left > 0)
        {
            let receiver = this.clone().into_any().unbind();
            let timer = NativeTimer { action: &TIMED_OUT, receiver, generation: 0 };
            let alarm = Loop::set_timer_later(&event_loop, timeout.bind(py), timer)?;
            this.get().state.with(py, |state| state.alarm = Some(alarm));
        }
        Ok(())
    }

    /// Takes the right to one more; false when all were handed out.
    fn reserve(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            let is_left = state.left > 0;
            state.left -= usize::from(is_left);
            is_left
        })
    }

    /// One more is there: wakes the task that waits longest.
    fn wake_next(&self, py: Python<'_>) -> PyResult<()> {
        while let Some(waiter) = self.state.with(py, |state| state.waiters.pop_front()) {
            let waiter = waiter.into_bound(py);
            if !waiter.get().is_done(py) {
                return Future::finish(&waiter, py.None());
            }
        }
        Ok(())
    }

    fn put(&self, py: Python<'_>, future: Option<Py<PyAny>>) -> PyResult<()> {
        self.state.with(py, |state| state.done.push_back(future));
        self.wake_next(py)
    }

    /// Whoever waited by `waiter` gave up.
    fn forget(&self, waiter: &Bound<'_, Future>) -> PyResult<()> {
        let py = waiter.py();
        let was_woken = waiter.get().has_result(py);
        waiter.get().abandon(py);
        let (removed, passes_on) = self.state.with(py, |state| {
            state.left += 1;
            let place = state.waiters.iter().position(|other| other.is(waiter));
            (place.and_then(|place| state.waiters.remove(place)), !state.done.is_empty() && was_woken)
        });
        drop(removed);
        // It was woken for one that it does not take: the next in line may have it.
        if passes_on { self.wake_next(py) } else { Ok(()) }
    }
}

fn check_iterable(awaitables: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = awaitables.py();
    if cfg!(Py_3_13) {
        if stdlib(py).isawaitable.bind(py).call1((awaitables,))?.is_truthy()? {
            let class = awaitables.get_type();
            let text = format!("expects an iterable of awaitables, not {}", class.name()?);
            return Err(PyTypeError::new_err(text));
        }
    } else if is_future(awaitables)? || is_coroutine(awaitables)? {
        let text = format!("expect an iterable of futures, not {}", awaitables.get_type().name()?);
        return Err(PyTypeError::new_err(text));
    }
    Ok(())
}

fn on_completion(receiver: &Bound<'_, PyAny>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = receiver.py();
    let own = receiver.cast::<AsCompleted>()?.get();
    let (removed, alarm, event_loop) = own.state.with(py, |state| {
        let removed = state.pending.remove(&future.as_ptr().addr());
        let alarm = if state.pending.is_empty() { state.alarm.take() } else { None };
        (removed, alarm, state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py)))
    });
    let Some(future) = removed else {
        // The timeout was faster.
        return Ok(());
    };
    own.put(py, Some(future))?;
    match (alarm, event_loop) {
        (Some(alarm), Some(event_loop)) => alarm.cancel(event_loop.bind(py)),
        _ => Ok(()),
    }
}

fn is_complete(receiver: &Bound<'_, PyAny>, _generation: u64) -> bool {
    let py = receiver.py();
    receiver
        .cast::<AsCompleted>()
        .is_ok_and(|iterator| iterator.get().state.with(py, |state| state.pending.is_empty()))
}

fn on_timeout(receiver: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = receiver.py();
    let own = receiver.cast::<AsCompleted>()?.get();
    let (pending, alarm) =
        own.state.with(py, |state| (std::mem::take(&mut state.pending), state.alarm.take()));
    drop(alarm);
    for future in pending.into_values() {
        outcome::no_longer_when_done(future.bind(py), &COMPLETED, receiver)?;
        own.put(py, None)?;
    }
    Ok(())
}

fn parent_of(receiver: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    let py = receiver.py();
    let iterator = receiver.cast::<AsCompleted>().ok()?;
    iterator.get().state.with(py, |state| state.parent.as_ref().map(|parent| parent.clone_ref(py)))
}

/// What is asked of the iterator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A result, by plain iteration.
    Result,
    /// A future, by `async for`.
    Future,
}

/// Waits for the next future that is done.
struct Next {
    iterator: Py<AsCompleted>,
    asked: Asked,
    waiter: Option<Py<Future>>,
}

impl Steps for Next {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.iterator)?;
        visit.call(&self.waiter)
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waiter.as_ref().map(|waiter| waiter.bind(py).clone().into_any())
    }
}

impl Next {
    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let iterator = self.iterator.bind(py);
        match self.waiter.take() {
            None if self.asked == Asked::Future && !iterator.get().reserve(py) => {
                return Err(PyStopAsyncIteration::new_err(()));
            }
            None => {}
            Some(waiter) => {
                let waiter = waiter.into_bound(py);
                if let Err(error) = waiter.get().resumed(py, resume) {
                    iterator.get().forget(&waiter)?;
                    return Err(error);
                }
            }
        }
        match iterator.get().state.with(py, |state| state.done.pop_front()) {
            Some(Some(future)) if self.asked == Asked::Future => Ok(Sent::Returned(future.into_bound(py))),
            Some(Some(future)) => outcome::result_of(future.bind(py)).map(Sent::Returned),
            Some(None) => Err(PyTimeoutError::new_err(())),
            None => {
                let event_loop = iterator.get().state.with(py, |state| {
                    state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py).into_bound(py))
                });
                let event_loop = event_loop.ok_or_else(|| exceptions::runtime("no running event loop"))?;
                let waiter = Future::of_loop(&event_loop)?;
                let kept = waiter.clone().unbind();
                iterator.get().state.with(py, |state| state.waiters.push_back(kept));
                self.waiter = Some(waiter.clone().unbind());
                Ok(Future::yield_to_task(&waiter))
            }
        }
    }
}

#[pymethods]
impl AsCompleted {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, Coroutine>>> {
        let py = this.py();
        Self::begin(this)?;
        if !this.get().reserve(py) {
            return Ok(None);
        }
        let machine = Next { iterator: this.clone().unbind(), asked: Asked::Result, waiter: None };
        let name = if cfg!(Py_3_13) {
            "_AsCompletedIterator._wait_for_one"
        } else {
            "as_completed.<locals>._wait_for_one"
        };
        Coroutine::of(py, name, machine).map(Some)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            if let Some(request) = &state.request {
                visit.call(&request.awaitables)?;
                visit.call(&request.timeout)?;
            }
            state.done.iter().try_for_each(|future| visit.call(future))?;
            state.pending.values().try_for_each(|future| visit.call(future))?;
            state.waiters.iter().try_for_each(|waiter| visit.call(waiter))?;
            if let Some(alarm) = &state.alarm {
                alarm.visit(&visit)?;
            }
            visit.call(&state.event_loop)?;
            visit.call(&state.parent)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let queues = (std::mem::take(&mut state.done), std::mem::take(&mut state.waiters));
            let pending = std::mem::take(&mut state.pending);
            (queues, pending, state.request.take(), state.event_loop.take(), state.parent.take())
        });
        drop(dropped);
    }
}

#[cfg(Py_3_13)]
#[pymethods]
impl AsCompleted {
    fn __aiter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __anext__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let machine = Next { iterator: this.clone().unbind(), asked: Asked::Future, waiter: None };
        Coroutine::of(this.py(), "_AsCompletedIterator.__anext__", machine)
    }
}
