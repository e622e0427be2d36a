//! What waits for its time: the handles of `call_later()` and `call_at()`, and timers of rasyncio's own, for which no Python object is made.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{Loop, Ready};
use crate::handles::{Call, TimerHandle};

/// What is to happen at a time, for some receiver.
pub(crate) struct TimerAction {
    /// What asyncio calls it, for reports.
    pub(crate) name: &'static str,
    /// Whether this setting of the timer was given up. Must not call Python.
    pub(crate) is_cancelled: fn(&Bound<'_, PyAny>, u64) -> bool,
    pub(crate) run: fn(&Bound<'_, PyAny>) -> PyResult<()>,
}

/// A timer of rasyncio's own.
pub(crate) struct NativeTimer {
    pub(crate) action: &'static TimerAction,
    pub(crate) receiver: Py<PyAny>,
    /// Which setting this is: a receiver that sets its timer again gives up the ones before.
    pub(crate) generation: u64,
}

impl NativeTimer {
    fn is_cancelled(&self, py: Python<'_>) -> bool {
        (self.action.is_cancelled)(self.receiver.bind(py), self.generation)
    }

    pub(super) fn run(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_cancelled(py) {
            return Ok(());
        }
        (self.action.run)(self.receiver.bind(py))
    }

    pub(super) fn name(&self) -> &'static str {
        self.action.name
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.receiver)
    }
}

/// A timer that was set: what its owner needs to give it up.
pub(crate) enum Alarm {
    Native,
    /// The handle of a loop that is not ours.
    Foreign(Py<PyAny>),
}

impl Alarm {
    /// Gives the timer up; of a native one, the receiver must have become `is_cancelled` before.
    pub(crate) fn cancel(self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        match self {
            Self::Native => {
                if let Ok(event_loop) = event_loop.cast::<Loop>() {
                    event_loop.get().on_timer_cancelled(py);
                }
                Ok(())
            }
            Self::Foreign(handle) => handle.bind(py).call_method0(intern!(py, "cancel")).map(drop),
        }
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Native => Ok(()),
            Self::Foreign(handle) => visit.call(handle),
        }
    }
}

/// A native timer where a loop that is not ours needs something to call.
#[pyclass(frozen, name = "TimerCallback", module = "rasyncio")]
pub(crate) struct TimerCallback {
    timer: NativeTimer,
}

impl TimerCallback {
    pub(super) fn make(py: Python<'_>, timer: NativeTimer) -> PyResult<Py<Self>> {
        Py::new(py, Self { timer })
    }
}

#[pymethods]
impl TimerCallback {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.timer.run(py)
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.timer.name()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.timer.visit(&visit)
    }
}

/// An item of the heap.
pub(super) enum Timer {
    Handle(Py<TimerHandle>),
    Native(NativeTimer),
}

impl Timer {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Handle(handle) => visit.call(handle),
            Self::Native(timer) => timer.visit(visit),
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Handle(handle) => Self::Handle(handle.clone_ref(py)),
            Self::Native(NativeTimer { action, receiver, generation }) => {
                let (receiver, generation) = (receiver.clone_ref(py), *generation);
                Self::Native(NativeTimer { action, receiver, generation })
            }
        }
    }

    fn is_handle(&self) -> bool {
        matches!(self, Self::Handle(_))
    }

    fn is_cancelled(&self, py: Python<'_>) -> bool {
        match self {
            Self::Handle(handle) => handle.bind(py).as_super().get().is_cancelled(py),
            Self::Native(timer) => timer.is_cancelled(py),
        }
    }
}

