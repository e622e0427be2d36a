//! What Python sees of a `TlsTransport`: `asyncio.Transport`'s methods for the protocol, a protocol's methods for a carrier that is not ours, and
//! the few private names that asyncio's own modules and tests use.

use std::ffi::CStr;

use pyo3::exceptions::PyNotImplementedError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::engine::library;
use super::{Closing, Phase, READ_HIGH, TlsTransport, WRITE_HIGH};
use crate::event_loop::Loop;
use crate::ffi::methods::{self, Arguments, FastMethod};
use crate::interop::{load, stdlib};
use crate::transports::flow_control::water_marks;
use crate::transports::reading::is_buffered;
use crate::transports::writing::any_block;

/// For the protocol.
#[pymethods]
impl TlsTransport {
    /// asyncio's own class, an `asyncio.Transport`, so that `isinstance` finds it.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Ok(library(this.py())?.transport_class.clone_ref(this.py()))
    }

    /// What is known of the connection: `"sslcontext"` and, after the handshake, `"ssl_object"`, `"peercert"`, `"cipher"`, `"compression"`; and what
    /// the transport below knows.
    #[pyo3(signature = (name, default = None))]
    fn get_extra_info<'py>(
        this: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let own = this.get();
        if let Ok(name) = name.cast::<PyString>() {
            let name = name.to_str()?;
            let found = own.state.with(py, |state| {
                let (security, settled) = (state.security.as_ref()?, state.settled.as_ref());
                match name {
                    "sslcontext" => Some(security.context.clone_ref(py)),
                    "ssl_object" => settled.map(|_| security.engine.object().clone_ref(py)),
                    "peercert" => settled.map(|settled| settled.peercert.clone_ref(py)),
                    "cipher" => settled.map(|settled| settled.cipher.clone_ref(py)),
                    "compression" => settled.map(|settled| settled.compression.clone_ref(py)),
                    _ => None,
                }
            });
            if let Some(found) = found {
                return Ok(Some(found.into_bound(py)));
            }
        }
        match own.carrier(py) {
            Some(carrier) => carrier.call_method1(intern!(py, "get_extra_info"), (name, default)).map(Some),
            None => Ok(default),
        }
    }

    /// Whether the transport is closing or closed.
    fn is_closing(&self, py: Python<'_>) -> PyResult<bool> {
        match self.carrier(py) {
            Some(carrier) if !self.is_closed(py) => {
                carrier.call_method0(intern!(py, "is_closing"))?.is_truthy()
            }
            _ => Ok(self.is_closed(py)),
        }
    }

    /// What was written is sent, both sides say goodbye, then `connection_lost(None)` is called.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::close_gracefully(this)
    }

    /// Ends the connection at once; what was not sent is lost.
    #[pyo3(name = "abort")]
    fn abort_from_python(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::abort(this, None)
    }

    fn _force_close(this: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        Self::abort(this, exc.map(PyErr::from_value))
    }

    /// Sets the protocol that is called from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let buffered = is_buffered(protocol)?;
        let kept = protocol.clone().unbind();
        let old = self.state.with(protocol.py(), |state| {
            state.buffered = buffered;
            state.protocol.replace(kept)
        });
        drop(old);
        Ok(())
    }

    /// The protocol; None after the connection was lost.
    fn get_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    /// Whether the transport reads: it is not paused.
    fn is_reading(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| !state.reading.paused)
    }

    /// Calls `data_received()` no more until `resume_reading()`. May be called again.
    fn pause_reading(&self, py: Python<'_>) {
        self.state.with(py, |state| state.reading.paused = true);
    }

    /// Goes on after `pause_reading()`. May be called again.
    fn resume_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::resume(this)
    }

    /// Sends a list of bytes-like objects.
    fn writelines(this: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::write_lines(this, list_of_data)
    }

    /// Raises NotImplementedError: TLS cannot be closed in one direction only.
    fn write_eof(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// Whether `write_eof()` works: it does not.
    fn can_write_eof(&self) -> bool {
        false
    }

    /// How many bytes the transport below did not take yet.
    fn get_write_buffer_size(this: &Bound<'_, Self>) -> PyResult<usize> {
        Self::buffered_size(this)
    }

    /// The limits of the write buffer as `(low, high)`.
    fn get_write_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        self.state.with(py, |state| (state.writing.marks.low(), state.writing.marks.high()))
    }

    /// At `high` unsent bytes the protocol is asked to pause, at `low` to go on. By default: 512 KiB, and a quarter of `high`.
    #[pyo3(signature = (high = None, low = None))]
    fn set_write_buffer_limits(this: &Bound<'_, Self>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        let marks = water_marks(high, low, WRITE_HIGH)?;
        this.get().state.with(this.py(), |state| state.writing.marks = marks);
        Self::control_writing(this)
    }

    /// How many received bytes wait for a protocol that does not read.
    fn get_read_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        self.security(py)?.engine.unread(py)
    }

    /// The limits of the read buffer as `(low, high)`.
    fn get_read_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        self.state.with(py, |state| (state.reading.marks.low(), state.reading.marks.high()))
    }

    /// At `high` bytes that the protocol does not read, nothing more is received, until `low`. By default: 256 KiB, and a quarter of `high`.
    #[pyo3(signature = (high = None, low = None))]
    fn set_read_buffer_limits(this: &Bound<'_, Self>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        let marks = water_marks(high, low, READ_HIGH)?;
        this.get().state.with(this.py(), |state| state.reading.marks = marks);
        Self::control_carrier_reading(this)
    }

    #[classattr]
    fn _start_tls_compatible() -> bool {
        true
    }

    /// Files are read and written: the kernel encrypts nothing for us.
    #[classattr]
    fn _sendfile_compatible(py: Python<'_>) -> PyResult<Py<PyAny>> {
        // Classes are made before the module's own initialisation runs.
        load(py)?;
        Ok(stdlib(py).sendfile.fallback.clone_ref(py))
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<Loop> {
        self.event_loop.clone_ref(py)
    }

    #[getter(_closed)]
    fn is_closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.closing != Closing::Open)
    }

    #[getter]
    fn _protocol_paused(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.writing.paused)
    }

    /// What two of asyncio's own tests ask for.
    #[pyo3(name = "_test__append_write_backlog")]
    fn append_write_backlog(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.append_to_backlog(data)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
    }
}

