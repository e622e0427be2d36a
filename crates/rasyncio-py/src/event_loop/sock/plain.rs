//! Sockets whose `recv()`, `recv_into()` and `send()` are the interpreter's own and do not block: the kernel is asked
//! here, and that it has nothing yet is no exception.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyFloatMethods, PyInt, PyType};
use rasyncio_core::net;

use super::super::Loop;
use crate::exceptions;
use crate::ffi::attributes;
use crate::ffi::buffer;
use crate::ffi::call::call_method_none;
use crate::interop::stdlib;

/// A descriptor that is open and does not block, of a `socket.socket` and of no subclass.
pub(super) struct Plain(i32);

impl Plain {
    /// None for any other socket, and for one that is to block or wait: Python's method knows what to do with it.
    #[inline]
    pub(super) fn of(sock: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = sock.py();
        let class = stdlib(py).socket_class.bind(py);
        if !sock.get_type().is(class) || !has_own_methods(class)? {
            return Ok(None);
        }
        let timeout = call_method_none(sock, intern!(py, "gettimeout"))?;
        if !timeout.cast_exact::<PyFloat>().is_ok_and(|timeout| timeout.value() == 0.0) {
            return Ok(None);
        }
        let descriptor = call_method_none(sock, intern!(py, "fileno"))?.extract()?;
        Ok((descriptor >= 0).then_some(Self(descriptor)))
    }

    /// `recv(size)`; the outer None: only Python's method knows what to do with such a size.
    pub(super) fn receive<'py>(
        &self,
        event_loop: &Loop,
        size: &Bound<'py, PyAny>,
    ) -> Option<PyResult<Option<Bound<'py, PyAny>>>> {
        let py = size.py();
        let size: usize = size.cast_exact::<PyInt>().ok()?.extract().ok()?;
        if size == 0 || size > Loop::SCRATCH_SIZE {
            return None;
        }
        Some(event_loop.with_scratch(py, |scratch| {
            let received = unless_blocked(net::receive(self.0, &mut scratch[..size]))?;
            Ok(received.map(|count| PyBytes::new(py, &scratch[..count]).into_any()))
        }))
    }

    /// `recv_into(memory)`; the outer None: only Python's method knows what to do with such memory.
    pub(super) fn receive_into<'py>(
        &self,
        memory: &Bound<'py, PyAny>,
    ) -> Option<PyResult<Option<Bound<'py, PyAny>>>> {
        let received = buffer::fill(memory, |memory| net::receive(self.0, memory)).ok()?;
        let count = unless_blocked(received);
        Some(count.and_then(|count| {
            count.map(|count| Ok(count.into_pyobject(memory.py())?.into_any())).transpose()
        }))
    }

    /// `send(bytes)`: how many of them the kernel took.
    pub(super) fn send(&self, bytes: &[u8]) -> PyResult<Option<usize>> {
        unless_blocked(net::send(self.0, bytes))
    }
}

fn unless_blocked<R>(result: io::Result<R>) -> PyResult<Option<R>> {
    match result {
        Ok(result) => Ok(Some(result)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(exceptions::os_error(&error)),
    }
}

/// Whether nobody put methods of another kind into the class.
#[inline]
fn has_own_methods(class: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = class.cast::<PyType>()?;
    let version = attributes::version_of(class);
    if version != 0 && version == VERSION_WITH_OWN_METHODS.load(Ordering::Relaxed) {
        return Ok(true);
    }
    let py = class.py();
    let native = stdlib(py).native_socket_class.bind(py);
    for name in ["recv", "recv_into", "send", "fileno", "gettimeout"] {
        if !class.getattr(name)?.is(&native.getattr(name)?) {
            return Ok(false);
        }
    }
    VERSION_WITH_OWN_METHODS.store(attributes::version_of(class), Ordering::Relaxed);
    Ok(true)
}

/// Of `socket.socket`; 0 is none.
static VERSION_WITH_OWN_METHODS: AtomicU32 = AtomicU32::new(0);
