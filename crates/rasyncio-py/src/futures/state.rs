//! What a future knows: its outcome, who waits for it, and the few things that only some futures have.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::callback::DoneAction;
use crate::tasks::Task;

/// Where a future stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Pending,
    Cancelled,
    Finished,
}

impl Status {
    /// asyncio's name for it (`Future._state`).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Cancelled => "CANCELLED",
            Self::Finished => "FINISHED",
        }
    }
}

/// Somebody who waits for a future.
pub(crate) enum Callback {
    /// A task of the same loop that awaits the future: woken without a Python call.
    Wake(Py<Task>),
    /// Work of rasyncio's own.
    Native { action: &'static DoneAction, receiver: Py<PyAny> },
    /// What `add_done_callback()` was given.
    Call { callback: Py<PyAny>, context: Py<PyAny> },
}

/// Most futures have one waiter: it needs no allocation.
#[derive(Default)]
pub(crate) enum Callbacks {
    #[default]
    None,
    One(Callback),
    Many(Vec<Callback>),
}

impl Callbacks {
    pub(crate) fn push(&mut self, callback: Callback) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(callback),
            Self::One(first) => Self::Many(vec![first, callback]),
            Self::Many(mut all) => {
                all.push(callback);
                Self::Many(all)
            }
        };
    }

    pub(crate) fn as_slice(&self) -> &[Callback] {
        match self {
            Self::None => &[],
            Self::One(callback) => std::slice::from_ref(callback),
            Self::Many(all) => all,
        }
    }

    /// Calls `visit` on each in the order they were added.
    pub(crate) fn drain(self, mut visit: impl FnMut(Callback) -> PyResult<()>) -> PyResult<()> {
        match self {
            Self::None => Ok(()),
            Self::One(callback) => visit(callback),
            Self::Many(all) => all.into_iter().try_for_each(visit),
        }
    }

    /// Takes those out that `chosen` says; the caller drops them.
    pub(crate) fn take_where(&mut self, chosen: impl Fn(&Callback) -> bool) -> Vec<Callback> {
        if !self.as_slice().iter().any(&chosen) {
            return Vec::new();
        }
        let all = match std::mem::take(self) {
            Self::None => Vec::new(),
            Self::One(callback) => vec![callback],
            Self::Many(all) => all,
        };
        let (taken, kept) = all.into_iter().partition(chosen);
        *self = Self::from_vec(kept);
        taken
    }

    pub(crate) fn from_vec(mut all: Vec<Callback>) -> Self {
        match all.len() {
            0 | 1 => all.pop().map_or(Self::None, Self::One),
            _ => Self::Many(all),
        }
    }
}

/// What only cancelled, failed or debugged futures have.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) cancel_message: Option<Py<PyAny>>,
    /// The CancelledError that ended a task, to be raised once to whoever awaits it.
    pub(crate) cancelled_error: Option<Py<PyAny>>,
    /// The traceback that the exception came with: raising it again must not make it longer each time.
    pub(crate) exception_traceback: Option<Py<PyAny>>,
    pub(crate) source_traceback: Option<Py<PyAny>>,
    /// Who awaits it, as `future_add_to_awaited_by()` was told.
    pub(crate) awaited_by: Vec<Py<PyAny>>,
}

/// The changing part of a `Future`.
pub(crate) struct FutureState {
    /// None until `__init__` ran: a subclass may forget to call it.
    pub(crate) event_loop: Option<Py<PyAny>>,
    pub(crate) status: Status,
    /// `outcome` is an exception, not a result.
    pub(crate) failed: bool,
    /// Nobody has looked at the exception yet.
    pub(crate) log_traceback: bool,
    /// Set between `__await__` yielding the future and the task seeing it.
    pub(crate) blocking: bool,
    pub(crate) outcome: Option<Py<PyAny>>,
    pub(crate) callbacks: Callbacks,
    pub(crate) extra: Option<Box<Extra>>,
}

impl FutureState {
    pub(crate) const fn uninitialised() -> Self {
        Self {
            event_loop: None,
            status: Status::Pending,
            failed: false,
            log_traceback: false,
            blocking: false,
            outcome: None,
            callbacks: Callbacks::None,
            extra: None,
        }
    }

    /// Makes the state of a future that holds nothing any more that of one which is not initialised.
    #[inline]
    pub(crate) fn reset(&mut self) {
        debug_assert!(self.outcome.is_none() && self.extra.is_none(), "it holds nothing");
        self.status = Status::Pending;
        (self.failed, self.log_traceback, self.blocking) = (false, false, false);
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.outcome)?;
        for callback in self.callbacks.as_slice() {
            match callback {
                Callback::Wake(task) => visit.call(task)?,
                Callback::Native { receiver, .. } => visit.call(receiver)?,
                Callback::Call { callback, context } => {
                    visit.call(callback)?;
                    visit.call(context)?;
                }
            }
        }
        if let Some(extra) = &self.extra {
            visit.call(&extra.cancel_message)?;
            visit.call(&extra.cancelled_error)?;
            visit.call(&extra.exception_traceback)?;
            visit.call(&extra.source_traceback)?;
            extra.awaited_by.iter().try_for_each(|awaiter| visit.call(awaiter))?;
        }
        Ok(())
    }
}
