//! Coroutines whose body is an `async fn` of Rust: the two sides of an await, and [`wait_for`] for the body.

use std::any::Any;
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
pub(crate) struct AsyncBody {
    body: Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>> + Send>>,
    /// What the innermost `wait_for` awaits while the body is suspended.
    awaited: Option<Delegate>,
    /// What it lent for so long, to be shown to the collector.
    lent: Option<Box<dyn Held>>,
}

/// What an `async fn` holds on to while it is suspended. The collector cannot look into the function, so it lends this to its coroutine.
pub(crate) trait Held: Any + Send {
    /// Shows the collector what is held.
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

impl<const N: usize> Held for [Py<PyAny>; N] {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.iter().try_for_each(|object| visit.call(object))
    }
}

/// For the innermost `wait_for` of a body that goes on: with what, and what it awaits.
struct Resumed {
    resume: Resume,
    awaited: Delegate,
    lent: Option<Box<dyn Held>>,
}

/// From the innermost `wait_for` of a body that is suspended: what it awaits, and what that yielded.
struct Yielded {
    awaited: Delegate,
    lent: Option<Box<dyn Held>>,
    value: Py<PyAny>,
}

thread_local! {
    static RESUMED: RefCell<Option<Resumed>> = const { RefCell::new(None) };
    static YIELDED: RefCell<Option<Yielded>> = const { RefCell::new(None) };
}

impl AsyncBody {
    pub(crate) fn new(body: impl Future<Output = PyResult<Py<PyAny>>> + Send + 'static) -> Self {
        Self { body: Box::pin(body), awaited: None, lent: None }
    }
}

impl Steps for AsyncBody {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        if let Some(awaited) = self.awaited.take() {
            let lent = self.lent.take();
            RESUMED.with_borrow_mut(|place| *place = Some(Resumed { resume, awaited, lent }));
        }
        let mut nothing = Context::from_waker(Waker::noop());
        match self.body.as_mut().poll(&mut nothing) {
            Poll::Pending => {
                if let Some(Yielded { awaited, lent, value }) = YIELDED.with_borrow_mut(Option::take) {
                    self.awaited = Some(awaited);
                    self.lent = lent;
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
        if let Some(lent) = &self.lent {
            lent.visit(visit)?;
        }
        self.awaited.as_ref().map_or(Ok(()), |awaited| awaited.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.awaited.as_ref().map(|awaited| awaited.iterator(py))
    }
}

/// Awaits a Python awaitable (future, task, coroutine) inside of a Rust coroutine.
pub(crate) async fn wait_for(awaitable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let awaited = begin(awaitable)?;
    Await { unstarted: Some((awaited, None)) }.await.0
}

/// `wait_for` for a body that keeps `held` meanwhile, which leads to the task that runs it: a transport, say, that will wake it.
pub(crate) async fn wait_holding<H: Held>(awaitable: Py<PyAny>, held: H) -> (PyResult<Py<PyAny>>, H) {
    let awaited = match begin(awaitable) {
        Ok(awaited) => awaited,
        Err(error) => return (Err(error), held),
    };
    let (outcome, lent) = Await { unstarted: Some((awaited, Some(Box::new(held)))) }.await;
    let returned = lent.and_then(|lent| (lent as Box<dyn Any>).downcast::<H>().ok());
    (outcome, *returned.expect("a coroutine gives back to its body what that lent it"))
}

fn begin(awaitable: Py<PyAny>) -> PyResult<Delegate> {
    // Let go of before the wait.
    let awaitable = awaitable;
    Python::attach(|py| Delegate::begin(awaitable.bind(py)))
}

struct Await {
    /// What is awaited and what is lent, before the first step. Later the coroutine keeps it while nothing runs.
    unstarted: Option<(Delegate, Option<Box<dyn Held>>)>,
}

impl Future for Await {
    type Output = (PyResult<Py<PyAny>>, Option<Box<dyn Held>>);

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = self.unstarted.take();
        let begun = begun.map(|(awaited, lent)| Resumed { resume: Resume::Next, awaited, lent });
        let Some(Resumed { resume, awaited, lent }) = begun.or_else(|| RESUMED.with_borrow_mut(Option::take))
        else {
            let text = "a Rust coroutine was resumed by something else than Python";
            return Poll::Ready((Err(PyRuntimeError::new_err(text)), None));
        };
        Python::attach(|py| match awaited.step(py, resume) {
            Sent::Yielded(value) => {
                let yielded = Yielded { awaited, lent, value: value.unbind() };
                YIELDED.with_borrow_mut(|place| *place = Some(yielded));
                Poll::Pending
            }
            Sent::Returned(result) => Poll::Ready((Ok(result.unbind()), lent)),
            Sent::Raised(error) => Poll::Ready((Err(error), lent)),
        })
    }
}
