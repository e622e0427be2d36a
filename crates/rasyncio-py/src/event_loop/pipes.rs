//! Pipes: `connect_read_pipe()` and `connect_write_pipe()` (asyncio: `base_events.py`).

use pyo3::intern;
use pyo3::prelude::*;

use super::Loop;
use super::attempts::CloseOnDrop;
use crate::coroutines::{Coroutine, wait_for};
use crate::futures::Future;
use crate::interop::stdlib;
use crate::transports::read_pipe::ReadPipeTransport;
use crate::transports::write_pipe::WritePipeTransport;

#[pymethods]
impl Loop {
    /// Reads from `pipe`, a file object or socket that is closed at the end; returns `(transport, protocol)`.
    ///
    /// ValueError for what is neither a pipe, a socket nor a character device.
    fn connect_read_pipe<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        pipe: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        let text = "Read pipe %r connected: (%r, %r)";
        Coroutine::make(this.py(), "EventLoop.connect_read_pipe", async move {
            connect(event_loop, protocol_factory, pipe, ReadPipeTransport::open, text).await
        })
    }

    /// Writes to `pipe`, a file object or socket that is closed at the end; returns `(transport, protocol)`.
    ///
    /// ValueError for what is neither a pipe, a socket nor a character device.
    fn connect_write_pipe<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        pipe: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        let text = "Write pipe %r connected: (%r, %r)";
        Coroutine::make(this.py(), "EventLoop.connect_write_pipe", async move {
            connect(event_loop, protocol_factory, pipe, WritePipeTransport::open, text).await
        })
    }
}

/// Makes a transport over loop, pipe and protocol, and sets the future when the protocol knows of it.
type Open = fn(&Bound<'_, Loop>, &Bound<'_, PyAny>, &Bound<'_, PyAny>, Py<Future>) -> PyResult<Py<PyAny>>;

async fn connect(
    event_loop: Py<Loop>,
    factory: Py<PyAny>,
    pipe: Py<PyAny>,
    open: Open,
    text: &str,
) -> PyResult<Py<PyAny>> {
    let (transport, protocol, waiter) = Python::attach(|py| {
        let protocol = factory.bind(py).call0()?;
        let waiter = Py::new(py, Future::pending(event_loop.clone_ref(py).into_any()))?;
        let transport = open(event_loop.bind(py), pipe.bind(py), &protocol, waiter.clone_ref(py))?;
        Ok::<_, PyErr>((transport, protocol.unbind(), waiter))
    })?;
    let guard = Python::attach(|py| CloseOnDrop::new(transport.clone_ref(py)));
    wait_for(waiter.into_any()).await?;
    drop(guard.release());
    Python::attach(|py| {
        if event_loop.get().is_debug(py) {
            let fd = pipe.bind(py).call_method0(intern!(py, "fileno"))?;
            let arguments = (text, fd, &transport, &protocol);
            stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), arguments)?;
        }
        Ok((transport, protocol).into_pyobject(py)?.into_any().unbind())
    })
}
