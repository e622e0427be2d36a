//! OpenSSL without Python: reading and writing records of a connection that the interpreter's `_ssl` module made, with the very library that it uses.
//!
//! `_ssl` keeps to itself where its objects have their OpenSSL structures, so they are looked for where Python 3.11 to 3.15 have them, and `find`
//! makes sure of it once: what stands there has to agree with itself, with what OpenSSL says of it and with what Python made. Any doubt, another
//! library than OpenSSL, a build without a GIL, a function that is missing: None, and nobody is told.
//!
//! Bytes go to OpenSSL and come from it through a BIO of our own (`bio`), which takes the place of the two that Python gave the connection.
//! Handshake and shutdown stay Python's. So does everything that is an error: `Step::Ask`, with OpenSSL's queue of errors as it is, so that Python's
//! method, called after it, raises what it would have raised.
//!
//! Invariant: whoever calls a function of the table is attached, and the Python object that owns the connection is alive.

mod bio;
mod table;

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use rasyncio_core::library::Loaded;

use super::buffer::MemoryBio;
use bio::{Ends, Method};
use table::Table;

/// The library that `_ssl` uses, and where `_ssl` keeps what.
pub(crate) struct OpenSsl {
    table: Table,
    method: Method,
    /// `_ssl._SSLSocket`, of which every connection of Python's is an instance.
    connection_class: Py<PyAny>,
}

/// What a step came to.
pub(crate) enum Step {
    /// So many bytes of plain text.
    Done(usize),
    /// The peer said goodbye.
    Goodbye,
    /// More of the peer's bytes have to be fed first.
    WantsMore,
    /// Python's method has to be called, at once.
    Ask,
}

impl OpenSsl {
    /// What the module `_ssl` uses; None where records are better left to it. An error is no more than another doubt.
    pub(crate) fn find(module: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = module.py();
        if cfg!(Py_GIL_DISABLED) || !(py.version_info() >= (3, 11) && py.version_info() < (3, 16)) {
            return Ok(None);
        }
        let is_openssl =
            module.getattr(intern!(py, "OPENSSL_VERSION"))?.extract::<String>()?.starts_with("OpenSSL ");
        // Built into the interpreter, the module has no file.
        let Some(file) = module.getattr_opt(intern!(py, "__file__"))?.filter(|_| is_openssl) else {
            return Ok(None);
        };
        let path = std::ffi::CString::new(file.extract::<String>()?)?;
        let Some(table) = Loaded::find(&path).and_then(Table::of) else {
            return Ok(None);
        };
        let bio_class = module.getattr(intern!(py, "MemoryBIO"))?;
        let (incoming, outgoing) = (MemoryBio::make(&bio_class)?, MemoryBio::make(&bio_class)?);
        let protocol = module.getattr(intern!(py, "PROTOCOL_TLS_CLIENT"))?;
        let context = module.getattr(intern!(py, "_SSLContext"))?.call1((protocol,))?;
        context.setattr(intern!(py, "check_hostname"), false)?;
        let ends = (incoming.as_object(), outgoing.as_object(), false, py.None());
        let object = context.call_method1(intern!(py, "_wrap_bio"), ends)?;
        let is_understood = is_client(&table, &object, &context, &incoming, &outgoing);
        let connection_class = module.getattr(intern!(py, "_SSLSocket"))?;
        if !is_understood || !object.get_type().is(&connection_class) {
            return Ok(None);
        }
        let connection_class = connection_class.unbind();
        Ok(Method::make(&table).map(|method| Self { table, method, connection_class }))
    }

    /// Takes a connection over that is not begun yet; None if it is none of the kind that is known.
    pub(crate) fn take_over(
        &'static self,
        object: &Bound<'_, PyAny>,
        incoming: &MemoryBio,
        outgoing: &MemoryBio,
    ) -> Option<Records> {
        if !object.get_type().is(&self.connection_class) {
            return None;
        }
        let connection = connection_of(&self.table, object, incoming, outgoing)?;
        let ends = Arc::new(Ends::new());
        let bio = self.method.bio(&self.table, &ends)?;
        // SAFETY: the connection is alive, `object` owns it; it takes the one reference to the BIO and lets go of the two that it had.
        unsafe { (self.table.ssl_set_bio)(connection.as_ptr(), bio.as_ptr(), bio.as_ptr()) };
        Some(Records { library: self, connection, ends, owner: object.clone().unbind() })
    }
}

