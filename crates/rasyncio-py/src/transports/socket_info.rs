//! The socket behind a transport: who owns the descriptor, and what `get_extra_info()` tells of it.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use rasyncio_core::net::{self, PeerAddress};

use super::life::Transport;
use crate::interop::stdlib;

/// Whose the descriptor is. It is closed exactly once, by the owner.
pub(super) enum Socket {
    Descriptor(OwnedFd),
    /// A Python socket object: the user's, or ours since somebody asked for it.
    Object(Py<PyAny>),
    Closed,
}

/// An address as the kernel gave it, or, for the families that only Python knows, as Python shows it. Every connection has two, most of them short.
enum Address {
    Inet4 { ip: Ipv4Addr, port: u16 },
    Kernel(Box<PeerAddress>),
    Object(Py<PyAny>),
}

/// What kind of addresses a socket has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Inet4,
    Inet6,
    Unix,
    /// One that only Python's socket object knows.
    Other,
}

/// The socket and its two addresses, which stay known when it is closed.
pub(super) struct Endpoint {
    pub(super) socket: Socket,
    local: Address,
    peer: Address,
    /// The `asyncio.TransportSocket`, since somebody asked for it.
    shown: Option<Py<PyAny>>,
}

impl Endpoint {
    pub(super) fn of_object(sock: &Bound<'_, PyAny>, fd: RawFd) -> PyResult<Self> {
        let py = sock.py();
        Ok(Self {
            socket: Socket::Object(sock.clone().unbind()),
            local: Address::of(py, net::local_address(fd), || sock.call_method0(intern!(py, "getsockname")))?,
            peer: Address::of(py, net::peer_address(fd), || sock.call_method0(intern!(py, "getpeername")))?,
            shown: None,
        })
    }

    pub(super) fn of_descriptor(fd: OwnedFd, peer: PeerAddress) -> Self {
        let local = net::local_address(fd.as_raw_fd()).unwrap_or(NOWHERE);
        Self { socket: Socket::Descriptor(fd), local: local.into(), peer: peer.into(), shown: None }
    }

    pub(super) fn family(&self) -> Family {
        match &self.local {
            Address::Inet4 { .. } => Family::Inet4,
            Address::Kernel(address) => match **address {
                PeerAddress::Inet4 { .. } => Family::Inet4,
                PeerAddress::Inet6 { .. } => Family::Inet6,
                PeerAddress::Unix { .. } => Family::Unix,
                PeerAddress::Other { .. } => Family::Other,
            },
            Address::Object(_) => Family::Other,
        }
    }

    /// Whether it is connected to somebody with an address; a Unix socket without a name has none.
    pub(super) fn has_named_peer(&self, py: Python<'_>) -> PyResult<bool> {
        self.peer.to_python(py)?.is_truthy()
    }

    /// Whether it speaks IP, so that TCP's options mean something.
    pub(super) fn is_internet(&self) -> bool {
        matches!(self.family(), Family::Inet4 | Family::Inet6)
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.socket, Socket::Closed)
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Socket::Object(object) = &self.socket {
            visit.call(object)?;
        }
        visit.call(&self.shown)
    }
}

impl Socket {
    pub(super) fn close(self, py: Python<'_>) -> PyResult<()> {
        if let Self::Object(object) = self {
            object.bind(py).call_method0(intern!(py, "close"))?;
        }
        Ok(())
    }
}

impl Address {
    /// No address at all is shown as None, as asyncio does.
    fn of<'py>(
        py: Python<'py>,
        known: std::io::Result<PeerAddress>,
        ask: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        match known {
            Ok(PeerAddress::Other { .. }) => match ask() {
                Ok(address) => Ok(Self::Object(address.unbind())),
                Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(NOWHERE.into()),
                Err(error) => Err(error),
            },
            Ok(address) => Ok(address.into()),
            Err(_) => Ok(NOWHERE.into()),
        }
    }

    fn copied(&self, py: Python<'_>) -> Self {
        match self {
            Self::Inet4 { ip, port } => Self::Inet4 { ip: *ip, port: *port },
            Self::Kernel(address) => Self::Kernel(address.clone()),
            Self::Object(address) => Self::Object(address.clone_ref(py)),
        }
    }

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Inet4 { ip, port } => address_to_python(py, &PeerAddress::Inet4 { ip: *ip, port: *port }),
            Self::Kernel(address) => address_to_python(py, address),
            Self::Object(address) => Ok(address.bind(py).clone()),
        }
    }
}

