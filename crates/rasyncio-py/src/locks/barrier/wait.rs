//! Passing a barrier: the bodies of `wait()`, `reset()` and `abort()`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::super::condition::Wait;
use super::super::gate::{Answer, Held, Pass};
use super::super::lock::Lock;
use super::{Barrier, Phase};
use crate::coroutines::{Resume, Steps};
use crate::exceptions;
use crate::ffi::send::Sent;

impl Barrier {
    /// The barrier takes one in; gives its number, and whether it is the last that was missing.
    fn take_in(&self, py: Python<'_>) -> (i64, bool) {
        self.state.with(py, |state| {
            let index = state.count;
            state.count += 1;
            let is_last = state.count == state.parties;
            if is_last {
                state.phase = Phase::Draining;
            }
            (index, is_last)
        })
    }

    /// One leaves. The last to do so opens the barrier for the next round.
    fn let_out(&self, py: Python<'_>) -> PyResult<()> {
        let is_empty = self.state.with(py, |state| {
            state.count -= 1;
            if state.count == 0 && matches!(state.phase, Phase::Resetting | Phase::Draining) {
                state.phase = Phase::Filling;
            }
            state.count == 0
        });
        if is_empty { self.condition(py)?.get().wake_all(py) } else { Ok(()) }
    }

    fn change(&self, py: Python<'_>, how: Change) -> PyResult<()> {
        self.state.with(py, |state| {
            state.phase = match how {
                Change::Abort => Phase::Broken,
                Change::Reset if state.count > 0 => Phase::Resetting,
                Change::Reset => Phase::Filling,
            };
        });
        self.condition(py)?.get().wake_all(py)
    }
}

/// The body of `wait()`. It holds the lock of the condition but while it waits.
pub(super) struct Waiting {
    barrier: Py<Barrier>,
    stage: Stage,
}

enum Stage {
    Created,
    Locking(Pass<Lock>),
    /// Until the round before has left.
    Blocked(Wait),
    /// Inside, until the others have come.
    Inside {
        index: i64,
        wait: Wait,
    },
}

/// How a stage of `wait()` ended.
enum Next<'py> {
    /// Suspended, or over.
    Sent(Sent<'py>),
    Stage(Stage),
}

impl Waiting {
    pub(super) fn new(barrier: &Bound<'_, Barrier>) -> Self {
        Self { barrier: barrier.clone().unbind(), stage: Stage::Created }
    }

