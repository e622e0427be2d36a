//! `Process`: a child process and its streams.

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyConnectionResetError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::STREAMS;
use crate::coroutines::{Coroutine, wait_for, wait_holding};
use crate::exceptions::Raised;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::ffi::cell::GilCell;
use crate::interop::{shown_class, shown_names, stdlib};
use crate::tasks::gather;

/// A child process, made by `create_subprocess_exec()` and `create_subprocess_shell()`.
///
/// Parameters: `transport` and `protocol`, as `loop.subprocess_exec()` gives them; `loop`.
///
/// <https://docs.python.org/3/library/asyncio-subprocess.html#interacting-with-subprocesses>
#[pyclass(frozen, subclass, weakref, dict, name = "Process", module = "rasyncio")]
pub(crate) struct Process {
    state: GilCell<State>,
}

struct State {
    transport: Py<PyAny>,
    protocol: Py<PyAny>,
    event_loop: Py<PyAny>,
    streams: [Option<Py<PyAny>>; 3],
    pid: Py<PyAny>,
}

impl State {
    /// Of a process that was not initialised.
    fn empty(py: Python<'_>) -> Self {
        Self {
            transport: py.None(),
            protocol: py.None(),
            event_loop: py.None(),
            streams: [const { None }; 3],
            pid: py.None(),
        }
    }

    fn of<'py>(
        transport: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        event_loop: &Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        let mut streams = [const { None }; 3];
        for (stream, name) in streams.iter_mut().zip(STREAMS) {
            let found = protocol.getattr(name)?;
            *stream = (!found.is_none()).then(|| found.unbind());
        }
        let pid = call_method_none(transport, intern!(transport.py(), "get_pid"))?.unbind();
        Ok(Self {
            transport: transport.clone().unbind(),
            protocol: protocol.clone().unbind(),
            event_loop: event_loop.clone().unbind(),
            streams,
            pid,
        })
    }
}

impl Process {
    pub(super) fn make<'py>(
        transport: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        event_loop: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let state = State::of(transport, protocol, event_loop)?;
        new_with_dict(transport.py(), Self { state: GilCell::new(state) })
    }

    fn stream<'py>(&self, py: Python<'py>, fd: usize) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| Some(state.streams.get(fd)?.as_ref()?.bind(py).clone()))
    }

    fn set_stream(&self, py: Python<'_>, fd: usize, stream: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.streams[fd], stream);
    }

    fn is_debug(&self, py: Python<'_>) -> PyResult<bool> {
        call_method_none(&self._loop(py), intern!(py, "get_debug"))?.is_truthy()
    }

    /// A line in the log of debug mode; `text` shows the process and `last` with `%r` and `%s`.
    fn log_debug(this: &Bound<'_, Self>, text: &str, last: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = this.py();
        if !this.get().is_debug(py)? {
            return Ok(());
        }
        let mut arguments = vec![PyString::new(py, text).into_any(), this.clone().into_any()];
        arguments.extend(last.cloned());
        stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), PyTuple::new(py, arguments)?).map(drop)
    }

    /// Writes `input` and begins to wait until there is room again.
    fn begin_feeding(this: &Bound<'_, Self>, input: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        let stdin = this.getattr(STREAMS[0])?;
        if !input.is_none() {
            call_method_one(&stdin, intern!(py, "write"), input)?;
            let size = input.len()?.into_pyobject(py)?.into_any();
            Self::log_debug(this, "%r communicate: feed stdin (%s bytes)", Some(&size))?;
        }
        call_method_none(&stdin, intern!(py, "drain")).map(Bound::unbind)
    }

    /// All was written, or the child reads no more.
    fn finish_feeding(this: &Bound<'_, Self>, outcome: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        if let Err(error) = outcome {
            let is_expected = error.is_instance_of::<PyBrokenPipeError>(py)
                || error.is_instance_of::<PyConnectionResetError>(py);
            if !is_expected {
                return Err(error);
            }
            Self::log_debug(this, "%r communicate: stdin got %r", Some(error.raised(py).as_any()))?;
        }
        Self::log_debug(this, "%r communicate: close stdin", None)?;
        call_method_none(&this.getattr(STREAMS[0])?, intern!(py, "close"))?;
        Ok(py.None())
    }

    /// Begins everything that `communicate()` waits for together.
    fn begin_communicating(this: &Bound<'_, Self>, input: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        // Up to 3.11 the child's input stays open unless there is something to write.
        let feeds =
            if py.version_info() < (3, 12) { !input.is_none() } else { !this.getattr(STREAMS[0])?.is_none() };
        let mut parts = Vec::new();
        parts.push(if feeds {
            call_method_one(this.as_any(), intern!(py, "_feed_stdin"), input)?
        } else {
            call_method_none(this.as_any(), intern!(py, "_noop"))?
        });
        for fd in [1, 2] {
            parts.push(if this.getattr(STREAMS[fd])?.is_none() {
                call_method_none(this.as_any(), intern!(py, "_noop"))?
            } else {
                this.call_method1(intern!(py, "_read_stream"), (fd,))?
            });
        }
        gather(py, parts.iter(), false).map(Bound::unbind)
    }
}

