//! `create_datagram_endpoint()`: UDP, Unix sockets of datagrams, and any other (asyncio: `base_events.py`).

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::Loop;
use super::attempts::CloseOnDrop;
use super::resolve::{Hints, ensure_resolved};
use super::serve::constant;
use super::unix::{is_abstract, remove_stale};
use crate::coroutines::{Coroutine, wait_for};
use crate::futures::Future;
use crate::interop::stdlib;
use crate::transports::datagram::DatagramTransport;

/// What `create_datagram_endpoint()` was told of the socket to make; an argument that was left out or is None is None.
struct Place {
    local: Option<Py<PyAny>>,
    remote: Option<Py<PyAny>>,
    family: Option<Py<PyAny>>,
    protocol: Option<Py<PyAny>>,
    flags: Option<Py<PyAny>>,
    reuse_port: Option<Py<PyAny>>,
    allow_broadcast: Option<Py<PyAny>>,
}

/// Addresses of one family and protocol, for one socket.
struct Pair {
    family: Py<PyAny>,
    protocol: Py<PyAny>,
    local: Option<Py<PyAny>>,
    remote: Option<Py<PyAny>>,
}

/// The addresses, local and remote, of one family and protocol that names stand for.
type Found = ((i32, i32), [Option<Py<PyAny>>; 2]);

/// A socket, whether the loop made it, and the address that alone may be sent to.
struct Opened {
    socket: Py<PyAny>,
    guard: Option<CloseOnDrop>,
    remote: Option<Py<PyAny>>,
}

#[pymethods]
impl Loop {
    /// A socket of datagrams, bound to `local_addr` and connected to `remote_addr`, as far as given, or the socket `sock`; returns
    /// `(transport, protocol)`.
    ///
    /// `family`, `proto`, `flags` are for `getaddrinfo()`; with the family `AF_UNIX` the addresses are paths. `reuse_port` lets several sockets bind to
    /// the same port; `allow_broadcast` lets it send to broadcast addresses, and then it is not connected.
    #[pyo3(
        signature = (
            protocol_factory, local_addr = None, remote_addr = None, *, family = None, proto = None, flags = None,
            reuse_port = None, allow_broadcast = None, sock = None,
        ),
        text_signature = "($self, protocol_factory, local_addr=None, remote_addr=None, *, family=0, proto=0, flags=0, \
            reuse_port=None, allow_broadcast=None, sock=None)",
    )]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn create_datagram_endpoint<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        local_addr: Option<Py<PyAny>>,
        remote_addr: Option<Py<PyAny>>,
        family: Option<Py<PyAny>>,
        proto: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
        reuse_port: Option<Py<PyAny>>,
        allow_broadcast: Option<Py<PyAny>>,
        sock: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let place = Place {
            local: local_addr,
            remote: remote_addr,
            family,
            protocol: proto,
            flags,
            reuse_port,
            allow_broadcast,
        };
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.create_datagram_endpoint", async move {
            let opened = match sock {
                Some(sock) => Python::attach(|py| place.take(sock.bind(py)))?,
                None => place.open(&event_loop).await?,
            };
            make_endpoint(&event_loop, &protocol_factory, opened, &place).await
        })
    }
}

/// The transport over a socket, when its protocol knows of it.
async fn make_endpoint(
    event_loop: &Py<Loop>,
    factory: &Py<PyAny>,
    opened: Opened,
    place: &Place,
) -> PyResult<Py<PyAny>> {
    let (transport, protocol, waiter) = Python::attach(|py| {
        let event_loop = event_loop.bind(py);
        let protocol = factory.bind(py).call0()?;
        let waiter = Py::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
        let kept = waiter.clone_ref(py);
        let socket = opened.socket.bind(py);
        let transport = DatagramTransport::make(event_loop, socket, &protocol, opened.remote, kept)?;
        drop(opened.guard.map(CloseOnDrop::release));
        let transport = transport.into_any();
        place.log(event_loop, &transport, &protocol)?;
        PyResult::Ok((transport, protocol.unbind(), waiter.into_any()))
    })?;
    let guard = Python::attach(|py| CloseOnDrop::new(transport.clone_ref(py)));
    wait_for(waiter).await?;
    drop(guard.release());
    Python::attach(|py| Ok((transport, protocol).into_pyobject(py)?.into_any().unbind()))
}

