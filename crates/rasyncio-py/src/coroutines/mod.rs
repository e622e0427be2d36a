//! Coroutines written in Rust, which Python awaits like its own (asyncio: coroutines.py).
//!
//! `Coroutine` is a `collections.abc.Coroutine` whose body is a state machine that implements [`Steps`], stepped on the loop's thread each time
//! Python resumes it. There are two ways to write one. By hand, for what programs await all the time (a lock, a sleep): the coroutine is one
//! recycled object, and a step costs no more than the call. Or as an `async fn` of Rust (`body`), for everything longer: it awaits Python
//! objects through [`wait_for`]. Files by job: this file (the life of a coroutine), `methods` (what Python sees), `frame` (what shows where it is), `body`,
//! `delegate` (what `await` does), `function` (what stands for an `async def`).
//!
//! Python's garbage collector sees what a machine shows it. It cannot look into an `async fn`: there it sees what the body awaits, which leads to the
//! task that runs it. What else it holds that leads to its own task, it lends to the coroutine meanwhile ([`wait_holding`]).
//! Invariant: while a step runs, nothing else touches the body: whatever Python does to the coroutine meanwhile finds it running.

mod body;
mod delegate;
mod frame;
mod function;
mod methods;

use std::future::Future;
use std::sync::OnceLock;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;

pub(crate) use body::{AsyncBody, Held, wait_for, wait_holding};
pub(crate) use delegate::Delegate;
pub(crate) use function::{CoroutineFunction, adopt};
pub(crate) use methods::thrown;

use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
pub(crate) use crate::ffi::machine::Quick;
use crate::ffi::machine::{Body, Status};
pub(crate) use crate::ffi::machine::{Resume, Steps};
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::send::Sent;
use crate::ffi::slots::{AwaitSlot, SendSlot};
use crate::ffi::stop;
use crate::ffi::warning;

/// A coroutine whose body is Rust.
#[pyclass(frozen, weakref, name = "coroutine", module = "rasyncio")]
pub(crate) struct Coroutine {
    /// As it is shown, e.g. `EventLoop.sock_recv`.
    name: GilCell<&'static str>,
    body: Body,
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
        recycle::make(
            py,
            machine,
            |this: &Bound<'py, Self>, machine| {
                this.get().name.set(py, name);
                this.get().body.refill(py, machine);
            },
            |machine| Self { name: GilCell::new(name), body: Body::new(machine) },
        )
    }

    fn name(&self, py: Python<'_>) -> &'static str {
        self.name.get(py)
    }

    fn go_on<'py>(&self, py: Python<'py>) -> Sent<'py> {
        match self.quick_step(py) {
            Quick::Declined => self.slow_step(py),
            Quick::Yielded(object) => Sent::Yielded(object),
            Quick::Returned(value) => Sent::Returned(value),
            Quick::Raised => Sent::Raised(PyErr::fetch(py)),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each await of a lock or queue")]
    fn quick_step<'py>(&self, py: Python<'py>) -> Quick<'py> {
        let quick = self.body.run_quick(py);
        if matches!(quick, Quick::Raised) {
            no_stop_iteration(py, PyErr::fetch(py)).restore(py);
        }
        quick
    }

    /// The step of a machine that declined to be quick.
    fn slow_step<'py>(&self, py: Python<'py>) -> Sent<'py> {
        match self.body.run(py, Resume::Next) {
            Some(Sent::Raised(error)) => Sent::Raised(no_stop_iteration(py, error)),
            Some(sent) => sent,
            None => self.refuse(py),
        }
    }

    fn throw_in<'py>(&self, py: Python<'py>, error: PyErr) -> Sent<'py> {
        if self.body.status(py) == Status::Created {
            // As for a Python coroutine: what is thrown in before the start ends it.
            self.body.discard(py);
            return Sent::Raised(error);
        }
        match self.body.run(py, Resume::Throw(error)) {
            Some(Sent::Raised(error)) => Sent::Raised(no_stop_iteration(py, error)),
            Some(sent) => sent,
            None => self.refuse(py),
        }
    }

    /// There is no machine to run.
    #[cold]
    fn refuse<'py>(&self, py: Python<'py>) -> Sent<'py> {
        let text = match self.body.status(py) {
            Status::Running => "coroutine already executing",
            Status::Created | Status::Suspended | Status::Closed => "cannot reuse already awaited coroutine",
        };
        Sent::Raised(PyRuntimeError::new_err(text))
    }
}

/// `sock_recv` of `EventLoop.sock_recv`.
fn last_part(name: &'static str) -> &'static str {
    name.rsplit('.').next().unwrap_or(name)
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
        if this.get().body.status(this.py()) == Status::Suspended {
            return Err(PyRuntimeError::new_err("coroutine is being awaited already"));
        }
        Ok(this.clone().into_any())
    }
}

impl SendSlot for Coroutine {
    #[inline]
    fn quick<'py>(this: &Bound<'py, Self>) -> Quick<'py> {
        this.get().quick_step(this.py())
    }

    #[inline]
    fn send<'py>(this: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Sent<'py> {
        let py = this.py();
        if !value.is_none() && this.get().body.status(py) == Status::Created {
            let text = "can't send non-None value to a just-started coroutine";
            return Sent::Raised(pyo3::exceptions::PyTypeError::new_err(text));
        }
        // A None was tried to be quick with before.
        this.get().slow_step(py)
    }
}

impl Recycle for Coroutine {
    const HAS_FINALIZER: bool = true;

    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        this.get().body.status(this.py()) == Status::Closed
    }

    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        stop::forget(this.py());
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

impl Finalize for Coroutine {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        matches!(this.get().body.status(this.py()), Status::Created | Status::Suspended)
    }

    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let unstarted = this.get().body.status(py) == Status::Created;
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
