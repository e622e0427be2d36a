//! Our ends of a child's pipes: their protocols, and the coroutine that connects them.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyString};

use super::{Pipe, STREAMS, SubprocessTransport};
use crate::coroutines::{Coroutine, wait_for};
use crate::exceptions::Raised;
use crate::ffi::call::call_method_none;
use crate::ffi::cell::GilCell;
use crate::futures::Future;
use crate::interop::{must_propagate, stdlib};

/// The protocol of the pipe to the child's standard input, and the base of the other one.
#[pyclass(frozen, subclass, weakref, name = "WriteSubprocessPipeProto", module = "rasyncio")]
pub(crate) struct PipeProtocol {
    fd: usize,
    state: GilCell<State>,
}

struct State {
    /// The transport of the child; None once the pipe is closed.
    process: Option<Py<SubprocessTransport>>,
    /// The transport of the pipe.
    pipe: Option<Py<PyAny>>,
    disconnected: bool,
}

impl PipeProtocol {
    fn new(process: &Bound<'_, SubprocessTransport>, fd: usize) -> Self {
        let process = Some(process.clone().unbind());
        Self { fd, state: GilCell::new(State { process, pipe: None, disconnected: false }) }
    }

    pub(super) fn is_disconnected(&self) -> bool {
        self.state.peek(|state| state.disconnected).unwrap_or(false)
    }

    pub(super) fn pipe<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.pipe.as_ref().map(|pipe| pipe.bind(py).clone()))
    }

    pub(super) fn close_pipe(&self, py: Python<'_>) -> PyResult<()> {
        match self.pipe(py) {
            Some(pipe) => call_method_none(&pipe, intern!(py, "close")).map(drop),
            None => Ok(()),
        }
    }

    fn process<'py>(&self, py: Python<'py>) -> Option<Bound<'py, SubprocessTransport>> {
        self.state.with(py, |state| state.process.as_ref().map(|process| process.bind(py).clone()))
    }
}

#[pymethods]
impl PipeProtocol {
    /// asyncio's class, so that `isinstance` finds it and its bases.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).subprocess.write_protocol.clone_ref(this.py())
    }

    /// The pipe is there.
    fn connection_made(&self, transport: &Bound<'_, PyAny>) {
        let kept = transport.clone().unbind();
        let old = self.state.with(transport.py(), |state| state.pipe.replace(kept));
        drop(old);
    }

    /// The pipe is closed.
    fn connection_lost(&self, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        let process = self.state.with(exc.py(), |state| {
            state.disconnected = true;
            state.process.take()
        });
        match process {
            Some(process) => SubprocessTransport::on_pipe_lost(process.bind(exc.py()), self.fd, exc),
            None => Ok(()),
        }
    }

    /// The child reads too slowly: told to the protocol of the child.
    fn pause_writing(&self, py: Python<'_>) -> PyResult<()> {
        self.pass_on(py, intern!(py, "pause_writing"))
    }

    /// The child has caught up: told to the protocol of the child.
    fn resume_writing(&self, py: Python<'_>) -> PyResult<()> {
        self.pass_on(py, intern!(py, "resume_writing"))
    }

    /// The descriptor in the child: 0, 1 or 2.
    #[getter]
    fn fd(&self) -> usize {
        self.fd
    }

    #[getter]
    fn proc<'py>(&self, py: Python<'py>) -> Option<Bound<'py, SubprocessTransport>> {
        self.process(py)
    }

    #[getter(pipe)]
    fn pipe_transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.pipe(py)
    }

    #[getter]
    fn disconnected(&self) -> bool {
        self.is_disconnected()
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let py = this.py();
        let pipe = match this.get().pipe(py) {
            Some(pipe) => pipe.repr()?.to_string(),
            None => "None".to_owned(),
        };
        Ok(format!("<{} fd={} pipe={pipe}>", this.get_type().name()?, this.get().fd))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            visit.call(&state.process)?;
            visit.call(&state.pipe)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| (state.process.take(), state.pipe.take()));
        drop(dropped);
    }
}

impl PipeProtocol {
    fn pass_on(&self, py: Python<'_>, method: &Bound<'_, PyString>) -> PyResult<()> {
        match self.process(py).and_then(|process| process.get().protocol(py)) {
            Some(protocol) => call_method_none(&protocol, method).map(drop),
            None => Ok(()),
        }
    }
}

/// The protocol of a pipe from the child's standard output or error.
#[pyclass(frozen, extends = PipeProtocol, name = "ReadSubprocessPipeProto", module = "rasyncio")]
pub(crate) struct ReadPipeProtocol;

