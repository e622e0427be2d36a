//! One step of a task: resume the coroutine, look at what came back.
//!
//! On our loop a step is entered from the ready queue without a Python call in between; on another loop the same code is entered through
//! `TaskStep` and `TaskWakeup`, which that loop calls in the task's context.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

use super::{Task, TaskStep, TaskWakeup, as_future, loop_of};
use crate::event_loop::{Loop, Ready};
use crate::exceptions::{self, Raised};
use crate::ffi::context;
use crate::ffi::send::{self, Sent};
use crate::futures::state::{Callback, Status};
use crate::futures::{Future, Outcome};
use crate::interop::{must_propagate, stdlib};

/// Runs a step of a task on our loop, in the task's context. Only SystemExit and KeyboardInterrupt come back.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the hottest path of all: each call in between costs a tenth of the step"
)]
pub(crate) fn run(event_loop: &Bound<'_, Loop>, task: &Bound<'_, Task>) -> PyResult<()> {
    let begun = begin(task)?;
    event_loop.get().enter_task(event_loop, task)?;
    if begun.must_cancel {
        let error = task.as_super().get().cancelled_error(task.py());
        return context::run_inside(&begun.context, || resume(Some(event_loop), task, &begun, Some(error)))?;
    }
    let sent = send::send_none_inside(&begun.context, &begun.coroutine);
    on_sent(Some(event_loop), task, sent)
}

/// Runs a step that raises `error` where the coroutine waits.
pub(crate) fn run_throwing(
    event_loop: &Bound<'_, Loop>,
    task: &Bound<'_, Task>,
    error: PyErr,
) -> PyResult<()> {
    let begun = begin(task)?;
    event_loop.get().enter_task(event_loop, task)?;
    context::run_inside(&begun.context, || resume(Some(event_loop), task, &begun, Some(error)))?
}

/// Runs the step that follows the completion of `future`, on our loop.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as `run`")]
pub(crate) fn run_wakeup(
    event_loop: &Bound<'_, Loop>,
    task: &Bound<'_, Task>,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    match error_of(future) {
        None => run(event_loop, task),
        Some(error) => run_throwing(event_loop, task, error),
    }
}

/// What a step needs of its task, taken in one go.
struct Begun<'py> {
    coroutine: Bound<'py, PyAny>,
    context: Bound<'py, PyAny>,
    must_cancel: bool,
}

/// The task is about to run: it waits for nothing any more.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as `run`")]
fn begin<'py>(task: &Bound<'py, Task>) -> PyResult<Begun<'py>> {
    let py = task.py();
    if task.as_super().get().is_done(py) {
        return Err(exceptions::invalid_state(py, format!("__step(): already done: {}", task.repr()?)));
    }
    let (coroutine, context, waiter, must_cancel) = task.get().state.with(py, |state| {
        let coroutine = state.coroutine.as_ref().map(|coroutine| coroutine.clone_ref(py).into_bound(py));
        let context = state.context.as_ref().map(|context| context.clone_ref(py).into_bound(py));
        let waiter = state.waiter.take().map(|waiter| waiter.into_bound(py));
        (coroutine, context, waiter, std::mem::take(&mut state.must_cancel))
    });
    drop(waiter);
    match (coroutine, context) {
        (Some(coroutine), Some(context)) => Ok(Begun { coroutine, context, must_cancel }),
        _ => Err(exceptions::runtime("Task object is not initialized.")),
    }
}

/// A step called as an ordinary callback: the context is entered already.
pub(super) fn step_in_place(task: &Bound<'_, Task>, error: Option<PyErr>) -> PyResult<()> {
    if let Some(event_loop) = Task::native_loop(task) {
        // Behind a foreign future, or with a `call_soon()` that is not ours.
        let begun = begin(task)?;
        event_loop.get().enter_task(&event_loop, task)?;
        return resume(Some(&event_loop), task, &begun, error);
    }
    let py = task.py();
    let event_loop = task.as_super().get().event_loop(py)?.into_bound(py);
    let library = stdlib(py);
    let previous = library.swap_current_task(&event_loop, Some(task.as_any()))?;
    let outcome = begin(task).and_then(|begun| resume(None, task, &begun, error));
    library.swap_current_task(&event_loop, previous.as_ref())?;
    outcome
}

