//! `SubprocessStreamProtocol`: what the transport of a child calls, and hands on to the streams.

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::STREAMS;
use crate::event_loop::Loop;
use crate::ffi::attributes;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::ffi::cell::GilCell;
use crate::futures::waiting;
use crate::streams::{FlowControl, StreamReader, StreamWriter, feed};

/// Lets the transport of a child process and its streams work together.
///
/// Parameters: `limit` of the readers, in bytes; `loop`.
#[pyclass(frozen, subclass, extends = FlowControl, name = "SubprocessStreamProtocol", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct SubprocessStreamProtocol {
    state: GilCell<State>,
}

#[derive(Default)]
struct State {
    limit: Option<Py<PyAny>>,
    /// By the child's descriptor.
    streams: [Option<Py<PyAny>>; 3],
    transport: Option<Py<PyAny>>,
    /// The descriptors that are read and not at their end: a list.
    pipes: Option<Py<PyList>>,
    /// Done when the pipe to the child is closed.
    stdin_closed: Option<Py<PyAny>>,
    exited: bool,
}

impl SubprocessStreamProtocol {
    /// What `__init__` does. Without a limit it is asyncio's.
    fn begin(
        this: &Bound<'_, Self>,
        limit: Option<&Bound<'_, PyAny>>,
        event_loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        FlowControl::begin(this.as_super(), event_loop)?;
        let closed = Loop::new_future(&this.as_super().get().event_loop(py)?)?;
        let fresh = State {
            limit: limit.map(|limit| limit.clone().unbind()),
            pipes: Some(PyList::empty(py).unbind()),
            stdin_closed: Some(closed.unbind()),
            ..State::default()
        };
        drop(this.get().state.replace(py, fresh));
        Ok(())
    }

    fn stream<'py>(&self, py: Python<'py>, fd: usize) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| Some(state.streams.get(fd)?.as_ref()?.bind(py).clone()))
    }

    fn set_stream(&self, py: Python<'_>, fd: usize, stream: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.streams[fd], stream);
    }

    fn pipes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.state
            .with(py, |state| Some(state.pipes.as_ref()?.bind(py).clone()))
            .ok_or_else(|| missing("_pipe_fds"))
    }

    fn stdin_closed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| Some(state.stdin_closed.as_ref()?.bind(py).clone()))
            .ok_or_else(|| missing("_stdin_closed"))
    }

    /// The reader of what the child writes to `fd`, through the attribute that a subclass may have.
    fn reader<'py>(this: &Bound<'py, Self>, fd: i64) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(index @ (1 | 2)) = usize::try_from(fd) else {
            return Ok(None);
        };
        if attributes::is_plain::<Self>(this.as_any()) {
            return Ok(this.get().stream(this.py(), index));
        }
        let reader = this.getattr(STREAMS[index])?;
        Ok((!reader.is_none()).then_some(reader))
    }

    /// The pipe to the child is closed.
    fn stdin_lost(this: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let stdin = this.getattr(STREAMS[0])?;
        if !stdin.is_none() {
            call_method_none(&stdin, intern!(py, "close"))?;
        }
        call_method_one(this.as_any(), intern!(py, "connection_lost"), error)?;
        let closed = this.get().stdin_closed(py)?;
        if error.is_none() {
            return waiting::wake(&closed, error).map(drop);
        }
        call_method_one(&closed, intern!(py, "set_exception"), error)?;
        // Nobody has to wait for the end: it is not worth a report.
        call_method_none(&closed, intern!(py, "exception")).map(drop)
    }

    /// Calls `_maybe_close_transport()`, which a subclass may have.
    fn on_progress(this: &Bound<'_, Self>) -> PyResult<()> {
        if attributes::is_plain::<Self>(this.as_any()) {
            return this.get()._maybe_close_transport(this.py());
        }
        call_method_none(this.as_any(), intern!(this.py(), "_maybe_close_transport")).map(drop)
    }
}

fn missing(name: &str) -> PyErr {
    PyAttributeError::new_err(format!("'SubprocessStreamProtocol' object has no attribute '{name}'"))
}

