//! The record engine: cipher text goes in and comes out in memory, plain text the other way. Nothing in here knows of transports or protocols.
//!
//! It drives the `ssl.SSLObject` that the user's context made, so that a context means exactly what it means to the interpreter. Where that is the
//! standard library's own class, there are two ways past it. Natively, application data go to the OpenSSL connection that is behind it, without Python
//! (`ffi::openssl`); handshake, shutdown and whatever is an error are Python's still. Otherwise they go through the methods of the C object behind
//! it, which it would only call, and through two `ssl.MemoryBIO`.

use std::mem::MaybeUninit;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PySlice};

use super::writing::{Piece, signed};
use crate::exceptions;
use crate::ffi::buffer::{self, MemoryBio};
use crate::ffi::call::{call_method_none, call_method_one, call_method_two};
use crate::ffi::openssl::{Records, Step};
use crate::interop::{Ssl, stdlib};
use crate::transports::flow_control::Block;

/// One end of a TLS connection.
pub(super) struct Engine {
    /// What `wrap_bio()` made; users see it as `get_extra_info("ssl_object")`.
    object: Py<PyAny>,
    path: Path,
}

/// How records are read and written.
enum Path {
    Native(Records),
    Python(Methods),
}

/// Records by methods of Python's.
struct Methods {
    /// What has them: the engine's `object`, or what is behind it.
    owner: Py<PyAny>,
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
        let native = match &behind {
            Some(behind) => take_over(context, behind, &incoming, &outgoing)?,
            None => None,
        };
        let path = if let Some(records) = native {
            Path::Native(records)
        } else {
            let owner = behind.unwrap_or_else(|| object.clone()).unbind();
            Path::Python(Methods { owner, incoming, outgoing })
        };
        Ok(Self { object: object.unbind(), path })
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        &self.object
    }

    /// As `RASYNCIO_TLS` names it.
    pub(super) fn path_name(&self) -> &'static str {
        match &self.path {
            Path::Native(_) => NATIVE,
            Path::Python(_) => PYTHON,
        }
    }

    /// Takes bytes that the peer sent.
    #[inline]
    pub(super) fn feed(&self, py: Python<'_>, cipher_text: &[u8]) -> PyResult<()> {
        match &self.path {
            Path::Native(records) => {
                records.feed(cipher_text);
                Ok(())
            }
            Path::Python(methods) => methods.incoming.write(py, cipher_text),
        }
    }

    /// Takes bytes that the peer sent and runs `action`, which is to look at them.
    #[inline]
    pub(super) fn feed_and_run(
        &self,
        py: Python<'_>,
        cipher_text: &[u8],
        action: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        match &self.path {
            Path::Native(records) => records.lend(cipher_text, action),
            Path::Python(methods) => methods.incoming.write(py, cipher_text).and_then(|()| action()),
        }
    }

    /// How many bytes were fed and not looked at yet.
    #[inline]
    pub(super) fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.path {
            Path::Native(records) => Ok(records.unread()),
            Path::Python(methods) => methods.incoming.pending(py),
        }
    }

    /// Gives the bytes that are to be sent to the peer, if there are any.
    #[inline]
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<Block> {
        match &self.path {
            Path::Native(records) => Ok(Block::Own(records.take())),
            Path::Python(methods) => Ok(Block::Python(methods.outgoing.read(py)?.into())),
        }
    }

    /// How many bytes `take` would give.
    #[inline]
    pub(super) fn unsent(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.path {
            Path::Native(records) => Ok(records.unsent()),
            Path::Python(methods) => methods.outgoing.pending(py),
        }
    }

    /// Decrypts the next record, or what is left of the last one, into the start of `memory`; 0: the peer said goodbye.
    #[inline]
    pub(super) fn read(&self, py: Python<'_>, memory: &mut [u8]) -> PyResult<Outcome<usize>> {
        if let Path::Native(records) = &self.path {
            match records.read(py, memory) {
                Step::Done(count) => return Ok(Outcome::Done(count)),
                Step::Goodbye => return Ok(Outcome::Done(0)),
                Step::WantsMore => return Ok(Outcome::WantsMore),
                Step::Ask => {}
            }
        }
        self.read_by_method(py, memory.len(), |bytes| memory[..bytes.len()].copy_from_slice(bytes))
    }

    /// `read` into memory that nobody has written to.
    #[inline]
    pub(super) fn read_new(
        &self,
        py: Python<'_>,
        memory: &mut [MaybeUninit<u8>],
    ) -> PyResult<Outcome<usize>> {
        if let Path::Native(records) = &self.path {
            match records.read_new(py, memory) {
                Step::Done(count) => return Ok(Outcome::Done(count)),
                Step::Goodbye => return Ok(Outcome::Done(0)),
                Step::WantsMore => return Ok(Outcome::WantsMore),
                Step::Ask => {}
            }
        }
        self.read_by_method(py, memory.len(), |bytes| {
            for (place, byte) in memory.iter_mut().zip(bytes) {
                place.write(*byte);
            }
        })
    }

    /// Gives `copy` what Python's `read()` gives, of at most `room` bytes.
    fn read_by_method(
        &self,
        py: Python<'_>,
        room: usize,
        copy: impl FnOnce(&[u8]),
    ) -> PyResult<Outcome<usize>> {
        let size = room.min(RECORD).into_pyobject(py)?;
        let read = call_method_one(self.methods(py), intern!(py, "read"), size.as_any());
        let chunk = match outcome(py, read.and_then(|chunk| Ok(chunk.cast_into::<PyBytes>()?)))? {
            Outcome::Done(chunk) => chunk,
            Outcome::WantsMore => return Ok(Outcome::WantsMore),
        };
        let bytes = chunk.as_bytes();
        if bytes.len() > room {
            return Err(exceptions::runtime("read() gave more than it was asked for"));
        }
        copy(bytes);
        Ok(Outcome::Done(bytes.len()))
    }

    /// `read` into the memory of a Python object, from byte `start` on.
    #[inline]
    pub(super) fn read_into(&self, memory: &Bound<'_, PyAny>, start: usize) -> PyResult<Outcome<usize>> {
        let py = memory.py();
        if let Path::Native(records) = &self.path {
            let step = buffer::fill(memory, |memory| {
                memory.get_mut(start..).map_or(Step::Ask, |free| records.read(py, free))
            });
            match step {
                Ok(Step::Done(count)) => return Ok(Outcome::Done(count)),
                Ok(Step::Goodbye) => return Ok(Outcome::Done(0)),
                Ok(Step::WantsMore) => return Ok(Outcome::WantsMore),
                // Of memory, too, Python knows more kinds, and what to say of those that will not do.
                Ok(Step::Ask) | Err(_) => {}
            }
        }
        let end = memory.len()?;
        let size = end.saturating_sub(start).into_pyobject(py)?;
        let read = if start == 0 {
            call_method_two(self.methods(py), intern!(py, "read"), size.as_any(), memory)
        } else {
            // A view, as slicing a bytearray would give a copy.
            let free = PySlice::new(py, signed(start), signed(end), 1);
            let free = PyMemoryView::from(memory)?.get_item(free)?;
            call_method_two(self.methods(py), intern!(py, "read"), size.as_any(), &free)
        };
        outcome(py, read.and_then(|count| count.extract()))
    }

    /// Whether another `read` may give something, after one that filled all (`full`) or less of the room it had.
    ///
    /// Asking costs little, and a `read` in vain a lot: of Python's, an exception is made for it.
    #[inline]
    pub(super) fn may_have_more(&self, py: Python<'_>, full: bool) -> PyResult<bool> {
        if self.unread(py)? > 0 {
            return Ok(true);
        }
        Ok(full && self.pending(py)? > 0)
    }

    /// How many bytes of the last record were not read yet.
    pub(super) fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.path {
            Path::Native(records) => Ok(records.pending(py)),
            Path::Python(methods) => {
                call_method_none(methods.owner.bind(py), intern!(py, "pending"))?.extract()
            }
        }
    }

    /// Encrypts a piece, which is not empty; gives how many bytes of it.
    #[inline]
    pub(super) fn write(&self, py: Python<'_>, piece: Piece) -> PyResult<Outcome<usize>> {
        if let Path::Native(records) = &self.path {
            match records.write(py, piece.bytes()) {
                Step::Done(count) => return Ok(Outcome::Done(count)),
                Step::WantsMore => return Ok(Outcome::WantsMore),
                Step::Goodbye | Step::Ask => {}
            }
        }
        let written = call_method_one(self.methods(py), intern!(py, "write"), &piece.into_python(py)?);
        outcome(py, written.and_then(|count| count.extract()))
    }

    /// What has Python's methods for records.
    fn methods<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        match &self.path {
            Path::Native(records) => records.owner().bind(py),
            Path::Python(methods) => methods.owner.bind(py),
        }
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
        match &self.path {
            Path::Native(records) => visit.call(records.owner()),
            Path::Python(methods) => {
                visit.call(&methods.owner)?;
                visit.call(methods.incoming.as_object())?;
                visit.call(methods.outgoing.as_object())
            }
        }
    }
}

