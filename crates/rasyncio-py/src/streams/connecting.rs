//! `open_connection()`, `start_server()` and the same for Unix sockets.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::protocol::StreamReaderProtocol;
use super::reader::StreamReader;
use super::writer::StreamWriter;
use crate::coroutines::{Coroutine, wait_for};
use crate::ffi::call::given;
use crate::tasks::running_loop;

/// Connects to `host` and `port`; returns `(reader, writer)`.
///
/// Parameters: `limit` of the reader, in bytes; all others are those of `loop.create_connection()`.
#[pyfunction]
#[pyo3(signature = (host = None, port = None, *, limit = None, **kwds), text_signature = "(host=None, port=None, *, limit=65536, **kwds)")]
pub(crate) fn open_connection<'py>(
    py: Python<'py>,
    host: Option<Bound<'py, PyAny>>,
    port: Option<Bound<'py, PyAny>>,
    #[pyo3(from_py_with = given)] limit: Option<Py<PyAny>>,
    kwds: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    open(py, "open_connection", "create_connection", (host, port).into_pyobject(py)?, limit, kwds)
}

/// Listens on `host` and `port`; `client_connected_cb` is called with the reader and the writer of each connection, in a task if it is a coroutine function.
/// Returns the server.
///
/// Parameters: `limit` of the readers, in bytes; all others are those of `loop.create_server()`.
#[pyfunction]
#[pyo3(
    signature = (client_connected_cb, host = None, port = None, *, limit = None, **kwds),
    text_signature = "(client_connected_cb, host=None, port=None, *, limit=65536, **kwds)"
)]
pub(crate) fn start_server<'py>(
    py: Python<'py>,
    client_connected_cb: Py<PyAny>,
    host: Option<Bound<'py, PyAny>>,
    port: Option<Bound<'py, PyAny>>,
    #[pyo3(from_py_with = given)] limit: Option<Py<PyAny>>,
    kwds: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    let place = (host, port).into_pyobject(py)?;
    start(py, "start_server", "create_server", client_connected_cb, place, limit, kwds)
}

/// `open_connection()` of a Unix socket at `path`.
#[pyfunction]
#[pyo3(signature = (path = None, *, limit = None, **kwds), text_signature = "(path=None, *, limit=65536, **kwds)")]
pub(crate) fn open_unix_connection<'py>(
    py: Python<'py>,
    path: Option<Bound<'py, PyAny>>,
    #[pyo3(from_py_with = given)] limit: Option<Py<PyAny>>,
    kwds: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    open(py, "open_unix_connection", "create_unix_connection", (path,).into_pyobject(py)?, limit, kwds)
}

/// `start_server()` on a Unix socket at `path`.
#[pyfunction]
#[pyo3(
    signature = (client_connected_cb, path = None, *, limit = None, **kwds),
    text_signature = "(client_connected_cb, path=None, *, limit=65536, **kwds)"
)]
pub(crate) fn start_unix_server<'py>(
    py: Python<'py>,
    client_connected_cb: Py<PyAny>,
    path: Option<Bound<'py, PyAny>>,
    #[pyo3(from_py_with = given)] limit: Option<Py<PyAny>>,
    kwds: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    let place = (path,).into_pyobject(py)?;
    start(py, "start_unix_server", "create_unix_server", client_connected_cb, place, limit, kwds)
}

/// The `protocol_factory` of a connection, where there is one protocol, or of a server.
#[pyclass(frozen, name = "_StreamFactory", module = "rasyncio")]
struct Factory(Made);

enum Made {
    /// This one.
    Before(Py<StreamReaderProtocol>),
    /// A new one for each connection.
    Now { event_loop: Py<PyAny>, limit: Option<Py<PyAny>>, callback: Py<PyAny> },
}

#[pymethods]
impl Factory {
    fn __call__(&self, py: Python<'_>) -> PyResult<Py<StreamReaderProtocol>> {
        match &self.0 {
            Made::Before(protocol) => Ok(protocol.clone_ref(py)),
            Made::Now { event_loop, limit, callback } => {
                let event_loop = event_loop.bind(py);
                let reader =
                    StreamReader::make(event_loop, limit.as_ref().map(|limit| limit.bind(py).clone()))?;
                StreamReaderProtocol::make(event_loop, &reader, Some(callback.bind(py))).map(Bound::unbind)
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.0 {
            Made::Before(protocol) => visit.call(protocol),
            Made::Now { event_loop, limit, callback } => {
                visit.call(event_loop)?;
                visit.call(limit)?;
                visit.call(callback)
            }
        }
    }
}

fn open<'py>(
    py: Python<'py>,
    name: &'static str,
    method: &'static str,
    place: Bound<'py, PyTuple>,
    limit: Option<Py<PyAny>>,
    options: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    let (place, options) = (place.unbind(), options.map(Bound::unbind));
    Coroutine::make(py, name, async move {
        let (reader, protocol, event_loop, connecting) = Python::attach(|py| {
            let event_loop = running_loop(py)?;
            let reader = StreamReader::make(&event_loop, limit.as_ref().map(|limit| limit.bind(py).clone()))?;
            let protocol = StreamReaderProtocol::make(&event_loop, &reader, None)?;
            let factory = Bound::new(py, Factory(Made::Before(protocol.clone().unbind())))?;
            let connecting =
                call_with_factory(&event_loop, method, factory.as_any(), &place, options.as_ref())?;
            Ok::<_, PyErr>((reader.unbind(), protocol.unbind(), event_loop.unbind(), connecting.unbind()))
        })?;
        let connected = wait_for(connecting).await?;
        Python::attach(|py| {
            let transport = connected.bind(py).get_item(0)?;
            let (protocol, event_loop) = (protocol.bind(py), event_loop.bind(py));
            let writer = StreamWriter::make(&transport, protocol, reader.bind(py), event_loop)?;
            Ok((reader, writer).into_pyobject(py)?.into_any().unbind())
        })
    })
}

fn start<'py>(
    py: Python<'py>,
    name: &'static str,
    method: &'static str,
    callback: Py<PyAny>,
    place: Bound<'py, PyTuple>,
    limit: Option<Py<PyAny>>,
    options: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    let (place, options) = (place.unbind(), options.map(Bound::unbind));
    Coroutine::make(py, name, async move {
        let starting = Python::attach(|py| {
            let event_loop = running_loop(py)?;
            let own_loop = event_loop.clone().unbind();
            let factory = Bound::new(py, Factory(Made::Now { event_loop: own_loop, limit, callback }))?;
            call_with_factory(&event_loop, method, factory.as_any(), &place, options.as_ref())
                .map(Bound::unbind)
        })?;
        wait_for(starting).await
    })
}

/// `event_loop.method(factory, *place, **options)`.
fn call_with_factory<'py>(
    event_loop: &Bound<'py, PyAny>,
    method: &str,
    factory: &Bound<'py, PyAny>,
    place: &Py<PyTuple>,
    options: Option<&Py<PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let arguments: Vec<_> = std::iter::once(factory.clone()).chain(place.bind(py).iter()).collect();
    let options = options.map(|options| options.bind(py));
    event_loop.call_method(PyString::new(py, method), PyTuple::new(py, arguments)?, options)
}
