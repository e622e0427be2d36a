//! What Python sees of a `Server`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefReference};

use super::{Server, closed};
use crate::coroutines::{Coroutine, wait_for};
use crate::event_loop::Loop;
use crate::exceptions;
use crate::futures::Future;
use crate::interop::stdlib;
use crate::tasks::next_turn;

impl Server {
    async fn wait_until_over(this: Py<Self>) -> PyResult<()> {
        match Python::attach(|py| Self::closed_waiter(this.bind(py)))? {
            Some(waiter) => wait_for(waiter.into_any()).await.map(drop),
            None => Ok(()),
        }
    }

    /// Begins to serve and makes the future that only `close()` and a cancellation end.
    fn begin_forever(this: &Bound<'_, Self>) -> PyResult<Py<Future>> {
        let py = this.py();
        let own = this.get();
        if own.state.with(py, |state| state.forever.is_some()) {
            let text = format!("server {} is already being awaited on serve_forever()", this.repr()?);
            return Err(exceptions::runtime(text));
        }
        if own.is_closed(py) {
            return Err(closed(this));
        }
        Self::begin_serving(this)?;
        let forever = Self::future(this)?;
        let known = PyWeakrefReference::new(forever.bind(py))?.unbind();
        let old = own.state.with(py, |state| state.forever.replace(known));
        drop(old);
        Ok(forever)
    }

    fn forget_forever(&self, py: Python<'_>) {
        let old = self.state.with(py, |state| state.forever.take());
        drop(old);
    }

    /// After a cancellation of `serve_forever()`: closes, waits for the connections (from 3.14 on it closes them too), and stays cancelled.
    async fn end_forever(this: Py<Self>) -> PyResult<()> {
        Python::attach(|py| {
            Self::end_serving(this.bind(py))?;
            if py.version_info() >= (3, 14) {
                this.get().call_transports(py, "close")?;
            }
            PyResult::Ok(())
        })?;
        Self::wait_until_over(this).await
    }
}

#[cfg(Py_3_13)]
#[pymethods]
impl Server {
    /// Closes all connections once what was written is sent.
    fn close_clients(&self, py: Python<'_>) -> PyResult<()> {
        self.call_transports(py, "close")
    }

    /// Ends all connections at once.
    fn abort_clients(&self, py: Python<'_>) -> PyResult<()> {
        self.call_transports(py, "abort")
    }
}

#[pymethods]
impl Server {
    /// `asyncio.Server`, so that `isinstance` finds it.
    #[getter]
    fn __class__(this: &Bound<'_, Self>) -> Py<PyAny> {
        stdlib(this.py()).server_class.clone_ref(this.py())
    }

    /// The loop that serves.
    fn get_loop(&self, py: Python<'_>) -> Py<Loop> {
        self.event_loop.clone_ref(py)
    }

    /// Whether the server accepts connections.
    fn is_serving(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.serving)
    }

    /// The listening sockets; none when the server is closed.
    #[getter]
    fn sockets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.shown_sockets(py)
    }

    /// Stops listening. Connections stay open.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::end_serving(this)
    }

    /// Begins to accept connections; does nothing if the server does already.
    fn start_serving<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let server = this.clone().unbind();
        Coroutine::make(this.py(), "Server.start_serving", async move {
            let pause = Python::attach(|py| {
                Self::begin_serving(server.bind(py))?;
                next_turn(py)
            })?;
            wait_for(pause).await
        })
    }

    /// Accepts connections until it is cancelled, which closes the server.
    fn serve_forever<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let server = this.clone().unbind();
        Coroutine::make(this.py(), "Server.serve_forever", async move {
            let (forever, server, closing) = Python::attach(|py| {
                let forever = Self::begin_forever(server.bind(py))?;
                PyResult::Ok((forever, server.clone_ref(py), server))
            })?;
            let mut outcome = wait_for(forever.into_any()).await;
            let was_cancelled = Python::attach(|py| match &outcome {
                Err(error) => exceptions::is_cancelled(py, error),
                Ok(_) => false,
            });
            if was_cancelled && let Err(error) = Self::end_forever(closing).await {
                outcome = Err(error);
            }
            Python::attach(|py| server.get().forget_forever(py));
            outcome
        })
    }

    /// Waits until the server is closed and (from 3.12) all its connections are gone.
    fn wait_closed<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let server = this.clone().unbind();
        Coroutine::make(this.py(), "Server.wait_closed", async move {
            Self::wait_until_over(server).await?;
            Python::attach(|py| Ok(py.None()))
        })
    }

    fn __aenter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let server = this.clone().unbind();
        Coroutine::make(this.py(), "Server.__aenter__", async move { Ok(server.into_any()) })
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        this: &Bound<'py, Self>,
        _exception: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let server = this.clone().unbind();
        Coroutine::make(this.py(), "Server.__aexit__", async move {
            Python::attach(|py| Self::end_serving(server.bind(py)))?;
            Self::wait_until_over(server).await?;
            Python::attach(|py| Ok(py.None()))
        })
    }

    #[pyo3(signature = (transport = None))]
    fn _attach(this: &Bound<'_, Self>, transport: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        Self::attach(this, transport)
    }

    #[pyo3(signature = (transport = None))]
    fn _detach(this: &Bound<'_, Self>, transport: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        Self::detach(this, transport)
    }

    fn _wakeup(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::wake_waiters(this)
    }

    fn _start_serving(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::begin_serving(this)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<Loop> {
        self.event_loop.clone_ref(py)
    }

    #[getter]
    fn _sockets(&self, py: Python<'_>) -> Option<Vec<Py<PyAny>>> {
        self.state.with(py, |state| {
            let sockets = state.sockets.as_ref()?;
            Some(sockets.iter().map(|socket| socket.clone_ref(py)).collect())
        })
    }

    #[getter]
    fn _waiters(&self, py: Python<'_>) -> Option<Vec<Py<Future>>> {
        self.state.with(py, |state| {
            let waiters = state.waiters.as_ref()?;
            Some(waiters.iter().map(|waiter| waiter.clone_ref(py)).collect())
        })
    }

    #[getter]
    fn _serving(&self, py: Python<'_>) -> bool {
        self.is_serving(py)
    }

    #[getter]
    fn _protocol_factory(&self, py: Python<'_>) -> Py<PyAny> {
        self.protocol_factory.clone_ref(py)
    }

    #[getter]
    fn _backlog(&self) -> i32 {
        self.backlog
    }

    /// None for a server without TLS, as are the two below.
    #[getter]
    fn _ssl_context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.tls.as_ref().and_then(|tls| tls.context(py))
    }

    #[getter]
    fn _ssl_handshake_timeout(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.tls.as_ref().and_then(|tls| tls.handshake_timeout(py))
    }

    #[getter]
    fn _ssl_shutdown_timeout(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.tls.as_ref().and_then(|tls| tls.shutdown_timeout(py))
    }

    #[getter]
    fn _active_count(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.connections.len())
    }

    /// A `weakref.WeakSet` of the transports, as asyncio has since 3.13; a copy.
    #[getter]
    fn _clients<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.import(intern!(py, "weakref"))?.getattr(intern!(py, "WeakSet"))?;
        class.call1((self.transports(py),))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Server sockets={}>", self.shown_sockets(py)?.repr()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
    }
}
