//! The private names of asyncio's loops that programs use: to move the clock in tests, to look at the timers, to wake a loop by hand. What is part
//! of another job stands there (`_thread_id` in `run`, `_default_executor` in `executor`). Names that would show a selector, a self-pipe or the
//! queue of handles are absent: there is no such thing here.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::{Loop, Ready};

#[pymethods]
impl Loop {
    /// Seconds: timers that are due within so little count as due.
    #[getter]
    fn _clock_resolution(&self) -> f64 {
        self.clock_resolution()
    }

    #[setter(_clock_resolution)]
    fn set_clock_resolution(&self, seconds: f64) {
        self.clock_resolution.store(seconds.to_bits(), Ordering::Relaxed);
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    #[getter]
    fn _debug(&self, py: Python<'_>) -> bool {
        self.is_debug(py)
    }

    /// A copy of the timers, cancelled ones among them, in the order of their deadlines. For one of rasyncio's own stands a handle made now.
    #[getter]
    fn _scheduled<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let timers = PyList::new(this.py(), Self::timer_handles(this)?)?;
        timers.sort()?;
        Ok(timers)
    }

    /// Ends the loop's sleep, from any thread.
    fn _write_to_self(&self) {
        self.inbox.push(Ready::Deferred(Box::new(|_| Ok(()))));
    }
}

impl Loop {
    pub(super) fn clock_resolution(&self) -> f64 {
        f64::from_bits(self.clock_resolution.load(Ordering::Relaxed))
    }
}

/// Python: `time.get_clock_info("monotonic").resolution` on Linux.
pub(super) const CLOCK_RESOLUTION: f64 = 1e-9;