impl From<PeerAddress> for Address {
    fn from(address: PeerAddress) -> Self {
        match address {
            PeerAddress::Inet4 { ip, port } => Self::Inet4 { ip, port },
            address => Self::Kernel(Box::new(address)),
        }
    }
}

/// An address in the shape of Python's `socket` module.
pub(crate) fn address_to_python<'py>(py: Python<'py>, address: &PeerAddress) -> PyResult<Bound<'py, PyAny>> {
    match address {
        PeerAddress::Inet4 { ip, port } => Ok((net::inet4_text(*ip), port).into_pyobject(py)?.into_any()),
        PeerAddress::Inet6 { ip, port, flowinfo, scope_id } => {
            Ok((net::inet6_text(ip), port, flowinfo, scope_id).into_pyobject(py)?.into_any())
        }
        PeerAddress::Unix { path } if path.first() == Some(&0) => Ok(PyBytes::new(py, path).into_any()),
        PeerAddress::Unix { path } => Ok(OsStr::from_bytes(path).into_pyobject(py)?.into_any()),
        PeerAddress::Other { .. } => Ok(py.None().into_bound(py)),
    }
}

/// A transport over a socket.
pub(super) trait SocketTransport: Transport {
    /// Looks at the socket and its addresses, or changes them; as in `GilCell::with`.
    fn endpoint<R>(&self, py: Python<'_>, look: impl FnOnce(&mut Endpoint) -> R) -> R;

    /// The answer of `get_extra_info()`; None: nothing is known under that name.
    fn extra_info<'py>(
        this: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let Ok(name) = name.cast::<PyString>() else {
            return Ok(None);
        };
        let own = this.get();
        match name.to_str()? {
            "socket" => Self::shown_socket(this),
            "sockname" => own.endpoint(py, |endpoint| endpoint.local.copied(py)).to_python(py).map(Some),
            "peername" => own.endpoint(py, |endpoint| endpoint.peer.copied(py)).to_python(py).map(Some),
            _ => Ok(None),
        }
    }

    /// The socket as asyncio shows it to users. One that was closed before anybody asked is not shown any more.
    fn shown_socket<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let own = this.get();
        let shown = own.endpoint(py, |endpoint| endpoint.shown.as_ref().map(|shown| shown.clone_ref(py)));
        if let Some(shown) = shown {
            return Ok(Some(shown.into_bound(py)));
        }
        let Some(object) = Self::socket_object(this)? else {
            return Ok(None);
        };
        let shown = stdlib(py).transport_socket.bind(py).call1((object,))?;
        let kept = shown.clone().unbind();
        let old = own.endpoint(py, |endpoint| endpoint.shown.replace(kept));
        drop(old);
        Ok(Some(shown))
    }

    /// The Python socket, made now if there is none; from then on it owns the descriptor.
    fn socket_object<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let own = this.get();
        let found = own.endpoint(py, |endpoint| match &endpoint.socket {
            Socket::Object(object) => Some(Ok(object.clone_ref(py))),
            Socket::Descriptor(descriptor) => Some(Err(descriptor.as_raw_fd())),
            Socket::Closed => None,
        });
        let fd = match found {
            Some(Ok(object)) => return Ok(Some(object.into_bound(py))),
            Some(Err(fd)) => fd,
            None => return Ok(None),
        };
        let keywords = PyDict::new(py);
        keywords.set_item("fileno", fd)?;
        let object = stdlib(py).socket_class.bind(py).call((), Some(&keywords))?;
        let mut kept = Some(object.clone().unbind());
        let before = own.endpoint(py, |endpoint| match (&endpoint.socket, kept.take()) {
            (Socket::Descriptor(_), Some(kept)) => {
                Some(std::mem::replace(&mut endpoint.socket, Socket::Object(kept)))
            }
            (_, unused) => {
                kept = unused;
                None
            }
        });
        if let Some(Socket::Descriptor(descriptor)) = before {
            // The Python object closes it from now on.
            let _ = descriptor.into_raw_fd();
        } else {
            object.call_method0(intern!(py, "detach"))?;
        }
        // Python's idea of the socket; the kernel's is non-blocking since `accept`.
        object.call_method1(intern!(py, "setblocking"), (false,))?;
        Ok(Some(object))
    }
}

/// Shown as None.
const NOWHERE: PeerAddress = PeerAddress::Other { family: 0 };
