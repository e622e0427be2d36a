//! The life of a transport of any kind, from `connection_made()` to the one call of `connection_lost()`, and what it tells the loop on the way
//! (asyncio: `selector_events._SelectorTransport`). How bytes move is the business of each class; whoever ends a transport goes through `lose()`.

use std::io;

use pyo3::PyClass;
use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyDict, PyString, PyTuple};
use rasyncio_core::reactor::{Operation, Token};

use crate::event_loop::Loop;
use crate::exceptions::{self, Raised, Report};
use crate::ffi::call::call_method_one;
use crate::ffi::{context, warning};
use crate::futures::Future;
use crate::handles::format_callback;
use crate::interop::{must_propagate, stdlib};

/// Where a transport stands.
pub(super) struct Life {
    /// Its place in the reactor, if it has one of its own, until it gave up its descriptor.
    pub(super) token: Option<Token>,
    /// Until `connection_lost()` was called.
    pub(super) protocol: Option<Py<PyAny>>,
    pub(super) reading_paused: bool,
    /// `close()` was called, or the connection broke: nothing is read any more.
    pub(super) closing: bool,
    /// 0 until the call of `connection_lost()` is scheduled; from then on it counts the writes in vain, as asyncio does.
    pub(super) conn_lost: u32,
}

impl Life {
    pub(super) fn new(protocol: &Bound<'_, PyAny>) -> Self {
        let protocol = Some(protocol.clone().unbind());
        Self { token: None, protocol, reading_paused: false, closing: false, conn_lost: 0 }
    }

    #[inline]
    pub(super) fn is_reading(&self) -> bool {
        !self.closing && !self.reading_paused
    }

    /// Whether reading is to stop; it counts as paused.
    fn begins_pause(&mut self) -> bool {
        let pauses = self.is_reading();
        self.reading_paused |= pauses;
        pauses
    }

    /// Whether reading is to go on; it counts as no longer paused.
    pub(super) fn ends_pause(&mut self) -> bool {
        let resumes = !self.closing && self.reading_paused;
        self.reading_paused &= !resumes;
        resumes
    }

    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.conn_lost > 0
    }

    /// Counts a write after the end; whether it is worth a warning by now.
    pub(super) fn count_vain_write(&mut self) -> bool {
        count_vain_write(&mut self.conn_lost)
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.protocol)
    }
}

/// A class of transports.
pub(crate) trait Transport: PyClass<Frozen = True> + Sync {
    /// How the log calls a failure to read.
    const READ_ERROR: &'static str;

    /// What it is armed for while it reads, and while it waits for room to write.
    const READING: Operation;
    const WRITING: Operation;

    fn event_loop(&self) -> &Py<Loop>;

    /// The one that was current when the transport was made: the protocol is called in it.
    fn context(&self) -> &Py<PyAny>;

