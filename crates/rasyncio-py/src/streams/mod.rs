//! Streams: `StreamReader`, `StreamWriter` and what connects them with a transport (asyncio: streams.py).
//!
//! Files by job: `buffer` (bytes that were received and not read), `separators` (looking for the end of a piece), `reader` (the rules of a reader),
//! `reader_methods` (what Python sees of it), `reading` (the bodies of `read()` and its like), `inherited` (the same for subclasses), `flow_control`
//! (who waits until the transport has room), `protocol` and `writer` (and what Python sees of them), `connecting` (`open_connection()`, `start_server()` and those of Unix sockets).
//!
//! A subclass, or an attribute of an object, may take the place of any method that asyncio's classes call on themselves or on each other. So each object is
//! asked whether it is plain; what is not plain is called through Python, and what is costs no call.

mod buffer;
mod connecting;
mod flow_control;
mod inherited;
mod protocol;
mod protocol_methods;
mod reader;
mod reader_methods;
mod reading;
mod separators;
mod writer;
mod writer_methods;

use pyo3::intern;
use pyo3::prelude::*;

pub(crate) use connecting::{open_connection, open_unix_connection, start_server, start_unix_server};
pub(crate) use flow_control::FlowControl;
pub(crate) use protocol::{StreamReaderProtocol, feed};
pub(crate) use reader::StreamReader;
pub(crate) use writer::StreamWriter;

use crate::ffi::call::call_method_none;

/// Adds the methods that programs call all the time.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    StreamReader::add_methods(py)?;
    StreamWriter::add_methods(py)
}

/// Whether a loop of any kind is in debug mode.
fn is_debug(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    call_method_none(event_loop, intern!(event_loop.py(), "get_debug"))?.is_truthy()
}

/// asyncio: `streams._DEFAULT_LIMIT`, in bytes.
pub(crate) const DEFAULT_LIMIT: usize = 64 * 1024;
