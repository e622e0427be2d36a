//! Sending a file by reading it: for files that the kernel cannot send by itself, and for transports that change the bytes, as TLS does.

use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView, PySlice};

use super::super::Loop;
use super::super::bell::Bell;
use super::Part;
use crate::coroutines::wait_for;
use crate::ffi::cell::GilCell;
use crate::interop::stdlib;

/// `sock_sendfile()` without `sendfile(2)`.
pub(super) async fn through_socket(
    event_loop: &Py<Loop>,
    sock: &Py<PyAny>,
    part: &Part,
) -> PyResult<Py<PyAny>> {
    let mut reading = Python::attach(|py| {
        let size = stdlib(py).constants.bind(py).getattr(intern!(py, "SENDFILE_FALLBACK_READBUFFER_SIZE"))?;
        Reading::begin(py, part, size.extract()?)
    })?;
    let outcome = async {
        while let Some(piece) = reading.next(event_loop, part).await? {
            let sent = Python::attach(|py| {
                let arguments = (sock, &piece);
                Ok::<_, PyErr>(
                    event_loop.bind(py).call_method1(intern!(py, "sock_sendall"), arguments)?.unbind(),
                )
            })?;
            wait_for(sent).await?;
            Python::attach(|py| reading.on_sent(py, &piece))?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    Python::attach(|py| reading.finish(py, part, outcome))
}

/// `sendfile()` without `sendfile(2)`: the transport has a protocol of ours meanwhile, which is told when to pause.
pub(super) async fn through_transport(
    event_loop: &Py<Loop>,
    transport: &Py<PyAny>,
    part: &Part,
) -> PyResult<Py<PyAny>> {
    let (mut reading, stand_in) = Python::attach(|py| {
        let reading = Reading::begin(py, part, TRANSPORT_BLOCK)?;
        Ok::<_, PyErr>((reading, StandIn::begin(transport.bind(py))?))
    })?;
    let outcome = async {
        while let Some(piece) = reading.next(event_loop, part).await? {
            Python::attach(|py| transport.bind(py).call_method1(intern!(py, "write"), (&piece,)).map(drop))?;
            stand_in.protocol.get().drain(event_loop, transport).await?;
            Python::attach(|py| reading.on_sent(py, &piece))?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    Python::attach(|py| {
        let outcome = reading.finish(py, part, outcome);
        stand_in.end(transport.bind(py)).and(outcome)
    })
}

/// A file that is read piece by piece, in the default executor.
struct Reading {
    /// A `memoryview` of the memory that is read into.
    memory: Py<PyAny>,
    block: usize,
    /// How much is still to be read; none: until the end of the file.
    rest: Option<u64>,
    sent: u64,
}

impl Reading {
    fn begin(py: Python<'_>, part: &Part, largest_block: usize) -> PyResult<Self> {
        let file = part.file.bind(py);
        if file.hasattr(intern!(py, "seek"))? {
            file.call_method1(intern!(py, "seek"), (&part.offset,))?;
        }
        let count = part.count.as_ref().filter(|count| count.bind(py).is_truthy().unwrap_or(true));
        let rest = count.map(|count| count.extract::<u64>(py)).transpose()?;
        let block =
            rest.map_or(largest_block, |rest| usize::try_from(rest).unwrap_or(usize::MAX).min(largest_block));
        let memory = PyByteArray::new_with(py, block, |_| Ok(()))?;
        let memory = PyMemoryView::from(memory.as_any())?.into_any().unbind();
        Ok(Self { memory, block, rest, sent: 0 })
    }

    /// The next piece as a `memoryview`; None at the end.
    async fn next(&mut self, event_loop: &Py<Loop>, part: &Part) -> PyResult<Option<Py<PyAny>>> {
        let rest = self.rest.map_or(self.block, |rest| usize::try_from(rest).unwrap_or(usize::MAX));
        let block = self.block.min(rest);
        if block == 0 {
            return Ok(None);
        }
        let (piece, read) = Python::attach(|py| {
            let piece = slice(self.memory.bind(py), block)?;
            let function = part.file.bind(py).getattr(intern!(py, "readinto"))?;
            let arguments = (py.None(), function, &piece);
            let read = event_loop.bind(py).call_method1(intern!(py, "run_in_executor"), arguments)?;
            Ok::<_, PyErr>((piece.unbind(), read.unbind()))
        })?;
        let read = wait_for(read).await?;
        Python::attach(|py| {
            let read = read.bind(py);
            if !read.is_truthy()? {
                return Ok(None);
            }
            Ok(Some(slice(piece.bind(py), read.extract()?)?.unbind()))
        })
    }

    fn on_sent(&mut self, py: Python<'_>, piece: &Py<PyAny>) -> PyResult<()> {
        let size = piece.bind(py).len()? as u64;
        self.sent += size;
        self.rest = self.rest.map(|rest| rest.saturating_sub(size));
        Ok(())
    }

    /// How much was sent, unless it failed; the file's position is behind that in any case.
    fn finish(&self, py: Python<'_>, part: &Part, outcome: PyResult<()>) -> PyResult<Py<PyAny>> {
        let file = part.file.bind(py);
        if self.sent > 0 && file.hasattr(intern!(py, "seek"))? {
            let position = part.offset.bind(py).add(self.sent)?;
            file.call_method1(intern!(py, "seek"), (position,))?;
        }
        outcome?;
        Ok(self.sent.into_pyobject(py)?.into_any().unbind())
    }
}

fn slice<'py>(view: &Bound<'py, PyAny>, end: usize) -> PyResult<Bound<'py, PyAny>> {
    view.get_item(PySlice::new(view.py(), 0, isize::try_from(end)?, 1))
}

/// The stand-in of the transport's protocol, and what is to be restored afterwards.
struct StandIn {
    protocol: Py<FallbackProtocol>,
    resumes_reading: bool,
    resumes_writing: bool,
}

impl StandIn {
    fn begin(transport: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = transport.py();
        let Some(paused) = transport.getattr_opt(intern!(py, "_protocol_paused"))? else {
            return Err(PyTypeError::new_err("transport should be _FlowControlMixin instance"));
        };
        let resumes_writing = paused.is_truthy()?;
        let original = transport.call_method0(intern!(py, "get_protocol"))?.unbind();
        let resumes_reading = transport.call_method0(intern!(py, "is_reading"))?.is_truthy()?;
        let state = GilCell::new(State { paused: resumes_writing, failure: None });
        let protocol = Py::new(py, FallbackProtocol { original, bell: Bell::make(py)?, state })?;
        transport.call_method0(intern!(py, "pause_reading"))?;
        transport.call_method1(intern!(py, "set_protocol"), (&protocol,))?;
        Ok(Self { protocol, resumes_reading, resumes_writing })
    }

    fn end(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let original = self.protocol.get().original.bind(py);
        transport.call_method1(intern!(py, "set_protocol"), (original,))?;
        if self.resumes_reading {
            transport.call_method0(intern!(py, "resume_reading"))?;
        }
        if self.resumes_writing {
            original.call_method0(intern!(py, "resume_writing"))?;
        }
        Ok(())
    }
}

/// The protocol of a transport that a file is written to.
#[pyclass(frozen, weakref, name = "_SendfileFallbackProtocol", module = "rasyncio")]
struct FallbackProtocol {
    original: Py<PyAny>,
    bell: Py<Bell>,
    state: GilCell<State>,
}

struct State {
    paused: bool,
    /// The connection ended while the protocol was paused.
    failure: Option<PyErr>,
}

impl FallbackProtocol {
    /// Waits until more may be written. `ConnectionError` if nothing may be any more.
    async fn drain(&self, event_loop: &Py<Loop>, transport: &Py<PyAny>) -> PyResult<()> {
        while Python::attach(|py| self.must_wait(transport.bind(py)))? {
            Bell::wait(&self.bell, event_loop).await?;
        }
        Ok(())
    }

    fn must_wait(&self, transport: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = transport.py();
        self.bell.get().silence(py);
        if let Some(failure) = self.state.with(py, |state| state.failure.take()) {
            return Err(failure);
        }
        if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
            return Err(PyConnectionError::new_err("Connection closed by peer"));
        }
        Ok(self.state.with(py, |state| state.paused))
    }
}

#[pymethods]
impl FallbackProtocol {
    fn connection_made(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = transport;
        let text = "Invalid state: connection should have been established already.";
        Err(PyRuntimeError::new_err(text))
    }

    fn connection_lost(&self, py: Python<'_>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let failure = match &exc {
            Some(exc) => PyErr::from_value(exc.clone()),
            None => PyConnectionError::new_err("Connection is closed by peer"),
        };
        self.state.with(py, |state| {
            if state.paused {
                state.failure = Some(failure);
            }
        });
        self.bell.get().ring(py)?;
        self.original.bind(py).call_method1(intern!(py, "connection_lost"), (exc,)).map(drop)
    }

    fn pause_writing(&self, py: Python<'_>) {
        self.state.with(py, |state| state.paused = true);
    }

    fn resume_writing(&self, py: Python<'_>) -> PyResult<()> {
        self.state.with(py, |state| state.paused = false);
        self.bell.get().ring(py)
    }

    fn data_received(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = data;
        Err(PyRuntimeError::new_err("Invalid state: reading should be paused"))
    }

    fn eof_received(&self) -> PyResult<()> {
        Err(PyRuntimeError::new_err("Invalid state: reading should be paused"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.original)?;
        visit.call(&self.bell)
    }
}

/// asyncio: `base_events._sendfile_fallback`.
const TRANSPORT_BLOCK: usize = 16 * 1024;
