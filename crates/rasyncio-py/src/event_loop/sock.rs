//! `sock_*`: reading and writing sockets of the user's (asyncio: `selector_events.py`).
//!
//! Each is a Rust coroutine that calls the socket object's own method and, while that would block, waits for the
//! descriptor. asyncio calls it from the loop's callback instead, so a task that is cancelled between the callback and
//! its next step loses what was received; here nothing is received unless the coroutine runs and hands it on.

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyString, PyTuple};

use super::bell::Bell;
use super::resolve::{Hints, ensure_resolved};
use super::{Loop, tls};
use crate::coroutines::Coroutine;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::handles::Handle;

#[pymethods]
impl Loop {
    /// Receives up to `n` bytes; `b""` when the peer has ended its side.
    fn sock_recv<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        n: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        operation(this, "EventLoop.sock_recv", Direction::Read, sock, move |sock| {
            call_method_one(sock, intern!(sock.py(), "recv"), n.bind(sock.py()))
        })
    }

    /// Receives into the writable buffer `buf`; returns the number of bytes.
    fn sock_recv_into<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        buf: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        operation(this, "EventLoop.sock_recv_into", Direction::Read, sock, move |sock| {
            call_method_one(sock, intern!(sock.py(), "recv_into"), buf.bind(sock.py()))
        })
    }

    /// Receives a datagram of up to `bufsize` bytes; returns it and the address it came from.
    fn sock_recvfrom<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        bufsize: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        operation(this, "EventLoop.sock_recvfrom", Direction::Read, sock, move |sock| {
            call_method_one(sock, intern!(sock.py(), "recvfrom"), bufsize.bind(sock.py()))
        })
    }

    /// Receives a datagram into `buf`, at most `nbytes` (0: all it has room for); returns its size and the address it came from.
    #[pyo3(signature = (sock, buf, nbytes = None), text_signature = "($self, sock, buf, nbytes=0)")]
    fn sock_recvfrom_into<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        buf: Py<PyAny>,
        nbytes: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        operation(this, "EventLoop.sock_recvfrom_into", Direction::Read, sock, move |sock| {
            let py = sock.py();
            let buf = buf.bind(py);
            match &nbytes {
                Some(size) if size.bind(py).is_truthy()? => {
                    sock.call_method1(intern!(py, "recvfrom_into"), (buf, size))
                }
                _ => sock.call_method1(intern!(py, "recvfrom_into"), (buf, buf.len()?)),
            }
        })
    }

    /// Sends all of `data`. When it raises, nothing is known of how much was sent.
    fn sock_sendall<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        data: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let mut rest = Unsent { data, view: None, sent: 0 };
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.sock_sendall", async move {
            Python::attach(|py| check_socket(event_loop.bind(py), sock.bind(py)))?;
            repeat(&event_loop, &sock, Direction::Write, |sock| rest.send(sock)).await
        })
    }

    /// Sends `data` as one datagram to `address`; returns the number of bytes.
    fn sock_sendto<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        data: Py<PyAny>,
        address: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        operation(this, "EventLoop.sock_sendto", Direction::Write, sock, move |sock| {
            let py = sock.py();
            sock.call_method1(intern!(py, "sendto"), (data.bind(py), address.bind(py)))
        })
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
        operation(this, "EventLoop.sock_accept", Direction::Read, sock, |sock| {
            let py = sock.py();
            let accepted = call_method_none(sock, intern!(py, "accept"))?;
            accepted.get_item(0)?.call_method1(intern!(py, "setblocking"), (false,))?;
            Ok(accepted)
        })
    }
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

/// The coroutine of an operation that is one call of a method, repeated until it does not block.
fn operation<'py, F>(
    event_loop: &Bound<'py, Loop>,
    name: &'static str,
    direction: Direction,
    sock: Py<PyAny>,
    call: F,
) -> PyResult<Bound<'py, Coroutine>>
where
    F: for<'a> Fn(&Bound<'a, PyAny>) -> PyResult<Bound<'a, PyAny>> + Send + 'static,
{
    let py = event_loop.py();
    let event_loop = event_loop.clone().unbind();
    Coroutine::make(py, name, async move {
        Python::attach(|py| check_socket(event_loop.bind(py), sock.bind(py)))?;
        repeat(&event_loop, &sock, direction, move |sock| call(sock).map(Some)).await
    })
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

/// Calls `attempt` now and whenever the socket is ready, until it gives something or fails. None and BlockingIOError mean "not yet".
pub(super) async fn repeat<F>(
    event_loop: &Py<Loop>,
    sock: &Py<PyAny>,
    direction: Direction,
    mut attempt: F,
) -> PyResult<Py<PyAny>>
where
    F: for<'a> FnMut(&Bound<'a, PyAny>) -> PyResult<Option<Bound<'a, PyAny>>> + Send,
{
    let begun = Python::attach(|py| match when_ready(sock.bind(py), &mut attempt)? {
        Some(result) => Ok::<_, PyErr>(Begun::Done(result)),
        None => Ok(Begun::Waiting(Watch::begin(event_loop.bind(py), sock.bind(py), direction)?)),
    })?;
    let watch = match begun {
        Begun::Done(result) => return Ok(result),
        Begun::Waiting(watch) => watch,
    };
    loop {
        Bell::wait(&watch.bell, event_loop).await?;
        let result = Python::attach(|py| {
            // While this coroutine waited for its turn the descriptor stayed ready and rang again.
            watch.bell.get().silence(py);
            when_ready(sock.bind(py), &mut attempt)
        })?;
        if let Some(result) = result {
            return Ok(result);
        }
    }
}

