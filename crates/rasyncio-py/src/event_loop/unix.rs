//! Unix sockets: `create_unix_connection()` and `create_unix_server()` (asyncio: `unix_events.py`).

use pyo3::exceptions::{PyAssertionError, PyFileNotFoundError, PyOSError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use super::Loop;
use super::attempts::CloseOnDrop;
use super::connect::{Opened, TlsArguments, make_transport};
use super::serve::{make_server, start};
use super::tls::{End, TlsOptions, refuse_tls_socket};
use crate::coroutines::{Coroutine, wait_for};
use crate::interop::stdlib;

#[pymethods]
impl Loop {
    /// Connects to the Unix socket at `path`, or takes the connected socket `sock`; returns `(transport, protocol)`.
    ///
    /// A `path` that begins with a zero byte is a name of Linux' abstract namespace. TLS needs a `server_hostname`, as a path tells none.
    #[pyo3(signature = (
        protocol_factory, path = None, *, ssl = None, sock = None, server_hostname = None, ssl_handshake_timeout = None,
        ssl_shutdown_timeout = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn create_unix_connection<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        path: Option<Py<PyAny>>,
        ssl: Option<Py<PyAny>>,
        sock: Option<Py<PyAny>>,
        server_hostname: Option<Py<PyAny>>,
        ssl_handshake_timeout: Option<Py<PyAny>>,
        ssl_shutdown_timeout: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        let tls = TlsArguments { ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout };
        let place = Place { path, sock };
        Coroutine::make(this.py(), "EventLoop.create_unix_connection", async move {
            let tls = Python::attach(|py| check_client(py, tls))?;
            let sock = place.connect(&event_loop).await?;
            let pair = make_transport(&event_loop, sock, protocol_factory, tls, End::Client).await?;
            Python::attach(|py| pair.into_tuple(py))
        })
    }

    /// Listens on a Unix socket at `path`, or on the bound socket `sock`.
    ///
    /// For each connection `protocol_factory()` makes a protocol. A socket that somebody left at `path` is replaced, any other file is not.
    /// `cleanup_socket` (3.13+): the file goes when the server is closed, unless it is another one by then.
    #[pyo3(
        signature = (
            protocol_factory, path = None, *, sock = None, backlog = 100, ssl = None, ssl_handshake_timeout = None,
            ssl_shutdown_timeout = None, start_serving = true, cleanup_socket = None,
        ),
        text_signature = "($self, protocol_factory, path=None, *, sock=None, backlog=100, ssl=None, \
            ssl_handshake_timeout=None, ssl_shutdown_timeout=None, start_serving=True, cleanup_socket=True)",
    )]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn create_unix_server<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        path: Option<Py<PyAny>>,
        sock: Option<Py<PyAny>>,
        backlog: i32,
        ssl: Option<Py<PyAny>>,
        ssl_handshake_timeout: Option<Py<PyAny>>,
        ssl_shutdown_timeout: Option<Py<PyAny>>,
        start_serving: bool,
        #[pyo3(from_py_with = given_flag)] cleanup_socket: Option<bool>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        let can_clean_up = py.version_info() >= (3, 13);
        if cleanup_socket.is_some() && !can_clean_up {
            return Err(PyTypeError::new_err(
                "EventLoop.create_unix_server() got an unexpected keyword argument 'cleanup_socket'",
            ));
        }
        let event_loop = this.clone().unbind();
        let tls = TlsArguments { ssl, server_hostname: None, ssl_handshake_timeout, ssl_shutdown_timeout };
        let place = Place { path, sock };
        let cleans_up = cleanup_socket.unwrap_or(can_clean_up);
        Coroutine::make(py, "EventLoop.create_unix_server", async move {
            let server = Python::attach(|py| {
                let tls = check_server(py, tls)?;
                let sock = place.listen_on(py)?;
                let guard = sock.ours.then(|| CloseOnDrop::new(sock.socket.clone_ref(py)));
                let file = if cleans_up { SocketFile::of(sock.socket.bind(py))? } else { None };
                let event_loop = event_loop.bind(py);
                let sockets = vec![sock.socket];
                let server = make_server(event_loop, sockets, protocol_factory, tls, backlog)?;
                server.get().remove_when_closed(py, file);
                drop(guard.map(CloseOnDrop::release));
                PyResult::Ok(server)
            })?;
            if start_serving {
                start(&server).await?;
            }
            Ok(server.into_any())
        })
    }
}

