//! What moves a protocol's bytes (asyncio: `transports.py`, `selector_events.py`).
//!
//! What all share: `life` (from `connection_made` to the one `connection_lost`), `flow_control` (what waits to be sent, when the protocol is to
//! pause). What the transports of sockets share: `registration` (their place in the reactor), `socket_info` (the socket behind it, and
//! `get_extra_info`). `shared_methods`: what Python sees alike of several.
//!
//! The files of a stream by job: `tcp` (what it knows, how it is made and begins), `reading`, `writing`, `flushing` (many at once), `closing`, `file_sending` (`loop.sendfile()`), `tcp_methods` (what Python sees).
//! Those of a socket of datagrams likewise: `datagram` and what begins with it.
//! `subprocess` is another kind: a child process, whose bytes move through the transports of its pipes.
//!
//! TLS over any of them: `tls`.
//!
//! Pipes: `pipe` (what both ends share), `read_pipe`, `write_pipe`.
//!
//! `direct`: what transports, protocols and streams of ours say to each other without a Python call.
//!
//! Invariant: after each call of a protocol the transport looks at its own state again, because the protocol may have done anything to it.

mod closing;
pub(crate) mod datagram;
mod datagram_methods;
mod datagram_receiving;
mod datagram_sending;
pub(crate) mod direct;
pub(crate) mod file_sending;
mod flow_control;
mod flushing;
mod life;
pub(crate) mod pipe;
pub(crate) mod read_pipe;
mod reading;
mod registration;
mod senders;
mod shared_methods;
pub(crate) mod socket_info;
pub(crate) mod subprocess;
pub(crate) mod tcp;
mod tcp_methods;
pub(crate) mod tls;
pub(crate) mod write_pipe;
mod writing;

use pyo3::prelude::*;

/// Adds the methods that programs call all the time.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    datagram_methods::add_methods(py)?;
    tcp_methods::add_methods(py)?;
    tls::add_methods(py)
}
