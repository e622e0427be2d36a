//! Who waits at a primitive, and the one loop that all of them are on.

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::call::attached;
use crate::ffi::cell::GilCell;
use crate::ffi::deque;
use crate::futures::waiting;
use crate::interop::{shown_class, shown_names, stdlib};

/// What every primitive is (asyncio: mixins.py): bound to one loop, the one that ran when somebody had to wait for the first time.
#[pyclass(frozen, subclass, weakref, dict, name = "_LoopBoundMixin", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct LoopBound(GilCell<Option<Py<PyAny>>>);

impl LoopBound {
    /// The running loop. RuntimeError when the primitive was used on another one before.
    #[inline]
    fn check<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let running = stdlib(py).running_loop(py)?.unwrap_or_else(|| py.None().into_bound(py));
        let is_same = this.get().0.with(py, |bound| {
            if bound.is_none() && !running.is_none() {
                *bound = Some(running.clone().unbind());
            }
            bound.as_ref().is_none_or(|bound| bound.is(&running))
        });
        if is_same {
            return Ok(running);
        }
        Err(exceptions::runtime(format!("{} is bound to a different event loop", this.repr()?)))
    }

    /// A future of the running loop, for somebody who waits here.
    #[inline]
    pub(crate) fn new_future<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Loop::new_future(&Self::check(this)?)
    }
}

#[pymethods]
impl LoopBound {
    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, |bound| bound.as_ref().map(|bound| bound.clone_ref(py)))
    }

    #[setter(_loop)]
    fn set_loop(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        drop(self.0.replace(py, value));
    }

    fn _get_loop<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::check(this)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.peek(|bound| visit.call(bound)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.0.take(py));
    }
}

/// Futures in the order they came. A real `collections.deque`, made when it is first needed: programs look into `_waiters`.
#[derive(Default)]
pub(crate) struct Waiters(GilCell<Option<Py<PyAny>>>);

impl Waiters {
    /// The deque; makes it if need be.
    pub(crate) fn deque<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(existing) = self.existing(py) {
            return Ok(existing);
        }
        let made = deque::new(py)?;
        let kept = made.clone().unbind();
        let old = self.0.replace(py, Some(kept));
        drop(old);
        Ok(made)
    }

    #[inline]
    fn existing<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.0.with(py, |deque| deque.as_ref().map(|deque| deque.bind(py).clone()))
    }

    #[inline]
    pub(crate) fn len(&self, py: Python<'_>) -> PyResult<usize> {
        self.existing(py).map_or(Ok(0), |deque| deque::len(&deque))
    }

    #[inline]
    pub(crate) fn push(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        deque::append(&self.deque(future.py())?, future)
    }

    /// ValueError when it is not there.
    #[inline]
    pub(crate) fn remove(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        deque::remove(&self.deque(future.py())?, future)
    }

    /// Takes `future` out if it is there.
    pub(crate) fn discard(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.remove(future) {
            Err(error) if error.is_instance_of::<PyValueError>(future.py()) => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether nobody waits but who was cancelled and did not run since.
    #[inline]
    pub(crate) fn all_cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(deque) = self.existing(py) else {
            return Ok(true);
        };
        if deque::len(&deque)? == 0 {
            return Ok(true);
        }
        // Whoever waits at the head is hardly ever a cancelled one.
        if !waiting::is_cancelled(&deque::first(&deque)?)? {
            return Ok(false);
        }
        attached(py, || {
            for future in deque.try_iter()? {
                if !waiting::is_cancelled(&future?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Wakes whoever came first, unless that one is about to run anyway.
    #[inline]
    pub(crate) fn wake_head(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(deque) = self.existing(value.py()) else {
            return Ok(());
        };
        if deque::len(&deque)? > 0 {
            waiting::wake(&deque::first(&deque)?, value)?;
        }
        Ok(())
    }

    /// Wakes the first `limit` who are not about to run anyway; returns how many there were.
    #[inline]
    pub(crate) fn wake(&self, value: &Bound<'_, PyAny>, limit: usize) -> PyResult<usize> {
        let Some(deque) = self.existing(value.py()) else {
            return Ok(0);
        };
        if limit == 0 || deque::len(&deque)? == 0 {
            return Ok(0);
        }
        if limit == 1 && waiting::wake(&deque::first(&deque)?, value)? {
            return Ok(1);
        }
        let mut woken = 0;
        for future in deque.try_iter()? {
            woken += usize::from(waiting::wake(&future?, value)?);
            if woken == limit {
                break;
            }
        }
        Ok(woken)
    }

    /// Takes the first one out who is not done yet, and wakes that one: for queues.
    #[inline]
    pub(crate) fn release_next(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(deque) = self.existing(value.py()) else {
            return Ok(());
        };
        while deque::len(&deque)? > 0 {
            if waiting::wake(&deque::popleft(&deque)?, value)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes everybody out and wakes who is not done yet.
    #[cfg(Py_3_13)]
    pub(crate) fn release_all(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(deque) = self.existing(value.py()) else {
            return Ok(());
        };
        while deque::len(&deque)? > 0 {
            waiting::wake(&deque::popleft(&deque)?, value)?;
        }
        Ok(())
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.peek(|deque| visit.call(deque)).unwrap_or(Ok(()))
    }

    pub(crate) fn clear(&self, py: Python<'_>) {
        drop(self.0.take(py));
    }
}
