//! What Python sees of a `SubprocessTransport`: `asyncio.SubprocessTransport`'s methods, and the few private names that asyncio's own modules use.

use pyo3::exceptions::PyProcessLookupError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Pipe, STREAMS, SubprocessTransport};
use crate::coroutines::Coroutine;
use crate::event_loop::Loop;
use crate::exceptions;
use crate::interop::stdlib;

impl SubprocessTransport {
    /// Sends the child a signal, and nobody else.
    fn signal(this: &Bound<'_, Self>, number: i32) -> PyResult<()> {
        let (py, own) = (this.py(), this.get());
        let (is_over, has_ended) =
            own.state.with(py, |state| (state.popen.is_none(), state.returncode.is_some()));
        if is_over {
            return Err(PyProcessLookupError::new_err(()));
        }
        if has_ended {
            return Ok(());
        }
        // What `os.kill()` tells, which asyncio calls.
        let sys = py.import(intern!(py, "sys"))?;
        sys.call_method1(intern!(py, "audit"), ("os.kill", own.pid, number))?;
        let sent = own.state.with(py, |state| state.child.send_signal(number));
        // That it is gone the loop will see soon.
        sent.map(drop).map_err(|error| exceptions::os_error(&error))
    }
}

#[pymethods]
impl SubprocessTransport {
    /// asyncio's class, so that `isinstance` finds it and `asyncio.SubprocessTransport`.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).subprocess.transport_class.clone_ref(this.py())
    }

    /// What is known of the child: "subprocess" is the `subprocess.Popen` object.
    #[pyo3(signature = (name, default = None))]
    fn get_extra_info<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.extra.bind(name.py()).get_item(name)?.or(default))
    }

    /// The number of the child's process.
    fn get_pid(&self) -> i32 {
        self.pid
    }

    /// How the child ended: its status, or minus the number of the signal that killed it. None while it runs.
    fn get_returncode(&self, py: Python<'_>) -> Option<i32> {
        self.state.with(py, |state| state.returncode)
    }

    /// The transport of the pipe to the child's descriptor `fd` (0, 1, 2); None where there is no pipe.
    fn get_pipe_transport<'py>(&self, fd: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        self.pipe_protocol(fd.py(), fd.extract().ok()?)?.get().pipe(fd.py())
    }

    /// Sends the child `signal`. `ProcessLookupError` when the transport is at its end; nothing happens when only the child is.
    fn send_signal(this: &Bound<'_, Self>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::signal(this, signal.extract()?)
    }

    /// Asks the child to end: `SIGTERM`.
    fn terminate(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::signal(this, SIGTERM)
    }

    /// Ends the child: `SIGKILL`.
    fn kill(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::signal(this, SIGKILL)
    }

    /// Closes the pipes and kills the child if it still runs. May be called again.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::end(this)
    }

    /// Whether `close()` was called.
    fn is_closing(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.closed)
    }

    /// Sets the protocol that is told from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        let py = protocol.py();
        let kept = protocol.clone().unbind();
        let old = self.state.with(py, |state| state.protocol.replace(kept));
        drop(old);
    }

    /// The protocol; None after it was told of the end.
    fn get_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    fn _wait<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Self::wait(this)
    }

    fn _process_exited(this: &Bound<'_, Self>, returncode: i32) -> PyResult<()> {
        Self::on_returncode(this, returncode)
    }

    fn _call_connection_lost(this: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::finish(this, exc)
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Loop>> {
        self.event_loop(py)
    }

    #[getter]
    fn _protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    #[getter]
    fn _proc<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.popen(py)
    }

    #[getter]
    fn _pid(&self) -> i32 {
        self.pid
    }

    #[getter]
    fn _returncode(&self, py: Python<'_>) -> Option<i32> {
        self.get_returncode(py)
    }

    #[getter]
    fn _closed(&self, py: Python<'_>) -> bool {
        self.is_closing(py)
    }

    #[getter]
    fn _extra<'py>(&self, py: Python<'py>) -> &Bound<'py, PyDict> {
        self.extra.bind(py)
    }

    /// The protocols of the pipes by the child's descriptor; None for one that is not connected yet.
    #[getter]
    fn _pipes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let shown = PyDict::new(py);
        for fd in 0..STREAMS.len() {
            let is_pipe = self.state.with(py, |state| !matches!(state.pipes[fd], Pipe::Foreign));
            if is_pipe {
                shown.set_item(fd, self.pipe_protocol(py, fd))?;
            }
        }
        Ok(shown)
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let (py, own) = (this.py(), this.get());
        let (closed, returncode) = own.state.with(py, |state| (state.closed, state.returncode));
        let mut shown = vec![this.get_type().name()?.to_string()];
        if closed {
            shown.push("closed".to_owned());
        }
        shown.push(format!("pid={}", own.pid));
        shown.push(returncode.map_or_else(|| "running".to_owned(), |code| format!("returncode={code}")));
        for (fd, name) in STREAMS.into_iter().enumerate() {
            if let Some(pipe) = own.pipe_protocol(py, fd).and_then(|protocol| protocol.get().pipe(py)) {
                shown.push(format!("{name}={}", pipe.str()?));
            }
        }
        Ok(format!("<{}>", shown.join(" ")))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
    }
}

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
