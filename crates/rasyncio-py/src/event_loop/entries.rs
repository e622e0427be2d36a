//! Running one entry of the ready queue, and reporting one that raised.
//!
//! Everything but SystemExit and KeyboardInterrupt ends in the exception handler, as if a `Handle` had run it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rasyncio_core::reactor::{Operation, Token};

use super::timers::TimerCallback;
use super::{Loop, NativeTimer, Ready, Source, Watcher};
use crate::exceptions::Raised;
use crate::ffi::call::call_one;
use crate::ffi::context;
use crate::futures::Future;
use crate::futures::callback::{DoneAction, DoneCallback};
use crate::handles::{Handle, format_callback};
use crate::interop::must_propagate;
use crate::tasks::{TaskStep, TaskWakeup, step};
use crate::transports::datagram::DatagramTransport;
use crate::transports::pipe::AnyPipe;
use crate::transports::subprocess::SubprocessTransport;
use crate::transports::tcp::TcpTransport;

impl Loop {
    /// Runs one entry. Everything but SystemExit and KeyboardInterrupt ends in the exception handler.
    #[inline]
    pub(super) fn run_entry(this: &Bound<'_, Self>, entry: Ready) -> PyResult<()> {
        let py = this.py();
        match entry {
            Ready::Step(task) => {
                let task = task.into_bound(py);
                step::run(this, &task).or_else(|error| Self::report_step(this, &task, error))
            }
            Ready::Wakeup { task, future } => {
                let (task, future) = (task.into_bound(py), future.into_bound(py));
                step::run_wakeup(this, &task, &future)
                    .or_else(|error| Self::report_wakeup(this, &task, &future, error))
            }
            Ready::Throw { task, exception } => {
                let task = task.into_bound(py);
                let error = PyErr::from_value(exception.into_bound(py));
                step::run_throwing(this, &task, error).or_else(|error| Self::report_step(this, &task, error))
            }
            Ready::Handle(handle) => {
                this.get().leave_task(this)?;
                Handle::run_ready(&handle.into_bound(py), this.get())
            }
            Ready::Native { action, receiver, future } => {
                this.get().leave_task(this)?;
                let (receiver, future) = (receiver.into_bound(py), future.into_bound(py));
                (action.run)(&receiver, future.as_any())
                    .or_else(|error| Self::report_native(this, action, &receiver, &future, error))
            }
            Ready::Timer(timer) => {
                this.get().leave_task(this)?;
                timer.run(py).or_else(|error| Self::report_timer(this, timer, error))
            }
            Ready::FutureCallback { callback, future, context } => {
                this.get().leave_task(this)?;
                Self::run_future_callback(this, &callback, &future, &context)
            }
            Ready::Io { token, operation } => {
                this.get().leave_task(this)?;
                Self::run_io(this, token, operation)
            }
            Ready::Deferred(work) => {
                this.get().leave_task(this)?;
                work(this)
            }
        }
    }

    #[inline(never)]
    fn run_io(this: &Bound<'_, Self>, token: Token, operation: Operation) -> PyResult<()> {
        let py = this.py();
        // The descriptor may have been given up since the kernel told of it: then its token is no longer known.
        let stream = this.get().reactor.with(py, |reactor| match reactor.as_ref()?.get(token)? {
            // Letting go of a `Bound` asks no questions.
            Source::Stream(transport) => Some(transport.clone_ref(py).into_bound(py)),
            _ => None,
        });
        match stream {
            Some(transport) => TcpTransport::on_io(&transport, this, operation),
            None => Self::run_other_io(this, token, operation),
        }
    }

