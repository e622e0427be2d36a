//! What Python sees of a `TcpTransport`: `asyncio.Transport`'s methods, and the few private names that asyncio's own modules use.

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::flow_control::Writer;
use super::life::Transport;
use super::reading::Receiver;
use super::shared_methods::{life_methods, reading_methods, socket_methods, writing_methods};
use super::socket_info::SocketTransport;
use super::tcp::TcpTransport;
use crate::event_loop::Loop;
use crate::ffi::methods::{self, Arguments, FastMethod};
use crate::interop::{load, stdlib};

life_methods!(TcpTransport);
reading_methods!(TcpTransport);
writing_methods!(TcpTransport);
socket_methods!(TcpTransport);

#[pymethods]
impl TcpTransport {
    /// `asyncio.Transport`, so that `isinstance` finds it.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).transport_class.clone_ref(this.py())
    }

    /// Stops reading; what was written is sent, then `connection_lost(None)` is called.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::close_gracefully(this)
    }

    /// Sets the protocol that is called from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let receiver = Receiver::of(protocol)?;
        let kept = protocol.clone().unbind();
        let old = self.state.with(protocol.py(), |state| {
            state.receiver = receiver;
            state.life.protocol.replace(kept)
        });
        drop(old);
        Ok(())
    }

    /// Goes on after `pause_reading()`. May be called again.
    fn resume_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::resume(this)
    }

    /// Sends a list of bytes-like objects.
    fn writelines(this: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::write_lines(this, list_of_data)
    }

    /// Tells the peer, after everything was sent, that nothing more comes; reading goes on.
    fn write_eof(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::end_writing(this)
    }

    /// Whether `write_eof()` works: it does.
    #[expect(clippy::unused_self, reason = "a method of asyncio.WriteTransport")]
    fn can_write_eof(&self) -> bool {
        true
    }

    /// How many bytes the kernel did not take yet.
    fn get_write_buffer_size(this: &Bound<'_, Self>) -> PyResult<usize> {
        Self::buffered_size(this)
    }

    /// Above `high` unsent bytes the protocol is asked to pause, at `low` to go on.
    #[pyo3(signature = (high = None, low = None))]
    fn set_write_buffer_limits(this: &Bound<'_, Self>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        this.get().set_limits(this.py(), high, low)?;
        Self::send_collected(this)?;
        Self::maybe_pause_protocol(this)
    }

    /// How many bytes are read at most at once.
    #[classattr]
    fn max_size() -> usize {
        Loop::SCRATCH_SIZE
    }

    #[classattr]
    fn _start_tls_compatible() -> bool {
        true
    }

    #[classattr]
    fn _sendfile_compatible(py: Python<'_>) -> PyResult<Py<PyAny>> {
        // Classes are made before the module's own initialisation runs.
        load(py)?;
        Ok(stdlib(py).sendfile.try_native.clone_ref(py))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.shown(py, "_SelectorSocketTransport", self.fd)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
    }
}

/// Adds the method that protocols call all the time.
pub(super) fn add_methods(py: Python<'_>) -> PyResult<()> {
    methods::install::<Write>(py)
}

struct Write;

impl FastMethod for Write {
    type Class = TcpTransport;
    const NAME: &'static CStr = c"write";
    const DOCUMENTATION: &'static CStr = c"write($self, data)\n--\n\n\
        Sends `data` (bytes, bytearray or memoryview), as it is at this moment, without waiting.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, TcpTransport>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let data = arguments.one("_SelectorSocketTransport.write", "data")?;
        TcpTransport::write(this, data)?;
        Ok(this.py().None().into_bound(this.py()))
    }
}
