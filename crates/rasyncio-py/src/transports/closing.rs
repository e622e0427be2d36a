//! The end of a stream connection that was asked for: everything is sent first.

use pyo3::prelude::*;

use super::flow_control::Sending;
use super::life::Transport;
use super::registration::Registered;
use super::socket_info::Socket;
use super::tcp::TcpTransport;
use crate::event_loop::Server;

impl TcpTransport {
    /// `close()`: reading ends now, the connection when everything is sent.
    pub(super) fn close_gracefully(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let cell = &this.get().state;
        if cell.with(py, |state| std::mem::replace(&mut state.life.closing, true)) {
            return Ok(());
        }
        Self::end_reading(this)?;
        if this.get().event_loop.get().check_usable().is_ok() {
            Self::send_collected(this)?;
        }
        // A file that is being sent is no reason to wait.
        if cell.with(py, |state| state.output.sending != Sending::Refused || state.output.queue.is_empty()) {
            return Self::lose(this, None);
        }
        Ok(())
    }

    /// Closes the socket and leaves the server.
    pub(super) fn release_socket(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        own.leave(py);
        let (server, socket, unsent) = own.state.with(py, |state| {
            let socket = std::mem::replace(&mut state.endpoint.socket, Socket::Closed);
            (state.server.take(), socket, state.output.queue.take_all())
        });
        drop(unsent);
        let closed = socket.close(py).and_then(|()| Self::ring_for_file(this).map(drop));
        own.event_loop.get().on_descriptor_closed(py)?;
        if let Some(server) = server {
            Server::detach(server.bind(py), Some(this.as_any()))?;
        }
        closed
    }
}
