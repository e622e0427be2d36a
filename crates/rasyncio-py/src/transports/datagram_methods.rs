//! What Python sees of a `DatagramTransport`: the methods of asyncio's class, and the few private names that libraries look at.

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::datagram::DatagramTransport;
use super::flow_control::Writer;
use super::life::Transport;
use super::shared_methods::{life_methods, reading_methods, socket_methods, writing_methods};
use super::socket_info::SocketTransport;
use crate::event_loop::Loop;
use crate::ffi::functions::{Parameters, given};
use crate::ffi::methods::{self, Arguments, FastMethod};
use crate::interop::stdlib;

life_methods!(DatagramTransport);
reading_methods!(DatagramTransport);
writing_methods!(DatagramTransport);
socket_methods!(DatagramTransport);

#[pymethods]
impl DatagramTransport {
    /// asyncio's class of transports like this one, so that `isinstance` finds what it is derived from.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).datagram_transport_class.clone_ref(this.py())
    }

    /// Receives no more; what waits is sent, then `connection_lost(None)` is called.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::close_gracefully(this)
    }

    /// Sets the protocol that is called from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        self.change_protocol(protocol);
    }

    /// Goes on after `pause_reading()`. May be called again.
    fn resume_reading(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::resume(this)?;
        Self::deliver_later(this);
        Ok(())
    }

    /// The size of what the kernel did not take yet; since Python 3.13 with 8 bytes more for each datagram.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        self.flow(py, |_, size| size)
    }

    /// Above `high` unsent bytes the protocol is asked to pause, at `low` to go on.
    #[pyo3(signature = (high = None, low = None))]
    fn set_write_buffer_limits(this: &Bound<'_, Self>, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        this.get().set_limits(this.py(), high, low)?;
        Self::maybe_pause_protocol(this)
    }

    /// What waits is offered again, after a pause.
    fn _ask_again(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::ask_again(this)
    }

    #[getter]
    fn _address(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.address.as_ref().map(|address| address.clone_ref(py))
    }

    /// A copy of what waits to be sent: pairs of the data and the address.
    #[getter]
    fn _buffer(&self, py: Python<'_>) -> Vec<(Py<PyBytes>, Py<PyAny>)> {
        self.state.with(py, |state| {
            let unsent = state.unsent.iter();
            unsent.map(|datagram| (datagram.data.clone_ref(py), datagram.to.clone_ref(py))).collect()
        })
    }

    #[getter]
    fn _buffer_size(&self, py: Python<'_>) -> usize {
        self.flow(py, |_, size| size)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.shown(py, "_SelectorDatagramTransport", self.fd)
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
    methods::install::<SendTo>(py)
}

struct SendTo;

impl FastMethod for SendTo {
    type Class = DatagramTransport;
    const NAME: &'static CStr = c"sendto";
    const DOCUMENTATION: &'static CStr = c"sendto($self, data, addr=None)\n--\n\n\
        Sends `data` (bytes, bytearray or memoryview) as one datagram to `addr`, or to the peer, without waiting.\n\n\
        A failure is told to the protocol's `error_received()`. Raises TypeError for other data, ValueError for an \
        address that is not the peer's.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, DatagramTransport>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static PARAMETERS: Parameters<2> = Parameters {
            function: "_SelectorDatagramTransport.sendto",
            names: ["data", "addr"],
            positional: 2,
            required: 1,
        };
        let [data, to] = arguments.bind(&PARAMETERS)?;
        let nobody = this.py().None().into_bound(this.py());
        DatagramTransport::send_to(this, given(data)?, to.unwrap_or(&nobody))?;
        Ok(nobody)
    }
}
