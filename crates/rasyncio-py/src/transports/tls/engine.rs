//! The record engine: cipher text goes in and comes out in memory, plain text the other way. Nothing in here knows of transports or protocols.
//!
//! It drives the `ssl.SSLObject` that the user's context made, so that a context means exactly what it means to the interpreter. Where that is the
//! standard library's own class, records go straight to the C object behind it, whose methods it would only call.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::exceptions;
use crate::ffi::buffer::MemoryBio;
use crate::ffi::call::{call_method_none, call_method_one, call_method_two};
use crate::interop::{Ssl, stdlib};

/// One end of a TLS connection.
pub(super) struct Engine {
    /// What `wrap_bio()` made; users see it as `get_extra_info("ssl_object")`.
    object: Py<PyAny>,
    /// What reads and writes records: `object`, or what is behind it.
    records: Py<PyAny>,
    incoming: MemoryBio,
    outgoing: MemoryBio,
}

/// What a step of the engine came to.
pub(super) enum Outcome<T> {
    Done(T),
    /// More of the peer's bytes have to be fed first.
    WantsMore,
}

/// What a handshake settled.
pub(super) struct Settled {
    pub(super) peercert: Py<PyAny>,
    pub(super) cipher: Py<PyAny>,
    pub(super) compression: Py<PyAny>,
}

impl Engine {
    /// An engine of `context`. `server_hostname` is for clients; None or empty: none is sent or checked.
    pub(super) fn make(
        context: &Bound<'_, PyAny>,
        server_side: bool,
        server_hostname: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = context.py();
        let ssl = library(py)?;
        let incoming = MemoryBio::make(ssl.memory_bio.bind(py))?;
        let outgoing = MemoryBio::make(ssl.memory_bio.bind(py))?;
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "server_side"), server_side)?;
        keywords.set_item(intern!(py, "server_hostname"), server_hostname)?;
        let ends = (incoming.as_object(), outgoing.as_object());
        let object = context.call_method(intern!(py, "wrap_bio"), ends, Some(&keywords))?;
        let is_plain = object.get_type().is(&ssl.object_class);
        let behind = if is_plain { object.getattr_opt(intern!(py, "_sslobj"))? } else { None };
        let records = behind.unwrap_or_else(|| object.clone());
        Ok(Self { object: object.unbind(), records: records.unbind(), incoming, outgoing })
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        &self.object
    }

    /// Takes bytes that the peer sent.
    #[inline]
    pub(super) fn feed(&self, py: Python<'_>, cipher_text: &[u8]) -> PyResult<()> {
        self.incoming.write(py, cipher_text)
    }

    /// How many bytes were fed and not looked at yet.
    #[inline]
    pub(super) fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        self.incoming.pending(py)
    }

    /// Gives the bytes that are to be sent to the peer; none is an empty `bytes`.
    #[inline]
    pub(super) fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.outgoing.read(py)
    }

    /// How many bytes `take` would give.
    #[inline]
    pub(super) fn unsent(&self, py: Python<'_>) -> PyResult<usize> {
        self.outgoing.pending(py)
    }

    /// Decrypts the next record, or what is left of the last one; empty: the peer said goodbye.
    #[inline]
    pub(super) fn read<'py>(&self, py: Python<'py>) -> PyResult<Outcome<Bound<'py, PyBytes>>> {
        let size = RECORD.into_pyobject(py)?;
        let read = call_method_one(self.records.bind(py), intern!(py, "read"), size.as_any());
        let read = read.and_then(|chunk| Ok(chunk.cast_into::<PyBytes>()?));
        outcome(py, read)
    }

    /// `read` into `memory`, a writable buffer of `size` bytes; 0: the peer said goodbye.
    #[inline]
    pub(super) fn read_into(&self, memory: &Bound<'_, PyAny>, size: usize) -> PyResult<Outcome<usize>> {
        let py = memory.py();
        let size = size.into_pyobject(py)?;
        let read = call_method_two(self.records.bind(py), intern!(py, "read"), size.as_any(), memory);
        outcome(py, read.and_then(|count| count.extract()))
    }

    /// Whether another `read` may give something, after one that filled all (`full`) or less of the room it had.
    ///
    /// Asking costs little, and a `read` in vain a lot: an exception is made for it.
    #[inline]
    pub(super) fn may_have_more(&self, py: Python<'_>, full: bool) -> PyResult<bool> {
        if self.unread(py)? > 0 {
            return Ok(true);
        }
        if !full {
            return Ok(false);
        }
        Ok(call_method_none(self.records.bind(py), intern!(py, "pending"))?.extract::<usize>()? > 0)
    }

    /// Encrypts `plain_text`, a bytes-like object; gives how many bytes of it.
    #[inline]
    pub(super) fn write(&self, plain_text: &Bound<'_, PyAny>) -> PyResult<Outcome<usize>> {
        let py = plain_text.py();
        let written = call_method_one(self.records.bind(py), intern!(py, "write"), plain_text);
        outcome(py, written.and_then(|count| count.extract()))
    }

    pub(super) fn handshake(&self, py: Python<'_>) -> PyResult<Outcome<()>> {
        let done = call_method_none(self.object.bind(py), intern!(py, "do_handshake"));
        outcome(py, done.map(drop))
    }

    /// Says goodbye and waits for the peer's.
    pub(super) fn shutdown(&self, py: Python<'_>) -> PyResult<Outcome<()>> {
        outcome(py, call_method_none(self.object.bind(py), intern!(py, "unwrap")).map(drop))
    }

    /// Fails when the peer's certificate cannot be had.
    pub(super) fn settled(&self, py: Python<'_>) -> PyResult<Settled> {
        let ask = |name| Ok::<_, PyErr>(call_method_none(self.object.bind(py), name)?.unbind());
        Ok(Settled {
            peercert: ask(intern!(py, "getpeercert"))?,
            cipher: ask(intern!(py, "cipher"))?,
            compression: ask(intern!(py, "compression"))?,
        })
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)?;
        visit.call(&self.records)?;
        visit.call(self.incoming.as_object())?;
        visit.call(self.outgoing.as_object())
    }
}

impl Settled {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.peercert)?;
        visit.call(&self.cipher)?;
        visit.call(&self.compression)
    }
}

/// asyncio: `SSLAgainErrors`.
fn outcome<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Outcome<T>> {
    match result {
        Ok(done) => Ok(Outcome::Done(done)),
        Err(error) => {
            let ssl = library(py)?;
            let again = error.is_instance(py, ssl.want_read_error.bind(py))
                || error.is_instance(py, ssl.syscall_error.bind(py));
            if again { Ok(Outcome::WantsMore) } else { Err(error) }
        }
    }
}

/// The names of `ssl`; RuntimeError where Python has none.
pub(super) fn library(py: Python<'_>) -> PyResult<&'static Ssl> {
    stdlib(py).ssl.as_ref().ok_or_else(|| exceptions::runtime("Python ssl module is not available"))
}

/// The most plain text that a record carries.
pub(super) const RECORD: usize = 16 * 1024;
