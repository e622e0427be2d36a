//! What becomes of a child and its pipes, and in which order the protocol is told: each call goes through the loop, and none comes before
//! `connection_made()`. The last, `connection_lost()`, comes when the child has ended and all pipes are closed.

use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use rasyncio_core::process::Ended;

use super::{Pipe, SubprocessTransport};
use crate::coroutines::{Coroutine, wait_for};
use crate::event_loop::Loop;
use crate::exceptions::Report;
use crate::ffi::call::call_method_one;
use crate::ffi::context;
use crate::futures::Future;
use crate::interop::{must_propagate, stdlib};

impl SubprocessTransport {
    /// Calls a method of the protocol soon, once it knows of the transport.
    pub(super) fn tell(
        this: &Bound<'_, Self>,
        method: &Bound<'_, PyString>,
        arguments: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        match this.get().protocol(this.py()) {
            Some(protocol) => Self::call(this, protocol.getattr(method)?.unbind(), arguments.unbind()),
            None => Ok(()),
        }
    }

    fn call(this: &Bound<'_, Self>, callback: Py<PyAny>, arguments: Py<PyTuple>) -> PyResult<()> {
        let py = this.py();
        let mut call = Some((callback, arguments));
        this.get().state.with(py, |state| {
            if let Some(pending) = &mut state.pending {
                pending.extend(call.take());
            }
        });
        let (Some((callback, arguments)), Some(event_loop)) = (call, this.get().event_loop(py)) else {
            return Ok(());
        };
        Loop::call_soon(&event_loop, callback, arguments, None).map(drop)
    }

    /// All pipes are connected: the protocol is told of the transport, and then of everything that happened meanwhile.
    pub(super) fn begin(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(event_loop) = this.get().event_loop(py) else {
            return Ok(());
        };
        if let Some(protocol) = this.get().protocol(py) {
            let made = protocol.getattr(intern!(py, "connection_made"))?.unbind();
            Loop::call_soon(&event_loop, made, PyTuple::new(py, [this])?.unbind(), None)?;
        }
        let pending = this.get().state.with(py, |state| state.pending.take());
        for (callback, arguments) in pending.into_iter().flatten() {
            Loop::call_soon(&event_loop, callback, arguments, None)?;
        }
        Ok(())
    }

    /// The child has ended: it is reaped and its end published. Fails only with what must end the program.
    pub(crate) fn on_ended(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        let published = Self::reap(this, event_loop).and_then(|code| match code {
            Some(code) => Self::on_returncode(this, code),
            None => Ok(()),
        });
        published.or_else(|error| Self::report(this, event_loop, error))
    }

