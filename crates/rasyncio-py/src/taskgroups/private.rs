//! The private names of asyncio's `TaskGroup`. Groups that go on when a task fails, that log or that collect are made by subclasses which replace
//! `_abort()` or `_on_task_done()` and set the flags, the set and the list themselves.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::members::Members;
use super::{TaskGroup, is_base_error, on_task_done};

#[pymethods]
impl TaskGroup {
    /// Cancels the tasks that are not done.
    #[pyo3(name = "_abort")]
    fn abort_method(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::cancel_tasks(this)
    }

    /// What each task calls when it is done.
    #[pyo3(name = "_on_task_done")]
    fn on_task_done_method(this: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        on_task_done(this.as_any(), task)
    }

    /// Whether `exc` ends the program: it is raised as it is, not in a group.
    #[pyo3(name = "_is_base_error")]
    fn is_base_error_method(&self, exc: &Bound<'_, PyAny>) -> bool {
        is_base_error(exc)
    }

    #[getter]
    fn _tasks<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Members::show(this)
    }

    #[setter(_tasks)]
    fn set_tasks(this: &Bound<'_, Self>, tasks: Py<PyAny>) {
        Members::replace(this, tasks);
    }

    /// The list, which is made when it is first asked for.
    #[getter]
    pub(super) fn _errors<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let errors = self.state.with(py, |state| state.errors.as_ref().map(|errors| errors.clone_ref(py)));
        if let Some(errors) = errors {
            return errors.into_bound(py);
        }
        let errors = PyList::empty(py).into_any();
        self.set_errors(py, Some(errors.clone().unbind()));
        errors
    }

    #[setter(_errors)]
    fn set_errors(&self, py: Python<'_>, errors: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.errors, errors);
    }

    #[getter]
    pub(super) fn _base_error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.base_error.as_ref().map(|error| error.clone_ref(py)))
    }

    #[setter(_base_error)]
    fn set_base_error(&self, py: Python<'_>, error: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.base_error, error);
    }

    #[getter]
    fn _parent_task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.parent(py)
    }

    #[setter(_parent_task)]
    fn set_parent_task(&self, py: Python<'_>, task: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.parent, task);
    }

    #[getter]
    pub(super) fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py)))
    }

    #[setter(_loop)]
    fn set_loop(&self, py: Python<'_>, event_loop: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.event_loop, event_loop);
    }

    #[getter]
    pub(super) fn _on_completed_fut(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.on_completed.as_ref().map(|future| future.clone_ref(py)))
    }

    #[setter(_on_completed_fut)]
    pub(super) fn set_on_completed_fut(&self, py: Python<'_>, future: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.on_completed, future);
    }

    #[getter]
    pub(super) fn _entered(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.entered)
    }

    #[setter(_entered)]
    fn set_entered(&self, py: Python<'_>, entered: bool) {
        self.state.with(py, |state| state.entered = entered);
    }

    #[getter]
    fn _exiting(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.exiting)
    }

    #[setter(_exiting)]
    fn set_exiting(&self, py: Python<'_>, exiting: bool) {
        self.state.with(py, |state| state.exiting = exiting);
    }

    #[getter]
    pub(super) fn _aborting(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.aborting)
    }

    #[setter(_aborting)]
    fn set_aborting(&self, py: Python<'_>, aborting: bool) {
        self.state.with(py, |state| state.aborting = aborting);
    }

    #[getter]
    pub(super) fn _parent_cancel_requested(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.parent_cancel_requested)
    }

    #[setter(_parent_cancel_requested)]
    fn set_parent_cancel_requested(&self, py: Python<'_>, requested: bool) {
        self.state.with(py, |state| state.parent_cancel_requested = requested);
    }
}
