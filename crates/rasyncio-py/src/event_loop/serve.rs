//! `create_server()`: binding listening sockets (asyncio: `base_events.py`).

use std::collections::HashSet;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use super::connect::check_stream;
use super::resolve::{AddressInfo, Hints, ensure_all_resolved};
use super::tls::{TlsOptions, refuse_tls_socket};
use super::{Loop, Server};
use crate::coroutines::{Coroutine, wait_for};
use crate::exceptions::Raised;
use crate::interop::stdlib;
use crate::tasks::next_turn;

/// Where to listen, as `create_server()` was told.
struct Place {
    host: Option<Py<PyAny>>,
    port: Option<Py<PyAny>>,
    sock: Option<Py<PyAny>>,
    hints: Hints,
    options: SocketOptions,
}

/// What is set on each socket before it is bound.
struct SocketOptions {
    /// Given explicitly or, where asyncio does so, by default.
    reuse_address: bool,
    reuse_port: bool,
    keep_alive: bool,
}

/// The arguments that say how TLS is spoken, unchecked.
struct TlsArguments {
    ssl: Option<Py<PyAny>>,
    handshake_timeout: Option<Py<PyAny>>,
    shutdown_timeout: Option<Py<PyAny>>,
}

#[pymethods]
impl Loop {
    /// Listens on `host` (a name, an address, a list of them; None: every address) and `port`, or on the bound socket `sock`.
    ///
    /// For each connection `protocol_factory()` makes a protocol. The server accepts at once unless `start_serving` is false.
    #[pyo3(
        signature = (
            protocol_factory, host = None, port = None, *, family = None, flags = None, sock = None, backlog = 100,
            ssl = None, reuse_address = None, reuse_port = None, keep_alive = None, ssl_handshake_timeout = None,
            ssl_shutdown_timeout = None, start_serving = true,
        ),
        text_signature = "($self, protocol_factory, host=None, port=None, *, family=socket.AF_UNSPEC, \
            flags=socket.AI_PASSIVE, sock=None, backlog=100, ssl=None, reuse_address=None, reuse_port=None, \
            keep_alive=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, start_serving=True)",
    )]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn create_server<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        host: Option<Py<PyAny>>,
        port: Option<Py<PyAny>>,
        family: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
        sock: Option<Py<PyAny>>,
        backlog: i32,
        ssl: Option<Py<PyAny>>,
        reuse_address: Option<Bound<'py, PyAny>>,
        reuse_port: Option<Bound<'py, PyAny>>,
        keep_alive: Option<Bound<'py, PyAny>>,
        ssl_handshake_timeout: Option<Py<PyAny>>,
        ssl_shutdown_timeout: Option<Py<PyAny>>,
        start_serving: bool,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        if keep_alive.is_some() && py.version_info() < (3, 13) {
            return Err(PyTypeError::new_err(
                "EventLoop.create_server() got an unexpected keyword argument 'keep_alive'",
            ));
        }
        let flags = match flags {
            Some(flags) => flags,
            None => constant(py, "AI_PASSIVE")?,
        };
        let is_true = |option: Option<Bound<'py, PyAny>>, default: bool| {
            option.map_or(Ok(default), |option| option.is_truthy())
        };
        let options = SocketOptions {
            reuse_address: is_true(reuse_address, true)?,
            reuse_port: is_true(reuse_port, false)?,
            keep_alive: is_true(keep_alive, false)?,
        };
        let hints = Hints::stream(py, family, None, Some(flags))?;
        let place = Place { host, port, sock, hints, options };
        let tls = TlsArguments {
            ssl,
            handshake_timeout: ssl_handshake_timeout,
            shutdown_timeout: ssl_shutdown_timeout,
        };
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.create_server", async move {
            let tls = Python::attach(|py| tls.check(py))?;
            let sockets = place.open(&event_loop).await?;
            let server = Python::attach(|py| {
                let event_loop = event_loop.bind(py);
                make_server(event_loop, sockets, protocol_factory, tls, backlog)
            })?;
            if start_serving {
                start(&server).await?;
            }
            Python::attach(|py| log_serving(event_loop.bind(py), &server))?;
            Ok(server.into_any())
        })
    }

    /// Stops to watch a listening socket, and closes it.
    fn _stop_serving(this: &Bound<'_, Self>, sock: &Bound<'_, PyAny>) -> PyResult<()> {
        this.call_method1(intern!(this.py(), "remove_reader"), (sock,))?;
        close(sock)
    }
}

/// Begins to serve, and lets a turn pass as asyncio does. Whoever is cancelled meanwhile never gets the server, so it is closed then.
pub(super) async fn start(server: &Py<Server>) -> PyResult<()> {
    let begun = Python::attach(|py| {
        Server::begin_serving(server.bind(py))?;
        next_turn(py)
    });
    let passed = match begun {
        Ok(pause) => wait_for(pause).await,
        Err(error) => Err(error),
    };
    if let Err(error) = passed {
        Python::attach(|py| Server::end_serving(server.bind(py)))?;
        return Err(error);
    }
    Ok(())
}

