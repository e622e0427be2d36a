//! Files to sockets: `sock_sendfile()` and `sendfile()` (asyncio: `base_events.py`, `unix_events.py`, `selector_events.py`).
//!
//! `sendfile(2)` where that is possible: the file is a regular one and nothing has to be made of its bytes. Elsewhere the file is read in the
//! default executor and written piece by piece (`fallback`), never faster than the peer reads.

mod fallback;

use pyo3::exceptions::{PyAttributeError, PyConnectionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString};
use rasyncio_core::file::{FileSending, Progress};

use super::Loop;
use super::bell::Bell;
use super::sock::{Direction, check_socket, repeat};
use crate::coroutines::{Coroutine, wait_for};
use crate::exceptions;
use crate::exceptions::Raised;
use crate::ffi::call::call_method_none;
use crate::interop::stdlib;
use crate::transports::file_sending::FileStage;
use crate::transports::tcp::TcpTransport;

#[pymethods]
impl Loop {
    /// Sends `count` bytes of `file` (None: all) from `offset` on through `sock`, a stream socket; returns how many were sent.
    ///
    /// The file's position is behind them afterwards. Raises `SendfileNotAvailableError` where `sendfile(2)` is not possible and `fallback` is false.
    #[pyo3(signature = (sock, file, offset = zero(), count = None, *, fallback = yes()), text_signature = "($self, sock, file, offset=0, count=None, *, fallback=True)")]
    fn sock_sendfile<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        file: Py<PyAny>,
        offset: Py<PyAny>,
        count: Option<Py<PyAny>>,
        fallback: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let part = Part { file, offset, count };
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.sock_sendfile", async move {
            let native = Python::attach(|py| {
                check_socket(event_loop.bind(py), sock.bind(py))?;
                check_stream(sock.bind(py))?;
                part.check(py)?;
                part.call(event_loop.bind(py), intern!(py, "_sock_sendfile_native"), &sock)
            })?;
            match wait_for(native).await {
                Err(error) if Python::attach(|py| may_fall_back(py, &error, &fallback))? => {
                    fallback::through_socket(&event_loop, &sock, &part).await
                }
                outcome => outcome,
            }
        })
    }

    /// Sends `count` bytes of `file` (None: all) from `offset` on through `transport`; returns how many were sent.
    ///
    /// The file's position is behind them afterwards. Meanwhile the transport neither reads nor writes anything else. Raises RuntimeError for a
    /// transport that is closing or cannot send files, `ConnectionError` when the connection breaks.
    #[pyo3(signature = (transport, file, offset = zero(), count = None, *, fallback = yes()), text_signature = "($self, transport, file, offset=0, count=None, *, fallback=True)")]
    fn sendfile<'py>(
        this: &Bound<'py, Self>,
        transport: Py<PyAny>,
        file: Py<PyAny>,
        offset: Py<PyAny>,
        count: Option<Py<PyAny>>,
        fallback: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let part = Part { file, offset, count };
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.sendfile", async move {
            let native = Python::attach(|py| {
                if !tries_native(transport.bind(py))? {
                    return Ok(None);
                }
                part.call(event_loop.bind(py), intern!(py, "_sendfile_native"), &transport).map(Some)
            })?;
            if let Some(native) = native {
                match wait_for(native).await {
                    Err(error) if Python::attach(|py| may_fall_back(py, &error, &fallback))? => {}
                    outcome => return outcome,
                }
            }
            Python::attach(|py| check_fallback(transport.bind(py), &fallback))?;
            fallback::through_transport(&event_loop, &transport, &part).await
        })
    }

    /// `sock_sendfile()` by `sendfile(2)` or not at all.
    fn _sock_sendfile_native<'py>(
        this: &Bound<'py, Self>,
        sock: Py<PyAny>,
        file: Py<PyAny>,
        offset: Py<PyAny>,
        count: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let part = Part { file, offset, count };
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop._sock_sendfile_native", async move {
            match Python::attach(|py| part.begin(py))? {
                Some(sending) => native_through_socket(&event_loop, &sock, sending).await,
                None => Ok(zero()),
            }
        })
    }

    /// `sendfile()` by `sendfile(2)` or not at all.
    fn _sendfile_native<'py>(
        this: &Bound<'py, Self>,
        transp: &Bound<'py, PyAny>,
        file: Py<PyAny>,
        offset: Py<PyAny>,
        count: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let part = Part { file, offset, count };
        let event_loop = this.clone().unbind();
        let transport = transp.cast::<TcpTransport>().map(|transport| transport.clone().unbind()).ok();
        Coroutine::make(this.py(), "EventLoop._sendfile_native", async move {
            match transport {
                Some(transport) => native_through_transport(&event_loop, transport, &part).await,
                None => Err(Python::attach(|py| {
                    exceptions::sendfile_not_available(py, "sendfile syscall is not supported")
                })),
            }
        })
    }
}