enum Begun {
    Done(Py<PyAny>),
    Waiting(Watch),
}

fn when_ready<F>(sock: &Bound<'_, PyAny>, attempt: &mut F) -> PyResult<Option<Py<PyAny>>>
where
    F: for<'a> FnMut(&Bound<'a, PyAny>) -> PyResult<Option<Bound<'a, PyAny>>>,
{
    match attempt(sock) {
        Ok(result) => Ok(result.map(Bound::unbind)),
        Err(error) if would_block(sock.py(), &error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

/// What `sock_sendall` has yet to send.
struct Unsent {
    data: Py<PyAny>,
    /// The bytes of `data`, taken when the first call did not send all of them.
    view: Option<Py<PyAny>>,
    sent: usize,
}

impl Unsent {
    /// Sends once; None is given in the end.
    fn send<'py>(&mut self, sock: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = sock.py();
        let sent = match &self.view {
            None => call_method_one(sock, intern!(py, "send"), self.data.bind(py)),
            Some(view) => call_method_one(sock, intern!(py, "send"), &self.rest(view.bind(py))?),
        };
        match sent {
            Ok(count) => self.sent += count.extract::<usize>()?,
            Err(error) if would_block(py, &error) => {}
            Err(error) => return Err(error),
        }
        let size = match (&self.view, self.data.bind(py).cast::<PyBytes>()) {
            (Some(view), _) => view.bind(py).len()?,
            (None, Ok(bytes)) if bytes.as_bytes().len() == self.sent => self.sent,
            (None, _) => self.take_view(py)?,
        };
        Ok((self.sent == size).then(|| py.None().into_bound(py)))
    }

    /// The bytes that were not sent yet, not copied.
    fn rest<'py>(&self, view: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = view.py();
        let slice = PySlice::new(py, isize::try_from(self.sent)?, isize::MAX, 1);
        view.get_item(slice)
    }

    /// Takes the view and gives its size. Bytes are counted, whatever the items of the buffer are.
    fn take_view(&mut self, py: Python<'_>) -> PyResult<usize> {
        let view = PyMemoryView::from(self.data.bind(py))?;
        let view = view.call_method1(intern!(py, "cast"), (PyString::new(py, "B"),))?;
        let size = view.len()?;
        self.view = Some(view.unbind());
        Ok(size)
    }
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

/// Connects to an address that needs no resolving.
async fn connect(event_loop: &Py<Loop>, sock: &Py<PyAny>, address: &Py<PyAny>) -> PyResult<()> {
    let watch = Python::attach(|py| begin_connect(event_loop.bind(py), sock.bind(py), address))?;
    if let Some(watch) = watch {
        Bell::wait(&watch.bell, event_loop).await?;
        Python::attach(|py| finish_connect(sock.bind(py), address))?;
    }
    Ok(())
}

/// None when the socket is connected at once, as a local one may be.
fn begin_connect(
    event_loop: &Bound<'_, Loop>,
    sock: &Bound<'_, PyAny>,
    address: &Py<PyAny>,
) -> PyResult<Option<Watch>> {
    let py = event_loop.py();
    match call_method_one(sock, intern!(py, "connect"), address.bind(py)) {
        Ok(_) => Ok(None),
        // After EINTR, too, connecting goes on in the background (connect(2)).
        Err(error) if would_block(py, &error) => Watch::begin(event_loop, sock, Direction::Write).map(Some),
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

/// A descriptor watched on behalf of a coroutine, until this is dropped.
struct Watch {
    event_loop: Py<Loop>,
    descriptor: i32,
    direction: Direction,
    handle: Py<Handle>,
    /// Rings whenever the descriptor is ready.
    bell: Py<Bell>,
}

impl Watch {
    fn begin(event_loop: &Bound<'_, Loop>, sock: &Bound<'_, PyAny>, direction: Direction) -> PyResult<Self> {
        let py = event_loop.py();
        let given = call_method_none(sock, intern!(py, "fileno"))?;
        let descriptor = given.extract()?;
        event_loop.get().check_not_transport(&given, descriptor)?;
        let bell = Bell::make(py)?;
        let handle = Handle::make(
            py,
            bell.clone_ref(py).into_any(),
            PyTuple::empty(py).unbind(),
            event_loop.clone().into_any().unbind(),
            None,
            event_loop.get().is_debug(py),
        )?
        .unbind();
        match direction {
            Direction::Read => Loop::watch_reader(event_loop, descriptor, handle.clone_ref(py))?,
            Direction::Write => Loop::watch_writer(event_loop, descriptor, handle.clone_ref(py))?,
        }
        Ok(Self { event_loop: event_loop.clone().unbind(), descriptor, direction, handle, bell })
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        // Cancelled means that the descriptor is watched for somebody else by now.
        if self.handle.get().is_cancelled(py) {
            return Ok(());
        }
        let event_loop = self.event_loop.bind(py);
        match self.direction {
            Direction::Read => Loop::unwatch_reader(event_loop, self.descriptor)?,
            Direction::Write => Loop::unwatch_writer(event_loop, self.descriptor)?,
        };
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // No interpreter, no loop: at its end there is nothing to undo.
        Python::try_attach(|py| {
            if let Err(error) = self.end(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}