pub(super) fn make_server(
    event_loop: &Bound<'_, Loop>,
    sockets: Vec<Py<PyAny>>,
    protocol_factory: Py<PyAny>,
    tls: Option<TlsOptions>,
    backlog: i32,
) -> PyResult<Py<Server>> {
    let py = event_loop.py();
    for socket in &sockets {
        socket.bind(py).call_method1(intern!(py, "setblocking"), (false,))?;
    }
    Server::make(event_loop, sockets, protocol_factory, tls, backlog)
}

fn log_serving(event_loop: &Bound<'_, Loop>, server: &Py<Server>) -> PyResult<()> {
    let py = event_loop.py();
    if event_loop.get().is_debug(py) {
        stdlib(py).logger.bind(py).call_method1(intern!(py, "info"), ("%r is serving", server))?;
    }
    Ok(())
}

impl TlsArguments {
    /// asyncio's checks for a server; None: plain TCP.
    fn check(self, py: Python<'_>) -> PyResult<Option<TlsOptions>> {
        let Some(ssl) = &self.ssl else {
            if self.handshake_timeout.is_some() {
                let text = "ssl_handshake_timeout is only meaningful with ssl";
                return Err(PyValueError::new_err(text));
            }
            if self.shutdown_timeout.is_some() {
                let text = "ssl_shutdown_timeout is only meaningful with ssl";
                return Err(PyValueError::new_err(text));
            }
            return Ok(None);
        };
        let ssl = ssl.bind(py);
        if ssl.is_instance_of::<PyBool>() {
            return Err(PyTypeError::new_err("ssl argument must be an SSLContext or None"));
        }
        if !ssl.is_truthy()? {
            return Ok(None);
        }
        Ok(Some(TlsOptions::new(ssl, None, self.handshake_timeout, self.shutdown_timeout)))
    }
}

impl Place {
    /// The bound sockets, or the one that was given.
    async fn open(&self, event_loop: &Py<Loop>) -> PyResult<Vec<Py<PyAny>>> {
        let hosts = Python::attach(|py| {
            if let Some(sock) = &self.sock {
                refuse_tls_socket(sock.bind(py))?;
            }
            if self.host.is_none() && self.port.is_none() {
                return Ok(None);
            }
            if self.sock.is_some() {
                let text = "host/port and sock can not be specified at the same time";
                return Err(PyValueError::new_err(text));
            }
            self.hosts(py).map(Some)
        })?;
        let Some(hosts) = hosts else {
            return Python::attach(|py| self.given(py));
        };
        let infos = self.resolve(event_loop, &hosts).await?;
        Python::attach(|py| {
            let infos = without_duplicates(py, infos)?;
            self.options.bind_all(event_loop.bind(py), &infos)
        })
    }

    fn given(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let Some(sock) = &self.sock else {
            return Err(PyValueError::new_err("Neither host/port nor sock were specified"));
        };
        check_stream(sock.bind(py))?;
        Ok(vec![sock.clone_ref(py)])
    }

    /// One host or several; the empty name stands for every address, as None does.
    fn hosts(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let Some(host) = &self.host else {
            return Ok(vec![py.None()]);
        };
        let host = host.bind(py);
        if let Ok(name) = host.cast::<PyString>() {
            let is_any = name.to_str().is_ok_and(str::is_empty);
            return Ok(vec![if is_any { py.None() } else { host.clone().unbind() }]);
        }
        match host.try_iter() {
            Ok(hosts) => hosts.map(|host| host.map(Bound::unbind)).collect(),
            Err(_) => Ok(vec![host.clone().unbind()]),
        }
    }

    /// The addresses of all hosts, which are asked for at the same time.
    async fn resolve(&self, event_loop: &Py<Loop>, hosts: &[Py<PyAny>]) -> PyResult<Vec<AddressInfo>> {
        let addresses = Python::attach(|py| {
            let address = |host| Ok((host, &self.port).into_pyobject(py)?.into_any().unbind());
            hosts.iter().map(address).collect::<PyResult<Vec<_>>>()
        })?;
        let infos = ensure_all_resolved(event_loop, &addresses, &self.hints).await?;
        if let Some(nothing) = infos.iter().position(Vec::is_empty) {
            return Python::attach(|py| {
                let host = hosts[nothing].bind(py).repr()?;
                Err(PyOSError::new_err(format!("getaddrinfo({host}) returned empty list")))
            });
        }
        Ok(infos.into_iter().flatten().collect())
    }
}

/// A host that appears twice, perhaps under two names, is bound once.
fn without_duplicates(py: Python<'_>, infos: Vec<AddressInfo>) -> PyResult<Vec<AddressInfo>> {
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(infos.len());
    for info in infos {
        let address = info.address.bind(py).repr()?.to_string();
        if seen.insert((info.family, info.kind, info.protocol, address)) {
            kept.push(info);
        }
    }
    Ok(kept)
}