    /// `run_io` for what is no stream, kept out of the way of those.
    #[inline(never)]
    fn run_other_io(this: &Bound<'_, Self>, token: Token, operation: Operation) -> PyResult<()> {
        enum Behind {
            Datagrams(Py<DatagramTransport>),
            Listener(Py<super::server::Listener>),
            Pipe(AnyPipe),
            Child(Py<SubprocessTransport>),
        }
        let py = this.py();
        let behind = this.get().reactor.with(py, |reactor| match reactor.as_ref()?.get(token)? {
            Source::Datagrams(transport) => Some(Behind::Datagrams(transport.clone_ref(py))),
            Source::Listener(listener) => Some(Behind::Listener(listener.clone_ref(py))),
            source @ Source::Watch { .. } => match source.watcher(operation)? {
                Watcher::Pipe(pipe) => Some(Behind::Pipe(pipe.clone_ref(py))),
                Watcher::Handle(_) | Watcher::Once(_) => None,
            },
            Source::Child(transport) => Some(Behind::Child(transport.clone_ref(py))),
            Source::Stream(_) | Source::IdleTransport(_) | Source::Signals => None,
        });
        match behind {
            Some(Behind::Datagrams(transport)) => {
                DatagramTransport::on_io(transport.bind(py), this, operation)
            }
            Some(Behind::Listener(listener)) => {
                super::server::Listener::on_acceptable(listener.bind(py), this)
            }
            Some(Behind::Pipe(pipe)) => pipe.on_ready(py, this, operation),
            Some(Behind::Child(transport)) => Self::on_child_readable(this, token, transport),
            None => Ok(()),
        }
    }

    fn run_future_callback(
        this: &Bound<'_, Self>,
        callback: &Py<PyAny>,
        future: &Py<Future>,
        callback_context: &Py<PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let future = future.bind(py).as_any();
        let outcome = context::run_in(py, callback_context, || call_one(callback.bind(py), future));
        match outcome.and_then(|result| result) {
            Ok(_) => Ok(()),
            Err(error) => {
                let arguments = PyTuple::new(py, [future])?;
                Self::report_callback(this, callback.clone_ref(py), &arguments, error)
            }
        }
    }

    fn report_step(
        this: &Bound<'_, Self>,
        task: &Bound<'_, crate::tasks::Task>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = this.py();
        let callback = TaskStep::make(py, task.clone().unbind(), None)?.into_any();
        Self::report_callback(this, callback, &PyTuple::empty(py), error)
    }

    fn report_wakeup(
        this: &Bound<'_, Self>,
        task: &Bound<'_, crate::tasks::Task>,
        future: &Bound<'_, PyAny>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = this.py();
        let callback = TaskWakeup::make(py, task.clone().unbind())?.into_any();
        Self::report_callback(this, callback, &PyTuple::new(py, [future])?, error)
    }

    #[cold]
    fn report_native(
        this: &Bound<'_, Self>,
        action: &'static DoneAction,
        receiver: &Bound<'_, PyAny>,
        future: &Bound<'_, Future>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = this.py();
        let callback = DoneCallback::make(py, action, receiver.clone().unbind())?.into_any();
        Self::report_callback(this, callback, &PyTuple::new(py, [future])?, error)
    }

    #[cold]
    fn report_timer(this: &Bound<'_, Self>, timer: NativeTimer, error: PyErr) -> PyResult<()> {
        let py = this.py();
        let callback = TimerCallback::make(py, timer)?.into_any();
        Self::report_callback(this, callback, &PyTuple::empty(py), error)
    }

    /// Tells the exception handler of a callback that raised, as a `Handle` would.
    fn report_callback(
        this: &Bound<'_, Self>,
        callback: Py<PyAny>,
        arguments: &Bound<'_, PyTuple>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        let source = format_callback(this.as_any(), Some(&callback), Some(arguments))?;
        let arguments = arguments.clone().unbind();
        let event_loop = this.clone().into_any().unbind();
        let handle = Handle::make(py, callback, arguments, event_loop, None, false)?;
        let report = PyDict::new(py);
        report.set_item("message", format!("Exception in callback {source}"))?;
        report.set_item("exception", error.raised(py))?;
        report.set_item("handle", handle)?;
        this.call_method1(intern!(py, "call_exception_handler"), (report,))?;
        Ok(())
    }
}
