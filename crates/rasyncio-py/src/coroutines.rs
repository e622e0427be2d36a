//! Coroutines written in Rust: an `async fn` that Python awaits like one of its own (asyncio: coroutines.py).
//!
//! `Coroutine` is a `collections.abc.Coroutine` whose body is a Rust `Future`, polled on the loop's thread each time Python resumes it.
//! The body awaits Python objects through [`wait_for`]. The two sides meet in a pair of thread-local places: what Python sent in
//! (`RESUMED`) is taken by the innermost `wait_for` when it is polled, and what it awaits is left in `YIELDED` right before it answers `Pending`.
//! Nothing else runs in between, so nested coroutines do not get into each other's way. This is also how other Rust code can run on the loop.
//!
//! Python's garbage collector cannot look into the body. What a suspended body awaits leads to the task that runs it, so the coroutine keeps that
//! in the body's place and shows it to the collector; a body must not hold on to anything else that leads to its own task.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTraceback, PyType};
use pyo3::{ffi, intern};

use crate::exceptions::Raised;
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
use crate::ffi::send::{self, Sent};
use crate::ffi::slots::{SendSlot, next_result, stop_iteration};
use crate::ffi::warning;

type Body = Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>> + Send>>;

/// A coroutine whose body is Rust.
#[pyclass(frozen, weakref, name = "coroutine", module = "rasyncio")]
pub(crate) struct Coroutine {
    name: &'static str,
    body: GilCell<Stage>,
}

enum Stage {
    Created(Body),
    /// The body, and the iterator of what it awaits.
    Suspended {
        body: Body,
        awaited: Py<PyAny>,
    },
    Running,
    Closed,
}

/// What Python resumes a coroutine with.
enum Resume {
    Next,
    Throw(PyErr),
}

/// For the innermost `wait_for` of a body that goes on: with what, and the iterator that it awaits.
struct Resumed {
    resume: Resume,
    awaited: Py<PyAny>,
}

/// From the innermost `wait_for` of a body that is suspended: the iterator that it awaits, and what that yielded.
struct Yielded {
    awaited: Py<PyAny>,
    value: Py<PyAny>,
}

thread_local! {
    static RESUMED: RefCell<Option<Resumed>> = const { RefCell::new(None) };
    static YIELDED: RefCell<Option<Yielded>> = const { RefCell::new(None) };
}

impl Coroutine {
    /// A coroutine named `name` (as it is shown, e.g. `EventLoop.sock_recv`) that runs `body` when it is awaited.
    pub(crate) fn make<'py>(
        py: Python<'py>,
        name: &'static str,
        body: impl Future<Output = PyResult<Py<PyAny>>> + Send + 'static,
    ) -> PyResult<Bound<'py, Self>> {
        Bound::new(py, Self { name, body: GilCell::new(Stage::Created(Box::pin(body))) })
    }

    fn resume<'py>(&self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let mut body = match self.body.replace(py, Stage::Running) {
            Stage::Created(body) => {
                if let Resume::Throw(error) = resume {
                    // As for a Python coroutine: what is thrown in before the start ends it.
                    drop(self.body.replace(py, Stage::Closed));
                    drop(body);
                    return Sent::Raised(error);
                }
                body
            }
            Stage::Suspended { body, awaited } => {
                RESUMED.with_borrow_mut(|place| *place = Some(Resumed { resume, awaited }));
                body
            }
            Stage::Running => return Sent::Raised(PyRuntimeError::new_err("coroutine already executing")),
            Stage::Closed => {
                drop(self.body.replace(py, Stage::Closed));
                return Sent::Raised(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
            }
        };
        let mut nothing = Context::from_waker(Waker::noop());
        let polled = body.as_mut().poll(&mut nothing);
        match polled {
            Poll::Pending => {
                if let Some(Yielded { awaited, value }) = YIELDED.with_borrow_mut(Option::take) {
                    drop(self.body.replace(py, Stage::Suspended { body, awaited }));
                    return Sent::Yielded(value.into_bound(py));
                }
                drop(self.body.replace(py, Stage::Closed));
                let text = "a Rust coroutine waits for something that is not Python's";
                Sent::Raised(PyRuntimeError::new_err(text))
            }
            Poll::Ready(outcome) => {
                drop(self.body.replace(py, Stage::Closed));
                drop(body);
                match outcome {
                    Ok(result) => Sent::Returned(result.into_bound(py)),
                    Err(error) => Sent::Raised(no_stop_iteration(py, error)),
                }
            }
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

/// The exception that `throw(type, value, traceback)` means, in the old form of three arguments or the new one of an instance.
pub(crate) fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let py = kind.py();
    let value = value.filter(|value| !value.is_none());
    let traceback = traceback.filter(|traceback| !traceback.is_none());
    if traceback.is_some_and(|traceback| !traceback.is_instance_of::<PyTraceback>()) {
        return Err(PyTypeError::new_err("throw() third argument must be a traceback"));
    }
    let exception = if let Ok(class) = kind.cast::<PyType>() {
        match value {
            Some(value) if value.is_instance(class)? => value.clone(),
            Some(value) => class.call1((value,))?,
            None => class.call0()?,
        }
    } else {
        if value.is_some() {
            return Err(PyTypeError::new_err("instance exception may not have a separate value"));
        }
        kind.clone()
    };
    if !exception.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return Err(PyTypeError::new_err(
            "exceptions must be classes or instances deriving from BaseException",
        ));
    }
    if let Some(traceback) = traceback {
        exception.setattr(intern!(py, "__traceback__"), traceback)?;
    }
    Ok(PyErr::from_value(exception))
}