/// For the carrier.
#[pymethods]
impl TlsTransport {
    /// The carrier is connected: the handshake begins.
    fn connection_made(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::begin(this, transport)
    }

    /// The carrier received `data`.
    fn data_received(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::receive(this, &any_block(data)?)
    }

    /// The carrier's peer sends no more; returns whether the carrier stays open until the protocol has read everything.
    fn eof_received(this: &Bound<'_, Self>) -> PyResult<bool> {
        Self::on_carrier_eof(this)
    }

    /// The carrier is gone, by the failure `exc` or in order (None).
    fn connection_lost(this: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::on_carrier_lost(this, exc)
    }

    /// The carrier has enough to send.
    fn pause_writing(&self, py: Python<'_>) {
        self.on_carrier_full(py);
    }

    /// The carrier has room again.
    fn resume_writing(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::on_carrier_free(this)
    }

    /// This very object: asyncio has another one here.
    #[getter]
    fn _ssl_protocol(this: Py<Self>) -> Py<Self> {
        this
    }

    #[getter]
    fn _sslcontext(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.security(py)?.context.clone_ref(py))
    }

    #[getter]
    fn _app_reading_paused(&self, py: Python<'_>) -> bool {
        !self.is_reading(py)
    }

    #[getter]
    fn _app_transport(this: Py<Self>) -> Py<Self> {
        this
    }

    #[getter]
    fn _app_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    #[getter]
    fn _transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.carrier(py)
    }

    /// How records are read and written, as `RASYNCIO_TLS` names it.
    #[getter]
    fn _records(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.security(py)?.engine.path_name())
    }

    fn _check_handshake_timeout(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::handshake_took_too_long(this)
    }

    fn _check_shutdown_timeout(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::shutdown_took_too_long(this)
    }

    /// Reads on, after a pause or when the protocol's memory was full.
    fn _read_on(this: &Bound<'_, Self>) -> PyResult<()> {
        match this.get().phase(this.py()) {
            Phase::Handshake => Ok(()),
            _ => Self::on_fed(this),
        }
    }
}

/// Adds the method that protocols call all the time.
pub(in crate::transports) fn add_methods(py: Python<'_>) -> PyResult<()> {
    methods::install::<Write>(py)
}

struct Write;

impl FastMethod for Write {
    type Class = TlsTransport;
    const NAME: &'static CStr = c"write";
    const DOCUMENTATION: &'static CStr = c"write($self, data)\n--\n\n\
        Sends `data` (bytes, bytearray or memoryview), as it is at this moment, without waiting.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, TlsTransport>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let data = arguments.one("_SSLProtocolTransport.write", "data")?;
        TlsTransport::write(this, data)?;
        Ok(this.py().None().into_bound(this.py()))
    }
}
