//! `TaskStep` and `TaskWakeup`: callables that stand for a task's step where a Python object is needed: on a loop that is not ours, behind a
//! future that is not ours, and wherever callbacks are shown.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::{Task, step};

/// `step(exception=None)` of one task.
#[pyclass(frozen, name = "TaskStepMethWrapper", module = "rasyncio")]
pub(crate) struct TaskStep {
    task: Py<Task>,
    exception: Option<Py<PyAny>>,
}

impl TaskStep {
    pub(crate) fn make(py: Python<'_>, task: Py<Task>, exception: Option<Py<PyAny>>) -> PyResult<Py<Self>> {
        Py::new(py, Self { task, exception })
    }
}

#[pymethods]
impl TaskStep {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let error = self.exception.as_ref().map(|exception| PyErr::from_value(exception.bind(py).clone()));
        step::step_in_place(self.task.bind(py), error)
    }

    #[getter]
    fn __self__(&self, py: Python<'_>) -> Py<Task> {
        self.task.clone_ref(py)
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        "Task.task_step"
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        "task_step"
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.task)?;
        visit.call(&self.exception)
    }
}

/// `wakeup(future)` of one task: the done callback behind the future that it waits for.
#[pyclass(frozen, name = "TaskWakeupMethWrapper", module = "rasyncio")]
pub(crate) struct TaskWakeup {
    task: Py<Task>,
}

impl TaskWakeup {
    pub(crate) fn make(py: Python<'_>, task: Py<Task>) -> PyResult<Py<Self>> {
        Py::new(py, Self { task })
    }

    /// Whether `callback` is the wake-up of `task`.
    pub(crate) fn is_of(callback: &Bound<'_, PyAny>, task: &Py<Task>) -> bool {
        callback.cast::<Self>().is_ok_and(|wakeup| wakeup.get().task.is(task))
    }
}

#[pymethods]
impl TaskWakeup {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        step::wakeup_in_place(self.task.bind(future.py()), future)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        Self::is_of(other, &self.task)
    }

    fn __hash__(&self) -> usize {
        self.task.as_ptr().addr()
    }

    #[getter]
    fn __self__(&self, py: Python<'_>) -> Py<Task> {
        self.task.clone_ref(py)
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        "Task.task_wakeup"
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        "task_wakeup"
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.task)
    }
}
