//! What `async with` does with a `TaskGroup`: entering it, and the machine that waits for its tasks at the end of the block.

use std::ffi::CStr;

use pyo3::exceptions::{PyBaseExceptionGroup, PyGeneratorExit};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::TaskGroup;
use super::members::Members;
use crate::coroutines::{Coroutine, Resume, Steps};
use crate::exceptions;
use crate::ffi::functions::{self, Parameters};
use crate::ffi::methods::{Arguments, FastMethod};
use crate::ffi::send::Sent;
use crate::futures::Future;
use crate::interop::stdlib;
use crate::tasks::{self, running_loop};

/// `TaskGroup.__aenter__()`.
pub(super) struct Enter;

impl FastMethod for Enter {
    type Class = TaskGroup;
    const NAME: &'static CStr = c"__aenter__";
    const DOCUMENTATION: &'static CStr = c"__aenter__($self)\n--\n\nBegins the block.";

    fn call<'py>(
        this: &Bound<'py, TaskGroup>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [] = arguments.bind(&Parameters {
            function: "TaskGroup.__aenter__",
            names: [],
            positional: 0,
            required: 0,
        })?;
        let machine = Entering(this.clone().unbind());
        Ok(Coroutine::of(this.py(), "TaskGroup.__aenter__", machine)?.into_any())
    }
}

struct Entering(Py<TaskGroup>);

impl Steps for Entering {
    fn step<'py>(&mut self, py: Python<'py>, _resume: Resume) -> Sent<'py> {
        let group = self.0.bind(py);
        match enter(group) {
            Ok(()) => Sent::Returned(group.clone().into_any()),
            Err(error) => Sent::Raised(error),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}

fn enter(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let py = group.py();
    if group.get()._entered(py) {
        let text = format!("TaskGroup {} has already been entered", group.repr()?);
        return Err(exceptions::runtime(text));
    }
    let event_loop = match group.get()._loop(py) {
        Some(given) => given.into_bound(py),
        None => running_loop(py)?,
    };
    let Some(parent) = stdlib(py).running_task(&event_loop)? else {
        let text = format!("TaskGroup {} cannot determine the parent task", group.repr()?);
        return Err(exceptions::runtime(text));
    };
    let state = &group.get().state;
    state.put(py, |state| &mut state.event_loop, Some(event_loop.unbind()));
    state.put(py, |state| &mut state.parent, Some(parent.unbind()));
    let cancels = state.with(py, |state| {
        state.entered = true;
        state.cancel_on_enter
    });
    if cancels { TaskGroup::request_cancel(group) } else { Ok(()) }
}

/// `TaskGroup.__aexit__()`.
pub(super) struct Exit;

impl FastMethod for Exit {
    type Class = TaskGroup;
    const NAME: &'static CStr = c"__aexit__";
    const DOCUMENTATION: &'static CStr =
        c"__aexit__($self, et, exc, tb)\n--\n\nWaits for the tasks of the group.";

    fn call<'py>(
        this: &Bound<'py, TaskGroup>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [_, exception, _] = arguments.bind(&Parameters {
            function: "TaskGroup.__aexit__",
            names: ["et", "exc", "tb"],
            positional: 3,
            required: 3,
        })?;
        let raised = functions::given(exception)?;
        let machine = Exiting {
            group: this.clone().unbind(),
            raised: (!raised.is_none()).then(|| raised.clone().unbind()),
            propagated: None,
            pending: None,
            waits_for: None,
        };
        Ok(Coroutine::of(this.py(), "TaskGroup.__aexit__", machine)?.into_any())
    }
}

/// The end of the block.
struct Exiting {
    group: Py<TaskGroup>,
    /// What the block raised.
    raised: Option<Py<PyAny>>,
    /// The CancelledError that ends the block unless something else does.
    propagated: Option<Py<PyAny>>,
    /// The newest CancelledError of the wait.
    pending: Option<Py<PyAny>>,
    /// What it yielded to the task.
    waits_for: Option<Py<Future>>,
}

impl Steps for Exiting {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let group = self.group.bind(py).clone();
        let sent = self.go_on(&group, resume).unwrap_or_else(Sent::Raised);
        if !matches!(sent, Sent::Yielded(_)) {
            // Exceptions lead to frames, and those to everything: nothing is kept.
            let dropped = group.get().state.with(py, |state| {
                (state.parent.take(), state.errors.take(), state.base_error.take(), state.on_completed.take())
            });
            drop(dropped);
        }
        sent
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.group)?;
        visit.call(&self.raised)?;
        visit.call(&self.propagated)?;
        visit.call(&self.pending)?;
        visit.call(&self.waits_for)
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waits_for.as_ref().map(|future| future.clone_ref(py).into_bound(py).into_any())
    }
}

