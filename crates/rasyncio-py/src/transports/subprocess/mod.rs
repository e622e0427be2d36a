//! `SubprocessTransport`: a child process and its pipes (asyncio: `base_subprocess.py`). What it knows, how it is made, and how it is closed.
//!
//! `subprocess.Popen` starts the child, so every option of it means what it says there. The rest is ours: `events` (what becomes of the child and its pipes,
//! as the protocol is told), `pipes` (the protocols at our ends of the pipes), `methods` (what Python sees).
//! Invariant: the child is asked for its end, and its end is published, in one step; until then its number is its own.

mod events;
mod methods;
mod pipes;

use std::sync::OnceLock;

use pyo3::exceptions::{PyPermissionError, PyProcessLookupError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use pyo3::{ffi, intern};
use rasyncio_core::process::Child;

pub(crate) use pipes::{PipeProtocol, ReadPipeProtocol};

use super::life::warn_unclosed;
use crate::event_loop::Loop;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::ffi::finalize::Finalize;
use crate::futures::Future;
use crate::interop::stdlib;

/// A child process, made by `subprocess_exec()` and `subprocess_shell()`.
///
/// <https://docs.python.org/3/library/asyncio-protocol.html#subprocess-transports>
#[pyclass(frozen, weakref, dict, name = "_UnixSubprocessTransport", module = "rasyncio")]
pub(crate) struct SubprocessTransport {
    pid: i32,
    /// The one that was current when the transport was made: the protocol is called in copies of it.
    context: Py<PyAny>,
    extra: Py<PyDict>,
    state: GilCell<State>,
}

/// The changing part.
struct State {
    /// Until `connection_lost()` was called, as are `protocol` and `popen`.
    event_loop: Option<Py<Loop>>,
    protocol: Option<Py<PyAny>>,
    popen: Option<Py<PyAny>>,
    child: Child,
    returncode: Option<i32>,
    /// What `Popen` learned of the child's end when `close()` used it: nobody else will be told.
    learned_at_close: Option<i32>,
    /// By descriptor: standard input, output, error.
    pipes: [Pipe; 3],
    /// Calls of the protocol that wait until it knows of the transport. None: it does.
    pending: Option<Vec<Call>>,
    /// Those who wait for the child.
    waiters: Vec<Py<Future>>,
    closed: bool,
    finished: bool,
}

/// One of the three standard streams of the child.
enum Pipe {
    /// It was given something else than PIPE.
    Foreign,
    Connecting,
    Connected(Py<PipeProtocol>),
}

/// A callback and its arguments.
type Call = (Py<PyAny>, Py<PyTuple>);

/// What to start, in the words of `subprocess.Popen`.
pub(crate) struct Command {
    /// A tuple, or the text of a shell's command.
    pub(crate) arguments: Py<PyAny>,
    pub(crate) shell: bool,
    /// Standard input, output, error.
    pub(crate) streams: [Py<PyAny>; 3],
    pub(crate) options: Option<Py<PyDict>>,
}

impl Command {
    /// Starts the child: the `Popen` object.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let keywords = match &self.options {
            Some(options) => options.bind(py).copy()?,
            None => PyDict::new(py),
        };
        keywords.set_item("shell", self.shell)?;
        for (name, stream) in STREAMS.into_iter().zip(&self.streams) {
            keywords.set_item(name, stream)?;
        }
        keywords.set_item("universal_newlines", false)?;
        keywords.set_item("bufsize", 0)?;
        // Taken at each call: programs put their own class in its place.
        let class = py.import(intern!(py, "subprocess"))?.getattr(intern!(py, "Popen"))?;
        class.call((&self.arguments,), Some(&keywords))
    }

    fn pipes(&self, py: Python<'_>) -> PyResult<[Pipe; 3]> {
        let mut pipes = [const { Pipe::Foreign }; 3];
        for (pipe, stream) in pipes.iter_mut().zip(&self.streams) {
            if stream.bind(py).eq(PIPE)? {
                *pipe = Pipe::Connecting;
            }
        }
        Ok(pipes)
    }

    /// What debug mode calls it: arguments may be long, and secret.
    pub(crate) fn program<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let arguments = self.arguments.bind(py);
        if arguments.is_instance_of::<PyString>() || arguments.is_instance_of::<PyBytes>() {
            return Ok(arguments.clone());
        }
        arguments.get_item(0)
    }
}

