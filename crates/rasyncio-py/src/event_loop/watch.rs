//! Watching descriptors: `add_reader()` and `add_writer()`, and the same for rasyncio's own coroutines.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rasyncio_core::reactor::{Operation, Reactor, Token};

use super::{Loop, Ready, Source};
use crate::exceptions;
use crate::handles::Handle;

impl Loop {
    /// Calls `handle` whenever `fd` is readable, instead of what was called before.
    pub(super) fn watch_reader(this: &Bound<'_, Self>, fd: i32, handle: Py<Handle>) -> PyResult<()> {
        Self::watch(this, fd, Operation::Readable, handle)
    }

    /// Calls `handle` whenever `fd` is writable, instead of what was called before.
    pub(super) fn watch_writer(this: &Bound<'_, Self>, fd: i32, handle: Py<Handle>) -> PyResult<()> {
        Self::watch(this, fd, Operation::Writable, handle)
    }

    /// Stops watching `fd` for reading; false when it was not watched.
    pub(super) fn unwatch_reader(this: &Bound<'_, Self>, fd: i32) -> PyResult<bool> {
        Self::unwatch(this, fd, Operation::Readable)
    }

    /// Stops watching `fd` for writing; false when it was not watched.
    pub(super) fn unwatch_writer(this: &Bound<'_, Self>, fd: i32) -> PyResult<bool> {
        Self::unwatch(this, fd, Operation::Writable)
    }

    fn watch(this: &Bound<'_, Self>, fd: i32, operation: Operation, handle: Py<Handle>) -> PyResult<()> {
        let py = this.py();
        let mut handle = Some(handle);
        let (outcome, old) = this.get().with_reactor(py, |reactor| {
            let token = watched(reactor, fd).unwrap_or_else(|| {
                reactor.insert(fd, Source::Watch { reader: None, writer: None })
            });
            if let Err(error) = reactor.arm(token, operation) {
                let unused = is_unused(reactor.get(token)).then(|| reactor.remove(token)).flatten();
                drop(unused);
                return (Err(error), None);
            }
            (Ok(()), swap_handle(reactor, token, operation, handle.take()))
        })?;
        if let Some(old) = old {
            // asyncio: the callback that is replaced does not run any more, even if it is queued already.
            Handle::cancel_quietly(old.bind(py));
        }
        drop(handle);
        outcome.map_err(|error| exceptions::os_error(&error))
    }

    fn unwatch(this: &Bound<'_, Self>, fd: i32, operation: Operation) -> PyResult<bool> {
        let py = this.py();
        if this.get().is_closed() {
            return Ok(false);
        }
        let old = this.get().with_reactor(py, |reactor| {
            let token = watched(reactor, fd)?;
            let old = swap_handle(reactor, token, operation, None);
            reactor.disarm(token, operation);
            if is_unused(reactor.get(token)) {
                reactor.remove(token);
            }
            old
        })?;
        let Some(old) = old else {
            return Ok(false);
        };
        Handle::cancel_quietly(old.bind(py));
        Ok(true)
    }

    /// A watched descriptor is ready: its callback is queued, as asyncio does.
    pub(super) fn on_watched(this: &Bound<'_, Self>, token: Token, operation: Operation) -> PyResult<()> {
        let py = this.py();
        let found = this.get().with_reactor(py, |reactor| match reactor.get(token)? {
            Source::Watch { reader, writer } => {
                let handle = if operation == Operation::Readable { reader } else { writer };
                handle.as_ref().map(|handle| Watched::Handle(handle.clone_ref(py)))
            }
            Source::Signals => Some(Watched::Signals),
            Source::Stream(_) | Source::IdleStream(_) | Source::Listener(_) => None,
        })?;
        match found {
            Some(Watched::Handle(handle)) => this.get().enqueue(py, Ready::Handle(handle)),
            Some(Watched::Signals) => Self::on_signals(this)?,
            None => {}
        }
        Ok(())
    }

    fn user_handle(
        this: &Bound<'_, Self>,
        callback: Py<PyAny>,
        arguments: Py<PyTuple>,
    ) -> PyResult<Py<Handle>> {
        let py = this.py();
        let event_loop = this.clone().into_any().unbind();
        let debug = this.get().is_debug(py);
        Py::new(py, Handle::make(py, callback, arguments, event_loop, None, debug)?)
    }