impl Loop {
    /// Runs `timer` when the clock of `event_loop`, a loop of any kind, reaches `when`.
    pub(crate) fn set_timer(event_loop: &Bound<'_, PyAny>, when: f64, timer: NativeTimer) -> PyResult<Alarm> {
        let py = event_loop.py();
        if let Some(own) = Self::unchanged(event_loop) {
            own.get().check_usable()?;
            if own.get().is_debug(py) {
                own.get().check_thread()?;
            }
            own.get().timers.with(py, |timers| timers.insert(when, Timer::Native(timer)));
            return Ok(Alarm::Native);
        }
        let callback = TimerCallback::make(py, timer)?;
        let handle = event_loop.call_method1(intern!(py, "call_at"), (when, callback))?;
        Ok(Alarm::Foreign(handle.unbind()))
    }

    /// Runs `timer` after `delay` seconds of `event_loop`, a loop of any kind.
    pub(crate) fn set_timer_later(
        event_loop: &Bound<'_, PyAny>,
        delay: &Bound<'_, PyAny>,
        timer: NativeTimer,
    ) -> PyResult<Alarm> {
        if let Some(own) = Self::unchanged(event_loop) {
            return Self::set_timer(event_loop, Self::now(own)? + delay.extract::<f64>()?, timer);
        }
        let py = event_loop.py();
        let callback = TimerCallback::make(py, timer)?;
        let handle = event_loop.call_method1(intern!(py, "call_later"), (delay, callback))?;
        Ok(Alarm::Foreign(handle.unbind()))
    }

    /// Runs `timer` in the next turn of `event_loop`.
    pub(crate) fn set_timer_now(event_loop: &Bound<'_, PyAny>, timer: NativeTimer) -> PyResult<Alarm> {
        let py = event_loop.py();
        if let Some(own) = Self::unchanged(event_loop) {
            own.get().schedule(py, Ready::Timer(timer))?;
            return Ok(Alarm::Native);
        }
        let callback = TimerCallback::make(py, timer)?;
        let handle = event_loop.call_method1(intern!(py, "call_soon"), (callback,))?;
        Ok(Alarm::Foreign(handle.unbind()))
    }

    /// A handle for each timer.
    pub(super) fn timer_handles(this: &Bound<'_, Self>) -> PyResult<Vec<Py<TimerHandle>>> {
        let py = this.py();
        let timers: Vec<_> = this.get().timers.with(py, |timers| {
            let timers = timers.iter().filter(|(_, timer)| timer.is_handle() || !timer.is_cancelled(py));
            timers.map(|(when, timer)| (when, timer.clone_ref(py))).collect()
        });
        let handle = |(when, timer): (f64, Timer)| match timer {
            Timer::Handle(handle) => Ok(handle),
            Timer::Native(timer) => {
                let callback = TimerCallback::make(py, timer)?.into_any();
                let event_loop = this.clone().into_any().unbind();
                let arguments = PyTuple::empty(py).unbind();
                let call = Call::of(py, callback, arguments, event_loop, None, false)?;
                Ok(TimerHandle::make(py, when.into(), call)?.unbind())
            }
        };
        timers.into_iter().map(handle).collect()
    }

    pub(super) fn discard_cancelled_timers(&self, py: Python<'_>) {
        let mut removed = Vec::new();
        self.timers.with(py, |timers| {
            timers.discard_cancelled(|timer| timer.is_cancelled(py), &mut removed);
        });
        for timer in removed {
            if let Timer::Handle(handle) = timer {
                handle.get().unschedule(py);
            }
        }
    }

    pub(super) fn queue_due_timers(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        // asyncio: a timer that is due within the clock's resolution is due; within the next number, where numbers are that large.
        let now = Self::now(this)?;
        let end_time = (now + own.clock_resolution()).max(now.next_up());
        own.timers.with(py, |timers| {
            timers.take_due(
                end_time,
                |timer| timer.is_cancelled(py),
                |timer| match timer {
                    Timer::Handle(handle) => {
                        handle.get().unschedule(py);
                        own.enqueue(py, Ready::Handle(handle.into_bound(py).into_super().unbind()));
                    }
                    Timer::Native(timer) => own.enqueue(py, Ready::Timer(timer)),
                },
            );
        });
        Ok(())
    }
}
