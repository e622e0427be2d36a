//! Watching child processes until they have ended (asyncio: the child watchers of `unix_events.py`).
//!
//! A child is a source of the reactor, through the descriptor of its process; where there is none, a thread waits for it. No handler for
//! SIGCHLD is set: that signal is the program's. Up to Python 3.13 a program may have a watcher of its own, and then that one is asked.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rasyncio_core::reactor::{Operation, Token};

use super::{Loop, Ready, Source};
use crate::exceptions;
use crate::interop::stdlib;
use crate::transports::subprocess::SubprocessTransport;

impl Loop {
    /// From now on the loop learns of the end of the child, and keeps its transport until then.
    pub(super) fn watch_child(
        this: &Bound<'_, Self>,
        transport: &Bound<'_, SubprocessTransport>,
    ) -> PyResult<()> {
        let py = this.py();
        let (descriptor, has_ended) =
            transport.get().child(py, |child| (child.descriptor(), child.look().is_some()));
        if let Some(fd) = descriptor {
            let kept = transport.clone().unbind();
            let (armed, unused) = this.get().with_reactor(py, |reactor| {
                let token = reactor.insert(fd, Source::Child(kept));
                let armed = reactor.arm(token, Operation::Readable);
                let unused = if armed.is_err() { reactor.remove(token) } else { None };
                (armed, unused)
            })?;
            drop(unused);
            if armed.is_ok() {
                return Ok(());
            }
        }
        let kept = transport.clone().unbind();
        if has_ended {
            this.get().defer(py, move |event_loop| Self::on_child_ended(event_loop, kept));
            return Ok(());
        }
        let (number, inbox) = (transport.get().pid(), this.get().inbox.clone());
        // The thread holds nothing of Python's, so it can outlive the loop and the interpreter.
        let on_end = move || {
            let ended = move |event_loop: &Bound<'_, Self>| Self::on_child_awaited(event_loop, number);
            inbox.push(Ready::Deferred(Box::new(ended)));
        };
        let begun = transport.get().child(py, |child| child.await_in_thread(on_end));
        begun.map_err(|error| exceptions::os_error(&error))?;
        drop(this.get().awaited_children.with(py, |awaited| awaited.insert(number, kept)));
        Ok(())
    }

    /// The thread that waited for a child tells that it has ended.
    fn on_child_awaited(this: &Bound<'_, Self>, number: i32) -> PyResult<()> {
        match this.get().awaited_children.with(this.py(), |awaited| awaited.remove(&number)) {
            Some(transport) => Self::on_child_ended(this, transport),
            None => Ok(()),
        }
    }

    /// The descriptor of a child tells that it has ended.
    pub(super) fn on_child_readable(
        this: &Bound<'_, Self>,
        token: Token,
        transport: Py<SubprocessTransport>,
    ) -> PyResult<()> {
        let py = this.py();
        if transport.get().child(py, |child| child.look().is_none()) {
            return Ok(());
        }
        let source = this.get().with_reactor(py, |reactor| reactor.remove(token))?;
        drop(source);
        Self::on_child_ended(this, transport)
    }

    fn on_child_ended(this: &Bound<'_, Self>, transport: Py<SubprocessTransport>) -> PyResult<()> {
        Self::publish_after(this, turns_of_watchers(this.py()), transport)
    }

    fn publish_after(this: &Bound<'_, Self>, turns: u32, transport: Py<SubprocessTransport>) -> PyResult<()> {
        let py = this.py();
        let Some(left) = turns.checked_sub(1) else {
            return SubprocessTransport::on_ended(transport.bind(py), this);
        };
        this.get().defer(py, move |event_loop| Self::publish_after(event_loop, left, transport));
        Ok(())
    }
}

/// In how many turns from learning of the end of a child asyncio's watchers make it known: so many loops and threads it goes through there.
fn turns_of_watchers(py: Python<'_>) -> u32 {
    match py.version_info() {
        version if version < (3, 12) => 2,
        version if version < (3, 14) => 1,
        _ => 0,
    }
}

/// The watcher that the program set, or that its own policy has. None: the loop watches children itself.
pub(super) fn watcher_of_program(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Some(watchers) = &stdlib(py).subprocess.watchers else {
        return Ok(None);
    };
    let policy = watchers.get_policy.bind(py).call0()?;
    let method = intern!(py, "get_child_watcher");
    if !policy.get_type().getattr(method)?.is(&watchers.default_method) {
        return policy.call_method0(method).map(Some);
    }
    let watcher = policy.getattr(intern!(py, "_watcher"))?;
    Ok((!watcher.is_none()).then_some(watcher))
}

#[pymethods]
impl Loop {
    /// A watcher of the program tells, in any thread, how the child behind `transp` ended.
    fn _child_watcher_callback(
        this: &Bound<'_, Self>,
        pid: &Bound<'_, PyAny>,
        returncode: &Bound<'_, PyAny>,
        transp: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let _ = pid;
        let method = transp.getattr(intern!(py, "_process_exited"))?;
        if py.version_info() >= (3, 14) {
            return method.call1((returncode,)).map(drop);
        }
        let threadsafe = this.getattr(intern!(py, "call_soon_threadsafe"))?;
        if py.version_info() >= (3, 12) {
            return threadsafe.call1((method, returncode)).map(drop);
        }
        let arguments: Bound<'_, PyTuple> =
            (this.getattr(intern!(py, "call_soon"))?, method, returncode).into_pyobject(py)?;
        threadsafe.call1(arguments).map(drop)
    }
}