impl Settled {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.peercert)?;
        visit.call(&self.cipher)?;
        visit.call(&self.compression)
    }
}

/// The OpenSSL connection behind a connection of Python's, if it can be had and if Python need not see each record.
fn take_over(
    context: &Bound<'_, PyAny>,
    object: &Bound<'_, PyAny>,
    incoming: &MemoryBio,
    outgoing: &MemoryBio,
) -> PyResult<Option<Records>> {
    let py = context.py();
    let forced = match std::env::var("RASYNCIO_TLS").as_deref() {
        Err(_) | Ok("") => false,
        Ok(PYTHON) => return Ok(None),
        Ok(NATIVE) => true,
        Ok(other) => {
            let text = format!("RASYNCIO_TLS must be '{NATIVE}' or '{PYTHON}', not {other:?}");
            return Err(PyValueError::new_err(text));
        }
    };
    let Some(openssl) = library(py)?.openssl(py) else {
        let refused =
            forced.then(|| exceptions::runtime("this Python's OpenSSL can only be used through Python"));
        return refused.map_or(Ok(None), Err);
    };
    // Somebody is told of each record, by Python's own methods.
    let told = context.getattr_opt(intern!(py, "_msg_callback"))?;
    if told.is_some_and(|told| !told.is_none()) {
        return Ok(None);
    }
    Ok(openssl.take_over(object, incoming, outgoing))
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

/// The paths, as `RASYNCIO_TLS` names them.
const NATIVE: &str = "native";
const PYTHON: &str = "python";
