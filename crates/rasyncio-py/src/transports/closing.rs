//! The end of a connection: every way leads to one call of `connection_lost()`, through the loop, and then to the closing of the socket.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use rasyncio_core::reactor::Operation;

use super::flow_control::Sending;
use super::socket_info::Socket;
use super::tcp::TcpTransport;
use crate::event_loop::Server;
use crate::exceptions::Raised;
use crate::ffi::call::call_method_one;
use crate::handles::format_callback;
use crate::interop::{must_propagate, stdlib};

impl TcpTransport {
    /// `close()`: reading ends now, the connection when everything is sent.
    pub(super) fn close_gracefully(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let cell = &this.get().state;
        if cell.with(py, |state| std::mem::replace(&mut state.closing, true)) {
            return Ok(());
        }
        Self::end_reading(this)?;
        if this.get().event_loop.get().check_usable().is_ok() {
            Self::send_collected(this)?;
        }
        if cell.with(py, |state| state.output.sending != Sending::Refused) {
            return Self::lose(this, None);
        }
        Ok(())
    }

    /// Ends the connection now; what was not sent is dropped. `error` goes to `connection_lost()`.
    pub(super) fn force_close(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        let cell = &this.get().state;
        if cell.with(py, |state| state.is_lost()) {
            return Ok(());
        }
        let unsent = cell.with(py, |state| {
            state.closing = true;
            state.output.sending = Sending::Idle;
            state.output.queue.take_all()
        });
        drop(unsent);
        Self::end_reading(this)?;
        // Only arming can fail.
        Self::set_armed(this, Operation::Send, false)?.ok();
        Self::lose(this, error)
    }

    /// Schedules the one call of `connection_lost()`.
    pub(super) fn lose(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let first = own.state.with(py, |state| {
            let first = !state.is_lost();
            state.conn_lost = state.conn_lost.max(1);
            first
        });
        if !first {
            return Ok(());
        }
        own.event_loop.get().check_usable()?;
        let transport = this.clone().unbind();
        own.event_loop
            .get()
            .defer(py, move |event_loop| Self::on_lost(transport.bind(event_loop.py()), error));
        Ok(())
    }

    fn on_lost(this: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = this.py();
        let mut outcome = Ok(());
        if let Some(protocol) = this.get().protocol(py) {
            let (protocol, name) = (protocol.bind(py), intern!(py, "connection_lost"));
            let reason = match error {
                Some(error) => error.into_value(py).into_bound(py).into_any(),
                None => py.None().into_bound(py),
            };
            let told = this.get().in_context(py, || call_method_one(protocol, name, &reason));
            if let Err(error) = told {
                outcome = Self::report_callback(this, protocol, name, &reason, error);
            }
        }
        let released = Self::release(this);
        outcome.and(match released {
            Err(error) => Self::report(this, "Closing a socket failed", error),
            Ok(()) => Ok(()),
        })
    }

    /// Gives up the socket, and everything that the transport holds.
    pub(super) fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let (token, protocol, server, socket, unsent) = own.state.with(py, |state| {
            state.closing = true;
            let socket = std::mem::replace(&mut state.endpoint.socket, Socket::Closed);
            let unsent = state.output.queue.take_all();
            (state.token.take(), state.protocol.take(), state.server.take(), socket, unsent)
        });
        // Before the descriptor is closed. A closed loop has let go of it already.
        if let Some(token) = token
            && let Ok(source) = own.event_loop.get().with_reactor(py, |reactor| reactor.remove(token))
        {
            drop(source);
        }
        drop((protocol, unsent));
        let closed = socket.close(py);
        own.event_loop.get().on_descriptor_closed(py)?;
        if let Some(server) = server {
            Server::detach(server.bind(py), Some(this.as_any()))?;
        }
        closed
    }

    /// A failure that ends the connection. What the network does to us (`OSError`) is worth a line in debug mode only.
    pub(super) fn fatal_error(this: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        if error.is_instance_of::<PyOSError>(py) {
            if this.get().event_loop.get().is_debug(py) {
                let keywords = PyDict::new(py);
                keywords.set_item("exc_info", error.raised(py))?;
                let arguments = ("%r: %s", this, message);
                let logger = stdlib(py).logger.bind(py);
                logger.call_method(intern!(py, "debug"), arguments, Some(&keywords))?;
            }
        } else {
            Self::report(this, message, error.clone_ref(py))?;
        }
        Self::force_close(this, Some(error))
    }

    /// Tells the loop's exception handler; fails with what must end the program.
    pub(super) fn report(this: &Bound<'_, Self>, message: &str, error: PyErr) -> PyResult<()> {
        let py = this.py();
        if must_propagate(py, &error) {
            return Err(error);
        }
        let report = PyDict::new(py);
        report.set_item("message", message)?;
        report.set_item("exception", error.raised(py))?;
        report.set_item("transport", this)?;
        report.set_item("protocol", this.get().protocol(py))?;
        let event_loop = this.get().event_loop.bind(py);
        event_loop.call_method1(intern!(py, "call_exception_handler"), (report,))?;
        Ok(())
    }

    /// `report`, in asyncio's words for a callback of the loop that raised.
    pub(super) fn report_callback(
        this: &Bound<'_, Self>,
        protocol: &Bound<'_, PyAny>,
        name: &Bound<'_, PyString>,
        argument: &Bound<'_, PyAny>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = this.py();
        let arguments = PyTuple::new(py, [argument])?.unbind();
        let callback = protocol.getattr_opt(name)?.map(Bound::unbind);
        let source = match &callback {
            Some(_) => format_callback(this.get().event_loop.bind(py), callback.as_ref(), Some(&arguments))?,
            None => name.to_string(),
        };
        Self::report(this, &format!("Exception in callback {source}"), error)
    }

    /// A line about this transport in the log of debug mode; `text` shows it with `%r`.
    pub(super) fn log_debug(this: &Bound<'_, Self>, text: &str) -> PyResult<()> {
        let py = this.py();
        if this.get().event_loop.get().is_debug(py) {
            stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), (text, this))?;
        }
        Ok(())
    }
}
