//! `Barrier`; the waiting itself is in `wait`.

mod wait;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use wait::{Change, Changing, Waiting};

use super::condition::Condition;
use super::gate;
use super::lock::Lock;
use super::shown;
use super::waiters::LoopBound;
use crate::coroutines::Coroutine;
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::interop::stdlib;

/// Tasks wait here until a number of them has come, and go on together.
///
/// Parameters: `parties`, how many; ValueError when it is less than 1.
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.Barrier>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Barrier", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct Barrier {
    state: GilCell<State>,
    /// Whoever looks at the state or changes it holds the lock of this.
    condition: GilCell<Option<Py<Condition>>>,
}

#[derive(Clone, Copy, Default)]
struct State {
    phase: Phase,
    parties: i64,
    /// Who is inside: waits, or was let go and did not leave yet.
    count: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Filling,
    Draining,
    Resetting,
    Broken,
}

impl Phase {
    /// asyncio's name for it.
    fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Draining => "draining",
            Self::Resetting => "resetting",
            Self::Broken => "broken",
        }
    }
}

impl Barrier {
    fn condition<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Condition>> {
        self.condition
            .with(py, |condition| condition.as_ref().map(|condition| condition.bind(py).clone()))
            .ok_or_else(|| exceptions::runtime("Barrier object is not initialized."))
    }

    fn lock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Lock>> {
        let lock = self.condition(py)?.get().native_lock(py)?;
        lock.ok_or_else(|| exceptions::runtime("Barrier object is not initialized."))
    }

    fn phase(&self, py: Python<'_>) -> Phase {
        self.state.get(py).phase
    }
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(parties)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        PyClassInitializer::from(LoopBound::default()).add_subclass(Self::default())
    }

    fn __init__(&self, py: Python<'_>, parties: i64) -> PyResult<()> {
        if parties < 1 {
            let newer = py.version_info() >= (3, 14);
            return Err(PyValueError::new_err(if newer {
                "parties must be >= 1"
            } else {
                "parties must be > 0"
            }));
        }
        self.state.set(py, State { parties, ..State::default() });
        drop(self.condition.replace(py, Some(Condition::fresh(py)?.unbind())));
        Ok(())
    }

    /// Waits until all parties have come; returns the number of this one, from 0, in the order they came.
    ///
    /// `BrokenBarrierError` when the barrier is or becomes broken, or is reset meanwhile.
    fn wait<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Barrier.wait", Box::new(Waiting::new(this)))
    }

    /// Empties the barrier: who waits gets `BrokenBarrierError`. A broken one works again.
    fn reset<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Barrier.reset", Changing::new(this, Change::Reset))
    }

    /// Breaks the barrier: who waits, and who comes before it is reset, gets `BrokenBarrierError`.
    fn abort<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Barrier.abort", Changing::new(this, Change::Abort))
    }

    fn __aenter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let name = "Barrier.__aenter__";
        if this.is_exact_instance_of::<Self>() {
            return Coroutine::of(this.py(), name, Box::new(Waiting::new(this)));
        }
        gate::await_method(name, this.as_any(), "wait", gate::Kept::Result)
    }

    #[pyo3(signature = (*args))]
    fn __aexit__<'py>(&self, py: Python<'py>, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, Coroutine>> {
        let _ = args;
        Coroutine::of(py, "Barrier.__aexit__", gate::Nothing)
    }

    /// How many have to come.
    #[getter]
    fn parties(&self, py: Python<'_>) -> i64 {
        self.state.get(py).parties
    }

    /// How many wait for the others now.
    #[getter]
    fn n_waiting(&self, py: Python<'_>) -> i64 {
        let state = self.state.get(py);
        if state.phase == Phase::Filling { state.count } else { 0 }
    }

    /// Whether it was aborted and not reset since.
    #[getter]
    fn broken(&self, py: Python<'_>) -> bool {
        self.phase(py) == Phase::Broken
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let State { phase, parties, .. } = this.get().state.get(py);
        let text = match phase {
            Phase::Broken => phase.name().to_owned(),
            _ => format!("{}, waiters:{}/{parties}", phase.name(), this.get().n_waiting(py)),
        };
        shown(this.as_any(), &text, 0)
    }

    #[getter]
    fn _parties(&self, py: Python<'_>) -> i64 {
        self.parties(py)
    }

    #[getter]
    fn _count(&self, py: Python<'_>) -> i64 {
        self.state.get(py).count
    }

    #[getter]
    fn _state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        stdlib(py).primitives.barrier_state.bind(py).call1((self.phase(py).name(),))
    }

    #[getter]
    fn _cond<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Condition>> {
        self.condition(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.condition.peek(|condition| visit.call(condition)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.condition.take(py));
    }
}
