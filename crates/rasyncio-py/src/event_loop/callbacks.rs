//! Callbacks that a program asks for: `call_soon()`, `call_later()` and their like, and the clock that they go by.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyTuple};
use rasyncio_core::clock::monotonic;

use super::resolve::GetAddressInfo;
use super::timers::Timer;
use super::{Loop, Ready};
use crate::exceptions;
use crate::ffi::attributes;
use crate::ffi::call::{attached, call_method_none};
use crate::ffi::functions::{self, Parameters};
use crate::ffi::methods::{self, Arguments, FastMethod, Light};
use crate::ffi::recycle;
use crate::handles::{Call, CallArguments, Handle, TimerHandle, When};
use crate::interop::stdlib;

impl Loop {
    /// Adds the methods that programs call all the time.
    pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
        methods::install::<CallSoon>(py)?;
        methods::install::<CallSoonThreadsafe>(py)?;
        methods::install::<CallLater>(py)?;
        methods::install::<CallAt>(py)?;
        methods::install::<GetAddressInfo>(py)?;
        Light::<Self>::to_class(py)
            .alone(c"time", c"time($self)\n--\n\nSeconds of a clock that never goes back.", |this| {
                Ok(PyFloat::new(this.py(), monotonic()).into_any())
            })?
            .alone(c"create_future", c"create_future($self)\n--\n\nA `Future` of this loop.", |this| {
                Ok(Self::create_future(this)?.into_any())
            })?;
        Ok(())
    }

    /// What a handle of this loop calls: `callback(*arguments)`.
    #[inline]
    fn call(
        this: &Bound<'_, Self>,
        callback: Py<PyAny>,
        arguments: CallArguments,
        context: Option<Py<PyAny>>,
        method: &str,
    ) -> PyResult<Call> {
        let py = this.py();
        let event_loop = this.clone().into_any().unbind();
        if this.get().is_debug(py) {
            return attached(py, || {
                check_callback(callback.bind(py), method)?;
                Call::of(py, callback, arguments, event_loop, context, true)
            });
        }
        let (context, is_shared) = match context {
            Some(context) => (context, false),
            None => this.get().shared_context(py)?,
        };
        Ok(Call::plain(callback, arguments, event_loop, context, is_shared))
    }

    /// `call_soon()`: without a context the callback gets a copy of the current one.
    #[inline]
    pub(crate) fn call_soon<'py>(
        this: &Bound<'py, Self>,
        callback: Py<PyAny>,
        arguments: impl Into<CallArguments>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let py = this.py();
        let own = this.get();
        own.check_usable()?;
        if own.is_debug(py) {
            own.check_thread()?;
        }
        let call = Self::call(this, callback, arguments.into(), context, "call_soon")?;
        let handle = Handle::hidden(py, call)?;
        if !own.is_running() {
            recycle::show(&handle);
        }
        own.enqueue(py, Ready::Handle(handle.clone().unbind()));
        Ok(handle)
    }

    /// `call_soon_threadsafe()`.
    #[inline]
    fn call_soon_threadsafe<'py>(
        this: &Bound<'py, Self>,
        callback: Py<PyAny>,
        arguments: CallArguments,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let py = this.py();
        this.get().check_usable()?;
        let call = Self::call(this, callback, arguments, context, "call_soon_threadsafe")?;
        let handle = Handle::hidden(py, call.thread_safe(py))?;
        this.get().inbox.push(Ready::Handle(handle.clone().unbind()));
        Ok(handle)
    }

    /// RuntimeError when the loop runs in another thread than this one. Asked in debug mode only.
    pub(super) fn check_thread(&self) -> PyResult<()> {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread == 0 || thread == super::run::thread_id() {
            return Ok(());
        }
        Err(exceptions::runtime(
            "Non-thread-safe operation invoked on an event loop other than the current one",
        ))
    }

    /// Seconds of the loop's clock: `time()` may be overridden by a subclass, on the class or on the object.
    #[inline]
    pub(crate) fn now(this: &Bound<'_, Self>) -> PyResult<f64> {
        Self::time_of(this.as_any())
    }

    /// `time()` of a loop of any kind.
    #[inline]
    pub(crate) fn time_of(event_loop: &Bound<'_, PyAny>) -> PyResult<f64> {
        let py = event_loop.py();
        if Self::keeps_time(event_loop) {
            return Ok(monotonic());
        }
        attached(py, || call_method_none(event_loop, intern!(py, "time"))?.extract())
    }

    /// Whether `event_loop` is ours, and its `time()` too.
    #[inline]
    fn keeps_time(event_loop: &Bound<'_, PyAny>) -> bool {
        let py = event_loop.py();
        let (Some(_), Some(class)) = (Self::unchanged(event_loop), Self::class(py)) else {
            return false;
        };
        let version = attributes::version_of(class);
        if version != 0 && version == VERSION_WITH_OUR_TIME.load(Ordering::Relaxed) {
            return true;
        }
        let own = py.get_type::<Self>().getattr(intern!(py, "time"));
        let found = class.getattr(intern!(py, "time"));
        let is_ours = found.is_ok_and(|found| own.is_ok_and(|own| found.is(&own)));
        if is_ours {
            VERSION_WITH_OUR_TIME.store(attributes::version_of(class), Ordering::Relaxed);
        }
        is_ours
    }

    fn timer<'py>(
        this: &Bound<'py, Self>,
        when: When,
        callback: Py<PyAny>,
        arguments: CallArguments,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let py = this.py();
        this.get().check_usable()?;
        if this.get().is_debug(py) {
            this.get().check_thread()?;
        }
        // asyncio: call_later() is call_at(), whose name stands in the errors of both.
        let timer = TimerHandle::make(py, when, Self::call(this, callback, arguments, context, "call_at")?)?;
        let kept = Timer::Handle(timer.clone().unbind());
        this.get().timers.with(py, |timers| timers.insert(when.seconds(), kept));
        Ok(timer)
    }
}

