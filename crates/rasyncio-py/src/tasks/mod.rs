//! `Task`: a coroutine that the loop drives (asyncio: tasks.py).
//!
//! Files by job: this file (what a task knows and what Rust code does with it), `step` (one step of the coroutine), `methods` (what Python
//! sees), `wakeup` (the callables that stand for a step where a loop is not ours), `registry` (the running tasks of a loop); the functions of asyncio's
//! tasks.py: `ensure` (also `create_task()`), `gather`, `shield`; `outcome` (what they ask of futures of any kind).
//! Invariant: a task is in at most one of three places: in the ready queue, behind one future (`waiter`), or running.

mod as_completed;
mod by_address;
mod chain;
mod eager;
mod ensure;
mod gather;
mod methods;
mod outcome;
pub(crate) mod registry;
mod shield;
mod sleep;
pub(crate) mod step;
mod wait;
mod wakeup;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{ffi, intern};

pub(crate) use by_address::ByAddress;
pub(crate) use chain::{exception_of_asyncio, wrap as wrap_future};
pub(crate) use eager::EagerTaskFactory;
pub(crate) use ensure::{ensure_future, is_coroutine, running_loop, spawn};
pub(crate) use gather::{GatheringFuture, gather};
pub(crate) use outcome::{
    Ended, cancel, cancelling, is_done, no_longer_when_done, result_of, uncancel, when_done,
};
use registry::Slot;
pub(crate) use sleep::WAKE;
pub(crate) use sleep::next_turn;
pub(crate) use wakeup::{TaskStep, TaskWakeup};

use crate::coroutines::CoroutineFunction;
use crate::event_loop::Loop;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::ffi::finalize::{Finalize, Released};
use crate::ffi::functions;
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::slots::AwaitSlot;
use crate::futures::Future;
use crate::futures::state::{FutureState, Status};

/// A coroutine that the event loop runs, made by `create_task()`.
///
/// <https://docs.python.org/3/library/asyncio-task.html#asyncio.Task>
#[pyclass(frozen, subclass, extends = Future, name = "Task", module = "rasyncio")]
pub(crate) struct Task {
    pub(super) state: GilCell<TaskState>,
}

/// Adds the functions of asyncio's tasks.py to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    eager::add(module)?;
    functions::add::<as_completed::AsCompletedFunction>(module)?;
    functions::add::<chain::RunCoroutineThreadsafe>(module)?;
    functions::add::<chain::WrapFuture>(module)?;
    functions::add::<ensure::CreateTaskFunction>(module)?;
    functions::add::<ensure::EnsureFuture>(module)?;
    functions::add::<gather::Gather>(module)?;
    functions::add::<shield::Shield>(module)?;
    CoroutineFunction::add::<sleep::SleepFunction>(module)?;
    CoroutineFunction::add::<wait::WaitFunction>(module)
}

/// A name is made into text when somebody asks for it: most tasks are never named.
pub(super) enum Name {
    Number(u64),
    Text(Py<PyAny>),
}

/// The changing part of a `Task` that its `Future` does not have.
pub(super) struct TaskState {
    pub(super) coroutine: Option<Py<PyAny>>,
    pub(super) context: Option<Py<PyAny>>,
    pub(super) name: Name,
    /// The future that the task waits for.
    pub(super) waiter: Option<Py<PyAny>>,
    /// How often `cancel()` was asked for and not taken back by `uncancel()`.
    pub(super) cancel_requests: u32,
    /// The next step is to raise CancelledError.
    pub(super) must_cancel: bool,
    pub(super) log_destroy_pending: bool,
    /// Where the loop keeps it while it runs.
    pub(super) slot: Option<Slot>,
}

impl TaskState {
    pub(super) const fn uninitialised() -> Self {
        Self {
            coroutine: None,
            context: None,
            name: Name::Number(0),
            waiter: None,
            cancel_requests: 0,
            must_cancel: false,
            log_destroy_pending: false,
            slot: None,
        }
    }

    fn of(coroutine: Py<PyAny>, name: Name, context: Py<PyAny>) -> Self {
        Self {
            coroutine: Some(coroutine),
            context: Some(context),
            name,
            log_destroy_pending: true,
            ..Self::uninitialised()
        }
    }
}

/// Tasks without a name are numbered through the whole process, as asyncio does.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Name {
    /// What was given as `name=`: None asks for a number.
    pub(super) fn of(name: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        match name {
            None => Ok(Self::Number(next_number())),
            Some(name) if name.is_exact_instance_of::<PyString>() => Ok(Self::Text(name.clone().unbind())),
            Some(name) => Ok(Self::Text(name.str()?.into_any().unbind())),
        }
    }
}