/// What is to be sent, as the user said it.
struct Part {
    file: Py<PyAny>,
    offset: Py<PyAny>,
    count: Option<Py<PyAny>>,
}

impl Part {
    /// asyncio's checks.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        let mode = self.file.bind(py).getattr_opt(intern!(py, "mode"))?;
        if let Some(mode) = mode
            && !mode.contains("b")?
        {
            return Err(PyValueError::new_err("file should be opened in binary mode"));
        }
        let zero = 0_i32.into_pyobject(py)?;
        if let Some(count) = &self.count {
            let count = count.bind(py);
            let text = || Ok::<_, PyErr>(format!("count must be a positive integer (got {})", count.repr()?));
            if !count.is_instance_of::<PyInt>() {
                return Err(PyTypeError::new_err(text()?));
            }
            if count.le(&zero)? {
                return Err(PyValueError::new_err(text()?));
            }
        }
        let offset = self.offset.bind(py);
        let text =
            || Ok::<_, PyErr>(format!("offset must be a non-negative integer (got {})", offset.repr()?));
        if !offset.is_instance_of::<PyInt>() {
            return Err(PyTypeError::new_err(text()?));
        }
        if offset.lt(&zero)? {
            return Err(PyValueError::new_err(text()?));
        }
        Ok(())
    }

    /// Calls a method of the loop by its name: it may have been replaced.
    fn call(
        &self,
        event_loop: &Bound<'_, Loop>,
        method: &Bound<'_, PyString>,
        target: &Py<PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let arguments = (target, &self.file, &self.offset, &self.count);
        Ok(event_loop.call_method1(method, arguments)?.unbind())
    }

    /// The kernel's view of it; None if there is nothing to send, `SendfileNotAvailableError` if it is no file.
    fn begin(&self, py: Python<'_>) -> PyResult<Option<FileSending>> {
        let not_regular = || exceptions::sendfile_not_available(py, "not a regular file");
        let descriptor: i32 = match call_method_none(self.file.bind(py), intern!(py, "fileno")) {
            Ok(number) => number.extract()?,
            Err(error) if is_no_descriptor(py, &error)? => {
                let replacement = not_regular();
                replacement.raised(py).setattr(intern!(py, "__context__"), error.raised(py))?;
                return Err(replacement);
            }
            Err(error) => return Err(error),
        };
        let offset: u64 = self.offset.extract(py)?;
        // A count that no file has is one of all there is.
        let count = self.count.as_ref().map(|count| count.extract(py).unwrap_or(u64::MAX));
        FileSending::new(descriptor, offset, count).map_err(|_| not_regular())
    }
}

fn check_stream(sock: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = sock.py();
    let stream = py.import(intern!(py, "socket"))?.getattr(intern!(py, "SOCK_STREAM"))?;
    if sock.getattr(intern!(py, "type"))?.eq(stream)? {
        return Ok(());
    }
    Err(PyValueError::new_err("only SOCK_STREAM type sockets are supported"))
}

/// Whether that is what `fileno()` says of an object without a descriptor.
fn is_no_descriptor(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let unsupported = py.import(intern!(py, "io"))?.getattr(intern!(py, "UnsupportedOperation"))?;
    Ok(error.is_instance_of::<PyAttributeError>(py) || error.is_instance(py, &unsupported))
}

/// Whether the transport can be given to `sendfile(2)`. RuntimeError if it cannot send files at all.
fn tries_native(transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = transport.py();
    if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
        return Err(exceptions::runtime("Transport is closing"));
    }
    let modes = &stdlib(py).sendfile;
    let mode = transport.getattr_opt(intern!(py, "_sendfile_compatible"))?;
    match mode {
        Some(mode) if !mode.is(&modes.unsupported) => Ok(mode.is(&modes.try_native)),
        _ => {
            let text = format!("sendfile is not supported for transport {}", transport.repr()?);
            Err(exceptions::runtime(text))
        }
    }
}

fn may_fall_back(py: Python<'_>, error: &PyErr, fallback: &Py<PyAny>) -> PyResult<bool> {
    Ok(error.is_instance(py, stdlib(py).sendfile.not_available.bind(py)) && fallback.bind(py).is_truthy()?)
}

fn check_fallback(transport: &Bound<'_, PyAny>, fallback: &Py<PyAny>) -> PyResult<()> {
    if fallback.bind(transport.py()).is_truthy()? {
        return Ok(());
    }
    let text = "fallback is disabled and native sendfile is not supported for transport";
    Err(exceptions::runtime(format!("{text} {}", transport.repr()?)))
}

/// Python's 0: the default of an argument that Python code may give anything for, None too.
pub(super) fn zero() -> Py<PyAny> {
    Python::attach(|py| PyInt::new(py, 0).into_any().unbind())
}

fn yes() -> Py<PyAny> {
    Python::attach(|py| PyBool::new(py, true).to_owned().into_any().unbind())
}

