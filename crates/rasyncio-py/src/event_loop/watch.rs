//! Watching descriptors: `add_reader()` and `add_writer()`, and the same for rasyncio's own coroutines and transports of pipes.

use std::io;

use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use rasyncio_core::reactor::{Operation, Reactor, Token};

use super::{Loop, NativeTimer, Ready, Source, Watcher};
use crate::exceptions;
use crate::futures::Future;
use crate::handles::Handle;
use crate::tasks::WAKE;
use crate::transports::pipe::AnyPipe;

impl Loop {
    /// Stops watching `fd` for reading; false when it was not watched.
    pub(super) fn unwatch_reader(this: &Bound<'_, Self>, fd: i32) -> PyResult<bool> {
        Self::unwatch(this, fd, Operation::Readable)
    }

    /// Stops watching `fd` for writing; false when it was not watched.
    pub(super) fn unwatch_writer(this: &Bound<'_, Self>, fd: i32) -> PyResult<bool> {
        Self::unwatch(this, fd, Operation::Writable)
    }

    fn watch(
        this: &Bound<'_, Self>,
        fd: i32,
        operation: Operation,
        handle: Py<Handle>,
        object: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        let watcher = Watcher::Handle(handle);
        let (outcome, old) = this.get().put_watcher(py, fd, operation, watcher, object)?;
        if let Some(Watcher::Handle(old)) = old {
            // asyncio: the callback that is replaced does not run any more, even if it is queued already.
            Handle::cancel_quietly(old.bind(py));
        }
        outcome.map_err(|error| exceptions::os_error(&error))
    }