#[pymethods]
impl ReadPipeProtocol {
    /// asyncio's class, so that `isinstance` finds it and its bases.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).subprocess.read_protocol.clone_ref(this.py())
    }

    /// The child wrote something.
    fn data_received(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let base = this.as_super().get();
        match base.process(this.py()) {
            Some(process) => SubprocessTransport::on_pipe_data(&process, base.fd, data),
            None => Ok(()),
        }
    }

    /// The child writes nothing more; `connection_lost()` follows.
    #[expect(clippy::unused_self, reason = "a method of asyncio.Protocol")]
    fn eof_received(&self) {}
}

impl SubprocessTransport {
    /// The coroutine that connects the pipes and then tells the protocol, and `waiter`, or tells `waiter` alone that this failed.
    pub(crate) fn connect_pipes<'py>(
        this: &Bound<'py, Self>,
        waiter: Py<Future>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let transport = this.clone().unbind();
        Coroutine::make(this.py(), "BaseSubprocessTransport._connect_pipes", async move {
            let connected = connect_each(&transport).await;
            Python::attach(|py| {
                let transport = transport.bind(py);
                let outcome = connected.and_then(|()| Self::begin(transport));
                let waiter = waiter.bind(py);
                let failure = match outcome {
                    Err(error) if must_propagate(py, &error) => return Err(error),
                    Err(error) => Some(error),
                    Ok(()) => None,
                };
                if failure.is_some() {
                    Self::close_connected_pipes(transport)?;
                    Self::close_raw_pipes(transport)?;
                }
                if !waiter.get().is_done(py) {
                    match failure {
                        Some(error) => Future::fail(waiter, &error.raised(py))?,
                        None => Future::finish(waiter, py.None())?,
                    }
                }
                Ok(py.None())
            })
        })
    }

    fn close_connected_pipes(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        for fd in 0..STREAMS.len() {
            if let Some(protocol) = this.get().pipe_protocol(py, fd) {
                protocol.get().close_pipe(py)?;
            }
        }
        Ok(())
    }

    /// Closes `Popen`'s files of the pipes that have no transport.
    pub(super) fn close_raw_pipes(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(popen) = this.get().popen(py) else {
            return Ok(());
        };
        for (fd, name) in STREAMS.into_iter().enumerate() {
            let file = popen.getattr(name)?;
            if !file.is_none() && this.get().pipe_protocol(py, fd).is_none() {
                call_method_none(&file, intern!(py, "close"))?;
            }
        }
        Ok(())
    }
}

/// Connects one pipe after the other, through the loop's own methods, which a subclass may have replaced.
async fn connect_each(transport: &Py<SubprocessTransport>) -> PyResult<()> {
    for fd in 0..STREAMS.len() {
        let begun = Python::attach(|py| begin_connecting(transport.bind(py), fd))?;
        let Some((protocol, connecting)) = begun else {
            continue;
        };
        wait_for(connecting).await?;
        Python::attach(|py| on_connected(transport.bind(py), fd, &protocol))?;
    }
    Ok(())
}

/// The protocol and the coroutine that connects it; None where the child has no pipe.
fn begin_connecting(
    transport: &Bound<'_, SubprocessTransport>,
    fd: usize,
) -> PyResult<Option<(Py<PipeProtocol>, Py<PyAny>)>> {
    let (py, own) = (transport.py(), transport.get());
    let (Some(popen), Some(event_loop)) = (own.popen(py), own.event_loop(py)) else {
        return Ok(None);
    };
    let file = popen.getattr(STREAMS[fd])?;
    if file.is_none() {
        return Ok(None);
    }
    let base = PipeProtocol::new(transport, fd);
    let (protocol, method) = if fd == 0 {
        (Bound::new(py, base)?, intern!(py, "connect_write_pipe"))
    } else {
        let protocol = Bound::new(py, PyClassInitializer::from(base).add_subclass(ReadPipeProtocol))?;
        (protocol.into_super(), intern!(py, "connect_read_pipe"))
    };
    let given = protocol.clone().unbind();
    let factory =
        PyCFunction::new_closure(py, None, None, move |arguments, _| given.clone_ref(arguments.py()))?;
    let connecting = event_loop.call_method1(method, (factory, file))?;
    Ok(Some((protocol.unbind(), connecting.unbind())))
}

fn on_connected(
    transport: &Bound<'_, SubprocessTransport>,
    fd: usize,
    protocol: &Py<PipeProtocol>,
) -> PyResult<()> {
    let py = transport.py();
    let kept = protocol.clone_ref(py);
    let closed = transport.get().state.with(py, |state| {
        state.pipes[fd] = Pipe::Connected(kept);
        state.closed
    });
    // Closed meanwhile: nobody else would close this one.
    if closed { protocol.get().close_pipe(py) } else { Ok(()) }
}
