//! `Timeout`, `timeout()` and `timeout_at()` (asyncio: timeouts.py): cancels the task around which it stands when its time has come.
//!
//! `block` has the functions, and what `async with` calls; `wait_for` that function. The timer is native: it names the `Timeout` and the number of its setting, and a later setting makes it void.

mod block;
mod wait_for;

use pyo3::exceptions::{PyBaseException, PyBaseExceptionGroup, PyException, PyTimeoutError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyTuple};

use crate::coroutines::CoroutineFunction;
use crate::event_loop::{Alarm, Loop, NativeTimer, TimerAction};
use crate::exceptions;
use crate::ffi::call::attached;
use crate::ffi::cell::GilCell;
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::{functions, methods};
use crate::interop::{shown_class, shown_names, stdlib, timeout_state};
use crate::tasks::{self, running_loop};

/// An asynchronous context manager that ends its block with TimeoutError at a deadline; made by `timeout()` and `timeout_at()`.
///
/// Parameters: `when`, the deadline in seconds of the loop's clock (None: never).
/// <https://docs.python.org/3/library/asyncio-task.html#asyncio.Timeout>
#[pyclass(frozen, subclass, weakref, dict, name = "Timeout", module = "rasyncio")]
pub(crate) struct Timeout {
    state: GilCell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

impl Phase {
    /// As texts of asyncio name it.
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Entered => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Exited => "finished",
        }
    }
}

/// A deadline.
enum When {
    Never,
    Seconds(f64),
    /// What `timeout_at()` was given, if that is no float.
    Object(Py<PyAny>),
}

struct State {
    phase: Phase,
    when: When,
    task: Option<Py<PyAny>>,
    /// The task's `cancelling()` when the block was entered.
    cancelling: i64,
    alarm: Option<Alarm>,
    /// Counts the settings of the timer.
    generation: u64,
    event_loop: Option<Py<PyAny>>,
}

impl When {
    fn of(when: Option<&Bound<'_, PyAny>>) -> Self {
        match when {
            None => Self::Never,
            Some(when) if when.is_none() => Self::Never,
            Some(when) => match when.cast_exact::<PyFloat>() {
                Ok(seconds) => Self::Seconds(seconds.value()),
                Err(_) => Self::Object(when.clone().unbind()),
            },
        }
    }

    fn object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Never => None,
            Self::Seconds(seconds) => Some(PyFloat::new(py, *seconds).into_any()),
            Self::Object(when) => Some(when.bind(py).clone()),
        }
    }
}

impl State {
    #[inline]
    fn of(when: When) -> Self {
        Self {
            phase: Phase::Created,
            when,
            task: None,
            cancelling: 0,
            alarm: None,
            generation: 0,
            event_loop: None,
        }
    }
}

impl Recycle for Timeout {
    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        let py = this.py();
        let State { when, task, alarm, event_loop, .. } =
            this.get().state.replace(py, State::of(When::Never));
        drop(task.map(|task| task.into_bound(py)));
        drop(event_loop.map(|event_loop| event_loop.into_bound(py)));
        if let When::Object(when) = when {
            drop(when.into_bound(py));
        }
        if let Some(alarm) = alarm {
            attached(py, || drop(alarm));
        }
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

impl Timeout {
    #[inline]
    fn with_deadline(when: When) -> Self {
        Self { state: GilCell::new(State::of(when)) }
    }