/// The state of the class `EventLoop` in which its `time()` was seen to be ours; 0 before that.
static VERSION_WITH_OUR_TIME: AtomicU32 = AtomicU32::new(0);

/// asyncio (debug mode): coroutines and things that cannot be called are refused.
pub(super) fn check_callback(callback: &Bound<'_, PyAny>, method: &str) -> PyResult<()> {
    let py = callback.py();
    let library = stdlib(py);
    if library.coroutines.iscoroutine.bind(py).call1((callback,))?.is_truthy()?
        || library.coroutines.iscoroutinefunction.bind(py).call1((callback,))?.is_truthy()?
    {
        return Err(PyTypeError::new_err(format!("coroutines cannot be used with {method}()")));
    }
    if !callback.is_callable() {
        let text = callback.repr()?;
        return Err(PyTypeError::new_err(format!(
            "a callable object was expected by {method}(), got {text}"
        )));
    }
    Ok(())
}

#[pymethods]
impl Loop {
    /// asyncio's timers tell their loop when they are cancelled; ours do so without this.
    fn _timer_handle_cancelled(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) {
        if handle.is_instance_of::<TimerHandle>() {
            self.on_timer_cancelled(py);
        }
    }
}

/// A context that was given; None is as good as none.
#[inline]
fn given_context(context: Option<&Bound<'_, PyAny>>) -> Option<Py<PyAny>> {
    context.filter(|context| !context.is_none()).map(|context| context.clone().unbind())
}

/// `EventLoop.call_soon()`.
struct CallSoon;

impl FastMethod for CallSoon {
    type Class = Loop;
    const NAME: &'static CStr = c"call_soon";
    const DOCUMENTATION: &'static CStr = c"call_soon($self, callback, *args, context=None)\n--\n\n\
        Calls `callback(*args)` in the next turn, in `context` (default: a copy of the current one).";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Loop>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        static PARAMETERS: Parameters<2> = Parameters {
            function: "EventLoop.call_soon",
            names: ["callback", "context"],
            positional: 1,
            required: 1,
        };
        let [callback, context] = arguments.bind_leading(&PARAMETERS)?;
        let callback = functions::given(callback)?.clone().unbind();
        let rest = CallArguments::behind(arguments, 1)?;
        Ok(Loop::call_soon(this, callback, rest, given_context(context))?.into_any())
    }
}