    fn go_on<'py>(&mut self, py: Python<'py>, mut resume: Resume) -> Sent<'py> {
        let barrier = self.barrier.bind(py).clone();
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Created);
            let next = match stage {
                Stage::Created => self.lock(&barrier),
                Stage::Locking(mut pass) => {
                    let sent = pass.step(py, resume);
                    self.on_locking(&barrier, pass, sent)
                }
                Stage::Blocked(wait) => self.blocked(&barrier, wait, resume),
                Stage::Inside { index, wait } => self.inside(&barrier, index, wait, resume),
            };
            match next {
                Ok(Next::Sent(sent)) => return sent,
                Ok(Next::Stage(stage)) => self.stage = stage,
                Err(error) => return Sent::Raised(error),
            }
            resume = Resume::Next;
        }
    }

    fn lock<'py>(&mut self, barrier: &Bound<'py, Barrier>) -> PyResult<Next<'py>> {
        let mut pass = Pass::new(&barrier.get().lock(barrier.py())?, Answer::True);
        let sent = pass.first_step(barrier.py());
        self.on_locking(barrier, pass, sent)
    }

    fn on_locking<'py>(
        &mut self,
        barrier: &Bound<'py, Barrier>,
        pass: Pass<Lock>,
        sent: Sent<'py>,
    ) -> PyResult<Next<'py>> {
        match sent {
            Sent::Returned(_) => Self::arrive(barrier),
            Sent::Raised(error) => Err(error),
            sent @ Sent::Yielded(_) => {
                self.stage = Stage::Locking(pass);
                Ok(Next::Sent(sent))
            }
        }
    }

    fn blocked<'py>(
        &mut self,
        barrier: &Bound<'py, Barrier>,
        mut wait: Wait,
        resume: Resume,
    ) -> PyResult<Next<'py>> {
        match wait.step(barrier.py(), resume) {
            Sent::Returned(_) => Self::arrive(barrier),
            Sent::Raised(error) => Self::leave(barrier, Err(error)),
            sent @ Sent::Yielded(_) => {
                self.stage = Stage::Blocked(wait);
                Ok(Next::Sent(sent))
            }
        }
    }

    fn inside<'py>(
        &mut self,
        barrier: &Bound<'py, Barrier>,
        index: i64,
        mut wait: Wait,
        resume: Resume,
    ) -> PyResult<Next<'py>> {
        match wait.step(barrier.py(), resume) {
            Sent::Returned(_) => Self::look(barrier, index),
            Sent::Raised(error) => Self::go_out(barrier, Err(error)),
            sent @ Sent::Yielded(_) => {
                self.stage = Stage::Inside { index, wait };
                Ok(Next::Sent(sent))
            }
        }
    }

    /// The lock is held: goes in, unless the barrier is being emptied or is broken.
    fn arrive<'py>(barrier: &Bound<'py, Barrier>) -> PyResult<Next<'py>> {
        let py = barrier.py();
        match barrier.get().phase(py) {
            Phase::Draining | Phase::Resetting => {
                Ok(Next::Stage(Stage::Blocked(Wait::new(&barrier.get().condition(py)?))))
            }
            Phase::Broken => Self::leave(barrier, Err(exceptions::broken_barrier(py, "Barrier aborted"))),
            Phase::Filling => {
                let (index, is_last) = barrier.get().take_in(py);
                if !is_last {
                    return Self::look(barrier, index);
                }
                let woken = barrier.get().condition(py)?.get().wake_all(py);
                Self::go_out(barrier, woken.map(|()| index))
            }
        }
    }

    /// Inside, with the lock held: may it go on?
    fn look<'py>(barrier: &Bound<'py, Barrier>, index: i64) -> PyResult<Next<'py>> {
        let py = barrier.py();
        match barrier.get().phase(py) {
            Phase::Filling => {
                let wait = Wait::new(&barrier.get().condition(py)?);
                Ok(Next::Stage(Stage::Inside { index, wait }))
            }
            Phase::Draining => Self::go_out(barrier, Ok(index)),
            Phase::Resetting | Phase::Broken => {
                let error = exceptions::broken_barrier(py, "Abort or reset of barrier");
                Self::go_out(barrier, Err(error))
            }
        }
    }

    fn go_out<'py>(barrier: &Bound<'py, Barrier>, outcome: PyResult<i64>) -> PyResult<Next<'py>> {
        let left = barrier.get().let_out(barrier.py());
        Self::leave(barrier, left.and(outcome))
    }

    fn leave<'py>(barrier: &Bound<'py, Barrier>, outcome: PyResult<i64>) -> PyResult<Next<'py>> {
        let py = barrier.py();
        Lock::release(&barrier.get().lock(py)?)?;
        Ok(Next::Sent(Sent::Returned(outcome?.into_pyobject(py)?.into_any())))
    }
}

impl Steps for Waiting {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.barrier)?;
        match &self.stage {
            Stage::Created => Ok(()),
            Stage::Locking(pass) => pass.visit(visit),
            Stage::Blocked(wait) | Stage::Inside { wait, .. } => wait.visit(visit),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match &self.stage {
            Stage::Created => None,
            Stage::Locking(pass) => pass.awaited(py),
            Stage::Blocked(wait) | Stage::Inside { wait, .. } => wait.awaited(py),
        }
    }
}

/// What `reset()` and `abort()` do once they have the lock.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Reset,
    Abort,
}

pub(super) struct Changing {
    barrier: Py<Barrier>,
    how: Change,
    locking: Option<Pass<Lock>>,
}

impl Changing {
    pub(super) fn new(barrier: &Bound<'_, Barrier>, how: Change) -> Self {
        Self { barrier: barrier.clone().unbind(), how, locking: None }
    }

    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let barrier = self.barrier.bind(py).clone();
        let lock = barrier.get().lock(py)?;
        let sent = match &mut self.locking {
            Some(locking) => locking.step(py, resume),
            None => self.locking.insert(Pass::new(&lock, Answer::True)).first_step(py),
        };
        match sent {
            Sent::Returned(_) => {
                let changed = barrier.get().change(py, self.how);
                Lock::release(&lock)?;
                changed?;
                Ok(Sent::Returned(py.None().into_bound(py)))
            }
            sent => Ok(sent),
        }
    }
}

impl Steps for Changing {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.barrier)?;
        self.locking.as_ref().map_or(Ok(()), |locking| locking.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.locking.as_ref().and_then(|locking| locking.awaited(py))
    }
}
