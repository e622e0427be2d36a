//! `Handle`, and in `timer` `TimerHandle`: callbacks that the user asked for (asyncio: events.py).

mod lock;
mod timer;

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::event_loop::Loop;
use crate::exceptions::Report;
use crate::ffi::call::attached;
use crate::ffi::cell::GilCell;
use crate::ffi::methods::Light;
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::ffi::{call, context};
use crate::interop::{must_propagate, stdlib};
use lock::Lock;
pub(crate) use timer::{TimerHandle, When};

/// A callback that is to run once, returned by `call_soon()` and `call_soon_threadsafe()`.
///
/// <https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Handle>
#[pyclass(frozen, subclass, weakref, name = "Handle", module = "rasyncio")]
pub(crate) struct Handle {
    call: GilCell<Call>,
    /// From `call_soon_threadsafe()` on 3.14.
    lock: Option<Box<Lock>>,
}

/// What a handle calls.
pub(crate) struct Call {
    /// None in a dead object only.
    event_loop: Option<Py<PyAny>>,
    callback: Option<Py<PyAny>>,
    arguments: Option<Py<PyTuple>>,
    context: Option<Py<PyAny>>,
    cancelled: bool,
    /// What only debug mode fills.
    debug: Option<Box<DebugState>>,
}

#[derive(Default)]
struct DebugState {
    source_traceback: Option<Py<PyAny>>,
    /// The `repr` from before the callback was dropped by `cancel()`.
    repr: Option<String>,
}

impl Call {
    /// `callback(*arguments)` in `context` (None: a copy of the current one); `debug` remembers where it was made.
    #[inline]
    pub(crate) fn of(
        py: Python<'_>,
        callback: Py<PyAny>,
        arguments: Py<PyTuple>,
        event_loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
        debug: bool,
    ) -> PyResult<Self> {
        let context = match context {
            Some(context) => context,
            None => context::copy_current(py)?,
        };
        let debug = if debug {
            let source_traceback = Some(stdlib(py).extract_stack.bind(py).call0()?.unbind());
            Some(Box::new(DebugState { source_traceback, repr: None }))
        } else {
            None
        };
        Ok(Self {
            event_loop: Some(event_loop),
            callback: Some(callback),
            arguments: Some(arguments),
            context: Some(context),
            cancelled: false,
            debug,
        })
    }

    /// What a program made a handle with.
    fn given(
        py: Python<'_>,
        callback: Py<PyAny>,
        arguments: &Bound<'_, PyAny>,
        event_loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let debug = event_loop.bind(py).call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        Self::of(py, callback, into_tuple(arguments)?, event_loop, context, debug)
    }
}