/// An argument that may be left out, which is something else than None.
fn given_flag(flag: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    flag.is_truthy().map(Some)
}

/// asyncio's checks for a client; None when `ssl` is not given or false.
fn check_client(py: Python<'_>, tls: TlsArguments) -> PyResult<Option<TlsOptions>> {
    match (&tls.server_hostname, tls.is_on(py)?) {
        (Some(name), _) if !name.bind(py).is_instance_of::<PyString>() => {
            return Err(PyAssertionError::new_err(()));
        }
        (None, true) => {
            return Err(PyValueError::new_err("you have to pass server_hostname when using ssl"));
        }
        (Some(_), false) => {
            return Err(PyValueError::new_err("server_hostname is only meaningful with ssl"));
        }
        (Some(_), true) | (None, false) => {}
    }
    tls.check_timeouts(py)
}

/// asyncio's checks for a server; None when `ssl` is not given.
fn check_server(py: Python<'_>, tls: TlsArguments) -> PyResult<Option<TlsOptions>> {
    if let Some(ssl) = &tls.ssl
        && ssl.bind(py).is_instance_of::<PyBool>()
    {
        return Err(PyTypeError::new_err("ssl argument must be an SSLContext or None"));
    }
    tls.check_timeouts(py)
}

/// Where to connect to or to listen: one of the two is given.
struct Place {
    path: Option<Py<PyAny>>,
    sock: Option<Py<PyAny>>,
}

impl Place {
    async fn connect(&self, event_loop: &Py<Loop>) -> PyResult<Opened> {
        let begun = Python::attach(|py| {
            let Some(path) = self.path(py)? else {
                return Ok(None);
            };
            let (socket, guard) = open_socket(py)?;
            socket.call_method1(intern!(py, "setblocking"), (false,))?;
            let connecting =
                event_loop.bind(py).call_method1(intern!(py, "sock_connect"), (&socket, path))?;
            PyResult::Ok(Some((socket.unbind(), guard, connecting.unbind())))
        })?;
        let Some((socket, guard, connecting)) = begun else {
            return Python::attach(|py| self.given(py, "no path and sock were specified"));
        };
        wait_for(connecting).await?;
        drop(guard.release());
        Ok(Opened { socket, ours: true })
    }

    /// A socket that is bound to the path, or the one that was given.
    fn listen_on(&self, py: Python<'_>) -> PyResult<Opened> {
        let Some(path) = self.path(py)? else {
            return self.given(py, "path was not specified, and no sock specified");
        };
        let (socket, guard) = open_socket(py)?;
        if !is_abstract(&path)? {
            remove_stale(&path)?;
        }
        bind(&socket, &path)?;
        drop(guard.release());
        Ok(Opened { socket: socket.unbind(), ours: true })
    }

    /// The path as text or bytes.
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (&self.path, &self.sock) {
            (None, _) => Ok(None),
            (Some(path), None) => os_call(py, "fspath", path.bind(py)).map(Some),
            (Some(_), Some(_)) => {
                Err(PyValueError::new_err("path and sock can not be specified at the same time"))
            }
        }
    }

    /// The socket of the user's; `missing` is the error if there is none.
    fn given(&self, py: Python<'_>, missing: &'static str) -> PyResult<Opened> {
        let Some(sock) = &self.sock else {
            return Err(PyValueError::new_err(missing));
        };
        let socket = sock.bind(py);
        refuse_tls_socket(socket)?;
        let module = py.import(intern!(py, "socket"))?;
        let is = |attribute: &str, wanted: &str| -> PyResult<bool> {
            socket.getattr(attribute)?.eq(module.getattr(wanted)?)
        };
        if !is("family", "AF_UNIX")? || !is("type", "SOCK_STREAM")? {
            let text = format!("A UNIX Domain Stream Socket was expected, got {}", socket.repr()?);
            return Err(PyValueError::new_err(text));
        }
        Ok(Opened { socket: sock.clone_ref(py), ours: false })
    }
}