#[pymethods]
impl SubprocessStreamProtocol {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(limit, loop)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        PyClassInitializer::from(FlowControl::default()).add_subclass(Self::default())
    }

    #[pyo3(signature = (limit, r#loop))]
    fn __init__(
        this: &Bound<'_, Self>,
        limit: &Bound<'_, PyAny>,
        r#loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::begin(this, Some(limit), r#loop)
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let mut shown = vec![this.get_type().name()?.to_string()];
        for name in STREAMS {
            let stream = this.getattr(name)?;
            if !stream.is_none() {
                shown.push(format!("{name}={}", stream.repr()?));
            }
        }
        Ok(format!("<{}>", shown.join(" ")))
    }

    /// The child runs: its pipes become streams.
    fn connection_made(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let kept = transport.clone().unbind();
        drop(own.state.with(py, |state| state.transport.replace(kept)));
        let event_loop = this.as_super().get().event_loop(py)?;
        let limit = own._limit(py);
        for fd in [1, 2, 0] {
            let pipe = transport.call_method1(intern!(py, "get_pipe_transport"), (fd,))?;
            if pipe.is_none() {
                continue;
            }
            let stream = if fd == 0 {
                StreamWriter::make(&pipe, this.as_any(), &py.None().into_bound(py), &event_loop)?.into_any()
            } else {
                let reader = StreamReader::make(&event_loop, limit.clone())?;
                call_method_one(reader.as_any(), intern!(py, "set_transport"), &pipe)?;
                own.pipes(py)?.append(fd)?;
                reader.into_any()
            };
            own.set_stream(py, fd, Some(stream.unbind()));
        }
        Ok(())
    }

    /// The child wrote `data` to its descriptor `fd`.
    fn pipe_data_received(this: &Bound<'_, Self>, fd: i64, data: &Bound<'_, PyAny>) -> PyResult<()> {
        match Self::reader(this, fd)? {
            Some(reader) => feed(&reader, data),
            None => Ok(()),
        }
    }

    /// The pipe of the child's descriptor `fd` is closed; `exc` says why, or is None.
    fn pipe_connection_lost(this: &Bound<'_, Self>, fd: i64, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        if fd == 0 {
            return Self::stdin_lost(this, exc);
        }
        if let Some(reader) = Self::reader(this, fd)? {
            if exc.is_none() {
                call_method_none(&reader, intern!(py, "feed_eof"))?;
            } else {
                call_method_one(&reader, intern!(py, "set_exception"), exc)?;
            }
        }
        let pipes = this.get().pipes(py)?;
        if pipes.contains(fd)? {
            pipes.call_method1(intern!(py, "remove"), (fd,))?;
        }
        Self::on_progress(this)
    }

    /// The child has ended.
    fn process_exited(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().state.with(this.py(), |state| state.exited = true);
        Self::on_progress(this)
    }

    fn _maybe_close_transport(&self, py: Python<'_>) -> PyResult<()> {
        if !self.pipes(py)?.is_empty() || !self._process_exited(py) {
            return Ok(());
        }
        let Some(transport) = self._transport(py) else {
            return Err(PyAttributeError::new_err("'NoneType' object has no attribute 'close'"));
        };
        call_method_none(&transport, intern!(py, "close"))?;
        self.set_transport(py, None);
        Ok(())
    }

    fn _get_close_waiter<'py>(&self, stream: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = stream.py();
        let is_stdin = self.stream(py, 0).is_some_and(|stdin| stdin.is(stream));
        if is_stdin { self.stdin_closed(py).map(Some) } else { Ok(None) }
    }

    #[getter]
    fn stdin<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stream(py, 0)
    }

    #[setter]
    fn set_stdin(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.set_stream(py, 0, value);
    }

    #[getter]
    fn stdout<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stream(py, 1)
    }

    #[setter]
    fn set_stdout(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.set_stream(py, 1, value);
    }

    #[getter]
    fn stderr<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stream(py, 2)
    }

    #[setter]
    fn set_stderr(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.set_stream(py, 2, value);
    }

    #[getter]
    fn _limit<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| Some(state.limit.as_ref()?.bind(py).clone()))
    }

    #[getter]
    fn _transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| Some(state.transport.as_ref()?.bind(py).clone()))
    }

    #[setter(_transport)]
    fn set_transport(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.transport, value);
    }

    #[getter]
    fn _pipe_fds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.pipes(py)
    }

    #[getter]
    fn _stdin_closed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.stdin_closed(py)
    }

    #[getter]
    fn _process_exited(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.exited)
    }

    #[setter(_process_exited)]
    fn set_process_exited(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.exited = value);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| state.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}

impl State {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.limit)?;
        self.streams.iter().try_for_each(|stream| visit.call(stream))?;
        visit.call(&self.transport)?;
        visit.call(&self.pipes)?;
        visit.call(&self.stdin_closed)
    }
}

/// The `protocol_factory` of a child.
#[pyclass(frozen, name = "_SubprocessFactory", module = "rasyncio")]
pub(super) struct ProtocolFactory {
    event_loop: Py<PyAny>,
    limit: Option<Py<PyAny>>,
}

impl ProtocolFactory {
    pub(super) fn make<'py>(
        event_loop: &Bound<'py, PyAny>,
        limit: Option<&Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let limit = limit.map(|limit| limit.clone_ref(py));
        Ok(Bound::new(py, Self { event_loop: event_loop.clone().unbind(), limit })?.into_any())
    }
}

#[pymethods]
impl ProtocolFactory {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, SubprocessStreamProtocol>> {
        let fresh = PyClassInitializer::from(FlowControl::default());
        let protocol = Bound::new(py, fresh.add_subclass(SubprocessStreamProtocol::default()))?;
        let limit = self.limit.as_ref().map(|limit| limit.bind(py));
        SubprocessStreamProtocol::begin(&protocol, limit, Some(self.event_loop.bind(py)))?;
        Ok(protocol)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.limit)
    }
}