/// `EventLoop.call_soon_threadsafe()`.
struct CallSoonThreadsafe;

impl FastMethod for CallSoonThreadsafe {
    type Class = Loop;
    const NAME: &'static CStr = c"call_soon_threadsafe";
    const DOCUMENTATION: &'static CStr =
        c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n\
        `call_soon()` from another thread or a signal handler.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Loop>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        static PARAMETERS: Parameters<2> = Parameters {
            function: "EventLoop.call_soon_threadsafe",
            names: ["callback", "context"],
            positional: 1,
            required: 1,
        };
        let [callback, context] = arguments.bind_leading(&PARAMETERS)?;
        let callback = functions::given(callback)?.clone().unbind();
        let rest = CallArguments::behind(arguments, 1)?;
        let handle = Loop::call_soon_threadsafe(this, callback, rest, given_context(context))?;
        Ok(handle.into_any())
    }
}

/// `EventLoop.call_later()`.
struct CallLater;

impl FastMethod for CallLater {
    type Class = Loop;
    const NAME: &'static CStr = c"call_later";
    const DOCUMENTATION: &'static CStr = c"call_later($self, delay, callback, *args, context=None)\n--\n\n\
        Calls `callback(*args)` after `delay` seconds.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Loop>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        static PARAMETERS: Parameters<3> = Parameters {
            function: "EventLoop.call_later",
            names: ["delay", "callback", "context"],
            positional: 2,
            required: 2,
        };
        let [delay, callback, context] = arguments.bind_leading(&PARAMETERS)?;
        let delay = functions::given(delay)?;
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        let when = Loop::now(this)? + seconds(delay)?;
        if this.get().is_changed() {
            return call_at_of(this, when, arguments);
        }
        let callback = functions::given(callback)?.clone().unbind();
        let rest = CallArguments::behind(arguments, 2)?;
        Ok(Loop::timer(this, when.into(), callback, rest, given_context(context))?.into_any())
    }
}

/// `EventLoop.call_at()`.
struct CallAt;

impl FastMethod for CallAt {
    type Class = Loop;
    const NAME: &'static CStr = c"call_at";
    const DOCUMENTATION: &'static CStr = c"call_at($self, when, callback, *args, context=None)\n--\n\n\
        Calls `callback(*args)` when `loop.time()` reaches `when`.";

    fn call<'py>(this: &Bound<'py, Loop>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        static PARAMETERS: Parameters<3> = Parameters {
            function: "EventLoop.call_at",
            names: ["when", "callback", "context"],
            positional: 2,
            required: 2,
        };
        let [when, callback, context] = arguments.bind_leading(&PARAMETERS)?;
        let when = functions::given(when)?;
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        let callback = functions::given(callback)?.clone().unbind();
        let rest = CallArguments::behind(arguments, 2)?;
        let timer = Loop::timer(this, When::of(when)?, callback, rest, given_context(context))?;
        Ok(timer.into_any())
    }
}

/// asyncio: `call_later()` asks `call_at()`, which may be a subclass's.
fn call_at_of<'py>(
    this: &Bound<'py, Loop>,
    when: f64,
    arguments: &Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = arguments.positionals().skip(1).cloned();
    let positional: Vec<_> = std::iter::once(PyFloat::new(py, when).into_any()).chain(given).collect();
    let keywords = PyDict::new(py);
    arguments.keywords(|name, value| keywords.set_item(name, value))?;
    this.call_method(intern!(py, "call_at"), PyTuple::new(py, positional)?, Some(&keywords))
}

/// A number of seconds.
#[inline]
fn seconds(delay: &Bound<'_, PyAny>) -> PyResult<f64> {
    match delay.cast_exact::<PyFloat>() {
        Ok(seconds) => Ok(seconds.value()),
        Err(_) => attached(delay.py(), || delay.extract()),
    }
}