    /// Tells `watcher` whenever the descriptor can go on, instead of whoever was told before and is handed back.
    fn put_watcher(
        &self,
        py: Python<'_>,
        fd: i32,
        operation: Operation,
        watcher: Watcher,
        object: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(io::Result<()>, Option<Watcher>)> {
        let mut watcher = Some(watcher);
        let (outcome, old, unused) = self.with_reactor(py, |reactor| {
            let token = watched(reactor, fd).unwrap_or_else(|| {
                let object = object.map(|object| object.clone().unbind());
                reactor.insert(fd, Source::Watch { reader: None, writer: None, object })
            });
            if let Err(error) = reactor.arm(token, operation) {
                let unused = is_unused(reactor.get(token)).then(|| reactor.remove(token)).flatten();
                return (Err(error), None, unused);
            }
            reactor.disarm(token, other_way(operation));
            (Ok(()), swap_watcher(reactor, token, operation, watcher.take()), None)
        })?;
        drop((unused, watcher));
        Ok((outcome, old))
    }

    /// Takes away who is told, if `is_meant` says that of them.
    fn take_watcher(
        &self,
        py: Python<'_>,
        fd: i32,
        operation: Operation,
        is_meant: impl FnOnce(&Watcher) -> bool,
    ) -> PyResult<Option<Watcher>> {
        let (old, unused) = self
            .with_reactor(py, |reactor| {
                let token = watched(reactor, fd)?;
                reactor.get(token)?.watcher(operation).filter(|watcher| is_meant(watcher))?;
                let old = swap_watcher(reactor, token, operation, None);
                reactor.disarm(token, operation);
                reactor.disarm(token, other_way(operation));
                Some((old, is_unused(reactor.get(token)).then(|| reactor.remove(token)).flatten()))
            })?
            .unwrap_or_default();
        drop(unused);
        Ok(old)
    }

    /// Ends `future` when `fd` can go on with `operation`, instead of telling whoever was told before.
    pub(super) fn watch_once(
        &self,
        future: &Bound<'_, Future>,
        fd: i32,
        operation: Operation,
    ) -> PyResult<()> {
        let py = future.py();
        let watcher = Watcher::Once(future.clone().unbind());
        let (outcome, old) = self.put_watcher(py, fd, operation, watcher, None)?;
        if let Some(Watcher::Handle(old)) = old {
            Handle::cancel_quietly(old.bind(py));
        }
        outcome.map_err(|error| exceptions::os_error(&error))
    }

    /// Takes back `watch_once()`; nothing if it has happened, or somebody else has taken its place.
    pub(super) fn unwatch_once(
        &self,
        future: &Py<Future>,
        py: Python<'_>,
        fd: i32,
        operation: Operation,
    ) -> PyResult<()> {
        drop(self.take_watcher(py, fd, operation, |watcher| watcher.is_once(future))?);
        Ok(())
    }

    /// Tells the transport `pipe` whenever `fd` can go on with `operation`, instead of whoever was told before.
    pub(crate) fn watch_pipe(
        &self,
        py: Python<'_>,
        fd: i32,
        operation: Operation,
        pipe: AnyPipe,
    ) -> PyResult<io::Result<()>> {
        let (outcome, old) = self.put_watcher(py, fd, operation, Watcher::Pipe(pipe), None)?;
        if let Some(Watcher::Handle(old)) = old {
            Handle::cancel_quietly(old.bind(py));
        }
        Ok(outcome)
    }

    /// Takes back `watch_pipe()`; nothing if somebody else has taken its place.
    pub(crate) fn unwatch_pipe(
        &self,
        py: Python<'_>,
        fd: i32,
        operation: Operation,
        pipe: &AnyPipe,
    ) -> PyResult<()> {
        drop(self.take_watcher(py, fd, operation, |watcher| watcher.is_pipe(pipe))?);
        Ok(())
    }

    /// Whether the transport `pipe` is told when `fd` can go on with `operation`.
    pub(crate) fn watches_pipe(
        &self,
        py: Python<'_>,
        fd: i32,
        operation: Operation,
        pipe: &AnyPipe,
    ) -> PyResult<bool> {
        self.with_reactor(py, |reactor| {
            let source = watched(reactor, fd).and_then(|token| reactor.get(token));
            source.and_then(|source| source.watcher(operation)).is_some_and(|watcher| watcher.is_pipe(pipe))
        })
    }

    fn unwatch(this: &Bound<'_, Self>, fd: i32, operation: Operation) -> PyResult<bool> {
        let py = this.py();
        if this.get().is_closed() {
            return Ok(false);
        }
        let old = this.get().take_watcher(py, fd, operation, |_| true)?;
        if let Some(Watcher::Handle(old)) = &old {
            Handle::cancel_quietly(old.bind(py));
        }
        Ok(old.is_some())
    }

    /// A watched descriptor is ready: its callback is queued, as asyncio does.
    pub(super) fn on_watched(this: &Bound<'_, Self>, token: Token, operation: Operation) -> PyResult<()> {
        let py = this.py();
        let found = this.get().with_reactor(py, |reactor| match reactor.get(token)? {
            Source::Signals => Some(Watched::Signals),
            Source::Child(_) => Some(Watched::Inside),
            source => match source.watcher(operation)? {
                Watcher::Handle(handle) => Some(Watched::Handle(handle.clone_ref(py))),
                Watcher::Pipe(_) => Some(Watched::Inside),
                Watcher::Once(_) => None,
            },
        })?;
        match found {
            Some(Watched::Handle(handle)) => {
                this.get().look_next_turn(py);
                this.get().enqueue(py, Ready::Handle(handle));
            }
            Some(Watched::Inside) => this.get().enqueue(py, Ready::Io { token, operation }),
            Some(Watched::Signals) => Self::on_signals(this)?,
            None => {}
        }
        Ok(())
    }

    /// Whoever waited for this is told in this turn, as asyncio's callback would run, and goes on in the next one.
    pub(super) fn on_watched_once(&self, py: Python<'_>, token: Token, operation: Operation) -> PyResult<()> {
        let (told, unused) = self.with_reactor(py, |reactor| {
            let is_meant = reactor.get(token).and_then(|source| source.watcher(operation));
            let told = match is_meant {
                Some(Watcher::Once(_)) => swap_watcher(reactor, token, operation, None),
                _ => None,
            };
            let unused = is_unused(reactor.get(token)).then(|| reactor.remove(token)).flatten();
            (told, unused)
        })?;
        if let Some(Watcher::Once(future)) = told {
            let receiver = future.into_any();
            self.enqueue(py, Ready::Timer(NativeTimer { action: &WAKE, receiver, generation: 0 }));
        }
        drop(unused);
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
        Ok(Handle::make(py, callback, arguments, event_loop, None, debug)?.unbind())
    }

    /// The number of what the user gave. An object that was closed while it was watched is known by itself, as to asyncio's selectors.
    fn descriptor(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<i32> {
        let number = descriptor_number(fd)?;
        if number >= 0 || this.get().is_closed() {
            return Ok(number);
        }
        let known = this.get().with_reactor(this.py(), |reactor| {
            let mut sources = reactor.iter();
            let is_same = |source: &Source| matches!(source, Source::Watch { object: Some(object), .. } if object.is(fd));
            let token = sources.find_map(|(token, source)| is_same(source).then_some(token))?;
            reactor.fd(token)
        })?;
        known.ok_or_else(|| PyValueError::new_err(format!("Invalid file descriptor: {number}")))
    }

    /// `descriptor` for `add_reader()` and its like.
    fn free_descriptor(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<i32> {
        this.get().check_usable()?;
        let number = Self::descriptor(this, fd)?;
        this.get().check_not_transport(fd, number)?;
        Ok(number)
    }
}

enum Watched {
    Handle(Py<Handle>),
    /// A transport finds out by itself, when its turn has come, whether it still wants to know.
    Inside,
    Signals,
}

/// The token under which `fd` is watched for the user, if it is.
fn watched(reactor: &Reactor<Source>, fd: i32) -> Option<Token> {
    reactor.find(fd).filter(|token| matches!(reactor.get(*token), Some(Source::Watch { .. })))
}

fn swap_watcher(
    reactor: &mut Reactor<Source>,
    token: Token,
    operation: Operation,
    watcher: Option<Watcher>,
) -> Option<Watcher> {
    match reactor.get_mut(token) {
        Some(Source::Watch { reader, writer, .. }) => {
            let place = if is_reading(operation) { reader } else { writer };
            std::mem::replace(place, watcher)
        }
        _ => watcher,
    }
}

impl Source {
    /// Who watches the descriptor for `operation`.
    pub(super) fn watcher(&self, operation: Operation) -> Option<&Watcher> {
        match self {
            Self::Watch { reader, .. } if is_reading(operation) => reader.as_ref(),
            Self::Watch { writer, .. } => writer.as_ref(),
            _ => None,
        }
    }
}

impl Watcher {
    fn is_pipe(&self, pipe: &AnyPipe) -> bool {
        matches!(self, Self::Pipe(own) if own.is(pipe))
    }

    fn is_once(&self, future: &Py<Future>) -> bool {
        matches!(self, Self::Once(own) if own.is(future))
    }
}

fn is_reading(operation: Operation) -> bool {
    matches!(operation, Operation::Readable | Operation::ReadableOnce)
}

/// The other way to wait for the same: whoever watches takes the place of whoever waited once, and the other way round.
fn other_way(operation: Operation) -> Operation {
    match operation {
        Operation::Readable => Operation::ReadableOnce,
        Operation::ReadableOnce => Operation::Readable,
        Operation::Writable => Operation::WritableOnce,
        _ => Operation::Writable,
    }
}

fn is_unused(source: Option<&Source>) -> bool {
    matches!(source, Some(Source::Watch { reader: None, writer: None, .. }))
}

/// A descriptor given as a number or as an object with `fileno()`, which is -1 for a closed one; ValueError for anything else.
fn descriptor_number(given: &Bound<'_, PyAny>) -> PyResult<i32> {
    let py = given.py();
    if let Ok(number) = given.extract::<i32>() {
        return Ok(number);
    }
    let asked = given.call_method0(intern!(py, "fileno")).and_then(|number| number.extract::<i32>());
    asked.map_err(|error| {
        let is_no_file = error.is_instance_of::<PyAttributeError>(py)
            || error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py);
        match given.repr() {
            Ok(shown) if is_no_file => PyValueError::new_err(format!("Invalid file object: {shown}")),
            Err(failure) if is_no_file => failure,
            _ => error,
        }
    })
}

/// What is remembered of what the user gave: nothing of a mere number.
fn file_object<'a, 'py>(given: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyAny>> {
    (!given.is_instance_of::<PyInt>()).then_some(given)
}

#[pymethods]
impl Loop {
    /// Calls `callback(*args)` whenever `fd` (a number or an object with `fileno()`) is readable.
    ///
    /// Raises RuntimeError for a descriptor that belongs to a transport, ValueError for none at all.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader(
        this: &Bound<'_, Self>,
        fd: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<()> {
        let number = Self::free_descriptor(this, fd)?;
        let handle = Self::user_handle(this, callback, args)?;
        Self::watch(this, number, Operation::Readable, handle, file_object(fd))
    }

    /// Stops watching `fd` for reading; returns whether it was watched.
    fn remove_reader(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = Self::descriptor(this, fd)?;
        this.get().check_not_transport(fd, number)?;
        Self::unwatch_reader(this, number)
    }

    /// Calls `callback(*args)` whenever `fd` (a number or an object with `fileno()`) is writable.
    ///
    /// Raises RuntimeError for a descriptor that belongs to a transport, ValueError for none at all.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer(
        this: &Bound<'_, Self>,
        fd: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<()> {
        let number = Self::free_descriptor(this, fd)?;
        let handle = Self::user_handle(this, callback, args)?;
        Self::watch(this, number, Operation::Writable, handle, file_object(fd))
    }

    /// Stops watching `fd` for writing; returns whether it was watched.
    fn remove_writer(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = Self::descriptor(this, fd)?;
        this.get().check_not_transport(fd, number)?;
        Self::unwatch_writer(this, number)
    }

    /// `add_reader()` without the check for transports, for asyncio's own transports on this loop.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader(
        this: &Bound<'_, Self>,
        fd: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<Py<Handle>> {
        let number = Self::descriptor(this, fd)?;
        let handle = Self::user_handle(this, callback, args)?;
        Self::watch(this, number, Operation::Readable, handle.clone_ref(this.py()), file_object(fd))?;
        Ok(handle)
    }

    fn _remove_reader(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch_reader(this, Self::descriptor(this, fd)?)
    }

    /// `add_writer()` without the check for transports, for asyncio's own transports on this loop.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer(
        this: &Bound<'_, Self>,
        fd: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<Py<Handle>> {
        let number = Self::descriptor(this, fd)?;
        let handle = Self::user_handle(this, callback, args)?;
        Self::watch(this, number, Operation::Writable, handle.clone_ref(this.py()), file_object(fd))?;
        Ok(handle)
    }

    fn _remove_writer(this: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch_writer(this, Self::descriptor(this, fd)?)
    }
}