/// Awaits a Python awaitable (future, task, coroutine) inside of a Rust coroutine.
pub(crate) async fn wait_for(awaitable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let iterator = {
        // Let go of before the wait.
        let awaitable = awaitable;
        Python::attach(|py| await_iterator(awaitable.bind(py)))?
    };
    Await { unstarted: Some(iterator) }.await
}

/// What `await object` steps: the object itself if it is a coroutine, else what its `__await__` gives.
fn await_iterator(awaitable: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = awaitable.py();
    match awaitable.getattr_opt(intern!(py, "__await__"))? {
        Some(method) => Ok(method.call0()?.unbind()),
        None => Err(PyTypeError::new_err(format!(
            "object {} can't be used in 'await' expression",
            awaitable.get_type().name()?
        ))),
    }
}

struct Await {
    /// The iterator, before the first step. Later the coroutine keeps it while nothing runs.
    unstarted: Option<Py<PyAny>>,
}

impl Future for Await {
    type Output = PyResult<Py<PyAny>>;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = self.unstarted.take().map(|awaited| Resumed { resume: Resume::Next, awaited });
        let Some(Resumed { resume, awaited }) = begun.or_else(|| RESUMED.with_borrow_mut(Option::take))
        else {
            return Poll::Ready(Err(PyRuntimeError::new_err(
                "a Rust coroutine was resumed by something else than Python",
            )));
        };
        Python::attach(|py| {
            let awaited = awaited.into_bound(py);
            let sent = match resume {
                Resume::Next => send::send_none(&awaited),
                Resume::Throw(error) => throw_into(&awaited, error),
            };
            match sent {
                Sent::Yielded(value) => {
                    let yielded = Yielded { awaited: awaited.unbind(), value: value.unbind() };
                    YIELDED.with_borrow_mut(|place| *place = Some(yielded));
                    Poll::Pending
                }
                Sent::Returned(result) => Poll::Ready(Ok(result.unbind())),
                Sent::Raised(error) => Poll::Ready(Err(error)),
            }
        })
    }
}

/// Iterators without `throw` just raise, as in a Python coroutine; GeneratorExit closes them first.
fn throw_into<'py>(iterator: &Bound<'py, PyAny>, error: PyErr) -> Sent<'py> {
    let py = iterator.py();
    if error.is_instance_of::<PyGeneratorExit>(py) {
        return match close(iterator) {
            Ok(()) => Sent::Raised(error),
            Err(failure) => Sent::Raised(failure),
        };
    }
    match iterator.hasattr(intern!(py, "throw")) {
        Ok(true) => send::throw(iterator, &error.raised(py)),
        Ok(false) => Sent::Raised(error),
        Err(failure) => Sent::Raised(failure),
    }
}