impl Place {
    /// The user's socket, which nothing may be set on.
    fn take(&self, sock: &Bound<'_, PyAny>) -> PyResult<Opened> {
        let py = sock.py();
        let kind = sock.getattr(intern!(py, "type"))?;
        // From 3.13 on any socket will do that keeps messages apart.
        if py.version_info() >= (3, 13) {
            if kind.eq(constant(py, "SOCK_STREAM")?)? {
                let text = format!("A datagram socket was expected, got {}", sock.repr()?);
                return Err(PyValueError::new_err(text));
            }
        } else if kind.ne(constant(py, "SOCK_DGRAM")?)? {
            let text = format!("A UDP Socket was expected, got {}", sock.repr()?);
            return Err(PyValueError::new_err(text));
        }
        let problems = self.settings(py)?;
        if !problems.is_empty() {
            let problems = problems.join(", ");
            return Err(PyValueError::new_err(format!(
                "socket modifier keyword arguments can not be used when sock is specified. ({problems})"
            )));
        }
        sock.call_method1(intern!(py, "setblocking"), (false,))?;
        Ok(Opened { socket: sock.clone().unbind(), guard: None, remote: None })
    }

    /// The arguments that say something, as asyncio shows them.
    fn settings(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let all = [
            ("local_addr", &self.local),
            ("remote_addr", &self.remote),
            ("family", &self.family),
            ("proto", &self.protocol),
            ("flags", &self.flags),
            ("reuse_port", &self.reuse_port),
            ("allow_broadcast", &self.allow_broadcast),
        ];
        let mut shown = Vec::new();
        for (name, value) in all {
            if let Some(value) = value
                && value.bind(py).is_truthy()?
            {
                // As an f-string shows it: an enumeration has a format of its own.
                shown.push(format!("{name}={}", value.bind(py).call_method1("__format__", ("",))?));
            }
        }
        Ok(shown)
    }

