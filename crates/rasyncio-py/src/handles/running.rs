//! Running what handles stand for, and reporting what it raises.

use pyo3::prelude::*;

use super::{Handle, format_callback};
use crate::event_loop::Loop;
use crate::exceptions::Report;
use crate::ffi::references::is_sole;
use crate::ffi::{context, recycle};
use crate::interop::must_propagate;

impl Handle {
    /// Runs the callback in its context. What it raises goes to the loop's exception handler; only SystemExit and
    /// KeyboardInterrupt come back.
    #[inline]
    pub(crate) fn run(this: &Bound<'_, Self>) -> PyResult<()> {
        if !this.get().is_thread_safe(this.py()) {
            return Self::run_callback(this);
        }
        Self::locked(this, || Self::run_callback(this))
    }

    #[inline]
    fn run_callback(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let parts = this.get().call.with(py, |call| {
            let callback = call.callback.as_ref()?.clone_ref(py).into_bound(py);
            let arguments = call.arguments.as_ref()?.clone_ref(py);
            (!call.cancelled).then_some((callback, arguments))
        });
        let (Some((callback, arguments)), Some(context)) = (parts, this.get().context(py)?) else {
            return Ok(());
        };
        let outcome = context::run_inside(&context, || arguments.call(&callback));
        arguments.release(py);
        match outcome.and_then(|result| result) {
            Ok(_) => Ok(()),
            Err(error) => Self::fail(this, error),
        }
    }

    #[cold]
    fn fail(this: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        if must_propagate(this.py(), &error) { Err(error) } else { Self::report(this, &error) }
    }

    /// `run` for a handle that leaves the queue of `event_loop`. One that nobody else has needs no lock, and no context that could be shown.
    #[inline]
    pub(crate) fn run_ready(this: &Bound<'_, Self>, event_loop: &Loop) -> PyResult<()> {
        let py = this.py();
        if !is_sole(this) {
            recycle::show(this);
            return Self::run(this);
        }
        let parts = this.get().call.with(py, |call| {
            if !call.shares_context || call.cancelled {
                return None;
            }
            let (callback, arguments) = (call.callback.take()?, call.arguments.take()?);
            Some((callback.into_bound(py), arguments, call.context.take()?.into_bound(py)))
        });
        let Some((callback, arguments, template)) = parts else {
            return Self::run(this);
        };
        let context = event_loop.lend_context(&template)?;
        let outcome = context::run_inside(&context, || arguments.call(&callback));
        match outcome.and_then(|result| result) {
            Ok(_) => {
                arguments.release(py);
                event_loop.take_context_back(&template, context);
                Ok(())
            }
            Err(error) => {
                // The report shows the handle.
                recycle::show(this);
                this.get().call.with(py, |call| {
                    (call.callback, call.arguments) = (Some(callback.unbind()), Some(arguments));
                    (call.context, call.shares_context) = (Some(context.unbind()), false);
                });
                Self::fail(this, error)
            }
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
        let arguments = arguments.map(|arguments| arguments.into_tuple(py)).transpose()?;
        let source = format_callback(&event_loop, callback.as_ref(), arguments.as_ref())?;
        Report::of_error(py, &format!("Exception in callback {source}"), error)?
            .with("handle", this)?
            .with_some("source_traceback", source_traceback)?
            .tell(&event_loop)
    }

    /// Keeps other threads from the handle while `action` runs.
    pub(super) fn locked<R>(this: &Bound<'_, Self>, action: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        let event_loop = this.get().event_loop(this.py());
        let Ok(event_loop) = event_loop.cast::<Loop>() else {
            return action();
        };
        let _held = event_loop.get().handle_locks.hold(this)?;
        action()
    }
}