#[pymethods]
impl Process {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(transport, protocol, loop)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self { state: GilCell::new(State::empty(args.py())) }
    }

    #[pyo3(signature = (transport, protocol, r#loop))]
    fn __init__(
        &self,
        transport: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        r#loop: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        drop(self.state.replace(transport.py(), State::of(transport, protocol, r#loop)?));
        Ok(())
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("<{} {}>", this.get_type().name()?, this.getattr("pid")?.str()?))
    }

    /// How the child ended: its status, or minus the number of the signal that killed it. None while it runs.
    #[getter]
    fn returncode<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        call_method_none(&self._transport(py), intern!(py, "get_returncode"))
    }

    /// Waits until the child has ended; returns its returncode.
    fn wait<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let process = this.clone().unbind();
        Coroutine::make(this.py(), "Process.wait", async move {
            let waiting = {
                let process = process;
                Python::attach(|py| {
                    call_method_none(&process.get()._transport(py), intern!(py, "_wait")).map(Bound::unbind)
                })?
            };
            wait_for(waiting).await
        })
    }

    /// Sends the child `signal`.
    fn send_signal(&self, signal: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = signal.py();
        call_method_one(&self._transport(py), intern!(py, "send_signal"), signal).map(drop)
    }

    /// Asks the child to end: `SIGTERM`.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        call_method_none(&self._transport(py), intern!(py, "terminate")).map(drop)
    }

    /// Ends the child: `SIGKILL`.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        call_method_none(&self._transport(py), intern!(py, "kill")).map(drop)
    }

    /// Writes `input` to the child, if there is any, reads all that it writes, and waits for its end; returns `(stdout, stderr)`.
    #[pyo3(signature = (input = None))]
    fn communicate<'py>(
        this: &Bound<'py, Self>,
        input: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let held = [this.clone().into_any().unbind()];
        let input = input.unwrap_or_else(|| this.py().None());
        Coroutine::make(this.py(), "Process.communicate", async move {
            let gathering = Python::attach(|py| {
                Self::begin_communicating(held[0].bind(py).cast::<Self>()?, input.bind(py))
            })?;
            let (outputs, held) = wait_holding(gathering, held).await;
            let outputs = outputs?;
            let waiting = Python::attach(|py| {
                call_method_none(held[0].bind(py), intern!(py, "wait")).map(Bound::unbind)
            })?;
            wait_holding(waiting, held).await.0?;
            Python::attach(|py| {
                let outputs = outputs.bind(py);
                Ok((outputs.get_item(1)?, outputs.get_item(2)?).into_pyobject(py)?.into_any().unbind())
            })
        })
    }

    fn _feed_stdin<'py>(this: &Bound<'py, Self>, input: Py<PyAny>) -> PyResult<Bound<'py, Coroutine>> {
        let held = [this.clone().into_any().unbind()];
        Coroutine::make(this.py(), "Process._feed_stdin", async move {
            let begun =
                Python::attach(|py| Self::begin_feeding(held[0].bind(py).cast::<Self>()?, input.bind(py)));
            let (outcome, held) = match begun {
                Ok(draining) => wait_holding(draining, held).await,
                Err(error) => (Err(error), held),
            };
            Python::attach(|py| Self::finish_feeding(held[0].bind(py).cast::<Self>()?, outcome))
        })
    }

    #[expect(clippy::unused_self, reason = "a method of asyncio's class")]
    fn _noop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::make(py, "Process._noop", async { Python::attach(|py| Ok(py.None())) })
    }

    fn _read_stream<'py>(this: &Bound<'py, Self>, fd: usize) -> PyResult<Bound<'py, Coroutine>> {
        let held = [this.clone().into_any().unbind()];
        Coroutine::make(this.py(), "Process._read_stream", async move {
            let (pipe, reading) = Python::attach(|py| {
                let this = held[0].bind(py).cast::<Self>()?;
                let transport = this.getattr(intern!(py, "_transport"))?;
                let pipe = transport.call_method1(intern!(py, "get_pipe_transport"), (fd,))?;
                let (Some(name), true) = (STREAMS.get(fd), fd > 0) else {
                    return Err(PyAssertionError::new_err(()));
                };
                Self::log_debug(this, &format!("%r communicate: read {name}"), None)?;
                let reading = call_method_none(&this.getattr(*name)?, intern!(py, "read"))?;
                Ok((pipe.unbind(), reading.unbind()))
            })?;
            let [process] = held;
            let (output, [process, pipe]) = wait_holding(reading, [process, pipe]).await;
            let output = output?;
            Python::attach(|py| {
                let name = STREAMS[fd];
                let this = process.bind(py).cast::<Self>()?;
                Self::log_debug(this, &format!("%r communicate: close {name}"), None)?;
                call_method_none(pipe.bind(py), intern!(py, "close"))?;
                Ok(output)
            })
        })
    }

    /// What is written to the child; None where there is no pipe.
    #[getter]
    fn stdin<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stream(py, 0)
    }

    #[setter]
    fn set_stdin(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.set_stream(py, 0, value);
    }

    /// What the child writes; None where there is no pipe.
    #[getter]
    fn stdout<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stream(py, 1)
    }

    #[setter]
    fn set_stdout(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.set_stream(py, 1, value);
    }

    /// What the child writes to its standard error; None where there is no pipe.
    #[getter]
    fn stderr<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stream(py, 2)
    }

    #[setter]
    fn set_stderr(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.set_stream(py, 2, value);
    }

    /// The number of the child's process.
    #[getter]
    fn pid<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.state.with(py, |state| state.pid.bind(py).clone())
    }

    #[setter]
    fn set_pid(&self, py: Python<'_>, value: Py<PyAny>) {
        self.state.put(py, |state| &mut state.pid, value);
    }

    #[getter]
    fn _transport<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.state.with(py, |state| state.transport.bind(py).clone())
    }

    #[setter(_transport)]
    fn set_transport(&self, py: Python<'_>, value: Py<PyAny>) {
        self.state.put(py, |state| &mut state.transport, value);
    }

    #[getter]
    fn _protocol<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.state.with(py, |state| state.protocol.bind(py).clone())
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.state.with(py, |state| state.event_loop.bind(py).clone())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let look = |state: &State| {
            visit.call(&state.transport)?;
            visit.call(&state.protocol)?;
            visit.call(&state.event_loop)?;
            state.streams.iter().try_for_each(|stream| visit.call(stream))?;
            visit.call(&state.pid)
        };
        self.state.peek(look).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let streams = self.state.with(py, |state| std::mem::take(&mut state.streams));
        drop(streams);
    }
}
