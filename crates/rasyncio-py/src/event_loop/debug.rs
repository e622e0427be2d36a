//! Debug mode and exception handlers.

use std::sync::atomic::Ordering;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::{Loop, Ready};
use crate::exceptions::Raised;
use crate::interop::{must_propagate, stdlib};

impl Loop {
    /// What a new loop looks up: whether the interpreter asks for debug mode; and it tells `asyncio.all_tasks()` of itself.
    pub(super) fn introduce(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let debug = py.import("asyncio.coroutines")?.call_method0("_is_debug_mode")?.is_truthy()?;
        this.get().debug.store(debug, Ordering::Relaxed);
        Self::look_for_replaced(this)?;
        crate::all_tasks::register(this)
    }

    /// Debug mode: runs one entry and reports it when it took long.
    pub(super) fn run_entry_timed(this: &Bound<'_, Self>, entry: Ready) -> PyResult<()> {
        let py = this.py();
        let shown = Shown::of(py, &entry);
        // asyncio: by the loop's own clock, which a program may have replaced.
        let begun = Self::now(this)?;
        let outcome = Self::run_entry(this, entry);
        let seconds = Self::now(this)? - begun;
        let limit = this.get().settings.with(py, |settings| settings.slow_callback_duration);
        if seconds >= limit {
            let logger = stdlib(py).logger.bind(py);
            let text = shown.text(py)?;
            logger.call_method1(intern!(py, "warning"), ("Executing %s took %.3f seconds", text, seconds))?;
        }
        outcome
    }

    /// Debug mode: coroutines remember where they were made while the loop runs.
    pub(super) fn set_origin_tracking(this: &Bound<'_, Self>, enabled: bool) -> PyResult<()> {
        let py = this.py();
        let saved = this.get().settings.with(py, |settings| settings.origin_tracking_depth.take());
        let sys = py.import(intern!(py, "sys"))?;
        match (enabled, saved) {
            (true, None) => {
                let depth = sys.call_method0(intern!(py, "get_coroutine_origin_tracking_depth"))?.unbind();
                this.get().settings.with(py, |settings| settings.origin_tracking_depth = Some(depth));
                let wanted = py.import("asyncio.constants")?.getattr("DEBUG_STACK_DEPTH")?;
                sys.call_method1(intern!(py, "set_coroutine_origin_tracking_depth"), (wanted,))?;
            }
            (false, Some(depth)) => {
                sys.call_method1(intern!(py, "set_coroutine_origin_tracking_depth"), (depth,))?;
            }
            (true, Some(depth)) => {
                this.get().settings.with(py, |settings| settings.origin_tracking_depth = Some(depth));
            }
            (false, None) => {}
        }
        Ok(())
    }

    fn run_custom_handler(
        this: &Bound<'_, Self>,
        handler: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let py = this.py();
        let Err(error) = Self::call_in_context_of_subject(this, handler, context) else {
            return Ok(());
        };
        if must_propagate(py, &error) {
            return Err(error);
        }
        // The handler itself is at fault: tell of both.
        let report = PyDict::new(py);
        report.set_item("message", "Unhandled error in exception handler")?;
        report.set_item("exception", error.raised(py))?;
        report.set_item("context", context)?;
        let Err(second) = this.call_method1(intern!(py, "default_exception_handler"), (report,)) else {
            return Ok(());
        };
        if must_propagate(py, &second) {
            return Err(second);
        }
        let text = "Exception in default exception handler while handling an unexpected error in custom exception handler";
        log_exception(text, &second, py)
    }

    /// From 3.12 the handler runs in the context of the task, future or handle that the report is about.
    fn call_in_context_of_subject(
        this: &Bound<'_, Self>,
        handler: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let py = this.py();
        let mut subject_context = None;
        for key in ["task", "future", "handle"] {
            if let Some(subject) = context.get_item(key)? {
                if let Some(method) = subject.getattr_opt(intern!(py, "get_context"))? {
                    subject_context =
                        Some(method.call0()?).filter(|found| found.hasattr("run").unwrap_or(false));
                }
                break;
            }
        }
        match subject_context {
            Some(found) => found.call_method1(intern!(py, "run"), (handler, this, context))?,
            None => handler.call1((this, context))?,
        };
        Ok(())
    }
}

/// What a slow entry is called in the report: taken before it runs, turned into text only when it was slow.
enum Shown {
    Object(Py<PyAny>),
    Text(&'static str),
}

impl Shown {
    fn of(py: Python<'_>, entry: &Ready) -> Self {
        match entry {
            Ready::Step(task) | Ready::Throw { task, .. } | Ready::Wakeup { task, .. } => {
                Self::Object(task.clone_ref(py).into_any())
            }
            Ready::Native { action, .. } => Self::Text(action.name),
            Ready::Timer(timer) => Self::Text(timer.name()),
            Ready::FutureCallback { callback, .. } => Self::Object(callback.clone_ref(py)),
            Ready::Handle(handle) => {
                let callback = handle.get().callback(py);
                let owner = callback.and_then(|callback| task_behind(callback.bind(py)));
                Self::Object(owner.unwrap_or_else(|| handle.clone_ref(py).into_any()))
            }
            Ready::Io { .. } => Self::Text("<input or output of a transport>"),
            Ready::Deferred(_) => Self::Text("<callback of a transport>"),
        }
    }

