//! Waiting at a condition: the bodies of `wait()` and `wait_for()`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::super::boolean;
use super::super::gate::{Inner, Pass};
use super::super::lock::Lock;
use super::super::waiters::LoopBound;
use super::Condition;
use crate::coroutines::{Delegate, Resume, Steps};
use crate::exceptions::{self, Raised};
use crate::ffi::call::call_method_none;
use crate::ffi::send::Sent;
use crate::futures::waiting::Waiting;

/// `await lock.acquire()` on its way.
pub(super) type Acquiring = Inner<Pass<Lock>>;

/// The body of `wait()`: the lock is given up, a notification waited for, and the lock taken again, whatever happened.
pub(crate) struct Wait {
    condition: Py<Condition>,
    stage: Stage,
    /// What ended the wait, if not a notification: raised once the lock is held again.
    failure: Option<Py<PyAny>>,
}

enum Stage {
    Created,
    Waiting(Waiting),
    Acquiring(Acquiring),
}

impl Wait {
    pub(crate) fn new(condition: &Bound<'_, Condition>) -> Self {
        Self { condition: condition.clone().unbind(), stage: Stage::Created, failure: None }
    }

    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let condition = self.condition.bind(py).clone();
        let guard = condition.get().guard(py)?;
        if !guard.is_locked()? {
            return Err(exceptions::runtime("cannot wait on un-acquired lock"));
        }
        // Before the lock is let go of: on a wrong loop nothing has happened yet.
        let future = LoopBound::new_future(condition.as_super())?;
        guard.release()?;
        condition.get().waiters.push(&future)?;
        let waiting = Waiting::begin(&future)?;
        let sent = waiting.step(py, Resume::Next);
        self.stage = Stage::Waiting(waiting);
        Ok(sent)
    }

    /// The wait is over: takes the lock again.
    fn reacquire<'py>(&mut self, py: Python<'py>, waiting: &Waiting, sent: Sent<'py>) -> PyResult<Sent<'py>> {
        let condition = self.condition.bind(py).clone();
        condition.get().waiters.remove(&waiting.future(py))?;
        if let Sent::Raised(error) = sent {
            self.failure = Some(error.raised(py).into_any().unbind());
        }
        self.acquire(py)
    }

    /// From here on a cancellation does not end the wait for the lock; the last one is raised behind it.
    fn acquire<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let guard = self.condition.get().guard(py)?;
        let mut acquiring = guard.begin_acquire()?;
        let sent = acquiring.first_step(py);
        self.stage = Stage::Acquiring(acquiring);
        self.on_acquiring(py, sent)
    }

    fn on_acquiring<'py>(&mut self, py: Python<'py>, sent: Sent<'py>) -> PyResult<Sent<'py>> {
        match sent {
            Sent::Yielded(_) => return Ok(sent),
            Sent::Raised(error) if exceptions::is_cancelled(py, &error) => {
                self.failure = Some(error.raised(py).into_any().unbind());
                return self.acquire(py);
            }
            Sent::Raised(error) => self.failure = Some(error.raised(py).into_any().unbind()),
            Sent::Returned(_) => {}
        }
        let Some(failure) = self.failure.take() else {
            return Ok(Sent::Returned(boolean(py, true)));
        };
        // It may have been notified, and has no use for it: that is somebody else's now.
        self.condition.get().wake_unchecked(py, 1)?;
        Err(PyErr::from_value(failure.into_bound(py)))
    }
}

impl Steps for Wait {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let outcome = match std::mem::replace(&mut self.stage, Stage::Created) {
            Stage::Created => self.begin(py),
            Stage::Waiting(waiting) => match waiting.step(py, resume) {
                Sent::Yielded(awaited) => {
                    self.stage = Stage::Waiting(waiting);
                    Ok(Sent::Yielded(awaited))
                }
                sent => self.reacquire(py, &waiting, sent),
            },
            Stage::Acquiring(mut acquiring) => {
                let sent = acquiring.step(py, resume);
                self.stage = Stage::Acquiring(acquiring);
                self.on_acquiring(py, sent)
            }
        };
        outcome.unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.condition)?;
        visit.call(&self.failure)?;
        match &self.stage {
            Stage::Created => Ok(()),
            Stage::Waiting(waiting) => waiting.visit(visit),
            Stage::Acquiring(acquiring) => acquiring.visit(visit),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match &self.stage {
            Stage::Created => None,
            Stage::Waiting(waiting) => Some(waiting.awaited(py)),
            Stage::Acquiring(acquiring) => acquiring.awaited(py),
        }
    }
}

/// The body of `wait_for()`.
pub(super) struct WaitFor {
    condition: Py<Condition>,
    predicate: Py<PyAny>,
    waiting: Option<Inner<Box<Wait>>>,
}

impl WaitFor {
    pub(super) fn new(condition: &Bound<'_, Condition>, predicate: Py<PyAny>) -> Self {
        Self { condition: condition.clone().unbind(), predicate, waiting: None }
    }

    fn go_on<'py>(&mut self, py: Python<'py>, mut resume: Resume) -> PyResult<Sent<'py>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                match waiting.step(py, resume) {
                    Sent::Returned(_) => self.waiting = None,
                    sent => return Ok(sent),
                }
            }
            let result = self.predicate.bind(py).call0()?;
            if result.is_truthy()? {
                return Ok(Sent::Returned(result));
            }
            self.waiting = Some(self.begin(py)?);
            resume = Resume::Next;
        }
    }

    /// `self.wait()`, which a subclass may have changed.
    fn begin(&self, py: Python<'_>) -> PyResult<Inner<Box<Wait>>> {
        let condition = self.condition.bind(py);
        if condition.is_exact_instance_of::<Condition>() {
            return Ok(Inner::Native(Box::new(Wait::new(condition))));
        }
        let waited = call_method_none(condition, intern!(py, "wait"))?;
        Delegate::begin(&waited).map(Inner::Other)
    }
}

impl Steps for WaitFor {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.condition)?;
        visit.call(&self.predicate)?;
        self.waiting.as_ref().map_or(Ok(()), |waiting| waiting.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waiting.as_ref().and_then(|waiting| waiting.awaited(py))
    }
}