    /// `timeout(delay)`: None is no deadline.
    #[inline]
    pub(crate) fn after<'py>(
        py: Python<'py>,
        delay: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let event_loop = running_loop(py)?;
        let when = match delay {
            Some(delay) => deadline(&event_loop, delay)?,
            None => When::Never,
        };
        recycle::make(
            py,
            when,
            |this: &Bound<'py, Self>, when| {
                let empty = this.get().state.replace(py, State::of(when));
                debug_assert!(empty.task.is_none(), "a dead object holds nothing");
            },
            Self::with_deadline,
        )
    }

    /// `__aenter__()`: the block begins.
    #[inline]
    pub(crate) fn enter(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().phase(py) != Phase::Created {
            return Err(exceptions::runtime("Timeout has already been entered"));
        }
        let event_loop = running_loop(py)?;
        let Some(task) = stdlib(py).running_task(&event_loop)? else {
            return Err(exceptions::runtime("Timeout should be used inside a task"));
        };
        let cancelling = tasks::cancelling(&task)?;
        let (task, running) = (task.unbind(), event_loop.clone().unbind());
        this.get().state.with(py, |state| {
            state.phase = Phase::Entered;
            state.cancelling = cancelling;
            state.task = Some(task);
            state.event_loop = Some(running);
        });
        if this.is_exact_instance_of::<Self>() {
            return Self::set_timer(this, &event_loop);
        }
        let when = this.get().when(py);
        this.call_method1(intern!(py, "reschedule"), (when,)).map(drop)
    }

    /// `__aexit__()`: the block ended, with `raised` if it raised. The error is what it is to raise instead.
    #[inline]
    pub(crate) fn exit(this: &Bound<'_, Self>, raised: Option<&Bound<'_, PyBaseException>>) -> PyResult<()> {
        let py = this.py();
        Self::give_up_timer(this)?;
        let (phase, task, cancelling) = this.get().state.with(py, |state| {
            let before = state.phase;
            state.phase = match before {
                Phase::Expiring => Phase::Expired,
                Phase::Entered => Phase::Exited,
                other => other,
            };
            (before, state.task.take(), state.cancelling)
        });
        let task = task.map(|task| task.into_bound(py));
        let (Phase::Expiring, Some(task)) = (phase, task) else {
            return Ok(());
        };
        // Other requests to cancel that came meanwhile are somebody else's.
        if tasks::uncancel(&task)? > cancelling {
            return Ok(());
        }
        let Some(raised) = raised else {
            return Ok(());
        };
        if raised.is_instance(stdlib(py).cancelled_error.bind(py))? {
            return Err(timed_out(raised)?);
        }
        name_the_cause(raised)?;
        // An ExceptionGroup is both.
        if raised.is_instance_of::<PyBaseExceptionGroup>() && raised.is_instance_of::<PyException>() {
            for part in raised.getattr(intern!(py, "exceptions"))?.try_iter()? {
                name_the_cause(part?.cast::<PyBaseException>()?)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn phase(&self, py: Python<'_>) -> Phase {
        self.state.with(py, |state| state.phase)
    }

    /// Sets the timer to the deadline.
    #[inline]
    fn set_timer(this: &Bound<'_, Self>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let (seconds, generation) = this.get().state.with(py, |state| {
            state.generation += 1;
            let seconds = match &state.when {
                When::Never => None,
                When::Seconds(seconds) => Some(Ok(*seconds)),
                When::Object(when) => Some(Err(when.clone_ref(py))),
            };
            (seconds, state.generation)
        });
        let when = match seconds {
            None => return Ok(()),
            Some(Ok(seconds)) => seconds,
            Some(Err(object)) => attached(py, move || object.extract(py))?,
        };
        let timer = NativeTimer { action: &EXPIRE, receiver: this.clone().into_any().unbind(), generation };
        let alarm = if when <= Loop::time_of(event_loop)? {
            Loop::set_timer_now(event_loop, timer)?
        } else {
            Loop::set_timer(event_loop, when, timer)?
        };
        let old = this.get().state.with(py, |state| state.alarm.replace(alarm));
        drop(old);
        Ok(())
    }

    fn give_up_timer(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let (alarm, event_loop) = this.get().state.with(py, |state| {
            state.generation += 1;
            let event_loop = state.event_loop.as_ref();
            (state.alarm.take(), event_loop.map(|event_loop| event_loop.bind(py).clone()))
        });
        match (alarm, event_loop) {
            (Some(alarm), Some(event_loop)) => alarm.cancel(&event_loop),
            _ => Ok(()),
        }
    }
}

/// `loop.time() + delay`.
#[inline]
fn deadline(event_loop: &Bound<'_, PyAny>, delay: &Bound<'_, PyAny>) -> PyResult<When> {
    if delay.cast_exact::<PyFloat>().is_ok() || delay.cast_exact::<PyInt>().is_ok() {
        return Ok(When::Seconds(Loop::time_of(event_loop)? + delay.extract::<f64>()?));
    }
    let now = event_loop.call_method0(intern!(event_loop.py(), "time"))?;
    Ok(When::of(Some(&now.add(delay)?)))
}

/// `raise TimeoutError from cancelled`, while `cancelled` is being handled.
fn timed_out(cancelled: &Bound<'_, PyBaseException>) -> PyResult<PyErr> {
    let py = cancelled.py();
    let error = py.get_type::<PyTimeoutError>().call0()?;
    error.setattr(intern!(py, "__context__"), cancelled)?;
    error.setattr(intern!(py, "__cause__"), cancelled)?;
    Ok(PyErr::from_value(error))
}