    fn checked_descriptor(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<i32> {
        let number = file_descriptor(fd)?;
        this.get().check_usable()?;
        this.get().check_not_transport(this.py(), number)?;
        Ok(number)
    }
}

enum Watched {
    Handle(Py<Handle>),
    Signals,
}

/// The token under which `fd` is watched for the user, if it is.
fn watched(reactor: &Reactor<Source>, fd: i32) -> Option<Token> {
    reactor.find(fd).filter(|token| matches!(reactor.get(*token), Some(Source::Watch { .. })))
}

fn swap_handle(
    reactor: &mut Reactor<Source>,
    token: Token,
    operation: Operation,
    handle: Option<Py<Handle>>,
) -> Option<Py<Handle>> {
    match reactor.get_mut(token) {
        Some(Source::Watch { reader, writer }) => {
            let place = if operation == Operation::Readable { reader } else { writer };
            std::mem::replace(place, handle)
        }
        _ => handle,
    }
}

fn is_unused(source: Option<&Source>) -> bool {
    matches!(source, Some(Source::Watch { reader: None, writer: None }))
}

/// A descriptor given as a number or as an object with `fileno()`; ValueError for anything else, and for a negative number.
pub(super) fn file_descriptor(object: &Bound<'_, PyAny>) -> PyResult<i32> {
    let number = match object.extract::<i32>() {
        Ok(number) => Some(number),
        Err(_) => match object.getattr_opt(intern!(object.py(), "fileno"))? {
            Some(fileno) => fileno.call0()?.extract::<i32>().ok(),
            None => None,
        },
    };
    match number {
        Some(number) if number >= 0 => Ok(number),
        Some(number) => Err(PyValueError::new_err(format!("Invalid file descriptor: {number}"))),
        None => Err(PyValueError::new_err(format!("Invalid file object: {}", object.repr()?))),
    }
}

#[pymethods]
impl Loop {
    /// Calls `callback(*args)` whenever `fd` (a number or an object with `fileno()`) is readable.
    ///
    /// Raises RuntimeError for a descriptor that belongs to a transport, ValueError for none at all.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>, callback: Py<PyAny>, args: Py<PyTuple>) -> PyResult<()> {
        let number = Self::checked_descriptor(this, fd)?;
        Self::watch_reader(this, number, Self::user_handle(this, callback, args)?)
    }

    /// Stops watching `fd` for reading; returns whether it was watched.
    fn remove_reader(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = file_descriptor(fd)?;
        this.get().check_not_transport(this.py(), number)?;
        Self::unwatch_reader(this, number)
    }

    /// Calls `callback(*args)` whenever `fd` (a number or an object with `fileno()`) is writable.
    ///
    /// Raises RuntimeError for a descriptor that belongs to a transport, ValueError for none at all.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>, callback: Py<PyAny>, args: Py<PyTuple>) -> PyResult<()> {
        let number = Self::checked_descriptor(this, fd)?;
        Self::watch_writer(this, number, Self::user_handle(this, callback, args)?)
    }

    /// Stops watching `fd` for writing; returns whether it was watched.
    fn remove_writer(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = file_descriptor(fd)?;
        this.get().check_not_transport(this.py(), number)?;
        Self::unwatch_writer(this, number)
    }

    /// `add_reader()` without the check for transports, for asyncio's own transports on this loop.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>, callback: Py<PyAny>, args: Py<PyTuple>) -> PyResult<Py<Handle>> {
        let number = file_descriptor(fd)?;
        let handle = Self::user_handle(this, callback, args)?;
        Self::watch_reader(this, number, handle.clone_ref(this.py()))?;
        Ok(handle)
    }

    fn _remove_reader(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch_reader(this, file_descriptor(fd)?)
    }

    /// `add_writer()` without the check for transports, for asyncio's own transports on this loop.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>, callback: Py<PyAny>, args: Py<PyTuple>) -> PyResult<Py<Handle>> {
        let number = file_descriptor(fd)?;
        let handle = Self::user_handle(this, callback, args)?;
        Self::watch_writer(this, number, handle.clone_ref(this.py()))?;
        Ok(handle)
    }

    fn _remove_writer(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch_writer(this, file_descriptor(fd)?)
    }
}
