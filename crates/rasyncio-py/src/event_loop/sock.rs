//! `sock_*`: reading and writing sockets of the user's (asyncio: `selector_events.py`).
//!
//! Each makes one call on the socket and, while that would block, waits for the descriptor (`operation`, `ready`). It is the socket object's own
//! method, or the same done here where that is a plain one (`plain`). asyncio calls it from the loop's callback instead, so a task that is cancelled
//! between the callback and its next step loses what was received; here nothing is received unless the coroutine runs and hands it on.

mod operation;
mod plain;
mod ready;
mod receiving;
mod sending;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use super::resolve::{Hints, ensure_resolved};
use super::{Loop, tls};
use crate::coroutines::Coroutine;
use crate::ffi::call::call_method_one;
pub(super) use operation::repeat;
use operation::{coroutine, would_block};
pub(super) use ready::Direction;
use ready::until_ready;
use receiving::{Accept, Receive, ReceiveFrom, ReceiveFromInto, ReceiveInto};
use sending::{SendAll, SendTo};

#[pymethods]
impl Loop {
    /// Receives up to `n` bytes; `b""` when the peer has ended its side.
    fn sock_recv<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        n: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_recv", sock, Receive { size: n })
    }

    /// Receives into the writable buffer `buf`; returns the number of bytes.
    fn sock_recv_into<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        buf: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_recv_into", sock, ReceiveInto { memory: buf })
    }

    /// Receives a datagram of up to `bufsize` bytes; returns it and the address it came from.
    fn sock_recvfrom<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        bufsize: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_recvfrom", sock, ReceiveFrom { size: bufsize })
    }

    /// Receives a datagram into `buf`, at most `nbytes` (0: all it has room for); returns its size and the address it came from.
    #[pyo3(signature = (sock, buf, nbytes = None), text_signature = "($self, sock, buf, nbytes=0)")]
    fn sock_recvfrom_into<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        buf: Py<PyAny>,
        nbytes: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_recvfrom_into", sock, ReceiveFromInto { memory: buf, size: nbytes })
    }

    /// Sends all of `data`. When it raises, nothing is known of how much was sent.
    fn sock_sendall<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        data: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_sendall", sock, SendAll::new(data))
    }

    /// Sends `data` as one datagram to `address`; returns the number of bytes.
    fn sock_sendto<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        data: Py<PyAny>,
        address: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_sendto", sock, SendTo { data, address })
    }

    /// Connects `sock` to `address`; the host of an internet address may be a name.
    fn sock_connect<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        address: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.sock_connect", async move {
            Python::attach(|py| check_socket(event_loop.bind(py), sock.bind(py)))?;
            let address = connectable(&event_loop, &sock, address).await?;
            connect(&event_loop, &sock, &address).await?;
            Python::attach(|py| Ok(py.None()))
        })
    }

    /// Accepts a connection; returns its socket, which does not block, and the peer's address.
    fn sock_accept<'py>(this: &Bound<'py, Self>, sock: Py<PyAny>) -> PyResult<Bound<'py, Coroutine>> {
        coroutine(this, "EventLoop.sock_accept", sock, Accept)
    }
}

/// What asyncio asks of every socket that it is given.
pub(super) fn check_socket(event_loop: &Bound<'_, Loop>, sock: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    tls::refuse_tls_socket(sock)?;
    if event_loop.get().is_debug(py) && sock.call_method0(intern!(py, "gettimeout"))?.ne(0)? {
        return Err(PyValueError::new_err("the socket must be non-blocking"));
    }
    Ok(())
}

/// Connects to an address that needs no resolving.
async fn connect(event_loop: &Py<Loop>, sock: &Py<PyAny>, address: &Py<PyAny>) -> PyResult<()> {
    Python::attach(|py| event_loop.get().look_next_turn(py));
    if !Python::attach(|py| is_connected_at_once(sock.bind(py), address))? {
        until_ready(event_loop, sock, Direction::Write).await?;
        Python::attach(|py| finish_connect(sock.bind(py), address))?;
    }
    Ok(())
}

/// As a local one may be.
fn is_connected_at_once(sock: &Bound<'_, PyAny>, address: &Py<PyAny>) -> PyResult<bool> {
    let py = sock.py();
    match call_method_one(sock, intern!(py, "connect"), address.bind(py)) {
        Ok(_) => Ok(true),
        // After EINTR, too, connecting goes on in the background (connect(2)).
        Err(error) if would_block(py, &error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn finish_connect(sock: &Bound<'_, PyAny>, address: &Py<PyAny>) -> PyResult<()> {
    let py = sock.py();
    let module = py.import(intern!(py, "socket"))?;
    let option = (module.getattr(intern!(py, "SOL_SOCKET"))?, module.getattr(intern!(py, "SO_ERROR"))?);
    let number: i32 = sock.call_method1(intern!(py, "getsockopt"), option)?.extract()?;
    if number == 0 {
        return Ok(());
    }
    let text = format!("Connect call failed {}", address.bind(py).str()?);
    Err(PyOSError::new_err((number, text)))
}

/// The address to connect to: that of an internet socket is resolved, others are taken as they are.
async fn connectable(event_loop: &Py<Loop>, sock: &Py<PyAny>, address: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let hints = Python::attach(|py| internet_hints(sock.bind(py)))?;
    let Some(hints) = hints else {
        return Ok(address);
    };
    let resolved = ensure_resolved(event_loop, &address, &hints).await?;
    match resolved.into_iter().next() {
        Some(first) => Ok(first.address),
        None => Err(PyOSError::new_err("getaddrinfo() returned empty list")),
    }
}

/// How to resolve an address for `sock`; None unless it is an internet socket.
fn internet_hints(sock: &Bound<'_, PyAny>) -> PyResult<Option<Hints>> {
    let py = sock.py();
    let module = py.import(intern!(py, "socket"))?;
    let family = sock.getattr(intern!(py, "family"))?;
    if !family.eq(module.getattr(intern!(py, "AF_INET"))?)?
        && !family.eq(module.getattr(intern!(py, "AF_INET6"))?)?
    {
        return Ok(None);
    }
    Ok(Some(Hints {
        family: family.unbind(),
        kind: sock.getattr(intern!(py, "type"))?.unbind(),
        protocol: sock.getattr(intern!(py, "proto"))?.unbind(),
        flags: 0_i32.into_pyobject(py)?.into_any().unbind(),
    }))
}