pub(super) fn wakeup_in_place(task: &Bound<'_, Task>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    step_in_place(task, error_of(future))
}

/// What a completed future makes its waiter raise.
#[inline]
fn error_of(future: &Bound<'_, PyAny>) -> Option<PyErr> {
    let py = future.py();
    if let Some(native) = as_future(future) {
        if native.get().has_result(py) {
            return None;
        }
        return match native.get().outcome(py) {
            Outcome::Raise(error) => Some(error),
            Outcome::Pending | Outcome::Result(_) => None,
        };
    }
    future.call_method0(intern!(py, "result")).err()
}

/// Steps the coroutine; the context of the task is entered.
fn resume(
    event_loop: Option<&Bound<'_, Loop>>,
    task: &Bound<'_, Task>,
    begun: &Begun<'_>,
    error: Option<PyErr>,
) -> PyResult<()> {
    let py = task.py();
    let error = match error {
        Some(error) if begun.must_cancel && !exceptions::is_cancelled(py, &error) => {
            Some(task.as_super().get().cancelled_error(py))
        }
        None if begun.must_cancel => Some(task.as_super().get().cancelled_error(py)),
        error => error,
    };
    let sent = match error {
        None => send::send_none(&begun.coroutine),
        Some(error) => send::throw(&begun.coroutine, &error.raised(py)),
    };
    on_sent(event_loop, task, sent)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "as `run`")]
fn on_sent(event_loop: Option<&Bound<'_, Loop>>, task: &Bound<'_, Task>, sent: Sent<'_>) -> PyResult<()> {
    match sent {
        Sent::Yielded(awaited) => on_yield(event_loop, task, &awaited),
        Sent::Returned(result) => on_return(event_loop, task, result),
        Sent::Raised(error) => on_raise(event_loop, task, error),
    }
}

#[inline]
fn on_return(
    event_loop: Option<&Bound<'_, Loop>>,
    task: &Bound<'_, Task>,
    result: Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = task.py();
    let future = task.as_super();
    leave_registry(event_loop, task)?;
    // asyncio: cancel() during the last step still cancels.
    if task.get().state.with(py, |state| std::mem::take(&mut state.must_cancel)) {
        let message = future.get().state.with(py, |state| {
            state.extra.as_ref()?.cancel_message.as_ref().map(|message| message.clone_ref(py))
        });
        Future::cancel(future, message)?;
        return Ok(());
    }
    Future::finish(future, result.unbind())
}

fn on_raise(event_loop: Option<&Bound<'_, Loop>>, task: &Bound<'_, Task>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    let future = task.as_super();
    leave_registry(event_loop, task)?;
    if exceptions::is_cancelled(py, &error) {
        let value = error.into_value(py).into_any();
        let old = future.get().state.with(py, |state| state.extra().cancelled_error.replace(value));
        drop(old);
        // The message went with that error; whoever asks later gets one without.
        Future::cancel(future, None)?;
        return Ok(());
    }
    Future::fail(future, error.raised(py).as_any())?;
    if must_propagate(py, &error) { Err(error) } else { Ok(()) }
}

#[inline]
pub(super) fn leave_registry(event_loop: Option<&Bound<'_, Loop>>, task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let slot = task.get().state.with(py, |state| state.slot.take());
    match (slot, event_loop) {
        (Some(slot), Some(event_loop)) => {
            event_loop.get().forget_task(py, slot);
            Ok(())
        }
        (None, None) => stdlib(py).unregister_task(task.as_any()),
        // It left already.
        _ => Ok(()),
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "as `run`")]
fn on_yield(
    event_loop: Option<&Bound<'_, Loop>>,
    task: &Bound<'_, Task>,
    awaited: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if awaited.is_none() {
        return match event_loop {
            Some(event_loop) => schedule_next(event_loop, task),
            None => schedule_step(task, None),
        };
    }
    match as_future(awaited) {
        Some(future) => wait_for(task, future),
        None => on_foreign_yield(task, awaited),
    }
}

