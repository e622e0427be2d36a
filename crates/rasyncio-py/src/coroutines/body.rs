//! Coroutines whose body is an `async fn` of Rust: the two sides of an await, and [`wait_for`] for the body.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::Delegate;
use crate::ffi::machine::{Resume, Steps};
use crate::ffi::send::Sent;

/// A Rust future as the machine of a coroutine.
pub(super) struct AsyncBody {
    body: Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>> + Send>>,
    /// What the innermost `wait_for` awaits while the body is suspended.
    awaited: Option<Delegate>,
}

/// For the innermost `wait_for` of a body that goes on: with what, and what it awaits.
struct Resumed {
    resume: Resume,
    awaited: Delegate,
}

/// From the innermost `wait_for` of a body that is suspended: what it awaits, and what that yielded.
struct Yielded {
    awaited: Delegate,
    value: Py<PyAny>,
}

thread_local! {
    static RESUMED: RefCell<Option<Resumed>> = const { RefCell::new(None) };
    static YIELDED: RefCell<Option<Yielded>> = const { RefCell::new(None) };
}

impl AsyncBody {
    pub(super) fn new(body: impl Future<Output = PyResult<Py<PyAny>>> + Send + 'static) -> Self {
        Self { body: Box::pin(body), awaited: None }
    }
}

impl Steps for AsyncBody {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        if let Some(awaited) = self.awaited.take() {
            RESUMED.with_borrow_mut(|place| *place = Some(Resumed { resume, awaited }));
        }
        let mut nothing = Context::from_waker(Waker::noop());
        match self.body.as_mut().poll(&mut nothing) {
            Poll::Pending => {
                if let Some(Yielded { awaited, value }) = YIELDED.with_borrow_mut(Option::take) {
                    self.awaited = Some(awaited);
                    return Sent::Yielded(value.into_bound(py));
                }
                let text = "a Rust coroutine waits for something that is not Python's";
                Sent::Raised(PyRuntimeError::new_err(text))
            }
            Poll::Ready(Ok(result)) => Sent::Returned(result.into_bound(py)),
            Poll::Ready(Err(error)) => Sent::Raised(error),
        }
    }

    /// The collector cannot look into the future itself.
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.awaited.as_ref().map_or(Ok(()), |awaited| awaited.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.awaited.as_ref().map(|awaited| awaited.iterator(py))
    }
}

/// Awaits a Python awaitable (future, task, coroutine) inside of a Rust coroutine.
pub(crate) async fn wait_for(awaitable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let begun = {
        // Let go of before the wait.
        let awaitable = awaitable;
        Python::attach(|py| Delegate::begin(awaitable.bind(py)))?
    };
    Await { unstarted: Some(begun) }.await
}

struct Await {
    /// What is awaited, before the first step. Later the coroutine keeps it while nothing runs.
    unstarted: Option<Delegate>,
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
        Python::attach(|py| match awaited.step(py, resume) {
            Sent::Yielded(value) => {
                let yielded = Yielded { awaited, value: value.unbind() };
                YIELDED.with_borrow_mut(|place| *place = Some(yielded));
                Poll::Pending
            }
            Sent::Returned(result) => Poll::Ready(Ok(result.unbind())),
            Sent::Raised(error) => Poll::Ready(Err(error)),
        })
    }
}