/// A Unix socket, which is closed with the guard.
fn open_socket(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, CloseOnDrop)> {
    let module = py.import(intern!(py, "socket"))?;
    let arguments = (module.getattr(intern!(py, "AF_UNIX"))?, module.getattr(intern!(py, "SOCK_STREAM"))?);
    // Taken at each call: programs put their own class in place of `socket.socket`.
    let socket = module.getattr(intern!(py, "socket"))?.call1(arguments)?;
    let guard = CloseOnDrop::new(socket.clone().unbind());
    Ok((socket, guard))
}

/// Whether a path is a name of the abstract namespace, which no file goes with.
pub(super) fn is_abstract(path: &Bound<'_, PyAny>) -> PyResult<bool> {
    let first = path.get_item(0)?;
    Ok(first.eq(0)? || first.eq("\0")?)
}

/// Removes a socket that somebody left at the path. If that cannot be done, binding will tell.
pub(super) fn remove_stale(path: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = path.py();
    let remove = || -> PyResult<()> {
        let mode = os_call(py, "stat", path)?.getattr(intern!(py, "st_mode"))?;
        let is_socket = py.import(intern!(py, "stat"))?.call_method1(intern!(py, "S_ISSOCK"), (mode,))?;
        if is_socket.is_truthy()? {
            os_call(py, "remove", path)?;
        }
        Ok(())
    };
    log_os_error(remove(), "Unable to check or remove stale UNIX socket %r: %r", path)
}

fn bind(socket: &Bound<'_, PyAny>, path: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let Err(error) = socket.call_method1(intern!(py, "bind"), (path,)) else {
        return Ok(());
    };
    if error.is_instance_of::<PyOSError>(py) {
        let in_use = py.import(intern!(py, "errno"))?.getattr(intern!(py, "EADDRINUSE"))?;
        let number = error.value(py).getattr(intern!(py, "errno"))?;
        if number.eq(&in_use)? {
            let text = format!("Address {} is already in use", path.repr()?);
            return Err(PyOSError::new_err((in_use.unbind(), text)));
        }
    }
    Err(error)
}

/// The file of a listening socket, as it was when the server was made.
pub(super) struct SocketFile {
    path: Py<PyAny>,
    inode: u64,
}

impl SocketFile {
    /// None for a socket in the abstract namespace and for one whose file is gone already.
    fn of(socket: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = socket.py();
        let path = socket.call_method0(intern!(py, "getsockname"))?;
        if is_abstract(&path)? {
            return Ok(None);
        }
        match inode(&path) {
            Ok(inode) => Ok(Some(Self { path: path.unbind(), inode })),
            Err(error) if error.is_instance_of::<PyFileNotFoundError>(py) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the file, unless another one took its place.
    pub(super) fn remove(self, py: Python<'_>) -> PyResult<()> {
        let path = self.path.bind(py);
        let remove = || -> PyResult<()> {
            if inode(path)? == self.inode {
                os_call(py, "unlink", path)?;
            }
            Ok(())
        };
        log_os_error(remove(), "Unable to clean up listening UNIX socket %r: %r", path)
    }

    /// Shows the collector what is held.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.path)
    }
}

fn inode(path: &Bound<'_, PyAny>) -> PyResult<u64> {
    os_call(path.py(), "stat", path)?.getattr(intern!(path.py(), "st_ino"))?.extract()
}

/// A function of Python's `os`, so that its exceptions and audit events are Python's.
fn os_call<'py>(py: Python<'py>, function: &str, path: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "os"))?.call_method1(function, (path,))
}

/// What became of a file that need not be there: an `OSError` goes to the log only, and a missing file not even there.
fn log_os_error(outcome: PyResult<()>, text: &str, path: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = path.py();
    match outcome {
        Err(error) if error.is_instance_of::<PyFileNotFoundError>(py) => Ok(()),
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            let logger = stdlib(py).logger.bind(py);
            let arguments = (text, path, error.value(py));
            logger.call_method1(intern!(py, "error"), arguments)?;
            Ok(())
        }
        other => other,
    }
}
