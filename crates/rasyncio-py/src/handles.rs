//! `Handle`, and in `timer` `TimerHandle`: callbacks that the user asked for (asyncio: events.py).

mod lock;
mod timer;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::exceptions::Report;
use crate::ffi::cell::GilCell;
use crate::ffi::{call, context};
use crate::interop::{must_propagate, stdlib};
use lock::Lock;
pub(crate) use timer::{TimerHandle, When};

/// A callback that is to run once, returned by `call_soon()` and `call_soon_threadsafe()`.
///
/// <https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Handle>
#[pyclass(frozen, subclass, weakref, name = "Handle", module = "rasyncio")]
pub(crate) struct Handle {
    event_loop: Py<PyAny>,
    state: GilCell<State>,
    /// From `call_soon_threadsafe()` on 3.14.
    lock: Option<Box<Lock>>,
}

struct State {
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

impl Handle {
    /// A handle of `event_loop`; `debug` remembers where it was made.
    #[inline]
    pub(crate) fn make(
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
        let state = State {
            callback: Some(callback),
            arguments: Some(arguments),
            context: Some(context),
            cancelled: false,
            debug,
        };
        Ok(Self { event_loop, state: GilCell::new(state), lock: None })
    }

    /// For a handle that other threads have: from 3.14 on they wait while its callback runs.
    pub(crate) fn make_thread_safe(&mut self, py: Python<'_>) {
        if stdlib(py).thread_safe_handle_class.is_some() {
            self.lock = Some(Box::default());
        }
    }

    pub(crate) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.cancelled)
    }

    /// What is to be called; None once cancelled.
    pub(crate) fn callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.callback.as_ref().map(|callback| callback.clone_ref(py)))
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
        let parts = this.get().state.with(py, |state| {
            let callback = state.callback.as_ref()?.clone_ref(py).into_bound(py);
            let arguments = state.arguments.as_ref()?.clone_ref(py).into_bound(py);
            let context = state.context.as_ref()?.clone_ref(py).into_bound(py);
            (!state.cancelled).then_some((callback, arguments, context))
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
        let (callback, arguments, source_traceback) = this.get().state.with(py, |state| {
            let traceback = state.debug.as_ref().and_then(|debug| debug.source_traceback.as_ref());
            (
                state.callback.as_ref().map(|callback| callback.clone_ref(py)),
                state.arguments.as_ref().map(|arguments| arguments.clone_ref(py)),
                traceback.map(|traceback| traceback.clone_ref(py)),
            )
        });
        let source = format_callback(this.get().event_loop.bind(py), callback.as_ref(), arguments.as_ref())?;
        Report::of_error(py, &format!("Exception in callback {source}"), error)?
            .with("handle", this)?
            .with_some("source_traceback", source_traceback)?
            .tell(this.get().event_loop.bind(py))
    }

    /// Marks as cancelled and lets go of callback and arguments; false when it was cancelled before.
    fn cancel_once(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        if this.get().is_cancelled(py) {
            return Ok(false);
        }
        let debug = this.get().event_loop.bind(py).call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        this.get().state.with(py, |state| state.cancelled = true);
        // asyncio: a cancelled handle still says in debug mode what it would have called.
        let text = if debug { Some(this.repr()?.to_string()) } else { None };
        let dropped = this.get().state.with(py, |state| {
            if text.is_some() {
                state.debug.get_or_insert_default().repr = text;
            }
            (state.callback.take(), state.arguments.take())
        });
        drop(dropped);
        Ok(true)
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
        let (cancelled, callback, arguments, traceback) = this.get().state.with(py, |state| {
            let traceback = state.debug.as_ref().and_then(|debug| debug.source_traceback.as_ref());
            (
                state.cancelled,
                state.callback.as_ref().map(|callback| callback.clone_ref(py)),
                state.arguments.as_ref().map(|arguments| arguments.clone_ref(py)),
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
            info.push(format_callback(
                this.get().event_loop.bind(py),
                callback.as_ref(),
                arguments.as_ref(),
            )?);
        }
        if let Some(traceback) = traceback {
            let frame = traceback.bind(py).get_item(-1)?;
            info.push(format!("created at {}:{}", frame.get_item(0)?, frame.get_item(1)?));
        }
        Ok(info)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        self.state
            .peek(|state| {
                visit.call(&state.callback)?;
                visit.call(&state.arguments)?;
                visit.call(&state.context)?;
                visit.call(state.debug.as_ref().and_then(|debug| debug.source_traceback.as_ref()))
            })
            .unwrap_or(Ok(()))
    }

    fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            (state.callback.take(), state.arguments.take(), state.context.take(), state.debug.take())
        });
        drop(dropped);
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
        let debug = r#loop.bind(py).call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        Self::make(py, callback, into_tuple(args)?, r#loop, context, debug)
    }

    /// `asyncio.Handle`, or its thread safe subclass, so that `isinstance` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        let library = stdlib(py);
        let thread_safe = self.lock.as_ref().and(library.thread_safe_handle_class.as_ref());
        thread_safe.unwrap_or(&library.handle_class).clone_ref(py)
    }

    /// Cancels the callback; nothing happens when it ran or was cancelled already.
    fn cancel(this: &Bound<'_, Self>) -> PyResult<()> {
        let _held = this.get().lock.as_ref().map(|lock| lock.hold(this.py())).transpose()?;
        Self::cancel_once(this)?;
        Ok(())
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
        self.state.with(py, |state| state.arguments.as_ref().map(|arguments| arguments.clone_ref(py)))
    }

    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.context.as_ref().map(|context| context.clone_ref(py)))
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[getter]
    fn _source_traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.debug.as_ref()?.source_traceback.as_ref().map(|traceback| traceback.clone_ref(py))
        })
    }

    /// asyncio's Transports shorten the traceback of the handles that they make.
    #[setter(_source_traceback)]
    fn set_source_traceback(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self.state.with(py, |state| {
            std::mem::replace(&mut state.debug.get_or_insert_default().source_traceback, value)
        });
        drop(old);
    }

    #[getter]
    fn _repr(&self, py: Python<'_>) -> Option<String> {
        self.state.with(py, |state| state.debug.as_ref()?.repr.clone())
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