/// The task awaits a future of ours.
#[inline]
fn wait_for(task: &Bound<'_, Task>, future: &Bound<'_, Future>) -> PyResult<()> {
    enum Seen {
        Waits,
        Done,
        OtherLoop,
        NotAwaited,
    }
    let py = task.py();
    if task.is(future) {
        return fail_self_await(task);
    }
    let mut wake = Some(Callback::Wake(task.clone().unbind()));
    let own_loop = task.as_super().get().state.with(py, |state| state.event_loop.as_ref().map(Py::as_ptr));
    let seen = future.get().state.with(py, |state| {
        if state.event_loop.as_ref().map(Py::as_ptr) != own_loop {
            return Seen::OtherLoop;
        }
        if !std::mem::take(&mut state.blocking) {
            return Seen::NotAwaited;
        }
        if state.status != Status::Pending {
            return Seen::Done;
        }
        if let Some(wake) = wake.take() {
            state.callbacks.push(wake);
        }
        Seen::Waits
    });
    match seen {
        Seen::Waits => {}
        Seen::Done => {
            if let Some(wake) = wake {
                Future::add_callback(future, wake)?;
            }
        }
        Seen::OtherLoop => return fail_other_loop(task, future.as_any()),
        Seen::NotAwaited => return fail_not_awaited(task, future.as_any()),
    }
    let waiter = future.clone().into_any().unbind();
    let must_cancel = task.get().state.with(py, |state| {
        state.waiter = Some(waiter);
        state.must_cancel
    });
    if must_cancel { cancel_at_once(task, future.as_any()) } else { Ok(()) }
}

/// The task was cancelled while it ran: what it awaits now is cancelled right away.
fn cancel_at_once(task: &Bound<'_, Task>, waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = task.py();
    let message =
        task.as_super().get().state.with(py, |state| {
            state.extra.as_ref()?.cancel_message.as_ref().map(|message| message.clone_ref(py))
        });
    if cancel_waiter(waiter, message.as_ref())? {
        task.get().state.with(py, |state| state.must_cancel = false);
    }
    Ok(())
}

/// `waiter.cancel(msg=message)`.
pub(super) fn cancel_waiter(waiter: &Bound<'_, PyAny>, message: Option<&Py<PyAny>>) -> PyResult<bool> {
    let py = waiter.py();
    if let Ok(future) = waiter.cast_exact::<Future>() {
        return Future::cancel(future, message.map(|message| message.clone_ref(py)));
    }
    let keywords = [("msg", message)].into_py_dict(py)?;
    waiter.call_method(intern!(py, "cancel"), (), Some(&keywords))?.is_truthy()
}

/// The coroutine yielded something that is not a future of ours.
fn on_foreign_yield(task: &Bound<'_, Task>, awaited: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = task.py();
    let blocking = awaited.getattr_opt(intern!(py, "_asyncio_future_blocking"))?;
    if awaited.is(task) {
        return fail_self_await(task);
    }
    if let Some(blocking) = blocking.filter(|blocking| !blocking.is_none()) {
        let future_loop = loop_of(awaited)?;
        if !future_loop.is(&task.as_super().get().event_loop(py)?) {
            return fail_other_loop(task, awaited);
        }
        if !blocking.is_truthy()? {
            return fail_not_awaited(task, awaited);
        }
        awaited.setattr(intern!(py, "_asyncio_future_blocking"), false)?;
        let keywords = PyDict::new(py);
        keywords.set_item("context", task.get().context(py))?;
        let wakeup = TaskWakeup::make(py, task.clone().unbind())?;
        awaited.call_method(intern!(py, "add_done_callback"), (wakeup,), Some(&keywords))?;
        let waiter = awaited.clone().unbind();
        let must_cancel = task.get().state.with(py, |state| {
            state.waiter = Some(waiter);
            state.must_cancel
        });
        return if must_cancel { cancel_at_once(task, awaited) } else { Ok(()) };
    }
    let is_generator = awaited.get_type().is(&py.import("types")?.getattr("GeneratorType")?);
    if is_generator {
        let text = "yield was used instead of yield from for generator in task";
        return fail_step(task, &format!("{text} {} with {}", task.repr()?, awaited.repr()?));
    }
    fail_step(task, &format!("Task got bad yield: {}", awaited.repr()?))
}

