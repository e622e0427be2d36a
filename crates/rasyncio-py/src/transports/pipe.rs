//! What the two ends of pipes share: the object that the user gave, its descriptor, and how the loop watches it (asyncio: `unix_events.py`).
//!
//! A descriptor is watched as `add_reader()` and `add_writer()` watch it, for it may not be ours alone: a terminal often has one transport that
//! reads and one that writes. A newcomer in the same direction takes the place of whoever watched before, as in asyncio.

use std::io;
use std::os::fd::RawFd;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rasyncio_core::pipe::Kind;
use rasyncio_core::reactor::Operation;
use rasyncio_core::{net, pipe};

use super::life::{Life, Transport};
use super::read_pipe::ReadPipeTransport;
use super::write_pipe::WritePipeTransport;
use crate::event_loop::Loop;
use crate::exceptions;
use crate::ffi::context;
use crate::interop::stdlib;

/// What a transport of a pipe knows and never changes.
pub(super) struct End {
    pub(super) event_loop: Py<Loop>,
    pub(super) context: Py<PyAny>,
    pub(super) fd: RawFd,
    pub(super) kind: Kind,
    /// For `get_extra_info()`, which shows it when it is closed, too.
    given: Py<PyAny>,
}

/// What changes.
pub(super) struct Held {
    pub(super) life: Life,
    /// The file or socket, until it is closed.
    pub(super) pipe: Option<Py<PyAny>>,
}

impl End {
    /// Checks what is given for a pipe and makes it non-blocking. `ValueError(refusal)` for what cannot be read and written like one.
    pub(super) fn open<'py>(
        event_loop: &Bound<'py, Loop>,
        given: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        refusal: &'static str,
    ) -> PyResult<(Self, Held)> {
        let py = event_loop.py();
        event_loop.get().check_usable()?;
        let fd: RawFd = given.call_method0(intern!(py, "fileno"))?.extract()?;
        let kind = pipe::kind(fd).map_err(|error| exceptions::os_error(&error))?;
        if kind == Kind::Other {
            return Err(PyValueError::new_err(refusal));
        }
        net::set_nonblocking(fd).map_err(|error| exceptions::os_error(&error))?;
        let context = context::copy_current(py)?;
        let event_loop = event_loop.clone().unbind();
        let held = Held { life: Life::new(protocol), pipe: Some(given.clone().unbind()) };
        Ok((Self { event_loop, context, fd, kind, given: given.clone().unbind() }, held))
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.context)?;
        visit.call(&self.given)
    }
}

impl Held {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.life.visit(visit)?;
        visit.call(&self.pipe)
    }
}

/// A class of transports over one end of a pipe.
pub(super) trait PipeTransport: Transport {
    fn end(&self) -> &End;

    /// Looks at the pipe object or changes it, as in `GilCell::with`.
    fn pipe<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Option<Py<PyAny>>) -> R) -> R;

    fn watcher(this: &Bound<'_, Self>) -> AnyPipe;

    /// `set_armed()` for these classes.
    fn set_watched(this: &Bound<'_, Self>, operation: Operation, watched: bool) -> PyResult<io::Result<()>> {
        let py = this.py();
        let end = this.get().end();
        let event_loop = end.event_loop.get();
        if event_loop.check_usable().is_err() {
            return Ok(Ok(()));
        }
        let watcher = Self::watcher(this);
        if watched {
            return event_loop.watch_pipe(py, end.fd, operation, watcher);
        }
        event_loop.unwatch_pipe(py, end.fd, operation, &watcher)?;
        Ok(Ok(()))
    }

    /// Closes the pipe and lets go of the protocol.
    fn release_pipe(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        own.forget_unsent(py);
        Self::end_reading(this)?;
        // Only watching can fail.
        Self::set_armed(this, Self::WRITING, false)?.ok();
        let protocol = own.life(py, |life| {
            life.closing = true;
            life.protocol.take()
        });
        drop(protocol);
        if let Some(pipe) = own.pipe(py, Option::take) {
            pipe.bind(py).call_method0(intern!(py, "close"))?;
            own.end().event_loop.get().on_descriptor_closed(py)?;
        }
        Ok(())
    }

    /// The line of debug mode about the other end.
    fn log_closed_by_peer(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().end().event_loop.get().is_debug(py) {
            let arguments = ("%r was closed by peer", this);
            stdlib(py).logger.bind(py).call_method1(intern!(py, "info"), arguments)?;
        }
        Ok(())
    }

    /// The pipe, if it is not closed yet.
    fn open_pipe(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.pipe(py, |pipe| pipe.as_ref().map(|pipe| pipe.clone_ref(py)))
    }

    fn replace_pipe(&self, py: Python<'_>, pipe: Option<Py<PyAny>>) {
        let old = self.pipe(py, |place| std::mem::replace(place, pipe));
        drop(old);
    }

    /// The loop, until the pipe is closed.
    fn open_loop(&self, py: Python<'_>) -> Option<Py<Loop>> {
        let is_open = self.life(py, |life| life.protocol.is_some());
        is_open.then(|| self.end().event_loop.clone_ref(py))
    }

    /// The answer of `get_extra_info()`.
    fn information<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_known = match name.cast::<PyString>() {
            Ok(name) => name.to_str()? == "pipe",
            Err(_) => false,
        };
        Ok(is_known.then(|| self.end().given.bind(name.py()).clone()))
    }

    /// asyncio's `repr()`; `waits_for` is what the transport lives on, `rest` what stands behind it while the loop is open.
    fn shown_pipe(this: &Bound<'_, Self>, waits_for: Operation, rest: &str) -> String {
        let py = this.py();
        let own = this.get();
        let end = own.end();
        let is_open = own.pipe(py, |pipe| pipe.is_some());
        let stage = match (is_open, own.life(py, |life| life.closing)) {
            (false, _) => " closed",
            (true, true) => " closing",
            (true, false) => "",
        };
        let event_loop = end.event_loop.get();
        let waits = event_loop.watches_pipe(py, end.fd, waits_for, &Self::watcher(this));
        let state = match (is_open, waits) {
            (false, _) => "closed".to_owned(),
            (true, Err(_)) => "open".to_owned(),
            (true, Ok(true)) => format!("polling{rest}"),
            (true, Ok(false)) => format!("idle{rest}"),
        };
        format!("<{}{stage} fd={} {state}>", Self::NAME, end.fd)
    }
}

/// A transport of a pipe, as the loop knows it.
pub(crate) enum AnyPipe {
    Read(Py<ReadPipeTransport>),
    Write(Py<WritePipeTransport>),
}

impl AnyPipe {
    /// The descriptor can go on. Fails only with what must end the program.
    pub(crate) fn on_ready(
        &self,
        py: Python<'_>,
        event_loop: &Bound<'_, Loop>,
        operation: Operation,
    ) -> PyResult<()> {
        match self {
            Self::Read(transport) => ReadPipeTransport::on_ready(transport.bind(py), event_loop),
            Self::Write(transport) => WritePipeTransport::on_ready(transport.bind(py), operation),
        }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Read(transport) => Self::Read(transport.clone_ref(py)),
            Self::Write(transport) => Self::Write(transport.clone_ref(py)),
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Read(one), Self::Read(other)) => one.is(other),
            (Self::Write(one), Self::Write(other)) => one.is(other),
            _ => false,
        }
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Read(transport) => visit.call(transport),
            Self::Write(transport) => visit.call(transport),
        }
    }
}