    /// Its returncode, if it has ended: what `Popen` would say.
    fn reap(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<Option<i32>> {
        let (py, own) = (this.py(), this.get());
        let (has_descriptor, ended, learned) = own.state.with(py, |state| {
            let has_descriptor = state.child.descriptor().is_some();
            (has_descriptor, state.child.try_reap(), state.learned_at_close)
        });
        let code = match (ended, learned) {
            (Some(Ended::Exited(status)), _) => status,
            (Some(Ended::Killed(signal)), _) => -signal,
            (Some(Ended::Elsewhere), Some(learned)) => learned,
            (Some(Ended::Elsewhere), None) => {
                // asyncio's watchers with and without a descriptor, and 3.11's only one.
                let text = if has_descriptor && py.version_info() >= (3, 12) {
                    "child process pid %d exit status already read:  will report returncode 255"
                } else {
                    "Unknown child process pid %d, will report returncode 255"
                };
                stdlib(py).logger.bind(py).call_method1(intern!(py, "warning"), (text, own.pid))?;
                return Ok(Some(UNKNOWN));
            }
            (None, _) => return Ok(None),
        };
        if !has_descriptor && event_loop.get().is_debug(py) {
            let arguments = ("process %s exited with returncode %s", own.pid, code);
            stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), arguments)?;
        }
        Ok(Some(code))
    }

    /// Publishes how the child ended, from whoever was told.
    pub(crate) fn on_returncode(this: &Bound<'_, Self>, code: i32) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        let known = own.state.with(py, |state| {
            state.child.forget();
            state.returncode
        });
        if let Some(known) = known {
            return Err(PyAssertionError::new_err(known));
        }
        context::run_in(py, &own.context, || Self::publish(this, code))?
    }

    fn publish(this: &Bound<'_, Self>, code: i32) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        if own.event_loop(py).is_some_and(|event_loop| event_loop.get().is_debug(py)) {
            let arguments = ("%r exited with return code %r", this, code);
            stdlib(py).logger.bind(py).call_method1(intern!(py, "info"), arguments)?;
        }
        own.state.with(py, |state| state.returncode = Some(code));
        if let Some(popen) = own.popen(py)
            && popen.getattr(intern!(py, "returncode"))?.is_none()
        {
            // So that it knows that there is nothing left to wait for.
            popen.setattr(intern!(py, "returncode"), code)?;
        }
        Self::tell(this, intern!(py, "process_exited"), PyTuple::empty(py))?;
        Self::try_finish(this)?;
        // A transport whose pipes could not be connected never gets to its end.
        let is_stuck = own.state.with(py, |state| state.pending.is_some() && state.closed);
        if stdlib(py).subprocess.wait_ends_at_exit || is_stuck { Self::wake(this) } else { Ok(()) }
    }

    /// Everyone who waits for the child goes on.
    fn wake(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let (waiters, code) =
            this.get().state.with(py, |state| (std::mem::take(&mut state.waiters), state.returncode));
        let code = code.into_pyobject(py)?;
        for waiter in waiters {
            if !waiter.get().is_done(py) {
                Future::finish(waiter.bind(py), code.clone().unbind())?;
            }
        }
        Ok(())
    }

    /// One of our ends of the pipes is closed.
    pub(super) fn on_pipe_lost(this: &Bound<'_, Self>, fd: usize, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        Self::tell(this, intern!(py, "pipe_connection_lost"), (fd, error).into_pyobject(py)?)?;
        Self::try_finish(this)
    }

    pub(super) fn on_pipe_data(this: &Bound<'_, Self>, fd: usize, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        Self::tell(this, intern!(py, "pipe_data_received"), (fd, data).into_pyobject(py)?)
    }

    fn try_finish(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        let finishes = own.state.with(py, |state| {
            let is_lost = |pipe: &Pipe| match pipe {
                Pipe::Foreign => true,
                Pipe::Connecting => false,
                Pipe::Connected(protocol) => protocol.get().is_disconnected(),
            };
            let finishes = !state.finished && state.returncode.is_some() && state.pipes.iter().all(is_lost);
            state.finished |= finishes;
            finishes
        });
        if !finishes {
            return Ok(());
        }
        let last = this.getattr(intern!(py, "_call_connection_lost"))?.unbind();
        Self::call(this, last, PyTuple::new(py, [py.None()])?.unbind())
    }

    /// The end: `connection_lost()`, and nothing after it.
    pub(super) fn finish(this: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        let told = match own.protocol(py) {
            Some(protocol) => call_method_one(&protocol, intern!(py, "connection_lost"), error).map(drop),
            None => Ok(()),
        };
        let woken = Self::wake(this);
        let dropped =
            own.state.with(py, |state| (state.event_loop.take(), state.protocol.take(), state.popen.take()));
        drop(dropped);
        told.and(woken)
    }

    /// A coroutine that returns the returncode when the child has ended; before 3.14 when the transport has.
    pub(crate) fn wait<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let transport = this.clone().unbind();
        Coroutine::make(this.py(), "BaseSubprocessTransport._wait", async move {
            let waiter = {
                // The transport leads to this coroutine's own task, so the body does not hold it while it waits.
                let transport = transport;
                Python::attach(|py| Self::waiter(transport.bind(py)))?
            };
            match waiter {
                Waiter::Known(code) => Ok(code),
                Waiter::Future(future) => wait_for(future).await,
            }
        })
    }

    fn waiter(this: &Bound<'_, Self>) -> PyResult<Waiter> {
        let (py, own) = (this.py(), this.get());
        let code = own.state.with(py, |state| state.returncode);
        let (None, Some(event_loop)) = (code, own.event_loop(py)) else {
            return Ok(Waiter::Known(code.into_pyobject(py)?.unbind()));
        };
        let future = Bound::new(py, Future::pending(event_loop.into_any().unbind()))?.unbind();
        let kept = future.clone_ref(py);
        let cancelled: Vec<Py<Future>> = own.state.with(py, |state| {
            state.waiters.push(kept);
            state.waiters.extract_if(.., |waiter| waiter.get().is_done(py)).collect()
        });
        drop(cancelled);
        Ok(Waiter::Future(future.into_any()))
    }

    /// Tells the loop's exception handler; fails with what must end the program.
    fn report(this: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>, error: PyErr) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        Report::of_error(py, "Telling of the end of a child process failed", &error)?
            .with("transport", this)?
            .with("protocol", this.get().protocol(py))?
            .tell(event_loop)
    }
}

/// What somebody who asks for the returncode gets.
enum Waiter {
    Known(Py<PyAny>),
    Future(Py<PyAny>),
}

/// The returncode of a child that somebody else was told of, as in asyncio.
const UNKNOWN: i32 = 255;
