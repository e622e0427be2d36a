//! Connections: `create_connection()` and `connect_accepted_socket()` (asyncio: `base_events.py`).

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rasyncio_core::net::interleave;

use super::Loop;
use super::attempts::{CloseOnDrop, Plan, race};
use super::resolve::{AddressInfo, Hints, ensure_resolved};
use super::tls::{End, TlsOptions, refuse_tls_socket};
use crate::coroutines::{Coroutine, Held, wait_holding};
use crate::exceptions::Raised;
use crate::futures::Future;
use crate::interop::stdlib;
use crate::transports::tcp::TcpTransport;

#[pymethods]
impl Loop {
    /// Connects to `host` and `port`, or takes the connected socket `sock`; returns `(transport, protocol)`.
    ///
    /// `family`, `proto`, `flags` are for `getaddrinfo()`; `happy_eyeballs_delay` makes the attempts overlap and `interleave` orders
    /// the addresses by family (RFC 8305). OSError tells of all addresses that failed; with `all_errors` (3.12+) an ExceptionGroup does.
    #[pyo3(
        signature = (
            protocol_factory, host = None, port = None, *, ssl = None, family = None, proto = None, flags = None, sock = None,
            local_addr = None, server_hostname = None, ssl_handshake_timeout = None, ssl_shutdown_timeout = None,
            happy_eyeballs_delay = None, interleave = None, all_errors = None,
        ),
        text_signature = "($self, protocol_factory, host=None, port=None, *, ssl=None, family=0, proto=0, flags=0, sock=None, \
            local_addr=None, server_hostname=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, \
            happy_eyeballs_delay=None, interleave=None, all_errors=False)",
    )]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn create_connection<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        host: Option<Py<PyAny>>,
        port: Option<Py<PyAny>>,
        ssl: Option<Py<PyAny>>,
        family: Option<Py<PyAny>>,
        proto: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
        sock: Option<Py<PyAny>>,
        local_addr: Option<Py<PyAny>>,
        server_hostname: Option<Py<PyAny>>,
        ssl_handshake_timeout: Option<Py<PyAny>>,
        ssl_shutdown_timeout: Option<Py<PyAny>>,
        happy_eyeballs_delay: Option<f64>,
        interleave: Option<i64>,
        all_errors: Option<bool>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        if all_errors.is_some() && py.version_info() < (3, 12) {
            return Err(PyTypeError::new_err(
                "EventLoop.create_connection() got an unexpected keyword argument 'all_errors'",
            ));
        }
        let tls = TlsArguments { ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout };
        let target = Target {
            hints: Hints::stream(py, family, proto, flags)?,
            host,
            port,
            local: local_addr,
            // Overlapping attempts take turns between the families unless told otherwise.
            interleave: interleave.or(happy_eyeballs_delay.map(|_| 1)).unwrap_or(0),
            delay: happy_eyeballs_delay,
            all_errors: all_errors.unwrap_or(false),
        };
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.create_connection", async move {
            create(&event_loop, protocol_factory, target, tls, sock).await
        })
    }

    /// Wraps `sock`, a connection accepted outside of the loop, into `(transport, protocol)`.
    #[pyo3(signature = (protocol_factory, sock, *, ssl = None, ssl_handshake_timeout = None, ssl_shutdown_timeout = None))]
    fn connect_accepted_socket<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        sock: Py<PyAny>,
        ssl: Option<Py<PyAny>>,
        ssl_handshake_timeout: Option<Py<PyAny>>,
        ssl_shutdown_timeout: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        let tls = TlsArguments { ssl, server_hostname: None, ssl_handshake_timeout, ssl_shutdown_timeout };
        Coroutine::make(this.py(), "EventLoop.connect_accepted_socket", async move {
            let tls = Python::attach(|py| {
                check_stream(sock.bind(py))?;
                let tls = tls.check_timeouts(py)?;
                refuse_tls_socket(sock.bind(py))?;
                Ok::<_, PyErr>(tls)
            })?;
            let sock = Opened { socket: sock, ours: false };
            let pair = make_transport(&event_loop, sock, protocol_factory, tls, End::Server).await?;
            Python::attach(|py| {
                if event_loop.get().is_debug(py) {
                    pair.log(py, "%r handled: (%r, %r)", &[])?;
                }
                pair.into_tuple(py)
            })
        })
    }
}