impl Task {
    /// A task of our loop, in the loop's registry and not scheduled yet.
    #[inline]
    pub(crate) fn make<'py>(
        event_loop: &Bound<'py, Loop>,
        coroutine: Py<PyAny>,
        name: Option<&Bound<'py, PyAny>>,
        context: Py<PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let state = TaskState::of(coroutine, Name::of(name)?, context);
        let task = recycle::make(
            py,
            (event_loop.clone().into_any().unbind(), state),
            |this: &Bound<'py, Self>, (owner, state)| {
                this.as_super().get().state.with(py, |future| future.event_loop = Some(owner));
                let empty = this.get().state.replace(py, state);
                debug_assert!(empty.coroutine.is_none(), "a dead object holds nothing");
            },
            |(owner, state)| {
                PyClassInitializer::from(Future::pending(owner))
                    .add_subclass(Self { state: GilCell::new(state) })
            },
        )?;
        if event_loop.get().is_debug(py) {
            task.as_super().get().initialise(event_loop.as_any())?;
        }
        Ok(task)
    }

    /// The context that a task was given, or else a copy of the current one.
    #[inline]
    pub(crate) fn context_for(py: Python<'_>, given: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        match given {
            // asyncio: until 3.14 what is no context fails the first step.
            Some(given) if py.version_info() >= (3, 15) => context::checked(given),
            Some(given) => Ok(given.clone().unbind()),
            None => context::copy_current(py),
        }
    }

    #[inline]
    pub(crate) fn context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.context.as_ref().map(|context| context.clone_ref(py)))
    }

    /// Asks the task to stop: cancels what it waits for, or else raises CancelledError at its next step.
    pub(crate) fn request_cancel(this: &Bound<'_, Self>, message: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = this.py();
        let future = this.as_super();
        if future.get().is_done(py) {
            return Ok(false);
        }
        let waiter = this.get().state.with(py, |state| {
            state.cancel_requests += 1;
            state.waiter.as_ref().map(|waiter| waiter.clone_ref(py))
        });
        if let Some(waiter) = waiter
            && step::cancel_waiter(waiter.bind(py), message.as_ref())?
        {
            // The waiter is done now and wakes the task with CancelledError.
            return Ok(true);
        }
        this.get().state.with(py, |state| state.must_cancel = true);
        let mut message = message;
        future.get().state.with(py, |state| crate::futures::message_slot(state, &mut message));
        drop(message);
        Ok(true)
    }

    /// Whether the task is on a loop of ours, and which.
    pub(crate) fn native_loop<'py>(this: &Bound<'py, Self>) -> Option<Bound<'py, Loop>> {
        let py = this.py();
        let event_loop = this.as_super().get().event_loop(py).ok()?;
        event_loop.into_bound(py).cast_into::<Loop>().ok()
    }

    /// What a destroyed, pending task reports.
    fn report_destroyed(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Ok(event_loop) = this.as_super().get().event_loop(py) else {
            return Ok(());
        };
        let report = PyDict::new(py);
        report.set_item("task", this)?;
        report.set_item("message", "Task was destroyed but it is pending!")?;
        let traceback = this.getattr(intern!(py, "_source_traceback"))?;
        if !traceback.is_none() {
            report.set_item("source_traceback", traceback)?;
        }
        event_loop.bind(py).call_method1(intern!(py, "call_exception_handler"), (report,))?;
        Ok(())
    }
}

/// A future of ours: `Future`, `Task` or `gather()`'s. A subclass is treated as a foreign future: it may have methods of its own, which are to be called.
#[inline]
pub(crate) fn as_future<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Future>> {
    if let Ok(future) = object.cast_exact::<Future>() {
        return Some(future);
    }
    if let Ok(task) = object.cast_exact::<Task>() {
        return Some(task.as_super());
    }
    object.cast_exact::<GatheringFuture>().ok().map(Bound::as_super)
}

/// asyncio's `_get_loop`: `get_loop()`, or `_loop` of older futures.
pub(crate) fn loop_of<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if let Some(own) = as_future(future) {
        return Ok(own.get().event_loop(py)?.into_bound(py));
    }
    match future.getattr_opt(intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0(),
        None => future.getattr(intern!(py, "_loop")),
    }
}

impl AwaitSlot for Task {
    #[inline]
    fn iterator<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Future::iterator(this.as_super())
    }
}

impl Finalize for Task {
    #[inline]
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        let py = this.py();
        let future = this.as_super().get();
        future.state.with(py, |state| state.status == Status::Pending || state.log_traceback)
    }

    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let pending = !this.as_super().get().is_done(py);
        if pending
            && this.get().state.with(py, |state| state.log_destroy_pending)
            && let Err(error) = Self::report_destroyed(this)
        {
            error.write_unraisable(py, Some(this));
        }
        Future::last_words(this.as_super());
    }

    fn release(this: &Bound<'_, Self>) -> Released {
        let py = this.py();
        let (coroutine, context, waiter, name) = this.get().state.with(py, |state| {
            let name = std::mem::replace(&mut state.name, Name::Number(0));
            (state.coroutine.take(), state.context.take(), state.waiter.take(), name)
        });
        if let Name::Text(name) = name {
            drop(name.into_bound(py));
        }
        drop(coroutine.map(|coroutine| coroutine.into_bound(py)));
        drop(context.map(|context| context.into_bound(py)));
        drop(waiter.map(|waiter| waiter.into_bound(py)));
        this.as_super().get().release_state(py);
        Released::Everything
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

impl Recycle for Task {
    const HAS_FINALIZER: bool = true;
    const KEPT: usize = recycle::MANY;

    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        !Self::has_last_words(this)
    }

    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        let py = this.py();
        Self::release(this);
        this.as_super().get().state.with(py, FutureState::reset);
        this.get().state.with(py, |state| {
            (state.must_cancel, state.log_destroy_pending, state.cancel_requests) = (false, false, 0);
            state.slot = None;
        });
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

impl TaskState {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.coroutine)?;
        visit.call(&self.context)?;
        visit.call(&self.waiter)?;
        if let Name::Text(name) = &self.name {
            visit.call(name)?;
        }
        Ok(())
    }
}