    fn text(&self, py: Python<'_>) -> PyResult<String> {
        match self {
            Self::Object(object) => Ok(object.bind(py).repr()?.to_string()),
            Self::Text(text) => Ok((*text).to_owned()),
        }
    }
}

/// asyncio shows the task where a handle steps one.
fn task_behind(callback: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    let owner = callback.getattr_opt("__self__").ok()??;
    let is_task = owner.is_instance(stdlib(callback.py()).task_class.bind(callback.py())).ok()?;
    is_task.then(|| owner.unbind())
}

/// `logger.error(text, exc_info=error)`.
fn log_exception(text: &str, error: &PyErr, py: Python<'_>) -> PyResult<()> {
    let keywords = PyDict::new(py);
    keywords.set_item("exc_info", error.raised(py))?;
    stdlib(py).logger.bind(py).call_method(intern!(py, "error"), (text,), Some(&keywords))?;
    Ok(())
}

/// One line of the default handler's report: `key: value`.
fn report_line(key: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let traceback_title = match key {
        "source_traceback" => Some("Object created at (most recent call last):\n"),
        "handle_traceback" => Some("Handle created at (most recent call last):\n"),
        _ => None,
    };
    let Some(title) = traceback_title else {
        return Ok(format!("{key}: {}", value.repr()?));
    };
    let lines = py.import("traceback")?.call_method1("format_list", (value,))?;
    let text: Vec<String> = lines.extract()?;
    Ok(format!("{key}: {title}{}", text.concat().trim_end()))
}

#[pymethods]
impl Loop {
    /// Whether the loop is in debug mode.
    fn get_debug(&self, py: Python<'_>) -> bool {
        self.is_debug(py)
    }

    /// Turns debug mode on or off.
    fn set_debug(this: &Bound<'_, Self>, enabled: &Bound<'_, PyAny>) -> PyResult<()> {
        let enabled = enabled.is_truthy()?;
        this.get().debug.store(enabled, Ordering::Relaxed);
        if this.get().thread.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        // A coroutine origin is a setting of the thread that runs the loop.
        let own = this.clone().unbind();
        this.get().inbox.push(Ready::Deferred(Box::new(move |event_loop| {
            Self::set_origin_tracking(own.bind(event_loop.py()), enabled)
        })));
        Ok(())
    }

    /// Seconds from which on debug mode reports a callback as slow.
    #[getter]
    fn slow_callback_duration(&self, py: Python<'_>) -> f64 {
        self.settings.with(py, |settings| settings.slow_callback_duration)
    }

    #[setter(slow_callback_duration)]
    fn set_slow_callback_duration(&self, py: Python<'_>, value: f64) {
        self.settings.with(py, |settings| settings.slow_callback_duration = value);
    }

    /// The exception handler that was set, or None.
    fn get_exception_handler(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings
            .with(py, |settings| settings.exception_handler.as_ref().map(|handler| handler.clone_ref(py)))
    }

    /// Makes `handler(loop, context)` learn of exceptions that nobody else handles; None: the default handler, which logs.
    fn set_exception_handler(&self, py: Python<'_>, handler: Option<Py<PyAny>>) -> PyResult<()> {
        if let Some(handler) = &handler
            && !handler.bind(py).is_callable()
        {
            let text = handler.bind(py).repr()?;
            return Err(PyTypeError::new_err(format!("A callable object or None is expected, got {text}")));
        }
        self.settings.put(py, |settings| &mut settings.exception_handler, handler);
        Ok(())
    }

    #[getter]
    fn _exception_handler(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_exception_handler(py)
    }

    /// Logs what `context` tells: message, exception, and whatever else is in it.
    fn default_exception_handler(this: &Bound<'_, Self>, context: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = this.py();
        let message = context.get_item("message")?.filter(|message| message.is_truthy().unwrap_or(false));
        let message = match message {
            Some(message) => message.str()?.to_string(),
            None => "Unhandled exception in event loop".to_owned(),
        };
        let exception = context.get_item("exception")?.filter(|exception| !exception.is_none());
        let mut lines = vec![message];
        let keys = PyList::new(py, context.keys())?;
        keys.sort()?;
        for key in keys {
            let key: String = key.extract()?;
            if key == "message" || key == "exception" {
                continue;
            }
            if let Some(value) = context.get_item(&key)? {
                lines.push(report_line(&key, &value)?);
            }
        }
        let keywords = PyDict::new(py);
        match exception {
            Some(exception) => keywords.set_item("exc_info", exception)?,
            None => keywords.set_item("exc_info", false)?,
        }
        stdlib(py).logger.bind(py).call_method(intern!(py, "error"), (lines.join("\n"),), Some(&keywords))?;
        Ok(())
    }

    /// Hands `context` to the exception handler. Only SystemExit and KeyboardInterrupt of a handler come back.
    ///
    /// Keys: `message`, and as there are `exception`, `future`, `task`, `handle`, `protocol`, `transport`, `socket`, `asyncgen`, `source_traceback`.
    fn call_exception_handler(this: &Bound<'_, Self>, context: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = this.py();
        if let Some(handler) = this.get().get_exception_handler(py) {
            return Self::run_custom_handler(this, handler.bind(py), context);
        }
        match this.call_method1(intern!(py, "default_exception_handler"), (context,)) {
            Ok(_) => Ok(()),
            Err(error) if must_propagate(py, &error) => Err(error),
            Err(error) => log_exception("Exception in default exception handler", &error, py),
        }
    }
}