/// The arguments of `create_connection()` that say where to.
struct Target {
    hints: Hints,
    host: Option<Py<PyAny>>,
    port: Option<Py<PyAny>>,
    local: Option<Py<PyAny>>,
    /// With how many addresses the first family leads; 0: the order is left alone.
    interleave: i64,
    delay: Option<f64>,
    all_errors: bool,
}

/// The arguments that say how TLS is spoken, unchecked.
pub(super) struct TlsArguments {
    pub(super) ssl: Option<Py<PyAny>>,
    pub(super) server_hostname: Option<Py<PyAny>>,
    pub(super) ssl_handshake_timeout: Option<Py<PyAny>>,
    pub(super) ssl_shutdown_timeout: Option<Py<PyAny>>,
}

/// The body of `create_connection()`.
async fn create(
    event_loop: &Py<Loop>,
    factory: Py<PyAny>,
    target: Target,
    tls: TlsArguments,
    sock: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let tls = Python::attach(|py| {
        let tls = tls.check(py, target.host.as_ref())?;
        if let Some(sock) = &sock {
            refuse_tls_socket(sock.bind(py))?;
        }
        Ok::<_, PyErr>(tls)
    })?;
    let sock = match sock {
        Some(_) if target.is_given() => {
            return Err(PyValueError::new_err("host/port and sock can not be specified at the same time"));
        }
        None if target.is_given() => target.connect(event_loop).await?,
        Some(sock) => {
            Python::attach(|py| check_stream(sock.bind(py)))?;
            Opened { socket: sock, ours: false }
        }
        None => {
            return Err(PyValueError::new_err("host and port was not specified and no sock specified"));
        }
    };
    let pair = make_transport(event_loop, sock, factory, tls, End::Client).await?;
    Python::attach(|py| {
        if event_loop.get().is_debug(py) {
            let place = [or_none(py, target.host.as_ref()), or_none(py, target.port.as_ref())];
            pair.log(py, "%r connected to %s:%r: (%r, %r)", &place)?;
        }
        pair.into_tuple(py)
    })
}

fn or_none(py: Python<'_>, object: Option<&Py<PyAny>>) -> Py<PyAny> {
    object.map_or_else(|| py.None(), |object| object.clone_ref(py))
}

impl TlsArguments {
    /// asyncio's checks for a client; None when `ssl` is not given or false.
    fn check(mut self, py: Python<'_>, host: Option<&Py<PyAny>>) -> PyResult<Option<TlsOptions>> {
        let on = self.is_on(py)?;
        if self.server_hostname.is_some() && !on {
            return Err(PyValueError::new_err("server_hostname is only meaningful with ssl"));
        }
        if self.server_hostname.is_none() && on {
            let host = host.filter(|host| host.bind(py).is_truthy().unwrap_or(true));
            let Some(host) = host else {
                return Err(PyValueError::new_err(
                    "You must set server_hostname when using ssl without a host",
                ));
            };
            self.server_hostname = Some(host.clone_ref(py));
        }
        self.check_timeouts(py)
    }

    /// Only the checks that servers share.
    pub(super) fn check_timeouts(self, py: Python<'_>) -> PyResult<Option<TlsOptions>> {
        if let (Some(ssl), true) = (&self.ssl, self.is_on(py)?) {
            return Ok(Some(TlsOptions::new(
                ssl.bind(py),
                self.server_hostname,
                self.ssl_handshake_timeout,
                self.ssl_shutdown_timeout,
            )));
        }
        if self.ssl_handshake_timeout.is_some() {
            return Err(PyValueError::new_err("ssl_handshake_timeout is only meaningful with ssl"));
        }
        if self.ssl_shutdown_timeout.is_some() {
            return Err(PyValueError::new_err("ssl_shutdown_timeout is only meaningful with ssl"));
        }
        Ok(None)
    }

