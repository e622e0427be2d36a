//! What Lock, Event and Semaphore share: whoever comes passes at once, or waits for its turn.
//!
//! The machines here are the bodies of `acquire()`, `wait()`, `__aenter__()` and `__aexit__()`.

use pyo3::PyClass;
use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::boolean;
use super::waiters::{LoopBound, Waiters};
use crate::coroutines::{Coroutine, Delegate, Resume, Steps};
use crate::ffi::call::call_method_none;
use crate::ffi::send::Sent;
use crate::futures::waiting::Waiting;

/// Somewhere to pass, at once or after a wait.
pub(crate) trait Gate: PyClass + Send + Sync {
    fn waiters<'a>(this: &'a Bound<'_, Self>) -> &'a Waiters;

    fn binding<'a, 'py>(this: &'a Bound<'py, Self>) -> &'a Bound<'py, LoopBound>;

    /// Passes if nobody has to be waited for; whether it did.
    fn try_pass(this: &Bound<'_, Self>) -> PyResult<bool>;

    /// `future`, which stood for who waited, is done or given up, and out of the queue. `error` is what ended the wait, if not a wake-up.
    fn after_wait(this: &Bound<'_, Self>, future: &Bound<'_, PyAny>, error: Option<&PyErr>) -> PyResult<()>;
}

/// Somewhere to pass, that is left again.
pub(crate) trait Held: Gate {
    /// Whether `this` is of this very class, not of a subclass with methods of its own.
    #[inline]
    fn is_plain(this: &Bound<'_, Self>) -> bool {
        this.as_any().is_exact_instance_of::<Self>()
    }

    fn release(this: &Bound<'_, Self>) -> PyResult<()>;
}

/// What passing gives: `acquire()` and `wait()` True, `__aenter__()` None.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    True,
    None,
}

/// Passes a gate.
pub(crate) struct Pass<G> {
    gate: Py<G>,
    waiting: Option<Waiting>,
    answer: Answer,
}

impl<G: Gate> Pass<G> {
    #[inline]
    pub(crate) fn new(gate: &Bound<'_, G>, answer: Answer) -> Self {
        Self { gate: gate.clone().unbind(), waiting: None, answer }
    }

    /// Nobody could pass at once: gets in line.
    fn wait<'py>(&mut self, gate: &Bound<'py, G>) -> PyResult<Sent<'py>> {
        let future = LoopBound::new_future(G::binding(gate))?;
        G::waiters(gate).push(&future)?;
        let waiting = Waiting::begin(&future)?;
        let sent = waiting.step(gate.py(), Resume::Next);
        self.waiting = Some(waiting);
        Ok(sent)
    }

    fn passed<'py>(&self, py: Python<'py>) -> Sent<'py> {
        Sent::Returned(match self.answer {
            Answer::True => boolean(py, true),
            Answer::None => py.None().into_bound(py),
        })
    }

    fn after_wait<'py>(
        &self,
        gate: &Bound<'py, G>,
        future: &Bound<'_, PyAny>,
        sent: Sent<'py>,
    ) -> PyResult<Sent<'py>> {
        G::waiters(gate).remove(future)?;
        if let Sent::Raised(error) = sent {
            G::after_wait(gate, future, Some(&error))?;
            return Err(error);
        }
        G::after_wait(gate, future, None)?;
        Ok(self.passed(gate.py()))
    }
}

impl<G: Gate> Steps for Pass<G> {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let gate = self.gate.bind(py).clone();
        let sent = match &self.waiting {
            Some(waiting) => waiting.step(py, resume),
            None => self.wait(&gate).unwrap_or_else(Sent::Raised),
        };
        let Some(waiting) = &self.waiting else {
            return sent;
        };
        if matches!(sent, Sent::Yielded(_)) {
            return sent;
        }
        self.after_wait(&gate, &waiting.future(py), sent).unwrap_or_else(Sent::Raised)
    }

    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        match G::try_pass(self.gate.bind(py)) {
            Ok(true) => Some(self.passed(py)),
            Ok(false) => None,
            Err(error) => Some(Sent::Raised(error)),
        }
    }

    #[inline]
    fn is_quick(&self, py: Python<'_>, is_first: bool) -> bool {
        is_first || self.waiting.as_ref().is_some_and(|waiting| waiting.has_result(py))
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        drop(self.gate.into_bound(py));
        if let Some(waiting) = self.waiting {
            waiting.let_go(py);
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.gate)?;
        self.waiting.as_ref().map_or(Ok(()), |waiting| waiting.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waiting.as_ref().map(|waiting| waiting.awaited(py))
    }
}

/// Something awaited inside of another machine: a machine of ours, or any awaitable.
pub(super) enum Inner<M> {
    Native(M),
    Other(Delegate),
}