impl Handle {
    /// A handle of `event_loop`, with what `Call::of` takes.
    #[inline]
    pub(crate) fn make(
        py: Python<'_>,
        callback: Py<PyAny>,
        arguments: Py<PyTuple>,
        event_loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
        debug: bool,
    ) -> PyResult<Bound<'_, Self>> {
        Self::with_call(py, Call::of(py, callback, arguments, event_loop, context, debug)?)
    }

    /// A handle, in the memory of a dead one if there is one.
    #[inline]
    pub(crate) fn with_call(py: Python<'_>, call: Call) -> PyResult<Bound<'_, Self>> {
        recycle::make(
            py,
            call,
            |this: &Bound<'_, Self>, call| this.get().refill(py, call),
            |call| Self { call: GilCell::new(call), lock: None },
        )
    }

    /// A handle for other threads: from 3.14 on they wait while its callback runs.
    pub(crate) fn thread_safe(py: Python<'_>, call: Call) -> PyResult<Bound<'_, Self>> {
        let lock = stdlib(py).thread_safe_handle_class.as_ref().map(|_| Box::default());
        Bound::new(py, Self { call: GilCell::new(call), lock })
    }

    /// Makes a dead object a handle again.
    #[inline]
    fn refill(&self, py: Python<'_>, call: Call) {
        let empty = self.call.replace(py, call);
        debug_assert!(empty.event_loop.is_none(), "a dead object holds nothing");
    }

    /// Whether the dying object is nothing special, so that it may be used again.
    #[inline]
    fn is_simple(&self, py: Python<'_>) -> bool {
        self.lock.is_none() && self.call.with(py, |call| call.debug.is_none())
    }

    /// Lets go of everything.
    #[inline]
    fn empty(&self, py: Python<'_>) {
        let (event_loop, callback, arguments, context) = self.call.with(py, |call| {
            call.cancelled = false;
            (call.event_loop.take(), call.callback.take(), call.arguments.take(), call.context.take())
        });
        drop(arguments.map(|arguments| arguments.into_bound(py)));
        for object in [callback, context, event_loop] {
            drop(object.map(|object| object.into_bound(py)));
        }
    }

    /// The loop; None if the garbage collector took it.
    #[inline]
    fn event_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let event_loop =
            self.call.with(py, |call| call.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py)));
        event_loop.unwrap_or_else(|| py.None()).into_bound(py)
    }

    pub(crate) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.call.with(py, |call| call.cancelled)
    }

    /// What is to be called; None once cancelled.
    pub(crate) fn callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.call.with(py, |call| call.callback.as_ref().map(|callback| callback.clone_ref(py)))
    }

    /// Runs the callback in its context. What it raises goes to the loop's exception handler; only SystemExit and
    /// KeyboardInterrupt come back.
    #[inline]
    pub(crate) fn run(this: &Bound<'_, Self>) -> PyResult<()> {
        match &this.get().lock {
            None => Self::run_callback(this),
            Some(lock) => {
                let _held = lock.hold(this.py())?;
                Self::run_callback(this)
            }
        }
    }

    #[inline]
    fn run_callback(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let parts = this.get().call.with(py, |call| {
            let callback = call.callback.as_ref()?.clone_ref(py).into_bound(py);
            let arguments = call.arguments.as_ref()?.clone_ref(py).into_bound(py);
            let context = call.context.as_ref()?.clone_ref(py).into_bound(py);
            (!call.cancelled).then_some((callback, arguments, context))
        });
        let Some((callback, arguments, context)) = parts else {
            return Ok(());
        };
        let outcome = context::run_inside(&context, || call::call_tuple(&callback, &arguments));
        match outcome.and_then(|result| result) {
            Ok(_) => Ok(()),
            Err(error) if must_propagate(py, &error) => Err(error),
            Err(error) => Self::report(this, &error),
        }
    }

    fn report(this: &Bound<'_, Self>, error: &PyErr) -> PyResult<()> {
        let py = this.py();
        let (callback, arguments, source_traceback) = this.get().call.with(py, |call| {
            let traceback = call.debug.as_ref().and_then(|debug| debug.source_traceback.as_ref());
            (
                call.callback.as_ref().map(|callback| callback.clone_ref(py)),
                call.arguments.as_ref().map(|arguments| arguments.clone_ref(py)),
                traceback.map(|traceback| traceback.clone_ref(py)),
            )
        });
        let event_loop = this.get().event_loop(py);
        let source = format_callback(&event_loop, callback.as_ref(), arguments.as_ref())?;
        Report::of_error(py, &format!("Exception in callback {source}"), error)?
            .with("handle", this)?
            .with_some("source_traceback", source_traceback)?
            .tell(&event_loop)
    }

    /// Marks as cancelled and lets go of callback and arguments; false when it was cancelled before.
    fn cancel_once(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        if this.get().is_cancelled(py) {
            return Ok(false);
        }
        let event_loop = this.get().event_loop(py);
        let debug = match Loop::plain(&event_loop) {
            Some(own) => own.get().is_debug(py),
            None => attached(py, || event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy())?,
        };
        this.get().call.with(py, |call| call.cancelled = true);
        // asyncio: a cancelled handle still says in debug mode what it would have called.
        let text = if debug { Some(attached(py, || this.repr()?.extract())?) } else { None };
        let dropped = this.get().call.with(py, |call| {
            if text.is_some() {
                call.debug.get_or_insert_default().repr = text;
            }
            (call.callback.take(), call.arguments.take())
        });
        drop(dropped.0.map(|callback| callback.into_bound(py)));
        drop(dropped.1.map(|arguments| arguments.into_bound(py)));
        Ok(true)
    }

    /// `cancel()`.
    #[inline]
    fn cancel(this: &Bound<'_, Self>) -> PyResult<()> {
        match &this.get().lock {
            None => Self::cancel_once(this).map(drop),
            Some(lock) => attached(this.py(), || {
                let _held = lock.hold(this.py())?;
                Self::cancel_once(this).map(drop)
            }),
        }
    }

    /// `cancel()` for the loop itself, which has nobody to tell of an error.
    pub(crate) fn cancel_quietly(this: &Bound<'_, Self>) {
        if let Err(error) = Self::cancel_once(this) {
            error.write_unraisable(this.py(), Some(this));
        }
    }

    fn repr_info(this: &Bound<'_, Self>, when: Option<When>) -> PyResult<Vec<String>> {
        let py = this.py();
        let name = match this.get().lock {
            None => this.get_type().name()?.to_string(),
            Some(_) => "_ThreadSafeHandle".to_owned(),
        };
        let mut info = vec![name];
        let (cancelled, callback, arguments, traceback) = this.get().call.with(py, |call| {
            let traceback = call.debug.as_ref().and_then(|debug| debug.source_traceback.as_ref());
            (
                call.cancelled,
                call.callback.as_ref().map(|callback| callback.clone_ref(py)),
                call.arguments.as_ref().map(|arguments| arguments.clone_ref(py)),
                traceback.map(|traceback| traceback.clone_ref(py)),
            )
        });
        if cancelled {
            info.push("cancelled".to_owned());
        }
        if let Some(when) = when {
            info.push(format!("when={}", when.shown(py)?.repr()?));
        }
        if callback.is_some() {
            let event_loop = this.get().event_loop(py);
            info.push(format_callback(&event_loop, callback.as_ref(), arguments.as_ref())?);
        }
        if let Some(traceback) = traceback {
            let frame = traceback.bind(py).get_item(-1)?;
            info.push(format!("created at {}:{}", frame.get_item(0)?, frame.get_item(1)?));
        }
        Ok(info)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.call
            .peek(|call| {
                visit.call(&call.event_loop)?;
                visit.call(&call.callback)?;
                visit.call(&call.arguments)?;
                visit.call(&call.context)?;
                visit.call(call.debug.as_ref().and_then(|debug| debug.source_traceback.as_ref()))
            })
            .unwrap_or(Ok(()))
    }

    fn clear(&self, py: Python<'_>) {
        let dropped = self.call.with(py, |call| {
            (call.callback.take(), call.arguments.take(), call.context.take(), call.debug.take())
        });
        drop(dropped);
    }
}