impl SubprocessTransport {
    /// Starts a child. Nobody watches it and its pipes yet.
    pub(crate) fn start<'py>(
        event_loop: &Bound<'py, Loop>,
        protocol: Py<PyAny>,
        command: &Command,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let pipes = command.pipes(py)?;
        let popen = command.start(py)?;
        let pid = popen.getattr(intern!(py, "pid"))?.extract()?;
        if event_loop.get().is_debug(py) {
            let logger = stdlib(py).logger.bind(py);
            let arguments = ("process %r created: pid %s", command.program(py)?, pid);
            logger.call_method1(intern!(py, "debug"), arguments)?;
        }
        let extra = PyDict::new(py);
        extra.set_item("subprocess", &popen)?;
        let state = State {
            event_loop: Some(event_loop.clone().unbind()),
            protocol: Some(protocol),
            popen: Some(popen.unbind()),
            child: Child::watch(pid),
            returncode: None,
            learned_at_close: None,
            pipes,
            pending: Some(Vec::new()),
            waiters: Vec::new(),
            closed: false,
            finished: false,
        };
        let context = context::copy_current(py)?;
        new_with_dict(py, Self { pid, context, extra: extra.unbind(), state: GilCell::new(state) })
    }

    /// Looks at the child, or changes what is known of it.
    pub(crate) fn child<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Child) -> R) -> R {
        self.state.with(py, |state| look(&mut state.child))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Loop>> {
        self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.bind(py).clone()))
    }

    fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.protocol.as_ref().map(|protocol| protocol.bind(py).clone()))
    }

    fn popen<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.popen.as_ref().map(|popen| popen.bind(py).clone()))
    }

    /// The protocol at our end of a pipe that is connected.
    fn pipe_protocol<'py>(&self, py: Python<'py>, fd: usize) -> Option<Bound<'py, PipeProtocol>> {
        self.state.with(py, |state| match state.pipes.get(fd) {
            Some(Pipe::Connected(protocol)) => Some(protocol.bind(py).clone()),
            _ => None,
        })
    }

    /// `close()`: closes the pipes, and kills the child if it runs.
    pub(crate) fn end(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        if own.state.with(py, |state| std::mem::replace(&mut state.closed, true)) {
            return Ok(());
        }
        // On a closed loop, or one of the parent process, transports have nothing to do any more.
        let event_loop = own.event_loop(py).filter(|event_loop| event_loop.get().check_usable().is_ok());
        if event_loop.is_some() {
            for fd in 0..STREAMS.len() {
                if let Some(protocol) = own.pipe_protocol(py, fd) {
                    protocol.get().close_pipe(py)?;
                }
            }
        }
        Self::kill_running(this)
    }

    fn kill_running(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        let Some(popen) = own.popen(py) else {
            return Ok(());
        };
        let returncode = intern!(py, "returncode");
        let runs = own.state.with(py, |state| state.returncode.is_none() && state.child.look().is_none());
        if !runs || !popen.getattr(returncode)?.is_none() {
            return Ok(());
        }
        if own.event_loop(py).is_some_and(|event_loop| event_loop.get().is_debug(py)) {
            let logger = stdlib(py).logger.bind(py);
            logger.call_method1(intern!(py, "warning"), ("Close running child process: kill %r", this))?;
        }
        match popen.call_method0(intern!(py, "kill")) {
            // It has ended just now, or became another user's.
            Err(error)
                if error.is_instance_of::<PyProcessLookupError>(py)
                    || error.is_instance_of::<PyPermissionError>(py) => {}
            outcome => {
                outcome?;
            }
        }
        // `Popen.kill()` looks whether the child runs, and so it may be the one who is told that it does not.
        let learned = popen.getattr(returncode)?.extract()?;
        own.state.with(py, |state| state.learned_at_close = learned);
        Ok(())
    }

    /// The child cannot be watched, so nobody is given this transport: nothing of it stays behind.
    pub(crate) fn give_up(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::close_raw_pipes(this)?;
        Self::end(this)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let look = |state: &State| {
            visit.call(&self.context)?;
            visit.call(&self.extra)?;
            state.visit(visit)
        };
        self.state.peek(look).unwrap_or(Ok(()))
    }

    fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            let pipes = std::mem::replace(&mut state.pipes, [const { Pipe::Foreign }; 3]);
            let owners = (state.event_loop.take(), state.protocol.take(), state.popen.take());
            (pipes, owners, state.pending.take(), std::mem::take(&mut state.waiters))
        });
        drop(dropped);
    }
}

impl State {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.protocol)?;
        visit.call(&self.popen)?;
        for pipe in &self.pipes {
            if let Pipe::Connected(protocol) = pipe {
                visit.call(protocol)?;
            }
        }
        for (callback, arguments) in self.pending.iter().flatten() {
            visit.call(callback)?;
            visit.call(arguments)?;
        }
        self.waiters.iter().try_for_each(|waiter| visit.call(waiter))
    }
}

impl Finalize for SubprocessTransport {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        this.get().state.with(this.py(), |state| !state.closed)
    }

    /// As asyncio: a transport that nobody closed says so, and takes its child with it.
    fn finalize(this: &Bound<'_, Self>) {
        for outcome in [warn_unclosed(this.as_any()), Self::end(this)] {
            if let Err(error) = outcome {
                error.write_unraisable(this.py(), Some(this.as_any()));
            }
        }
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

/// What `Popen` calls the child's descriptors 0, 1 and 2.
const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

/// `subprocess.PIPE`.
pub(crate) const PIPE: i32 = -1;