    pub(super) fn is_on(&self, py: Python<'_>) -> PyResult<bool> {
        self.ssl.as_ref().map_or(Ok(false), |ssl| ssl.bind(py).is_truthy())
    }
}

impl Target {
    fn is_given(&self) -> bool {
        self.host.is_some() || self.port.is_some()
    }

    /// A socket connected to one of the addresses.
    async fn connect(&self, event_loop: &Py<Loop>) -> PyResult<Opened> {
        let address = Python::attach(|py| {
            let address = (&self.host, &self.port).into_pyobject(py)?;
            Ok::<_, PyErr>(address.into_any().unbind())
        })?;
        let mut targets = resolve(event_loop, &address, &self.hints).await?;
        let local = match &self.local {
            Some(local) => Some(resolve(event_loop, local, &self.hints).await?),
            None => None,
        };
        if self.interleave != 0 {
            let lead = usize::try_from(self.interleave).unwrap_or(1);
            targets = interleave(targets, |info| info.family, lead);
        }
        let event_loop = Python::attach(|py| event_loop.clone_ref(py));
        let plan = Plan { event_loop, targets, local };
        let connected = match self.delay {
            Some(delay) => race(Arc::new(plan), delay).await?,
            None => plan.in_sequence().await?,
        };
        let socket = match connected {
            Ok(socket) => socket.release(),
            Err(errors) => return Err(Python::attach(|py| self.failure(py, errors))),
        };
        match socket {
            Some(socket) => Ok(Opened { socket, ours: true }),
            None => Err(PyTimeoutError::new_err("create_connection failed")),
        }
    }

    /// The one exception that tells of all that went wrong.
    fn failure(&self, py: Python<'_>, errors: Vec<PyErr>) -> PyErr {
        let combined = if self.all_errors { exception_group(py, &errors) } else { combine(py, errors) };
        combined.unwrap_or_else(|error| error)
    }
}

async fn resolve(event_loop: &Py<Loop>, address: &Py<PyAny>, hints: &Hints) -> PyResult<Vec<AddressInfo>> {
    let infos = ensure_resolved(event_loop, address, hints).await?;
    if infos.is_empty() {
        return Err(PyOSError::new_err("getaddrinfo() returned empty list"));
    }
    Ok(infos)
}

fn exception_group(py: Python<'_>, errors: &[PyErr]) -> PyResult<PyErr> {
    let class = py.import(intern!(py, "builtins"))?.getattr(intern!(py, "ExceptionGroup"))?;
    let values: Vec<_> = errors.iter().map(|error| error.raised(py)).collect();
    Ok(PyErr::from_value(class.call1(("create_connection failed", values))?))
}

/// The only exception, or the first when all say the same, or a new one that lists them.
fn combine(py: Python<'_>, errors: Vec<PyErr>) -> PyResult<PyErr> {
    let mut texts = Vec::with_capacity(errors.len());
    for error in &errors {
        texts.push(error.value(py).str()?.to_string());
    }
    let alike = texts.iter().all(|text| *text == texts[0]);
    match errors.into_iter().next() {
        Some(first) if alike => Ok(first),
        Some(_) => Ok(PyOSError::new_err(format!("Multiple exceptions: {}", texts.join(", ")))),
        None => Ok(PyTimeoutError::new_err("create_connection failed")),
    }
}

pub(super) fn check_stream(sock: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = sock.py();
    let stream = py.import(intern!(py, "socket"))?.getattr(intern!(py, "SOCK_STREAM"))?;
    if sock.getattr(intern!(py, "type"))?.ne(stream)? {
        let text = format!("A Stream Socket was expected, got {}", sock.repr()?);
        return Err(PyValueError::new_err(text));
    }
    Ok(())
}