impl<M: Steps> Steps for Inner<M> {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        match self {
            Self::Native(machine) => machine.step(py, resume),
            Self::Other(delegate) => delegate.step(py, resume),
        }
    }

    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        match self {
            Self::Native(machine) => machine.end_at_once(py),
            Self::Other(_) => None,
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Native(machine) => machine.visit(visit),
            Self::Other(delegate) => delegate.visit(visit),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Native(machine) => machine.awaited(py),
            Self::Other(delegate) => Some(delegate.iterator(py)),
        }
    }
}

/// `__aenter__()`. A subclass may have an `acquire()` of its own, which is called then.
#[inline]
pub(super) fn enter<'py, G: Held>(this: &Bound<'py, G>) -> PyResult<Bound<'py, Coroutine>> {
    if !G::is_plain(this) {
        return enter_other(this.as_any());
    }
    Coroutine::of(this.py(), ENTERING, Pass::new(this, Answer::None))
}

/// `__aexit__()`, likewise with `release()`.
#[inline]
pub(super) fn leave<'py, G: Held>(this: &Bound<'py, G>) -> PyResult<Bound<'py, Coroutine>> {
    if !G::is_plain(this) {
        return leave_other(this.as_any());
    }
    Coroutine::of(this.py(), LEAVING, Leaving { gate: this.clone().unbind() })
}

/// `__aenter__()` of anything that has an `acquire()`.
pub(super) fn enter_other<'py>(owner: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Coroutine>> {
    await_method(ENTERING, owner, "acquire", Kept::Nothing)
}

/// `__aexit__()` of anything that has a `release()`.
pub(super) fn leave_other<'py>(owner: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Coroutine>> {
    Coroutine::of(owner.py(), LEAVING, LeavingOther { owner: owner.clone().unbind() })
}

struct Leaving<G> {
    gate: Py<G>,
}

impl<G: Held> Steps for Leaving<G> {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, _resume: Resume) -> Sent<'py> {
        returned(py, G::release(self.gate.bind(py)))
    }

    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        Some(self.step(py, Resume::Next))
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        drop(self.gate.into_bound(py));
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.gate)
    }
}

struct LeavingOther {
    owner: Py<PyAny>,
}

impl Steps for LeavingOther {
    fn step<'py>(&mut self, py: Python<'py>, _resume: Resume) -> Sent<'py> {
        let released = call_method_none(self.owner.bind(py), intern!(py, "release"));
        returned(py, released.map(drop))
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)
    }
}

/// A coroutine named `name` that awaits `owner.method()`, which a subclass or another library wrote.
pub(super) fn await_method<'py>(
    name: &'static str,
    owner: &Bound<'py, PyAny>,
    method: &'static str,
    kept: Kept,
) -> PyResult<Bound<'py, Coroutine>> {
    let machine = AwaitingMethod { owner: owner.clone().unbind(), method, kept, awaited: None };
    Coroutine::of(owner.py(), name, machine)
}

/// What a coroutine gives of what it awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Result,
    Nothing,
}

struct AwaitingMethod {
    owner: Py<PyAny>,
    method: &'static str,
    kept: Kept,
    awaited: Option<Delegate>,
}

impl Steps for AwaitingMethod {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        if self.awaited.is_none() {
            match self.owner.bind(py).call_method0(self.method).and_then(|called| Delegate::begin(&called)) {
                Ok(awaited) => self.awaited = Some(awaited),
                Err(error) => return Sent::Raised(error),
            }
        }
        match self.awaited.as_ref().map(|awaited| awaited.step(py, resume)) {
            Some(Sent::Returned(_)) if self.kept == Kept::Nothing => Sent::Returned(py.None().into_bound(py)),
            Some(sent) => sent,
            None => Sent::Returned(py.None().into_bound(py)),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        self.awaited.as_ref().map_or(Ok(()), |awaited| awaited.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.awaited.as_ref().map(|awaited| awaited.iterator(py))
    }
}

/// Does nothing.
pub(super) struct Nothing;

impl Steps for Nothing {
    fn step<'py>(&mut self, py: Python<'py>, _resume: Resume) -> Sent<'py> {
        returned(py, Ok(()))
    }

    fn visit(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

/// Begins `await owner.acquire()`.
pub(super) fn begin_acquire(owner: &Bound<'_, PyAny>) -> PyResult<Delegate> {
    Delegate::begin(&call_method_none(owner, intern!(owner.py(), "acquire"))?)
}

/// How a step ends that has nothing to give back.
#[inline]
pub(super) fn returned(py: Python<'_>, outcome: PyResult<()>) -> Sent<'_> {
    match outcome {
        Ok(()) => Sent::Returned(py.None().into_bound(py)),
        Err(error) => Sent::Raised(error),
    }
}

/// As asyncio's primitives show them: there both are methods of a class that they share.
const ENTERING: &str = "_ContextManagerMixin.__aenter__";
const LEAVING: &str = "_ContextManagerMixin.__aexit__";

/// What `help()` says of the two.
pub(super) const ENTER: &CStr = c"__aenter__($self)\n--\n\n";
pub(super) const EXIT: &CStr = c"__aexit__($self, exc_type, exc, tb)\n--\n\n";
