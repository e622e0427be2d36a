//! `Bell`: a Python callable that wakes the Rust coroutine which waits for it.
//!
//! Given to whatever calls back: a watched descriptor, a timer, a task that ends. A ring that nobody waits for is
//! remembered, so nothing is lost between looking at a state and beginning to wait for its change.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefReference};

use super::Loop;
use crate::coroutines::wait_for;
use crate::ffi::cell::GilCell;
use crate::futures::Future;

#[pyclass(frozen, name = "_Bell", module = "rasyncio._rasyncio")]
pub(super) struct Bell {
    state: GilCell<State>,
}

#[derive(Default)]
struct State {
    /// What the coroutine awaits. Only the coroutine holds it, which shows it to the garbage collector.
    waiter: Option<Py<PyWeakrefReference>>,
    rung: bool,
}

impl Bell {
    pub(super) fn make(py: Python<'_>) -> PyResult<Py<Self>> {
        Py::new(py, Self { state: GilCell::default() })
    }

    /// Wakes who waits, or lets the next wait end at once.
    pub(super) fn ring(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = self.state.with(py, |state| {
            state.rung = true;
            state.waiter.take()
        });
        let waiter = match waiter {
            Some(waiter) => waiter.bind(py).upgrade_as::<Future>()?,
            None => None,
        };
        match waiter {
            Some(waiter) if !waiter.get().is_done(py) => {
                self.silence(py);
                Future::finish(&waiter, py.None())
            }
            _ => Ok(()),
        }
    }

    /// Forgets a ring that nobody waited for.
    pub(super) fn silence(&self, py: Python<'_>) {
        self.state.with(py, |state| state.rung = false);
    }

    /// Waits for a ring. At most one coroutine waits for a bell at a time.
    pub(super) async fn wait(this: &Py<Self>, event_loop: &Py<Loop>) -> PyResult<()> {
        match Python::attach(|py| this.get().begin_wait(py, event_loop))? {
            Some(waiter) => wait_for(waiter.into_any()).await.map(drop),
            None => Ok(()),
        }
    }

    /// What to wait for; None when the bell has rung already.
    fn begin_wait(&self, py: Python<'_>, event_loop: &Py<Loop>) -> PyResult<Option<Py<Future>>> {
        if self.state.with(py, |state| std::mem::take(&mut state.rung)) {
            return Ok(None);
        }
        let waiter = Bound::new(py, Future::pending(event_loop.clone_ref(py).into_any()))?;
        let known = PyWeakrefReference::new(&waiter)?.unbind();
        let old = self.state.with(py, |state| state.waiter.replace(known));
        drop(old);
        Ok(Some(waiter.unbind()))
    }
}

#[pymethods]
impl Bell {
    /// Whoever calls back may pass what it likes.
    #[pyo3(signature = (*args))]
    fn __call__(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        let _ = args;
        self.ring(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| visit.call(&state.waiter)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}