impl SocketOptions {
    /// One socket per address; all are closed if one cannot be bound.
    fn bind_all(&self, event_loop: &Bound<'_, Loop>, infos: &[AddressInfo]) -> PyResult<Vec<Py<PyAny>>> {
        let py = event_loop.py();
        let mut sockets = Vec::with_capacity(infos.len());
        for info in infos {
            match self.bind_one(event_loop, info) {
                Ok(socket) => sockets.extend(socket),
                Err(error) => {
                    for socket in sockets {
                        close(&socket)?;
                    }
                    return Err(error);
                }
            }
        }
        if sockets.is_empty() && py.version_info() >= (3, 13) {
            let addresses: Vec<_> = infos.iter().map(|info| info.address.bind(py)).collect();
            let addresses = addresses.into_pyobject(py)?.repr()?;
            let text = format!("could not bind on any address out of {addresses}");
            return Err(PyOSError::new_err(text));
        }
        Ok(sockets.into_iter().map(Bound::unbind).collect())
    }

    /// A socket bound to the address; None if this machine does not have that kind of address.
    fn bind_one<'py>(
        &self,
        event_loop: &Bound<'py, Loop>,
        info: &AddressInfo,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = event_loop.py();
        let arguments = (info.family, info.kind, info.protocol);
        let socket = match stdlib(py).socket_class.bind(py).call1(arguments) {
            Ok(socket) => socket,
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                let text = format!("create_server() failed to create socket.socket{arguments:?}");
                warn_in_debug(event_loop, &text, Some(&error))?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let bound = self.set(&socket, info).and_then(|()| bind(event_loop, &socket, info));
        match bound {
            Ok(true) => Ok(Some(socket)),
            Ok(false) => close(&socket).map(|()| None),
            Err(error) => {
                close(&socket)?;
                Err(error)
            }
        }
    }

    fn set(&self, socket: &Bound<'_, PyAny>, info: &AddressInfo) -> PyResult<()> {
        let py = socket.py();
        let set = |level: &str, option: &str| -> PyResult<()> {
            let arguments = (constant(py, level)?, constant(py, option)?, 1);
            socket.call_method1(intern!(py, "setsockopt"), arguments).map(drop)
        };
        let is_family =
            |name: &str| -> PyResult<bool> { Ok(constant(py, name)?.extract::<i32>(py)? == info.family) };
        if self.reuse_address {
            set("SOL_SOCKET", "SO_REUSEADDR")?;
        }
        // Since Linux 6.12.9 other families refuse it.
        if self.reuse_port && (is_family("AF_INET")? || is_family("AF_INET6")?) {
            set("SOL_SOCKET", "SO_REUSEPORT")?;
        }
        if self.keep_alive {
            set("SOL_SOCKET", "SO_KEEPALIVE")?;
        }
        // Otherwise an IPv6 socket listens on IPv4 too, in the way of the socket that is meant for that.
        if is_family("AF_INET6")? {
            set("IPPROTO_IPV6", "IPV6_V6ONLY")?;
        }
        Ok(())
    }
}

/// Binds; false if the address is of a family that is not enabled here, which asyncio since 3.13 passes over.
fn bind(event_loop: &Bound<'_, Loop>, socket: &Bound<'_, PyAny>, info: &AddressInfo) -> PyResult<bool> {
    let py = socket.py();
    let Err(error) = socket.call_method1(intern!(py, "bind"), (&info.address,)) else {
        return Ok(true);
    };
    if !error.is_instance_of::<PyOSError>(py) {
        return Err(error);
    }
    let skips = py.version_info() >= (3, 13);
    let value = error.raised(py);
    let number = value.getattr(intern!(py, "errno"))?;
    // Up to 3.12 the text does not begin with the number.
    let reason = if skips { value.str()?.into_any() } else { value.getattr(intern!(py, "strerror"))? };
    let reason = reason.str()?.to_string().to_lowercase();
    let address = info.address.bind(py).repr()?;
    let text = format!("error while attempting to bind on address {address}: {reason}");
    let not_available = py.import(intern!(py, "errno"))?.getattr(intern!(py, "EADDRNOTAVAIL"))?;
    if skips && number.eq(not_available)? {
        warn_in_debug(event_loop, &text, None)?;
        return Ok(false);
    }
    Err(PyOSError::new_err((number.unbind(), text)))
}

fn close(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    socket.call_method0(intern!(socket.py(), "close")).map(drop)
}

fn warn_in_debug(event_loop: &Bound<'_, Loop>, text: &str, error: Option<&PyErr>) -> PyResult<()> {
    let py = event_loop.py();
    if event_loop.get().is_debug(py) {
        let keywords = PyDict::new(py);
        keywords.set_item("exc_info", error.map(|error| error.raised(py)))?;
        let logger = stdlib(py).logger.bind(py);
        // As an argument: a text with a percent sign is no format.
        logger.call_method(intern!(py, "warning"), ("%s", text), Some(&keywords))?;
    }
    Ok(())
}

/// A constant of Python's `socket` module.
pub(super) fn constant(py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
    Ok(py.import(intern!(py, "socket"))?.getattr(name)?.unbind())
}