    /// Looks at the life or changes it, as in `GilCell::with`.
    fn life<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Life) -> R) -> R;

    /// Arms or disarms the descriptor for `operation`. On a closed loop there is nothing to do.
    fn set_armed(this: &Bound<'_, Self>, operation: Operation, armed: bool) -> PyResult<io::Result<()>>;

    /// Drops what was not sent. What nobody offered the kernel yet is offered first, as asyncio would have done when it was written.
    fn forget_unsent(&self, py: Python<'_>);

    /// Gives up the descriptor, and everything that the transport holds.
    fn release(this: &Bound<'_, Self>) -> PyResult<()>;

    fn protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.life(py, |life| life.protocol.as_ref().map(|protocol| protocol.clone_ref(py)))
    }

    /// `set_protocol()`.
    fn change_protocol(&self, protocol: &Bound<'_, PyAny>) {
        let kept = protocol.clone().unbind();
        let old = self.life(protocol.py(), |life| life.protocol.replace(kept));
        drop(old);
    }

    #[inline]
    fn in_context<R>(&self, py: Python<'_>, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        context::run_in(py, self.context(), body)?
    }

    /// asyncio's order: `connection_made()`, then reading begins, then whoever waits for the connection goes on.
    fn begin(this: &Bound<'_, Self>, waiter: Option<Py<Future>>) {
        let transport = this.clone().unbind();
        let event_loop = this.get().event_loop().get();
        event_loop
            .defer(this.py(), move |event_loop| Self::on_connected(transport.bind(event_loop.py()), waiter));
    }

    fn on_connected(this: &Bound<'_, Self>, waiter: Option<Py<Future>>) -> PyResult<()> {
        let py = this.py();
        let mut outcome = Ok(());
        if let Some(protocol) = this.get().protocol(py) {
            let (protocol, name) = (protocol.bind(py), intern!(py, "connection_made"));
            let made = this.get().in_context(py, || call_method_one(protocol, name, this.as_any()));
            if let Err(error) = made {
                outcome = Self::report_callback(this, protocol, name, &[this.as_any()], error);
            }
        }
        let begun = Self::begin_reading(this);
        if let Some(waiter) = waiter
            && !waiter.get().is_done(py)
        {
            Future::finish(waiter.bind(py), py.None())?;
        }
        outcome.and(begun)
    }

    /// Listens for what arrives, unless the transport is paused or closing.
    fn begin_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        if !this.get().life(this.py(), |life| life.is_reading()) {
            return Ok(());
        }
        match Self::set_armed(this, Self::READING, true)? {
            Ok(()) => Ok(()),
            Err(error) => Self::fatal_error(this, exceptions::os_error(&error), Self::READ_ERROR),
        }
    }

    /// Stops listening.
    fn end_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        // Only arming can fail.
        Self::set_armed(this, Self::READING, false).map(drop)
    }

    /// `pause_reading()`.
    fn pause(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().life(this.py(), Life::begins_pause) {
            Self::end_reading(this)?;
            Self::log_debug(this, "%r pauses reading")?;
        }
        Ok(())
    }

    /// `resume_reading()`.
    fn resume(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().life(this.py(), Life::ends_pause) {
            Self::begin_reading(this)?;
            Self::log_debug(this, "%r resumes reading")?;
        }
        Ok(())
    }

    /// Ends the transport now; what was not sent is dropped. `error` goes to `connection_lost()`.
    fn force_close(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        if this.get().life(py, |life| life.is_lost()) {
            return Ok(());
        }
        this.get().life(py, |life| life.closing = true);
        this.get().forget_unsent(py);
        Self::end_reading(this)?;
        // Only arming can fail.
        Self::set_armed(this, Self::WRITING, false)?.ok();
        Self::lose(this, error)
    }

    /// Schedules the one call of `connection_lost()`.
    fn lose(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        let first = this.get().life(py, |life| {
            let first = !life.is_lost();
            life.conn_lost = life.conn_lost.max(1);
            first
        });
        if !first {
            return Ok(());
        }
        let event_loop = this.get().event_loop().get();
        event_loop.check_usable()?;
        let transport = this.clone().unbind();
        event_loop.defer(py, move |event_loop| Self::on_lost(transport.bind(event_loop.py()), error));
        Ok(())
    }

    fn on_lost(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        let mut outcome = Ok(());
        if let Some(protocol) = this.get().protocol(py) {
            let (protocol, name) = (protocol.bind(py), intern!(py, "connection_lost"));
            let reason = match error {
                Some(error) => error.into_value(py).into_bound(py).into_any(),
                None => py.None().into_bound(py),
            };
            let told = this.get().in_context(py, || call_method_one(protocol, name, &reason));
            if let Err(error) = told {
                outcome = Self::report_callback(this, protocol, name, &[&reason], error);
            }
        }
        let released = Self::release(this);
        outcome.and(match released {
            Err(error) => Self::report(this, "Closing a socket failed", error),
            Ok(()) => Ok(()),
        })
    }

    /// A failure that ends the connection. What the system does to us (`OSError`) is worth a line in debug mode only.
    fn fatal_error(this: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        if error.is_instance_of::<PyOSError>(py) {
            Self::log_failure(this, &error, message)?;
        } else {
            Self::report(this, message, error.clone_ref(py))?;
        }
        Self::force_close(this, Some(error))
    }

    /// Tells the loop's exception handler; fails with what must end the program.
    fn report(this: &Bound<'_, Self>, message: &str, error: PyErr) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        Report::of_error(py, message, &error)?
            .with("transport", this)?
            .with("protocol", this.get().protocol(py))?
            .tell(this.get().event_loop().bind(py))
    }

    /// `report`, in asyncio's words for a callback of the loop that raised: the protocol's `name(*arguments)`.
    fn report_callback(
        this: &Bound<'_, Self>,
        protocol: &Bound<'_, PyAny>,
        name: &Bound<'_, PyString>,
        arguments: &[&Bound<'_, PyAny>],
        error: PyErr,
    ) -> PyResult<()> {
        let py = this.py();
        let arguments = PyTuple::new(py, arguments)?;
        let callback = protocol.getattr_opt(name)?.map(Bound::unbind);
        let source = match &callback {
            Some(_) => {
                format_callback(this.get().event_loop().bind(py), callback.as_ref(), Some(&arguments))?
            }
            None => name.to_string(),
        };
        Self::report(this, &format!("Exception in callback {source}"), error)
    }

    /// A line about this transport in the log of debug mode; `text` shows it with `%r`.
    fn log_debug(this: &Bound<'_, Self>, text: &str) -> PyResult<()> {
        log_debug(this.get().event_loop().get(), this.as_any(), text)
    }

    /// The same about a failure, with its traceback.
    fn log_failure(this: &Bound<'_, Self>, error: &PyErr, message: &str) -> PyResult<()> {
        log_failure(this.get().event_loop().get(), this.as_any(), error, message)
    }

    /// As asyncio: a transport that nobody closed says so when it dies and gives up its descriptor, without a word to the protocol.
    fn die_unclosed(this: &Bound<'_, Self>) {
        for outcome in [warn_unclosed(this.as_any()), Self::release(this)] {
            if let Err(error) = outcome {
                error.write_unraisable(this.py(), Some(this.as_any()));
            }
        }
    }
}

