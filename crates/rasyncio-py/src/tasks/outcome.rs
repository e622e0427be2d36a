//! How a future of any kind ended, and asking one of any kind to.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use super::gather::GatheringFuture;
use super::{Task, as_future};
use crate::futures::callback::{DoneAction, DoneCallback};
use crate::futures::state::Status;
use crate::futures::{Future, Outcome};

/// How a future ended.
pub(crate) enum Ended<'py> {
    Cancelled,
    Exception(Bound<'py, PyAny>),
    Result(Bound<'py, PyAny>),
}

impl<'py> Ended<'py> {
    /// How `future`, which is done, ended. An exception counts as retrieved then.
    pub(crate) fn of(future: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = future.py();
        if let Some(own) = as_future(future) {
            return Ok(own.get().state.with(py, |state| match (state.status, &state.outcome) {
                (Status::Finished, Some(exception)) if state.failed => {
                    state.log_traceback = false;
                    Self::Exception(exception.clone_ref(py).into_bound(py))
                }
                (Status::Finished, Some(result)) => Self::Result(result.clone_ref(py).into_bound(py)),
                (Status::Finished, None) => Self::Result(py.None().into_bound(py)),
                (Status::Cancelled | Status::Pending, _) => Self::Cancelled,
            }));
        }
        if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(Self::Cancelled);
        }
        let exception = future.call_method0(intern!(py, "exception"))?;
        if exception.is_none() {
            return Ok(Self::Result(future.call_method0(intern!(py, "result"))?));
        }
        Ok(Self::Exception(exception))
    }
}

/// `future.result()`.
pub(crate) fn result_of<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if let Some(own) = as_future(future) {
        match own.get().outcome(py) {
            Outcome::Result(result) => return Ok(result),
            Outcome::Raise(error) => return Err(error),
            Outcome::Pending => {}
        }
    }
    future.call_method0(intern!(py, "result"))
}

/// `future.done()`.
#[inline]
pub(crate) fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match as_future(future) {
        Some(own) => Ok(own.get().is_done(future.py())),
        None => future.call_method0(intern!(future.py(), "done"))?.is_truthy(),
    }
}

/// The CancelledError that a cancelled future raises into whoever awaits it.
pub(crate) fn cancelled_error<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    match as_future(future) {
        Some(own) => Ok(own.get().cancelled_error(py).into_value(py).into_bound(py).into_any()),
        None => future.call_method0(intern!(py, "_make_cancelled_error")),
    }
}

/// `future.cancel(msg=message)`.
pub(crate) fn cancel(future: &Bound<'_, PyAny>, message: Option<&Py<PyAny>>) -> PyResult<bool> {
    let py = future.py();
    if let Ok(task) = future.cast_exact::<Task>() {
        return Task::request_cancel(task, message.map(|message| message.clone_ref(py)));
    }
    if let Ok(own) = future.cast_exact::<Future>() {
        return Future::cancel(own, message.map(|message| message.clone_ref(py)));
    }
    if let Ok(gathering) = future.cast_exact::<GatheringFuture>() {
        return GatheringFuture::request_cancel(gathering, message);
    }
    match message {
        Some(message) => {
            let keywords = [("msg", message)].into_py_dict(py)?;
            future.call_method(intern!(py, "cancel"), (), Some(&keywords))?.is_truthy()
        }
        None => future.call_method0(intern!(py, "cancel"))?.is_truthy(),
    }
}

/// Runs `action` for `receiver` when `future` is done.
#[inline]
pub(crate) fn when_done(
    future: &Bound<'_, PyAny>,
    action: &'static DoneAction,
    receiver: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = future.py();
    let owned = receiver.clone().unbind();
    if let Some(own) = as_future(future) {
        return Future::add_action(own, action, owned);
    }
    let callback = DoneCallback::make(py, action, owned)?;
    future.call_method1(intern!(py, "add_done_callback"), (callback,)).map(drop)
}

/// Takes `when_done` back.
#[inline]
pub(crate) fn no_longer_when_done(
    future: &Bound<'_, PyAny>,
    action: &'static DoneAction,
    receiver: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = future.py();
    if let Some(own) = as_future(future) {
        Future::remove_action(own, action, receiver);
        return Ok(());
    }
    let callback = DoneCallback::make(py, action, receiver.clone().unbind())?;
    future.call_method1(intern!(py, "remove_done_callback"), (callback,)).map(drop)
}

/// `task.cancelling()`.
#[inline]
pub(crate) fn cancelling(task: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = task.py();
    match task.cast_exact::<Task>() {
        Ok(own) => Ok(own.get().state.with(py, |state| i64::from(state.cancel_requests))),
        Err(_) => task.call_method0(intern!(py, "cancelling"))?.extract(),
    }
}

/// `task.uncancel()`.
#[inline]
pub(crate) fn uncancel(task: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = task.py();
    match task.cast_exact::<Task>() {
        Ok(own) => Ok(i64::from(own.get().uncancel(py))),
        Err(_) => task.call_method0(intern!(py, "uncancel"))?.extract(),
    }
}