async fn native_through_socket(
    event_loop: &Py<Loop>,
    sock: &Py<PyAny>,
    sending: FileSending,
) -> PyResult<Py<PyAny>> {
    let mut transfer = Transfer { sending, is_first: true };
    let outcome = repeat(event_loop, sock, Direction::Write, |sock| {
        let py = sock.py();
        let descriptor: i32 = call_method_none(sock, intern!(py, "fileno"))?.extract()?;
        let progress = transfer.attempt(py, descriptor)?;
        Ok((progress == Progress::Done).then(|| py.None().into_bound(py)))
    });
    let outcome = outcome.await.map(drop);
    Python::attach(|py| transfer.finish(py, outcome))
}

async fn native_through_transport(
    event_loop: &Py<Loop>,
    transport: Py<TcpTransport>,
    part: &Part,
) -> PyResult<Py<PyAny>> {
    let turn = Python::attach(|py| Turn::begin(py, transport))?;
    // What was written before goes first.
    while Python::attach(|py| turn.descriptor(py))?.is_none() {
        Bell::wait(&turn.bell, event_loop).await?;
    }
    let sending = Python::attach(|py| {
        part.check(py)?;
        part.begin(py)
    })?;
    let Some(sending) = sending else {
        return Ok(zero());
    };
    let mut transfer = Transfer { sending, is_first: true };
    let outcome = loop {
        match Python::attach(|py| turn.attempt(py, &mut transfer)) {
            Ok(Progress::Done) => break Ok(()),
            Ok(Progress::Unfinished) => {}
            Err(error) => break Err(error),
        }
        if let Err(error) = Bell::wait(&turn.bell, event_loop).await {
            break Err(error);
        }
    };
    Python::attach(|py| transfer.finish(py, outcome))
}

/// A file on its way, and what asyncio makes of the kernel's errors.
struct Transfer {
    sending: FileSending,
    is_first: bool,
}

impl Transfer {
    fn attempt(&mut self, py: Python<'_>, socket: i32) -> PyResult<Progress> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        // The file may have to come from the disk, and its reader may be a thread of this program.
        py.detach(|| self.sending.attempt(socket)).map_err(|error| {
            if self.sending.sent() == 0 {
                // Above all a file that cannot be mapped into memory.
                return exceptions::sendfile_not_available(py, "os.sendfile call failed");
            }
            let failure = exceptions::os_error(&error);
            if is_first || error.kind() != std::io::ErrorKind::NotConnected {
                return failure;
            }
            let text = ("socket is not connected", error.raw_os_error());
            let replacement = PyConnectionError::new_err(text);
            replacement.set_cause(py, Some(failure));
            replacement
        })
    }

    /// How many bytes were sent, unless it failed; the file's position is behind them in any case.
    fn finish(&self, py: Python<'_>, outcome: PyResult<()>) -> PyResult<Py<PyAny>> {
        self.sending.move_position().map_err(|error| exceptions::os_error(&error))?;
        outcome?;
        Ok(self.sending.sent().into_pyobject(py)?.into_any().unbind())
    }
}

/// The transport's time for a file: it neither reads nor takes other bytes until this is dropped.
struct Turn {
    transport: Py<TcpTransport>,
    bell: Py<Bell>,
    resumes_reading: bool,
}

impl Turn {
    fn begin(py: Python<'_>, transport: Py<TcpTransport>) -> PyResult<Self> {
        let bell = Bell::make(py)?;
        let shown = transport.bind(py);
        TcpTransport::begin_file(shown, bell.clone_ref(py).into_any())?;
        let resumes_reading = shown.call_method0(intern!(py, "is_reading"))?.is_truthy()?;
        let turn = Self { transport, bell, resumes_reading };
        turn.transport.bind(py).call_method0(intern!(py, "pause_reading"))?;
        Ok(turn)
    }

    /// The descriptor to send through; None while something is to be sent before.
    fn descriptor(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        self.bell.get().silence(py);
        match TcpTransport::file_stage(self.transport.bind(py)) {
            FileStage::Waiting => Ok(None),
            FileStage::Open(descriptor) => Ok(Some(descriptor)),
            FileStage::Lost(Some(error)) => Err(error),
            FileStage::Lost(None) => Err(PyConnectionError::new_err("Connection is closed by peer")),
        }
    }

    fn attempt(&self, py: Python<'_>, transfer: &mut Transfer) -> PyResult<Progress> {
        let Some(descriptor) = self.descriptor(py)? else {
            return Ok(Progress::Unfinished);
        };
        let progress = transfer.attempt(py, descriptor)?;
        if progress == Progress::Unfinished {
            TcpTransport::wait_for_room(self.transport.bind(py))?;
        }
        Ok(progress)
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let transport = self.transport.bind(py);
        TcpTransport::end_file(transport)?;
        if self.resumes_reading {
            transport.call_method0(intern!(py, "resume_reading"))?;
        }
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // No interpreter, no transport: at its end there is nothing to undo.
        Python::try_attach(|py| {
            if let Err(error) = self.end(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}