/// Adds the methods that programs call all the time.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    const CANCEL: &CStr =
        c"cancel($self)\n--\n\nCancels the callback; nothing happens when it ran or was cancelled already.";
    Light::<Handle>::to_class(py).alone(c"cancel", CANCEL, |this| {
        Handle::cancel(this)?;
        Ok(this.py().None().into_bound(this.py()))
    })?;
    Light::<TimerHandle>::to_class(py).alone(c"cancel", CANCEL, |this| {
        TimerHandle::cancel(this)?;
        Ok(this.py().None().into_bound(this.py()))
    })?;
    Ok(())
}

impl Recycle for Handle {
    const KEPT: usize = recycle::MANY;

    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        this.get().is_simple(this.py())
    }

    #[inline]
    fn empty(this: &Bound<'_, Self>) {
        this.get().empty(this.py());
    }

    fn bin() -> &'static Bin {
        static BIN: Bin = Bin::new();
        &BIN
    }
}

/// How asyncio shows a callback of `event_loop`: its name, where it was defined, and its arguments, from 3.13 on in debug mode only.
pub(crate) fn format_callback(
    event_loop: &Bound<'_, PyAny>,
    callback: Option<&Py<PyAny>>,
    arguments: Option<&Py<PyTuple>>,
) -> PyResult<String> {
    let py = event_loop.py();
    let keywords = PyDict::new(py);
    if stdlib(py).format_callback_hides {
        keywords.set_item("debug", event_loop.call_method0(intern!(py, "get_debug"))?)?;
    }
    stdlib(py).format_callback.bind(py).call((callback, arguments), Some(&keywords))?.extract()
}

#[pymethods]
impl Handle {
    #[new]
    #[pyo3(signature = (callback, args, r#loop, context = None))]
    fn new(
        py: Python<'_>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyAny>,
        r#loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self { call: GilCell::new(Call::given(py, callback, args, r#loop, context)?), lock: None })
    }

    /// `asyncio.Handle`, or its thread safe subclass, so that `isinstance` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        let library = stdlib(py);
        let thread_safe = self.lock.as_ref().and(library.thread_safe_handle_class.as_ref());
        thread_safe.unwrap_or(&library.handle_class).clone_ref(py)
    }

    /// Whether the callback was cancelled.
    fn cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        let _held = self.lock.as_ref().map(|lock| lock.hold(py)).transpose()?;
        Ok(self.is_cancelled(py))
    }

    /// The `contextvars.Context` that the callback runs in.
    fn get_context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self._context(py)
    }

    fn _run(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::run(this)
    }

    #[getter]
    fn _cancelled(&self, py: Python<'_>) -> bool {
        self.is_cancelled(py)
    }

    #[getter]
    fn _callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.callback(py)
    }

    #[getter]
    fn _args(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.call.with(py, |call| call.arguments.as_ref().map(|arguments| arguments.clone_ref(py)))
    }

    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.call.with(py, |call| call.context.as_ref().map(|context| context.clone_ref(py)))
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop(py).unbind()
    }

    #[getter]
    fn _source_traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.call.with(py, |call| {
            call.debug.as_ref()?.source_traceback.as_ref().map(|traceback| traceback.clone_ref(py))
        })
    }

    /// asyncio's Transports shorten the traceback of the handles that they make.
    #[setter(_source_traceback)]
    fn set_source_traceback(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self.call.with(py, |call| {
            std::mem::replace(&mut call.debug.get_or_insert_default().source_traceback, value)
        });
        drop(old);
    }

    #[getter]
    fn _repr(&self, py: Python<'_>) -> Option<String> {
        self.call.with(py, |call| call.debug.as_ref()?.repr.clone())
    }

    fn _repr_info(this: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        Self::repr_info(this, None)
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        if let Some(text) = this.get()._repr(this.py()) {
            return Ok(text);
        }
        let info: Vec<String> = this.call_method0(intern!(this.py(), "_repr_info"))?.extract()?;
        Ok(format!("<{}>", info.join(" ")))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
    }
}

/// asyncio takes any sequence for `args`.
fn into_tuple(arguments: &Bound<'_, PyAny>) -> PyResult<Py<PyTuple>> {
    if let Ok(tuple) = arguments.cast::<PyTuple>() {
        return Ok(tuple.clone().unbind());
    }
    match arguments.try_iter() {
        Ok(items) => Ok(PyTuple::new(arguments.py(), items.collect::<PyResult<Vec<_>>>()?)?.unbind()),
        Err(_) => Err(PyTypeError::new_err("args must be a tuple")),
    }
}