/// The records of one connection.
pub(crate) struct Records {
    library: &'static OpenSsl,
    connection: NonNull<c_void>,
    ends: Arc<Ends>,
    /// Keeps `connection`.
    owner: Py<PyAny>,
}

// SAFETY: `connection` is used by attached threads only, which the GIL lets in one at a time (`find` refuses builds without one).
unsafe impl Send for Records {}
// SAFETY: as above.
unsafe impl Sync for Records {}

impl Records {
    /// What Python's methods belong to.
    pub(crate) fn owner(&self) -> &Py<PyAny> {
        &self.owner
    }

    /// Takes bytes that the peer sent.
    #[inline]
    pub(crate) fn feed(&self, cipher_text: &[u8]) {
        self.ends.feed(cipher_text);
    }

    /// Lends bytes that the peer sent while `action` runs, which may be Python code; what was not looked at by then is copied.
    #[inline]
    pub(crate) fn lend<R>(&self, cipher_text: &[u8], action: impl FnOnce() -> R) -> R {
        self.ends.lend(cipher_text, action)
    }

    /// How many bytes were fed and not looked at yet.
    #[inline]
    pub(crate) fn unread(&self) -> usize {
        self.ends.unread()
    }

    /// Gives the bytes that are to be sent to the peer.
    #[inline]
    pub(crate) fn take(&self) -> Vec<u8> {
        self.ends.take()
    }

    /// How many bytes `take` would give.
    #[inline]
    pub(crate) fn unsent(&self) -> usize {
        self.ends.unsent()
    }

    /// How many bytes of the last record are left.
    #[inline]
    pub(crate) fn pending(&self, _py: Python<'_>) -> usize {
        // SAFETY: attached, and `owner` keeps the connection.
        let pending = unsafe { (self.library.table.ssl_pending)(self.connection.as_ptr()) };
        usize::try_from(pending).unwrap_or(0)
    }

    /// Decrypts into `memory` what is left of a record, or the next one.
    #[inline]
    pub(crate) fn read(&self, py: Python<'_>, memory: &mut [u8]) -> Step {
        // SAFETY: `memory` is borrowed for the call.
        unsafe { self.read_to(py, memory.as_mut_ptr(), memory.len()) }
    }

    /// `read` into memory that nobody has written to.
    #[inline]
    pub(crate) fn read_new(&self, py: Python<'_>, memory: &mut [MaybeUninit<u8>]) -> Step {
        // SAFETY: as above.
        unsafe { self.read_to(py, memory.as_mut_ptr().cast(), memory.len()) }
    }

    /// # Safety
    /// `size` bytes from `start` on may be written to, by nobody else during the call.
    #[inline]
    unsafe fn read_to(&self, py: Python<'_>, start: *mut u8, size: usize) -> Step {
        let mut count = 0;
        let table = self.begin(py);
        // SAFETY: attached, and `owner` keeps the connection; the library writes at most so many bytes, during the call, as the caller allows.
        let done =
            unsafe { (table.ssl_read_ex)(self.connection.as_ptr(), start.cast(), size, &raw mut count) };
        if done == 1 { Step::Done(count.min(size)) } else { self.failed(py, done) }
    }

    /// Encrypts all of `plain_text`, which is not empty.
    #[inline]
    pub(crate) fn write(&self, py: Python<'_>, plain_text: &[u8]) -> Step {
        let mut count = 0;
        let table = self.begin(py);
        self.ends.expect(plain_text.len());
        // SAFETY: attached, and `owner` keeps the connection; the library reads so many bytes of `plain_text`, during the call.
        let done = unsafe {
            (table.ssl_write_ex)(
                self.connection.as_ptr(),
                plain_text.as_ptr().cast(),
                plain_text.len(),
                &raw mut count,
            )
        };
        if done == 1 { Step::Done(count) } else { self.failed(py, done) }
    }

    /// What somebody left in the queue of errors would be taken for ours. To clear one that is empty costs ten times as much as to ask whether it is.
    #[inline]
    fn begin(&self, _py: Python<'_>) -> &Table {
        let table = &self.library.table;
        // SAFETY: the call needs nothing; the queue is this thread's.
        if unsafe { (table.err_peek_error)() } != 0 {
            // SAFETY: as above.
            unsafe { (table.err_clear_error)() };
        }
        table
    }