fn close(iterator: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(close) = iterator.getattr_opt(intern!(iterator.py(), "close"))? {
        close.call0()?;
    }
    Ok(())
}

impl SendSlot for Coroutine {
    fn send<'py>(this: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Sent<'py> {
        let py = this.py();
        let unstarted = this.get().body.with(py, |stage| matches!(stage, Stage::Created(_)));
        if unstarted && !value.is_none() {
            let text = "can't send non-None value to a just-started coroutine";
            return Sent::Raised(PyTypeError::new_err(text));
        }
        this.get().resume(py, Resume::Next)
    }
}

#[pymethods]
impl Coroutine {
    fn __await__(this: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        // As the interpreter finds out for a coroutine of its own.
        let is_awaited = this.get().body.with(this.py(), |stage| matches!(stage, Stage::Suspended { .. }));
        if is_awaited {
            return Err(PyRuntimeError::new_err("coroutine is being awaited already"));
        }
        Ok(this)
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        next_result(self.resume(py, Resume::Next))
    }

    /// Resumes the coroutine.
    #[pyo3(name = "send")]
    fn send_from_python<'py>(
        this: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        answer(<Self as SendSlot>::send(this, value))
    }

    /// Raises an exception where the coroutine is suspended.
    #[pyo3(signature = (r#type, value = None, traceback = None))]
    fn throw<'py>(
        &self,
        r#type: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let error = thrown(r#type, value, traceback)?;
        answer(self.resume(r#type.py(), Resume::Throw(error)))
    }

    /// Raises GeneratorExit where the coroutine is suspended, which ends it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.body.replace(py, Stage::Closed) {
            Stage::Created(body) => {
                drop(body);
                return Ok(());
            }
            Stage::Closed => return Ok(()),
            other => drop(self.body.replace(py, other)),
        }
        match self.resume(py, Resume::Throw(PyGeneratorExit::new_err(()))) {
            Sent::Yielded(_) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
            Sent::Returned(_) => Ok(()),
            Sent::Raised(error) if error.is_instance_of::<PyGeneratorExit>(py) => Ok(()),
            Sent::Raised(error) => Err(error),
        }
    }

    #[getter]
    fn cr_running<'py>(&self, py: Python<'py>) -> Bound<'py, PyBool> {
        let running = self.body.with(py, |stage| matches!(stage, Stage::Running));
        PyBool::new(py, running).to_owned()
    }

    /// Rust code has no Python frame.
    #[getter]
    fn cr_frame(&self) -> Option<Py<PyAny>> {
        None
    }

    /// Rust code has no Python code object.
    #[getter]
    fn cr_code(&self) -> Option<Py<PyAny>> {
        None
    }

    #[getter]
    fn cr_await(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.body.with(py, |stage| match stage {
            Stage::Suspended { awaited, .. } => Some(awaited.clone_ref(py)),
            Stage::Created(_) | Stage::Running | Stage::Closed => None,
        })
    }

    #[getter]
    fn cr_origin(&self) -> Option<Py<PyAny>> {
        None
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.name
    }

    fn __repr__(this: &Bound<'_, Self>) -> String {
        format!("<coroutine object {} at {:?}>", this.get().name, this.as_ptr())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.body.peek(|stage| match stage {
            Stage::Suspended { awaited, .. } => visit.call(awaited),
            Stage::Created(_) | Stage::Running | Stage::Closed => Ok(()),
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let unless_it_runs = self.body.with(py, |stage| match stage {
            Stage::Running => None,
            other => Some(std::mem::replace(other, Stage::Closed)),
        });
        drop(unless_it_runs);
    }
}

fn answer(sent: Sent<'_>) -> PyResult<Bound<'_, PyAny>> {
    match sent {
        Sent::Yielded(awaited) => Ok(awaited),
        Sent::Returned(result) => Err(stop_iteration(&result)),
        Sent::Raised(error) => Err(error),
    }
}

impl Finalize for Coroutine {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().body.with(this.py(), |stage| matches!(stage, Stage::Created(_) | Stage::Suspended { .. }))
    }

    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let unstarted = this.get().body.with(py, |stage| matches!(stage, Stage::Created(_)));
        let outcome = if unstarted {
            warning::runtime(py, &format!("coroutine '{}' was never awaited", this.get().name))
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