/// A socket, and whether the loop opened it.
pub(super) struct Opened {
    pub(super) socket: Py<PyAny>,
    pub(super) ours: bool,
}

/// What connecting gives.
pub(super) struct Pair {
    transport: Py<PyAny>,
    protocol: Py<PyAny>,
}

/// A transport and a protocol of the factory's over `sock`, when the protocol's `connection_made()` was called.
pub(super) async fn make_transport(
    event_loop: &Py<Loop>,
    sock: Opened,
    factory: Py<PyAny>,
    tls: Option<TlsOptions>,
    end: End,
) -> PyResult<Pair> {
    let (pair, waiter) = Python::attach(|py| {
        let (factory, tls) = (factory, tls);
        // From 3.14 asyncio closes the user's socket, too, when no transport comes to own it.
        let guard =
            (sock.ours || py.version_info() >= (3, 14)).then(|| CloseOnDrop::new(sock.socket.clone_ref(py)));
        let event_loop = event_loop.bind(py);
        let begun = begin(event_loop, sock.socket.bind(py), factory.bind(py), tls.as_ref(), end)?;
        drop(guard.map(CloseOnDrop::release));
        Ok::<_, PyErr>(begun)
    })?;
    drop(sock);
    let (outcome, pair) = wait_holding(waiter, pair).await;
    if outcome.is_err() {
        Python::attach(|py| pair.give_up(event_loop.bind(py)))?;
    }
    outcome.map(|_| pair)
}

fn begin(
    event_loop: &Bound<'_, Loop>,
    sock: &Bound<'_, PyAny>,
    factory: &Bound<'_, PyAny>,
    tls: Option<&TlsOptions>,
    end: End,
) -> PyResult<(Pair, Py<PyAny>)> {
    let py = event_loop.py();
    sock.call_method1(intern!(py, "setblocking"), (false,))?;
    let protocol = factory.call0()?;
    let waiter = Bound::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
    let descriptor = sock.call_method0(intern!(py, "fileno"))?.extract()?;
    event_loop.get().check_not_transport(sock, descriptor)?;
    let transport = if let Some(options) = tls {
        options.attach(event_loop, &protocol, &waiter, end, |tls| {
            TcpTransport::from_python_socket(event_loop, sock, tls, None, None)
        })?
    } else {
        let kept = Some(waiter.clone().unbind());
        TcpTransport::from_python_socket(event_loop, sock, &protocol, kept, None)?.into_bound(py).into_any()
    };
    let pair = Pair { transport: transport.unbind(), protocol: protocol.unbind() };
    Ok((pair, waiter.into_any().unbind()))
}

impl Held for Pair {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.transport)?;
        visit.call(&self.protocol)
    }
}

impl Pair {
    /// Closes what nobody gets. On a closed loop nothing can be closed in order any more.
    fn give_up(&self, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        if event_loop.get().check_usable().is_err() {
            return Ok(());
        }
        let py = event_loop.py();
        self.transport.bind(py).call_method0(intern!(py, "close")).map(drop)
    }

    /// Tells the log, in debug mode: the socket, `place`, transport and protocol.
    fn log(&self, py: Python<'_>, text: &str, place: &[Py<PyAny>]) -> PyResult<()> {
        let transport = self.transport.bind(py);
        let sock = transport.call_method1(intern!(py, "get_extra_info"), ("socket",))?;
        let mut arguments = vec![text.into_pyobject(py)?.into_any(), sock];
        arguments.extend(place.iter().map(|object| object.bind(py).clone()));
        arguments.extend([transport.clone(), self.protocol.bind(py).clone()]);
        stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), PyTuple::new(py, arguments)?)?;
        Ok(())
    }

    pub(super) fn into_tuple(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok((self.transport, self.protocol).into_pyobject(py)?.into_any().unbind())
    }
}