fn fail_self_await(task: &Bound<'_, Task>) -> PyResult<()> {
    fail_step(task, &format!("Task cannot await on itself: {}", task.repr()?))
}

fn fail_other_loop(task: &Bound<'_, Task>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    let text = format!("Task {} got Future {} attached to a different loop", task.repr()?, future.repr()?);
    fail_step(task, &text)
}

fn fail_not_awaited(task: &Bound<'_, Task>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    let (task_text, future_text) = (task.repr()?, future.repr()?);
    fail_step(task, &format!("yield was used instead of yield from in task {task_text} with {future_text}"))
}

/// Raises RuntimeError into the coroutine at its next step.
fn fail_step(task: &Bound<'_, Task>, message: &str) -> PyResult<()> {
    let error = exceptions::runtime(message).into_value(task.py()).into_any();
    schedule_step(task, Some(error))
}

/// Puts the next step of `task`, of this loop of ours, behind everything that is ready.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as `run`")]
pub(super) fn schedule_next(event_loop: &Bound<'_, Loop>, task: &Bound<'_, Task>) -> PyResult<()> {
    if event_loop.get().has_other_call_soon() {
        return schedule_step(task, None);
    }
    event_loop.get().schedule(task.py(), Ready::Step(task.clone().unbind()))
}

/// Puts the next step of `task`, on a loop of any kind, behind everything that is ready.
pub(crate) fn schedule_step(task: &Bound<'_, Task>, exception: Option<Py<PyAny>>) -> PyResult<()> {
    let py = task.py();
    let owned = task.clone().unbind();
    if let Some(event_loop) = Task::native_loop(task).filter(|own| !own.get().has_other_call_soon()) {
        let entry = match exception {
            None => Ready::Step(owned),
            Some(exception) => Ready::Throw { task: owned, exception },
        };
        return event_loop.get().schedule(py, entry);
    }
    let event_loop = task.as_super().get().event_loop(py)?;
    let keywords = [("context", task.get().context(py))].into_py_dict(py)?;
    let callback = TaskStep::make(py, owned, exception)?;
    event_loop.bind(py).call_method(intern!(py, "call_soon"), (callback,), Some(&keywords))?;
    Ok(())
}

/// Runs the first step now, inside of the task that creates this one (eager start).
pub(super) fn start_eagerly(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let event_loop = task.as_super().get().event_loop(py)?.into_bound(py);
    let library = stdlib(py);
    let native = event_loop.cast::<Loop>().ok();
    let begun = begin(task)?;
    let previous = library.swap_current_task(&event_loop, Some(task.as_any()))?;
    let outcome = context::run_inside(&begun.context, || resume(native, task, &begun, None));
    library.swap_current_task(&event_loop, previous.as_ref())?;
    if let Some(native) = native {
        native.get().remember_current(py, previous.is_some());
    }
    outcome??;
    if task.as_super().get().is_done(py) {
        // asyncio: the coroutine of a task that finished eagerly is let go of.
        let dropped = task.get().state.with(py, |state| state.coroutine.take());
        drop(dropped);
    }
    Ok(())
}