/// asyncio: timeouts.py `_insert_timeout_error`. The block turned the cancellation into another exception: put the TimeoutError between the two.
fn name_the_cause(raised: &Bound<'_, PyBaseException>) -> PyResult<()> {
    let py = raised.py();
    let mut exception = raised.clone().into_any();
    loop {
        let context = exception.getattr(intern!(py, "__context__"))?;
        if context.is_none() {
            return Ok(());
        }
        if context.is_instance(stdlib(py).cancelled_error.bind(py))? {
            let error = timed_out(context.cast::<PyBaseException>()?)?;
            return exception.setattr(intern!(py, "__context__"), error.into_value(py));
        }
        exception = context;
    }
}

/// asyncio: timeouts.py `_on_timeout`.
static EXPIRE: TimerAction =
    TimerAction { name: "Timeout._on_timeout", is_cancelled: is_given_up, run: expire };

fn is_given_up(timeout: &Bound<'_, PyAny>, generation: u64) -> bool {
    let py = timeout.py();
    timeout
        .cast::<Timeout>()
        .is_ok_and(|timeout| timeout.get().state.with(py, |state| state.generation != generation))
}

fn expire(timeout: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = timeout.py();
    let timeout = timeout.cast::<Timeout>()?;
    let task = timeout.get().state.with(py, |state| state.task.as_ref().map(|task| task.clone_ref(py)));
    if let Some(task) = task {
        tasks::cancel(task.bind(py), None)?;
    }
    let alarm = timeout.get().state.with(py, |state| {
        state.phase = Phase::Expiring;
        // The timer has run: it is none any more.
        state.alarm.take()
    });
    drop(alarm);
    Ok(())
}

#[pymethods]
impl Timeout {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(when)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::with_deadline(When::Never)
    }

    #[pyo3(signature = (when))]
    fn __init__(&self, when: &Bound<'_, PyAny>) {
        drop(self.state.replace(when.py(), State::of(When::of(Some(when)))));
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    /// The deadline, or None.
    fn when<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.when.object(py))
    }

    /// Moves the deadline to `when`, in seconds of the loop's clock (None: never).
    ///
    /// Raises RuntimeError unless the block is running and has not timed out.
    fn reschedule(this: &Bound<'_, Self>, when: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        match this.get().phase(py) {
            Phase::Entered => {}
            Phase::Created => return Err(exceptions::runtime("Timeout has not been entered")),
            other => {
                let text = format!("Cannot change state of {} Timeout", other.name());
                return Err(exceptions::runtime(text));
            }
        }
        Self::give_up_timer(this)?;
        let when = When::of(Some(when));
        this.get().state.put(py, |state| &mut state.when, when);
        Self::set_timer(this, &running_loop(py)?)
    }

    /// Whether the deadline passed while the block ran.
    fn expired(&self, py: Python<'_>) -> bool {
        matches!(self.phase(py), Phase::Expiring | Phase::Expired)
    }

    /// asyncio's name for where the block stands.
    #[getter]
    fn _state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        timeout_state(py, self.phase(py).name())
    }

    #[getter]
    fn _when<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.when(py)
    }

    #[getter]
    fn _task(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.task.as_ref().map(|task| task.clone_ref(py)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let phase = self.phase(py);
        if phase != Phase::Entered {
            return Ok(format!("<Timeout [{}]>", phase.name()));
        }
        let when = match self.when(py) {
            Some(when) => {
                let rounded = py.import("builtins")?.call_method1("round", (when, 3))?;
                rounded.str()?.to_string()
            }
            None => "None".to_owned(),
        };
        Ok(format!("<Timeout [{}] when={when}>", phase.name()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            if let When::Object(when) = &state.when {
                visit.call(when)?;
            }
            if let Some(alarm) = &state.alarm {
                alarm.visit(&visit)?;
            }
            visit.call(&state.task)?;
            visit.call(&state.event_loop)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped =
            self.state.with(py, |state| (state.task.take(), state.event_loop.take(), state.alarm.take()));
        drop(dropped);
    }
}

/// Adds the class's methods and the functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    recycle::install::<Timeout>(module.py());
    methods::install::<block::Enter>(module.py())?;
    methods::install::<block::Exit>(module.py())?;
    functions::add::<block::TimeoutFunction>(module)?;
    functions::add::<block::TimeoutAtFunction>(module)?;
    CoroutineFunction::add::<wait_for::WaitForFunction>(module)
}
