//! `Condition`; the waiting itself is in `wait`.

mod wait;

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

pub(super) use wait::Wait;
use wait::{Acquiring, WaitFor};

use super::gate::{self, Answer, ENTER, EXIT, Held, Inner, Pass};
use super::lock::Lock;
use super::waiters::{LoopBound, Waiters};
use super::{boolean, none, shown};
use crate::coroutines::Coroutine;
use crate::exceptions;
use crate::ffi::call::call_method_none;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::{self, Arguments, FastMethod, Light};

/// Tasks wait until another one notifies them; all of them hold a lock when they look at what they share.
///
/// Parameters: `lock`, a `Lock` or anything with its methods (default: a new one).
///
/// <https://docs.python.org/3/library/asyncio-sync.html#asyncio.Condition>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Condition", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct Condition {
    lock: GilCell<Option<Py<PyAny>>>,
    waiters: Waiters,
}

/// The lock behind a condition.
enum Guard<'py> {
    Native(Bound<'py, Lock>),
    /// Another library's, or a subclass with methods of its own.
    Other(Bound<'py, PyAny>),
}

impl Guard<'_> {
    fn is_locked(&self) -> PyResult<bool> {
        match self {
            Self::Native(lock) => Ok(lock.get().is_locked(lock.py())),
            Self::Other(lock) => call_method_none(lock, intern!(lock.py(), "locked"))?.is_truthy(),
        }
    }

    fn release(&self) -> PyResult<()> {
        match self {
            Self::Native(lock) => Lock::release(lock),
            Self::Other(lock) => call_method_none(lock, intern!(lock.py(), "release")).map(drop),
        }
    }

    fn begin_acquire(&self) -> PyResult<Acquiring> {
        Ok(match self {
            Self::Native(lock) => Inner::Native(Pass::new(lock, Answer::True)),
            Self::Other(lock) => Inner::Other(gate::begin_acquire(lock)?),
        })
    }
}

impl Condition {
    /// A condition with a lock of its own.
    pub(super) fn fresh(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        let condition = Bound::new(py, Self::unguarded())?;
        condition.get().set_lock(py, None)?;
        Ok(condition)
    }

    fn unguarded() -> PyClassInitializer<Self> {
        PyClassInitializer::from(LoopBound::default()).add_subclass(Self::default())
    }

    fn set_lock(&self, py: Python<'_>, lock: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let lock = match lock {
            Some(lock) => {
                // A lock without them is refused here, not at the first use.
                for name in [intern!(py, "locked"), intern!(py, "acquire"), intern!(py, "release")] {
                    lock.getattr(name)?;
                }
                lock.clone()
            }
            None => Bound::new(py, Lock::free())?.into_any(),
        };
        drop(self.lock.replace(py, Some(lock.unbind())));
        self.waiters.clear(py);
        Ok(())
    }

    #[inline]
    fn lock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.lock
            .with(py, |lock| lock.as_ref().map(|lock| lock.bind(py).clone()))
            .ok_or_else(|| exceptions::runtime("Condition object is not initialized."))
    }

    #[inline]
    fn guard<'py>(&self, py: Python<'py>) -> PyResult<Guard<'py>> {
        Ok(match self.lock(py)?.cast_into_exact::<Lock>() {
            Ok(lock) => Guard::Native(lock),
            Err(other) => Guard::Other(other.into_inner()),
        })
    }

    /// Its lock, where that is ours.
    pub(super) fn native_lock<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Lock>>> {
        Ok(match self.guard(py)? {
            Guard::Native(lock) => Some(lock),
            Guard::Other(_) => None,
        })
    }

    /// Wakes the first `count` who are not woken yet; RuntimeError when nobody holds the lock.
    pub(super) fn wake(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        if !self.guard(py)?.is_locked()? {
            return Err(exceptions::runtime("cannot notify on un-acquired lock"));
        }
        self.wake_unchecked(py, count)
    }

    #[inline]
    fn wake_unchecked(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        self.waiters.wake(&boolean(py, false), count)?;
        Ok(())
    }

    pub(super) fn wake_all(&self, py: Python<'_>) -> PyResult<()> {
        self.wake(py, self.waiters.len(py)?)
    }
}

