//! A file that `loop.sendfile()` sends through a stream transport, behind what was written before.
//!
//! The coroutine of `sendfile()` calls the kernel; the transport lends its descriptor, refuses other writes meanwhile, waits for room and tells
//! of the end of the connection.

use std::os::fd::RawFd;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use rasyncio_core::reactor::Operation;

use super::flow_control::Sending;
use super::life::Transport;
use super::tcp::TcpTransport;
use crate::exceptions;

/// What a transport knows of the one `sendfile()` under way.
pub(super) struct FileTurn {
    /// A callable for whenever there is something new to look at.
    bell: Py<PyAny>,
    /// What broke the connection while it was written to.
    failure: Option<PyErr>,
}

impl FileTurn {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bell)
    }
}

/// Where the transport stands in the eyes of `sendfile()`.
pub(crate) enum FileStage {
    /// What was written before is not sent yet.
    Waiting,
    /// The kernel may be given the file, through this descriptor.
    Open(RawFd),
    /// The connection is gone, because of an error if there is one.
    Lost(Option<PyErr>),
}

impl TcpTransport {
    /// Refuses other writes from now on; `bell` is called when the stage may have changed. RuntimeError if a file is being sent already.
    pub(crate) fn begin_file(this: &Bound<'_, Self>, bell: Py<PyAny>) -> PyResult<()> {
        Self::send_collected(this)?;
        let mut turn = Some(Box::new(FileTurn { bell, failure: None }));
        let refused = this.get().state.with(this.py(), |state| {
            if state.output.file.is_none() {
                state.output.file = turn.take();
            }
            turn
        });
        match refused {
            Some(_) => Err(exceptions::runtime("Empty waiter is already set")),
            None => Ok(()),
        }
    }

    pub(crate) fn file_stage(this: &Bound<'_, Self>) -> FileStage {
        let own = this.get();
        own.state.with(this.py(), |state| {
            if state.life.is_lost() || state.life.token.is_none() {
                let failure = state.output.file.as_mut().and_then(|turn| turn.failure.take());
                return FileStage::Lost(failure);
            }
            if state.output.queue.is_empty() { FileStage::Open(own.fd) } else { FileStage::Waiting }
        })
    }

    /// Has the bell ring when the kernel has room.
    pub(crate) fn wait_for_room(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if this.get().state.with(py, |state| state.output.sending == Sending::Refused) {
            return Ok(());
        }
        Self::set_armed(this, Operation::Send, true)?.map_err(|error| exceptions::os_error(&error))?;
        this.get().state.with(py, |state| state.output.sending = Sending::Refused);
        Ok(())
    }

    /// The end of `sendfile()`, however it ended: writing is open again.
    pub(crate) fn end_file(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let (turn, waited) = this.get().state.with(py, |state| {
            let waited = state.output.sending == Sending::Refused && state.output.queue.is_empty();
            if waited {
                state.output.sending = Sending::Idle;
            }
            (state.output.file.take(), waited)
        });
        drop(turn);
        if waited {
            // Only arming can fail.
            Self::set_armed(this, Operation::Send, false)?.ok();
        }
        Ok(())
    }

    /// Rings if a file is being sent; whether one is.
    pub(super) fn ring_for_file(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        let bell =
            this.get().state.with(py, |state| state.output.file.as_ref().map(|turn| turn.bell.clone_ref(py)));
        match bell {
            Some(bell) => bell.bind(py).call0().map(|_| true),
            None => Ok(false),
        }
    }

    /// Keeps for `sendfile()` what ends the connection.
    pub(super) fn note_file_failure(&self, py: Python<'_>, error: &PyErr) {
        let before = self.state.with(py, |state| {
            let turn = state.output.file.as_mut()?;
            turn.failure.replace(error.clone_ref(py))
        });
        drop(before);
    }
}