    #[cold]
    fn failed(&self, _py: Python<'_>, done: c_int) -> Step {
        let table = &self.library.table;
        // SAFETY: attached, and `owner` keeps the connection; nothing was called since the step that it is asked about.
        match unsafe { (table.ssl_get_error)(self.connection.as_ptr(), done) } {
            WANT_READ => Step::WantsMore,
            ZERO_RETURN => {
                // SAFETY: attached, and `owner` keeps the connection.
                let shutdown = unsafe { (table.ssl_get_shutdown)(self.connection.as_ptr()) };
                // Python raises an exception for a goodbye after our own.
                if shutdown == RECEIVED_SHUTDOWN { Step::Goodbye } else { Step::Ask }
            }
            _ => Step::Ask,
        }
    }
}

/// Whether a connection of `context` is where it is looked for, and is what it seems to be.
fn is_client(
    table: &Table,
    object: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
    incoming: &MemoryBio,
    outgoing: &MemoryBio,
) -> bool {
    if word(object, CONTEXT) != context.as_ptr().cast() || !word(object, SOCKET).is_null() {
        return false;
    }
    let Some(connection) = connection_of(table, object, incoming, outgoing) else {
        return false;
    };
    // SAFETY: `connection_of` found it to be a connection; `object` keeps it.
    let its_context = unsafe { (table.ssl_get_ssl_ctx)(connection.as_ptr()) };
    // SAFETY: as above.
    let its_method = unsafe { (table.ssl_get_ssl_method)(connection.as_ptr()) };
    // SAFETY: the call takes and needs nothing.
    let method = unsafe { (table.tls_client_method)() };
    // The method is a structure of the library: another copy of it would have another.
    its_context == word(context, BEHIND_HEAD) && its_method == method
}

/// The connection of an `_ssl._SSLSocket`, found by the two BIOs that Python gave it.
fn connection_of(
    table: &Table,
    object: &Bound<'_, PyAny>,
    incoming: &MemoryBio,
    outgoing: &MemoryBio,
) -> Option<NonNull<c_void>> {
    let ends = [incoming, outgoing].map(|bio| word(bio.as_object().bind(object.py()), BEHIND_HEAD));
    let connection = NonNull::new(word(object, CONNECTION))?;
    // SAFETY: versions 3.11 to 3.15 have the connection there. What is wrong with that shows here, before anything is changed: the structure begins
    // with its BIOs and has more behind them, so the reading itself is of memory that is there.
    let read_end = unsafe { (table.ssl_get_rbio)(connection.as_ptr()) };
    // SAFETY: as above.
    let write_end = unsafe { (table.ssl_get_wbio)(connection.as_ptr()) };
    (!ends.contains(&std::ptr::null_mut()) && [read_end, write_end] == ends).then_some(connection)
}

/// The word at `place`, counted in words behind the head of an object; NULL where the object has no such place.
fn word(object: &Bound<'_, PyAny>, place: usize) -> *mut c_void {
    let kind = object.get_type();
    // SAFETY: a type is alive as long as there is a reference to it, which `kind` is.
    let size = unsafe { (*kind.as_type_ptr()).tp_basicsize };
    let index = size_of::<ffi::PyObject>() / size_of::<*mut c_void>() + place;
    let end = (index + 1) * size_of::<*mut c_void>();
    if usize::try_from(size).is_ok_and(|size| size >= end) {
        // SAFETY: within the object, which has `size` bytes.
        let place = unsafe { object.as_ptr().cast::<*mut c_void>().add(index) };
        // SAFETY: as above; objects, and what follows their heads, are aligned for pointers.
        unsafe { place.read() }
    } else {
        std::ptr::null_mut()
    }
}

/// Of an `_SSLSocket`: the weak reference to its socket, the `SSL`, and the context. Of an `_SSLContext` and of a `MemoryBIO`: the `SSL_CTX`, the `BIO`.
const SOCKET: usize = 0;
const CONNECTION: usize = 1;
const CONTEXT: usize = 2;
const BEHIND_HEAD: usize = 0;

/// OpenSSL's `SSL_ERROR_WANT_READ`, `SSL_ERROR_ZERO_RETURN`, `SSL_RECEIVED_SHUTDOWN`.
const WANT_READ: c_int = 2;
const ZERO_RETURN: c_int = 6;
const RECEIVED_SHUTDOWN: c_int = 2;