impl Exiting {
    fn go_on<'py>(&mut self, group: &Bound<'py, TaskGroup>, resume: Resume) -> PyResult<Sent<'py>> {
        match self.waits_for.take() {
            Some(future) => self.on_woken(group, &future, resume)?,
            None => self.begin(group)?,
        }
        if Members::is_empty(group)? {
            return self.finish(group);
        }
        let event_loop =
            group.get()._loop(group.py()).ok_or_else(|| exceptions::runtime("no running event loop"))?;
        let future = Future::of_loop(event_loop.bind(group.py()))?;
        self.waits_for = Some(future.clone().unbind());
        group.get().set_on_completed_fut(group.py(), Some(future.clone().into_any().unbind()));
        Ok(Future::yield_to_task(&future))
    }

    fn begin(&mut self, group: &Bound<'_, TaskGroup>) -> PyResult<()> {
        let py = group.py();
        let raised = self.raised.as_ref().map(|raised| raised.bind(py));
        let aborting = group.get().state.with(py, |state| {
            state.exiting = true;
            state.aborting
        });
        let Some(raised) = raised else {
            return Ok(());
        };
        if TaskGroup::is_base_error(group, raised)? {
            group.get().keep_base_error(raised);
        }
        if raised.is_instance(stdlib(py).cancelled_error.bind(py))? {
            self.propagated = Some(raised.clone().unbind());
        }
        if aborting { Ok(()) } else { TaskGroup::abort(group) }
    }

    /// All tasks are done, or somebody cancels the task that waits for them.
    fn on_woken(
        &mut self,
        group: &Bound<'_, TaskGroup>,
        future: &Py<Future>,
        resume: Resume,
    ) -> PyResult<()> {
        let py = group.py();
        group.get().set_on_completed_fut(py, None);
        let woken = future.get().resumed(py, resume);
        let Err(error) = woken else {
            return Ok(());
        };
        if !exceptions::is_cancelled(py, &error) {
            return Err(error);
        }
        let error = error.into_value(py).into_any();
        if !group.get()._aborting(py) {
            self.propagated = Some(error.clone_ref(py));
            TaskGroup::abort(group)?;
        }
        self.pending = Some(error);
        Ok(())
    }

    /// All tasks are done.
    fn finish<'py>(&mut self, group: &Bound<'py, TaskGroup>) -> PyResult<Sent<'py>> {
        let py = group.py();
        let own = group.get();
        if let Some(error) = own._base_error(py) {
            return Err(PyErr::from_value(error.into_bound(py)));
        }
        let parent = own.parent(py);
        if own._parent_cancel_requested(py)
            && let Some(parent) = &parent
        {
            if tasks::uncancel(parent)? == 0 {
                self.propagated = None;
            } else if self.propagated.is_none() {
                // Another request is left: it is not the group's.
                self.propagated = self.pending.take();
            }
        }
        if let Some(error) = self.propagated.take()
            && own.error_count(py)? == 0
        {
            return Err(PyErr::from_value(error.into_bound(py)));
        }
        let raised = self.raised.take().map(|raised| raised.into_bound(py));
        if let Some(raised) = &raised
            && !raised.is_instance(stdlib(py).cancelled_error.bind(py))?
        {
            own.add_error(raised)?;
        }
        if own.error_count(py)? == 0 {
            // From 3.15 on what is left is nobody's: the group was told to cancel the block.
            let nothing = if cfg!(Py_3_15) {
                true.into_pyobject(py)?.to_owned().into_any()
            } else {
                py.None().into_bound(py)
            };
            return Ok(Sent::Returned(nothing));
        }
        // Up to 3.12 `uncancel()` does not take this back: then the task would be cancelled behind an outer group, too.
        if cfg!(Py_3_13)
            && let Some(parent) = &parent
            && tasks::cancelling(parent)? > 0
        {
            // The count stays, and the cancellation is delivered at the next await.
            tasks::uncancel(parent)?;
            tasks::cancel(parent, None)?;
        }
        Err(error_of(&own._errors(py), raised.as_ref())?)
    }
}

/// What the group raises for the errors of its tasks and its block.
fn error_of(errors: &Bound<'_, PyAny>, raised: Option<&Bound<'_, PyAny>>) -> PyResult<PyErr> {
    let py = errors.py();
    if let Some(raised) = raised
        && raised.is_instance_of::<PyGeneratorExit>()
        && errors.len()? == 1
    {
        // An asynchronous generator that is closed in the block has to see it.
        return Ok(PyErr::from_value(raised.clone()));
    }
    let group = py.get_type::<PyBaseExceptionGroup>().call1(("unhandled errors in a TaskGroup", errors))?;
    // As `raise ... from None` while the block's exception is handled.
    group.setattr(intern!(py, "__context__"), raised)?;
    group.setattr(intern!(py, "__suppress_context__"), true)?;
    Ok(PyErr::from_value(group))
}
