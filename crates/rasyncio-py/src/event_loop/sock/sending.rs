//! What `sock_sendall()` and `sock_sendto()` call, until it does not block.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyString};

use super::super::Loop;
use super::operation::{Attempt, would_block};
use super::plain::Plain;
use super::ready::Direction;
use crate::ffi::call::call_method_one;

pub(super) struct SendAll {
    data: Py<PyAny>,
    /// The bytes of `data`, taken when the first call did not send all of them.
    view: Option<Py<PyAny>>,
    sent: usize,
}

impl Attempt for SendAll {
    const DIRECTION: Direction = Direction::Write;

    fn attempt<'py>(
        &mut self,
        _event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = sock.py();
        let bytes = self.data.bind(py).cast::<PyBytes>().ok();
        if let Some(bytes) = bytes
            && let Some(plain) = Plain::of(sock)?
        {
            let bytes = bytes.as_bytes();
            self.sent += plain.send(&bytes[self.sent..])?.unwrap_or(0);
            return Ok((self.sent == bytes.len()).then(|| py.None().into_bound(py)));
        }
        self.send_by_method(sock)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.data)?;
        visit.call(&self.view)
    }
}

impl SendAll {
    pub(super) fn new(data: Py<PyAny>) -> Self {
        Self { data, view: None, sent: 0 }
    }

    /// Sends once; None is given in the end.
    fn send_by_method<'py>(&mut self, sock: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = sock.py();
        let sent = match &self.view {
            None if self.sent == 0 => call_method_one(sock, intern!(py, "send"), self.data.bind(py)),
            _ => call_method_one(sock, intern!(py, "send"), &self.rest(py)?),
        };
        match sent {
            Ok(count) => self.sent += count.extract::<usize>()?,
            Err(error) if would_block(py, &error) => {}
            Err(error) => return Err(error),
        }
        let size = match (&self.view, self.data.bind(py).cast::<PyBytes>()) {
            (Some(view), _) => view.bind(py).len()?,
            (None, Ok(bytes)) if bytes.as_bytes().len() == self.sent => self.sent,
            (None, _) => self.take_view(py)?.len()?,
        };
        Ok((self.sent == size).then(|| py.None().into_bound(py)))
    }

    /// The bytes that were not sent yet, not copied.
    fn rest<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = match &self.view {
            Some(view) => view.bind(py).clone(),
            None => self.take_view(py)?,
        };
        view.get_item(PySlice::new(py, isize::try_from(self.sent)?, isize::MAX, 1))
    }

    /// Takes the view. Bytes are counted, whatever the items of the buffer are.
    fn take_view<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = PyMemoryView::from(self.data.bind(py))?;
        let view = view.call_method1(intern!(py, "cast"), (PyString::new(py, "B"),))?;
        self.view = Some(view.clone().unbind());
        Ok(view)
    }
}

pub(super) struct SendTo {
    pub(super) data: Py<PyAny>,
    pub(super) address: Py<PyAny>,
}

impl Attempt for SendTo {
    const DIRECTION: Direction = Direction::Write;

    fn attempt<'py>(
        &mut self,
        _event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = sock.py();
        sock.call_method1(intern!(py, "sendto"), (self.data.bind(py), self.address.bind(py))).map(Some)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.data)?;
        visit.call(&self.address)
    }
}
