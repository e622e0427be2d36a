//! What `sock_recv()`, `sock_accept()` and their like call, until it does not block.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::super::Loop;
use super::operation::Attempt;
use super::plain::Plain;
use super::ready::Direction;
use crate::ffi::call::{call_method_none, call_method_one};

pub(super) struct Receive {
    pub(super) size: Py<PyAny>,
}

impl Attempt for Receive {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let size = self.size.bind(sock.py());
        match Plain::of(sock)?.and_then(|plain| plain.receive(event_loop.get(), size)) {
            Some(received) => received,
            None => call_method_one(sock, intern!(sock.py(), "recv"), size).map(Some),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.size)
    }
}

pub(super) struct ReceiveInto {
    pub(super) memory: Py<PyAny>,
}

impl Attempt for ReceiveInto {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        _event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let memory = self.memory.bind(sock.py());
        match Plain::of(sock)?.and_then(|plain| plain.receive_into(memory)) {
            Some(received) => received,
            None => call_method_one(sock, intern!(sock.py(), "recv_into"), memory).map(Some),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.memory)
    }
}

pub(super) struct ReceiveFrom {
    pub(super) size: Py<PyAny>,
}

impl Attempt for ReceiveFrom {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        _event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        call_method_one(sock, intern!(sock.py(), "recvfrom"), self.size.bind(sock.py())).map(Some)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.size)
    }
}

pub(super) struct ReceiveFromInto {
    pub(super) memory: Py<PyAny>,
    pub(super) size: Option<Py<PyAny>>,
}

impl Attempt for ReceiveFromInto {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        _event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = sock.py();
        let memory = self.memory.bind(py);
        let received = match &self.size {
            Some(size) if size.bind(py).is_truthy()? => {
                sock.call_method1(intern!(py, "recvfrom_into"), (memory, size))
            }
            _ => sock.call_method1(intern!(py, "recvfrom_into"), (memory, memory.len()?)),
        };
        received.map(Some)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.memory)?;
        visit.call(&self.size)
    }
}

pub(super) struct Accept;

impl Attempt for Accept {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        _event_loop: &Bound<'py, Loop>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = sock.py();
        let accepted = call_method_none(sock, intern!(py, "accept"))?;
        accepted.get_item(0)?.call_method1(intern!(py, "setblocking"), (false,))?;
        Ok(Some(accepted))
    }

    fn visit(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}
