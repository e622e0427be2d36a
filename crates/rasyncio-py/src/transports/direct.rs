//! What protocols and streams of ours and transports of ours say to each other without a Python call. Anybody else's are called by name.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::life::Transport;
use super::tcp::TcpTransport;
use super::tls::TlsTransport;
use crate::ffi::attributes;
use crate::ffi::call::{call_method_none, call_method_one};
use crate::interop::stdlib;
use crate::streams::StreamReaderProtocol;

/// `transport.write(data)`.
#[inline]
pub(crate) fn write(transport: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(stream) = plain_stream(transport) {
        return TcpTransport::write(stream, data);
    }
    if attributes::is_plain::<TlsTransport>(transport)
        && let Ok(tls) = transport.cast_exact::<TlsTransport>()
    {
        return TlsTransport::write(tls, data);
    }
    call_method_one(transport, intern!(transport.py(), "write"), data).map(drop)
}

/// `transport.is_closing()`.
#[inline]
pub(crate) fn is_closing(transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    match plain_stream(transport) {
        Some(stream) => Ok(is_stream_closing(stream)),
        None => call_method_none(transport, intern!(transport.py(), "is_closing"))?.is_truthy(),
    }
}

/// Whether it can be said without a Python call that the transport is closing.
pub(crate) fn is_known_to_close(transport: &Bound<'_, PyAny>) -> bool {
    plain_stream(transport).is_some_and(is_stream_closing)
}

/// Whether it can be said without a Python call that the transport is not closing.
#[inline]
pub(crate) fn is_known_to_be_open(transport: &Bound<'_, PyAny>) -> bool {
    plain_stream(transport).is_some_and(|stream| !is_stream_closing(stream))
}

/// `transport`, if it is a stream of ours whose methods nobody replaced.
#[inline]
fn plain_stream<'a, 'py>(transport: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, TcpTransport>> {
    if attributes::is_plain::<TcpTransport>(transport) {
        transport.cast_exact::<TcpTransport>().ok()
    } else {
        None
    }
}

#[inline]
fn is_stream_closing(stream: &Bound<'_, TcpTransport>) -> bool {
    stream.get().life(stream.py(), |life| life.closing)
}

/// `protocol.data_received(data)`.
#[inline]
pub(super) fn deliver(protocol: &Bound<'_, PyAny>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
    match StreamReaderProtocol::plain(protocol) {
        Some(protocol) => StreamReaderProtocol::received(protocol, data),
        None => call_method_one(protocol, intern!(data.py(), "data_received"), data.as_any()).map(drop),
    }
}

/// Whether `protocol` is a `StreamReaderProtocol`, ours or asyncio's, or of a subclass.
pub(crate) fn is_stream_protocol(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = protocol.py();
    Ok(protocol.is_instance_of::<StreamReaderProtocol>()
        || protocol.is_instance(stdlib(py).streams.protocol_class.bind(py))?)
}