    /// The first socket that can be made for the addresses.
    async fn open(&self, event_loop: &Py<Loop>) -> PyResult<Opened> {
        let mut failure = None;
        for pair in self.pairs(event_loop).await? {
            match self.open_one(event_loop, pair).await {
                Ok(opened) => return Ok(opened),
                Err(error) if Python::attach(|py| error.is_instance_of::<PyOSError>(py)) => {
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        // There is a pair at least.
        Err(failure.unwrap_or_else(|| PyValueError::new_err("can not get address information")))
    }

    async fn open_one(&self, event_loop: &Py<Loop>, pair: Pair) -> PyResult<Opened> {
        let (opened, connecting) = Python::attach(|py| {
            let class = py.import(intern!(py, "socket"))?.getattr(intern!(py, "socket"))?;
            let socket = class.call1((&pair.family, constant(py, "SOCK_DGRAM")?, &pair.protocol))?;
            let guard = Some(CloseOnDrop::new(socket.clone().unbind()));
            let broadcasts = is_true(py, self.allow_broadcast.as_ref())?;
            if is_true(py, self.reuse_port.as_ref())? {
                set_reuse_port(&socket)?;
            }
            if broadcasts {
                let option = (constant(py, "SOL_SOCKET")?, constant(py, "SO_BROADCAST")?, 1);
                socket.call_method1(intern!(py, "setsockopt"), option)?;
            }
            socket.call_method1(intern!(py, "setblocking"), (false,))?;
            if is_true(py, self.local.as_ref())? {
                socket.call_method1(intern!(py, "bind"), (&pair.local,))?;
            }
            let remote = if is_true(py, self.remote.as_ref())? { pair.remote } else { None };
            let connecting = match &remote {
                Some(address) if !broadcasts => {
                    let connect = intern!(py, "sock_connect");
                    Some(event_loop.bind(py).call_method1(connect, (&socket, address))?.unbind())
                }
                _ => None,
            };
            PyResult::Ok((Opened { socket: socket.unbind(), guard, remote }, connecting))
        })?;
        if let Some(connecting) = connecting {
            wait_for(connecting).await?;
        }
        Ok(opened)
    }

    /// For which addresses to try a socket, in this order.
    async fn pairs(&self, event_loop: &Py<Loop>) -> PyResult<Vec<Pair>> {
        let known = Python::attach(|py| {
            let family = or_zero(py, self.family.as_ref())?;
            let pair = |local: Option<&Py<PyAny>>, remote: Option<&Py<PyAny>>| -> PyResult<Vec<Pair>> {
                let protocol = or_zero(py, self.protocol.as_ref())?;
                let copied = |address: Option<&Py<PyAny>>| address.map(|address| address.clone_ref(py));
                let family = family.clone_ref(py);
                Ok(vec![Pair { family, protocol, local: copied(local), remote: copied(remote) }])
            };
            if !is_true(py, self.local.as_ref())? && !is_true(py, self.remote.as_ref())? {
                if family.bind(py).eq(0)? {
                    return Err(PyValueError::new_err("unexpected address family"));
                }
                return pair(None, None).map(Some);
            }
            if family.bind(py).eq(constant(py, "AF_UNIX")?)? {
                self.check_paths(py)?;
                return pair(self.local.as_ref(), self.remote.as_ref()).map(Some);
            }
            Ok(None)
        })?;
        match known {
            Some(pairs) => Ok(pairs),
            None => self.resolved_pairs(event_loop).await,
        }
    }

    /// Paths are text. A socket that somebody left at the one to bind to is removed.
    fn check_paths(&self, py: Python<'_>) -> PyResult<()> {
        for path in [&self.local, &self.remote].into_iter().flatten() {
            if !path.bind(py).is_instance_of::<PyString>() {
                return Err(PyTypeError::new_err("string is expected"));
            }
        }
        if let Some(local) = &self.local
            && local.bind(py).is_truthy()?
            && !is_abstract(local.bind(py))?
        {
            remove_stale(local.bind(py))?;
        }
        Ok(())
    }

    /// The families and protocols that both addresses have, as far as both are given; of several addresses the last one, as asyncio.
    async fn resolved_pairs(&self, event_loop: &Py<Loop>) -> PyResult<Vec<Pair>> {
        let hints = Python::attach(|py| {
            let copied = |given: &Option<Py<PyAny>>| given.as_ref().map(|given| given.clone_ref(py));
            Hints::datagram(py, copied(&self.family), copied(&self.protocol), copied(&self.flags))
        })?;
        let mut found: Vec<Found> = Vec::new();
        for (index, address) in [&self.local, &self.remote].into_iter().enumerate() {
            let Some(address) = address else {
                continue;
            };
            Python::attach(|py| match address.bind(py).cast::<PyTuple>() {
                Ok(address) if address.len() == 2 => Ok(()),
                _ => Err(PyTypeError::new_err("2-tuple is expected")),
            })?;
            let infos = ensure_resolved(event_loop, address, &hints).await?;
            if infos.is_empty() {
                return Err(PyOSError::new_err("getaddrinfo() returned empty list"));
            }
            for info in infos {
                let key = (info.family, info.protocol);
                let place = found.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                    found.push((key, [None, None]));
                    found.len() - 1
                });
                found[place].1[index] = Some(info.address);
            }
        }
        let pairs = Python::attach(|py| self.complete_pairs(py, found))?;
        if pairs.is_empty() {
            return Err(PyValueError::new_err("can not get address information"));
        }
        Ok(pairs)
    }

    fn complete_pairs(&self, py: Python<'_>, found: Vec<Found>) -> PyResult<Vec<Pair>> {
        let needs = [is_true(py, self.local.as_ref())?, is_true(py, self.remote.as_ref())?];
        let mut pairs = Vec::with_capacity(found.len());
        for ((family, protocol), [local, remote]) in found {
            if (needs[0] && local.is_none()) || (needs[1] && remote.is_none()) {
                continue;
            }
            let family = family.into_pyobject(py)?.into_any().unbind();
            let protocol = protocol.into_pyobject(py)?.into_any().unbind();
            pairs.push(Pair { family, protocol, local, remote });
        }
        Ok(pairs)
    }

    /// A line in the log of debug mode.
    fn log(
        &self,
        event_loop: &Bound<'_, Loop>,
        transport: &Py<PyAny>,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = event_loop.py();
        if !event_loop.get().is_debug(py) {
            return Ok(());
        }
        let logger = stdlib(py).logger.bind(py);
        if is_true(py, self.local.as_ref())? {
            let text = "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)";
            let arguments = (text, &self.local, &self.remote, transport, protocol);
            logger.call_method1(intern!(py, "info"), arguments)?;
        } else {
            let text = "Datagram endpoint remote_addr=%r created: (%r, %r)";
            logger.call_method1(intern!(py, "debug"), (text, &self.remote, transport, protocol))?;
        }
        Ok(())
    }
}

fn is_true(py: Python<'_>, argument: Option<&Py<PyAny>>) -> PyResult<bool> {
    argument.map_or(Ok(false), |argument| argument.bind(py).is_truthy())
}

fn or_zero(py: Python<'_>, argument: Option<&Py<PyAny>>) -> PyResult<Py<PyAny>> {
    match argument {
        Some(argument) => Ok(argument.clone_ref(py)),
        None => Ok(0_i32.into_pyobject(py)?.into_any().unbind()),
    }
}

/// Lets several sockets bind to the same port.
fn set_reuse_port(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let module = py.import(intern!(py, "socket"))?;
    let Some(option) = module.getattr_opt(intern!(py, "SO_REUSEPORT"))? else {
        return Err(PyValueError::new_err("reuse_port not supported by socket module"));
    };
    let arguments = (constant(py, "SOL_SOCKET")?, option, 1);
    match socket.call_method1(intern!(py, "setsockopt"), arguments) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => Err(PyValueError::new_err(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented.",
        )),
        other => other.map(drop),
    }
}