impl Condition {
    /// Adds the methods that programs call all the time.
    pub(super) fn add_methods(py: Python<'_>) -> PyResult<()> {
        methods::install::<Notify>(py)?;
        Light::<Self>::to_class(py)
            .alone(
                c"acquire",
                c"acquire($self)\n--\n\nWaits until the lock is free and takes it: what the `acquire()` of the lock gives.",
                Self::acquire,
            )?
            .alone(
                c"release",
                c"release($self)\n--\n\nFrees the lock. RuntimeError when nobody holds it.",
                Self::release,
            )?
            .alone(c"locked", c"locked($self)\n--\n\nWhether somebody holds the lock.", |this| {
                Ok(boolean(this.py(), this.get().guard(this.py())?.is_locked()?))
            })?
            .alone(
                c"wait",
                c"wait($self)\n--\n\nGives the lock up, waits to be notified, and takes the lock again; returns True. \
                  RuntimeError when nobody holds the lock.\n\n\
                  It may return without a notification: look again at what was waited for, or use `wait_for()`.",
                |this| Ok(Coroutine::of(this.py(), "Condition.wait", Wait::new(this))?.into_any()),
            )?
            .alone(
                c"notify_all",
                c"notify_all($self)\n--\n\nWakes every task that waits. RuntimeError when nobody holds the lock.",
                Self::notify_all,
            )?
            .alone(c"__aenter__", ENTER, Self::enter)?
            .exit(EXIT, Self::leave)?;
        Ok(())
    }

    /// A subclass may have a `notify()` of its own, which is called then.
    fn notify_all<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if this.is_exact_instance_of::<Self>() {
            return none(py, this.get().wake_all(py));
        }
        let count = this.get().waiters.len(py)?;
        none(py, this.call_method1(intern!(py, "notify"), (count,)).map(drop))
    }

    fn acquire<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        match this.get().guard(this.py())? {
            Guard::Native(lock) => Ok(Lock::acquire(&lock)?.into_any()),
            Guard::Other(lock) => call_method_none(&lock, intern!(lock.py(), "acquire")),
        }
    }

    fn release<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        match this.get().guard(this.py())? {
            Guard::Native(lock) => none(this.py(), Lock::release(&lock)),
            Guard::Other(lock) => call_method_none(&lock, intern!(lock.py(), "release")),
        }
    }

    fn enter<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match this.get().guard(this.py())? {
            Guard::Native(lock) => gate::enter(&lock)?,
            Guard::Other(lock) => gate::enter_other(&lock)?,
        }
        .into_any())
    }

    fn leave<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match this.get().guard(this.py())? {
            Guard::Native(lock) => gate::leave(&lock)?,
            Guard::Other(lock) => gate::leave_other(&lock)?,
        }
        .into_any())
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(lock=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::unguarded()
    }

    #[pyo3(signature = (lock = None))]
    fn __init__(&self, py: Python<'_>, lock: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.set_lock(py, lock)
    }

    /// Waits until `predicate()` gives something true, which is returned. It is called with the lock held.
    fn wait_for<'py>(this: &Bound<'py, Self>, predicate: Py<PyAny>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Condition.wait_for", WaitFor::new(this, predicate))
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let state = if this.get().guard(py)?.is_locked()? { "locked" } else { "unlocked" };
        shown(this.as_any(), state, this.get().waiters.len(py)?)
    }

    #[getter]
    fn _lock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.lock(py)
    }

    #[getter]
    fn _waiters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.waiters.deque(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiters.visit(&visit)?;
        self.lock.peek(|lock| visit.call(lock)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.waiters.clear(py);
        drop(self.lock.take(py));
    }
}

/// `Condition.notify()`.
struct Notify;

impl FastMethod for Notify {
    type Class = Condition;
    const NAME: &'static CStr = c"notify";
    const DOCUMENTATION: &'static CStr = c"notify($self, n=1)\n--\n\n\
        Wakes the first `n` tasks that wait; they go on when they get the lock. RuntimeError when nobody holds the lock.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(
        this: &Bound<'py, Condition>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let count = if arguments.is_empty() {
            1
        } else {
            let given: isize = arguments.one("Condition.notify", "n")?.extract()?;
            usize::try_from(given).unwrap_or(0)
        };
        none(this.py(), this.get().wake(this.py(), count))
    }
}