/// The warning of a transport that nobody closed.
pub(super) fn warn_unclosed(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    warning::resource(transport, &format!("unclosed transport {}", transport.repr()?))
}

/// A line about a transport in the log of debug mode; `text` shows it with `%r`.
pub(super) fn log_debug(event_loop: &Loop, transport: &Bound<'_, PyAny>, text: &str) -> PyResult<()> {
    let py = transport.py();
    if event_loop.is_debug(py) {
        stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), (text, transport))?;
    }
    Ok(())
}

/// The same about a failure, with its traceback.
pub(super) fn log_failure(
    event_loop: &Loop,
    transport: &Bound<'_, PyAny>,
    error: &PyErr,
    message: &str,
) -> PyResult<()> {
    let py = transport.py();
    if event_loop.is_debug(py) {
        let keywords = PyDict::new(py);
        keywords.set_item("exc_info", error.raised(py))?;
        let logger = stdlib(py).logger.bind(py);
        logger.call_method(intern!(py, "debug"), ("%r: %s", transport, message), Some(&keywords))?;
    }
    Ok(())
}

/// Counts a write after the end; whether it is worth a warning by now.
pub(super) fn count_vain_write(writes: &mut u32) -> bool {
    let warn = *writes >= WRITES_WITHOUT_WARNING;
    *writes = writes.saturating_add(1);
    warn
}

/// The warning of somebody who writes on and on after the end, in the words of the class.
pub(super) fn warn_of_vain_write(py: Python<'_>, text: &str) -> PyResult<()> {
    stdlib(py).logger.bind(py).call_method1(intern!(py, "warning"), (text,)).map(drop)
}

/// How a socket's transports say it.
pub(super) const SENDING_IN_VAIN: &str = "socket.send() raised exception.";

/// asyncio: `constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES`.
const WRITES_WITHOUT_WARNING: u32 = 5;
