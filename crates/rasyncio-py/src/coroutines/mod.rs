//! Coroutines written in Rust, which Python awaits like its own (asyncio: coroutines.py).
//!
//! `Coroutine` is a `collections.abc.Coroutine` whose body is a state machine that implements [`Steps`], stepped on the loop's thread each time
//! Python resumes it. There are two ways to write one. By hand, for what programs await all the time (a lock, a sleep): the coroutine is one
//! recycled object, and a step costs no more than the call. Or as an `async fn` of Rust (`body`), for everything longer: it awaits Python
//! objects through [`wait_for`]. Files by job: this file (the life of a coroutine), `methods` (what Python sees), `body`, `delegate` (what `await` does),
//! `function` (what stands for an `async def`).
//!
//! Python's garbage collector sees what a machine shows it. It cannot look into an `async fn`: there it sees what the body awaits, which leads to the
//! task that runs it. What else it holds that leads to its own task, it lends to the coroutine meanwhile ([`wait_holding`]).
//! Invariant: while a step runs, the body is out of the object, so whatever Python does to the coroutine meanwhile finds it running.

mod body;
mod delegate;
mod function;
mod methods;

use std::future::Future;
use std::sync::OnceLock;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;

pub(crate) use body::{Held, wait_for, wait_holding};
pub(crate) use delegate::Delegate;
pub(crate) use function::CoroutineFunction;
pub(crate) use methods::thrown;

use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
use crate::ffi::machine::Machine;
pub(crate) use crate::ffi::machine::{Resume, Steps};
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::send::Sent;
use crate::ffi::slots::{AwaitSlot, SendSlot};
use crate::ffi::warning;

/// A coroutine whose body is Rust.
#[pyclass(frozen, weakref, name = "coroutine", module = "rasyncio")]
pub(crate) struct Coroutine {
    life: GilCell<Life>,
}

struct Life {
    /// As it is shown, e.g. `EventLoop.sock_recv`.
    name: &'static str,
    stage: Stage,
}

enum Stage {
    Created(Machine),
    Suspended(Machine),
    Running,
    Closed,
}

impl Coroutine {
    /// A coroutine named `name` (as it is shown, e.g. `EventLoop.sock_recv`) that runs `body` when it is awaited.
    pub(crate) fn make<'py>(
        py: Python<'py>,
        name: &'static str,
        body: impl Future<Output = PyResult<Py<PyAny>>> + Send + 'static,
    ) -> PyResult<Bound<'py, Self>> {
        Self::of(py, name, body::AsyncBody::new(body))
    }

    /// A coroutine named `name` that steps `machine` when it is awaited.
    #[inline]
    pub(crate) fn of<'py>(
        py: Python<'py>,
        name: &'static str,
        machine: impl Steps,
    ) -> PyResult<Bound<'py, Self>> {
        let mut stage = Some(Stage::Created(Machine::new(machine)));
        let recycled = recycle::take::<Self>(py, |this| {
            this.get().life.with(py, |life| {
                life.name = name;
                if let Some(stage) = stage.take() {
                    life.stage = stage;
                }
            });
        });
        if let Some(recycled) = recycled {
            return Ok(recycled);
        }
        let stage = stage.unwrap_or(Stage::Closed);
        Bound::new(py, Self { life: GilCell::new(Life { name, stage }) })
    }

    fn name(&self, py: Python<'_>) -> &'static str {
        self.life.with(py, |life| life.name)
    }

    fn set_stage(&self, py: Python<'_>, stage: Stage) -> Stage {
        self.life.with(py, |life| std::mem::replace(&mut life.stage, stage))
    }

    #[inline]
    fn resume<'py>(&self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let mut machine = match self.set_stage(py, Stage::Running) {
            Stage::Created(machine) => {
                if let Resume::Throw(error) = resume {
                    // As for a Python coroutine: what is thrown in before the start ends it.
                    self.set_stage(py, Stage::Closed);
                    drop(machine);
                    return Sent::Raised(error);
                }
                machine
            }
            Stage::Suspended(machine) => machine,
            Stage::Running => return Sent::Raised(PyRuntimeError::new_err("coroutine already executing")),
            Stage::Closed => {
                self.set_stage(py, Stage::Closed);
                return Sent::Raised(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
            }
        };
        let sent = machine.step(py, resume);
        if matches!(sent, Sent::Yielded(_)) {
            self.set_stage(py, Stage::Suspended(machine));
            return sent;
        }
        self.set_stage(py, Stage::Closed);
        drop(machine);
        match sent {
            Sent::Raised(error) => Sent::Raised(no_stop_iteration(py, error)),
            sent => sent,
        }
    }
}

/// PEP 479: a StopIteration that escapes from a coroutine is a RuntimeError.
fn no_stop_iteration(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let replacement = PyRuntimeError::new_err("coroutine raised StopIteration");
    replacement.set_cause(py, Some(error));
    replacement
}

impl AwaitSlot for Coroutine {
    #[inline]
    fn iterator<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        // As the interpreter finds out for a coroutine of its own.
        let is_awaited = this.get().life.with(this.py(), |life| matches!(life.stage, Stage::Suspended(_)));
        if is_awaited {
            return Err(PyRuntimeError::new_err("coroutine is being awaited already"));
        }
        Ok(this.clone().into_any())
    }
}

impl SendSlot for Coroutine {
    #[inline]
    fn send<'py>(this: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Sent<'py> {
        let py = this.py();
        if !value.is_none() && this.get().life.with(py, |life| matches!(life.stage, Stage::Created(_))) {
            let text = "can't send non-None value to a just-started coroutine";
            return Sent::Raised(pyo3::exceptions::PyTypeError::new_err(text));
        }
        // A machine lets go of Python objects in the ordinary way, which asks whether the thread is attached.
        Python::attach(|_| this.get().resume(py, Resume::Next))
    }
}

impl Recycle for Coroutine {
    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        this.get().life.with(this.py(), |life| matches!(life.stage, Stage::Closed))
    }

    #[inline]
    fn empty(_this: &Bound<'_, Self>) {}

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

impl Finalize for Coroutine {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().life.with(this.py(), |life| matches!(life.stage, Stage::Created(_) | Stage::Suspended(_)))
    }

    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let unstarted = this.get().life.with(py, |life| matches!(life.stage, Stage::Created(_)));
        if !unstarted && Python::try_attach(|_| ()).is_none() {
            // The interpreter's last moments: PyO3 attaches nobody any more, so no body can run.
            return;
        }
        let outcome = if unstarted {
            warning::runtime(py, &format!("coroutine '{}' was never awaited", this.get().name(py)))
        } else {
            // The body cleans up behind itself, as that of a Python coroutine does.
            this.get().close(py)
        };
        if let Err(error) = outcome {
            error.write_unraisable(py, Some(this));
        }
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}
