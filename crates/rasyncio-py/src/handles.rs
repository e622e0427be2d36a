//! `Handle`, and in `timer` `TimerHandle`: callbacks that the user asked for (asyncio: events.py). `running` runs them, `lock` keeps other threads away meanwhile.

mod arguments;
mod lock;
mod running;
mod timer;

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::event_loop::Loop;
use crate::ffi::call::attached;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::ffi::methods::Light;
use crate::ffi::recycle::{self, Bin, Recycle};
use crate::interop::stdlib;
pub(crate) use arguments::CallArguments;
pub(crate) use lock::Locks;
pub(crate) use timer::{TimerHandle, When};

/// A callback that is to run once, returned by `call_soon()` and `call_soon_threadsafe()`.
///
/// <https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Handle>
#[pyclass(frozen, subclass, weakref, name = "Handle", module = "rasyncio")]
pub(crate) struct Handle {
    call: GilCell<Call>,
}

/// What a handle calls.
#[derive(Default)]
pub(crate) struct Call {
    /// None in an object that is dead, or was not initialised.
    event_loop: Option<Py<PyAny>>,
    callback: Option<Py<PyAny>>,
    arguments: Option<CallArguments>,
    context: Option<Py<PyAny>>,
    /// The context is no copy of its own: it must be copied before it is entered or shown.
    shares_context: bool,
    cancelled: bool,
    /// From `call_soon_threadsafe()` on 3.14: other threads wait while the callback runs.
    is_thread_safe: bool,
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
        arguments: impl Into<CallArguments>,
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
        Ok(Self { debug, ..Self::plain(callback, arguments.into(), event_loop, context, false) })
    }

    /// Makes it a call that other threads may cancel at any time, where this version of asyncio has such.
    #[inline]
    pub(crate) fn thread_safe(self, py: Python<'_>) -> Self {
        Self { is_thread_safe: stdlib(py).thread_safe_handle_class.is_some(), ..self }
    }

    /// `of` outside of debug mode, in a context that others may have been given too.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is made here is moved from place to place otherwise")]
    pub(crate) fn plain(
        callback: Py<PyAny>,
        arguments: CallArguments,
        event_loop: Py<PyAny>,
        context: Py<PyAny>,
        shares_context: bool,
    ) -> Self {
        Self {
            event_loop: Some(event_loop),
            callback: Some(callback),
            arguments: Some(arguments),
            context: Some(context),
            shares_context,
            cancelled: false,
            is_thread_safe: false,
            debug: None,
        }
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
    pub(crate) fn make(
        py: Python<'_>,
        callback: Py<PyAny>,
        arguments: Py<PyTuple>,
        event_loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
        debug: bool,
    ) -> PyResult<Bound<'_, Self>> {
        let handle = Self::hidden(py, Call::of(py, callback, arguments, event_loop, context, debug)?)?;
        recycle::show(&handle);
        Ok(handle)
    }

    /// A handle, in the memory of a dead one if there is one, that the garbage collector does not know: most have run before it would look. The loop
    /// shows it those that somebody else holds when they run, and those that are left when the loop does not run.
    #[inline]
    pub(crate) fn hidden(py: Python<'_>, call: Call) -> PyResult<Bound<'_, Self>> {
        recycle::make_hidden(
            py,
            call,
            |this: &Bound<'_, Self>, call| this.get().refill(py, call),
            |call| Self { call: GilCell::new(call) },
        )
    }

    /// Makes a dead object a handle again.
    #[inline]
    fn refill(&self, py: Python<'_>, call: Call) {
        let empty = self.call.replace(py, call);
        debug_assert!(empty.event_loop.is_none() && empty.debug.is_none(), "a dead object holds nothing");
        // Nothing is in there to be dropped, and looking for it would take time.
        std::mem::forget(empty);
    }

    /// Whether the dying object is nothing special, so that it may be used again.
    #[inline]
    fn is_simple(&self, py: Python<'_>) -> bool {
        self.call.with(py, |call| call.debug.is_none())
    }

    /// Lets go of everything.
    #[inline]
    fn empty(&self, py: Python<'_>) {
        let (event_loop, callback, arguments, context) = self.call.with(py, |call| {
            call.cancelled = false;
            (call.event_loop.take(), call.callback.take(), call.arguments.take(), call.context.take())
        });
        if let Some(arguments) = arguments {
            arguments.release(py);
        }
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

    /// The context, which from now on is the handle's own.
    #[inline]
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (context, is_shared) = self.call.with(py, |call| {
            let context = call.context.as_ref().map(|context| context.clone_ref(py).into_bound(py));
            (context, call.shares_context)
        });
        let Some(context) = context else {
            return Ok(None);
        };
        if !is_shared {
            return Ok(Some(context));
        }
        let own = context::copy(&context)?;
        let shared = self.call.with(py, |call| {
            call.shares_context = false;
            call.context.replace(own.clone().unbind())
        });
        drop(shared.map(|context| context.into_bound(py)));
        Ok(Some(own))
    }

    /// Marks as cancelled and lets go of callback and arguments; false when it was cancelled before.
    fn cancel_once(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        if this.get().is_cancelled(py) {
            return Ok(false);
        }
        let event_loop = this.get().event_loop(py);
        let debug = match Loop::unchanged(&event_loop) {
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
        if let Some(arguments) = dropped.1 {
            arguments.release(py);
        }
        Ok(true)
    }

    /// `cancel()`.
    #[inline]
    fn cancel(this: &Bound<'_, Self>) -> PyResult<()> {
        if !this.get().is_thread_safe(this.py()) {
            return Self::cancel_once(this).map(drop);
        }
        attached(this.py(), || Self::locked(this, || Self::cancel_once(this).map(drop)))
    }

    #[inline]
    fn is_thread_safe(&self, py: Python<'_>) -> bool {
        self.call.with(py, |call| call.is_thread_safe)
    }

    /// `cancel()` for the loop itself, which has nobody to tell of an error.
    pub(crate) fn cancel_quietly(this: &Bound<'_, Self>) {
        if let Err(error) = Self::cancel_once(this) {
            error.write_unraisable(this.py(), Some(this));
        }
    }

    fn repr_info(this: &Bound<'_, Self>, when: Option<When>) -> PyResult<Vec<String>> {
        let py = this.py();
        let name = if this.get().is_thread_safe(py) {
            "_ThreadSafeHandle".to_owned()
        } else {
            this.get_type().name()?.to_string()
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
            let arguments = arguments.map(|arguments| arguments.into_tuple(py)).transpose()?;
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
                call.arguments.as_ref().map_or(Ok(()), |arguments| arguments.visit(visit))?;
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
    const KEPT_WHILE_BUSY: usize = recycle::A_FLOOD;

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
    arguments: Option<&Bound<'_, PyTuple>>,
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
    #[pyo3(signature = (*args, **kwargs), text_signature = "(callback, args, loop, context=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self { call: GilCell::default() }
    }

    #[pyo3(signature = (callback, args, r#loop, context = None))]
    fn __init__(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyAny>,
        r#loop: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        drop(self.call.replace(py, Call::given(py, callback, args, r#loop, context)?));
        Ok(())
    }

    /// `asyncio.Handle`, or its thread safe subclass, so that `isinstance` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        let library = stdlib(py);
        let class = library.thread_safe_handle_class.as_ref().filter(|_| self.is_thread_safe(py));
        class.unwrap_or(&library.handle_class).clone_ref(py)
    }

    /// Whether the callback was cancelled.
    fn cancelled(this: &Bound<'_, Self>) -> PyResult<bool> {
        let is_cancelled = || Ok(this.get().is_cancelled(this.py()));
        if this.get().is_thread_safe(this.py()) { Self::locked(this, is_cancelled) } else { is_cancelled() }
    }

    /// The `contextvars.Context` that the callback runs in.
    fn get_context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.context(py)
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
    fn _args<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let arguments =
            self.call.with(py, |call| call.arguments.as_ref().map(|arguments| arguments.clone_ref(py)));
        arguments.map(|arguments| arguments.into_tuple(py)).transpose()
    }

    #[getter]
    fn _context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.context(py)
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
