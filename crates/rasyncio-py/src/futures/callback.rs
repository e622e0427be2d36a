//! Done callbacks written in Rust: on a future of ours and in our loop they are run from the ready queue without a Python call; anywhere else a
//! `DoneCallback` stands for them.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::Future;
use super::state::Callback;

/// What is done when a future is done, for some receiver. Two are the same if they are one static.
pub(crate) struct DoneAction {
    /// As the future's `repr()` shows it: what asyncio calls it.
    pub(crate) name: &'static str,
    /// Called with the receiver and the future.
    pub(crate) run: fn(&Bound<'_, PyAny>, &Bound<'_, PyAny>) -> PyResult<()>,
    /// The task that awaits the future through this, for call graphs.
    pub(crate) awaiter: fn(&Bound<'_, PyAny>) -> Option<Py<PyAny>>,
}

/// For actions behind which nobody awaits the future.
pub(crate) fn nobody(_receiver: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    None
}

/// A `DoneAction` and its receiver where a Python object is needed.
#[pyclass(frozen, name = "DoneCallback", module = "rasyncio")]
pub(crate) struct DoneCallback {
    action: &'static DoneAction,
    receiver: Py<PyAny>,
}

impl DoneCallback {
    pub(crate) fn make(
        py: Python<'_>,
        action: &'static DoneAction,
        receiver: Py<PyAny>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, Self { action, receiver })
    }

    /// Whether `callback` stands for `action` and `receiver`.
    pub(super) fn is_of(
        callback: &Bound<'_, PyAny>,
        action: &'static DoneAction,
        receiver: &Py<PyAny>,
    ) -> bool {
        callback.cast::<Self>().is_ok_and(|callback| callback.get().same(action, receiver))
    }

    fn same(&self, action: &'static DoneAction, receiver: &Py<PyAny>) -> bool {
        std::ptr::eq(self.action, action) && self.receiver.is(receiver)
    }
}

#[pymethods]
impl DoneCallback {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        (self.action.run)(self.receiver.bind(future.py()), future)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        Self::is_of(other, self.action, &self.receiver)
    }

    fn __hash__(&self) -> usize {
        self.receiver.as_ptr().addr()
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.action.name
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.action.name.rsplit('.').next().unwrap_or(self.action.name)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.receiver)
    }
}

impl Future {
    /// Runs `action` for `receiver` when the future is done.
    #[inline]
    pub(crate) fn add_action(
        this: &Bound<'_, Self>,
        action: &'static DoneAction,
        receiver: Py<PyAny>,
    ) -> PyResult<()> {
        Self::add_callback(this, Callback::Native { action, receiver })
    }

    /// Takes `add_action` back.
    pub(crate) fn remove_action(
        this: &Bound<'_, Self>,
        action: &'static DoneAction,
        receiver: &Bound<'_, PyAny>,
    ) {
        let removed = this.get().state.with(this.py(), |state| {
            state.callbacks.take_where(|candidate| match candidate {
                Callback::Native { action: other, receiver: owner } => {
                    std::ptr::eq(*other, action) && owner.is(receiver)
                }
                Callback::Wake(_) | Callback::Call { .. } => false,
            })
        });
        drop(removed);
    }
}
