//! What Python sees of a `StreamReaderProtocol`: a protocol's methods, and the attributes that libraries and asyncio's own modules use.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};

use super::flow_control::FlowControl;
use super::protocol::{StreamReaderProtocol, feed, is_over_tls};
use crate::ffi::call::{call_method_none, call_method_one};

#[pymethods]
impl StreamReaderProtocol {
    #[new]
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "(stream_reader, client_connected_cb=None, loop=None)"
    )]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        PyClassInitializer::from(FlowControl::default()).add_subclass(Self::default())
    }

    #[pyo3(signature = (stream_reader, client_connected_cb = None, r#loop = None))]
    fn __init__(
        this: &Bound<'_, Self>,
        stream_reader: Option<&Bound<'_, PyAny>>,
        client_connected_cb: Option<&Bound<'_, PyAny>>,
        r#loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::begin(this, stream_reader, client_connected_cb, r#loop)
    }

    /// There is a connection.
    fn connection_made(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if this.get().state.with(this.py(), |state| state.reject_connection) {
            return Self::reject(this, transport);
        }
        Self::connected(this, transport)
    }

    /// The connection is gone: whoever reads gets `exc`, or the end if that is None; whoever waits for the end goes on.
    fn connection_lost(this: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        if let Some(reader) = Self::reader(this)? {
            if exc.is_none() {
                call_method_none(&reader, intern!(py, "feed_eof"))?;
            } else {
                call_method_one(&reader, intern!(py, "set_exception"), exc)?;
            }
        }
        this.get().end(exc)?;
        FlowControl::lose(this.as_super(), exc)?;
        let dropped = this.get().state.with(py, |state| {
            (state.reader.take(), state.writer.take(), state.task.take(), state.transport.take())
        });
        drop(dropped);
        Ok(())
    }

    /// Bytes for the reader.
    fn data_received(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        match Self::reader(this)? {
            Some(reader) => feed(&reader, data),
            None => Ok(()),
        }
    }

    /// The peer sends no more; whether the connection stays open for writing.
    fn eof_received(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        if let Some(reader) = Self::reader(this)? {
            call_method_none(&reader, intern!(py, "feed_eof"))?;
        }
        // TLS cannot stay open.
        Ok(!this.get().state.with(py, |state| state.over_ssl))
    }

    fn _get_close_waiter<'py>(&self, stream: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        self.closed(stream.py())
    }

    pub(super) fn _replace_transport(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let over_ssl = is_over_tls(transport)?;
        let kept = transport.clone().unbind();
        let old = this.get().state.with(py, |state| {
            state.over_ssl = over_ssl;
            state.transport.replace(kept)
        });
        drop(old);
        match Self::reader(this)? {
            Some(reader) => call_method_one(&reader, intern!(py, "_replace_transport"), transport).map(drop),
            None => Ok(()),
        }
    }

    /// How asyncio up to some 3.12 does the same.
    fn _replace_writer(this: &Bound<'_, Self>, writer: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let kept = writer.clone().unbind();
        drop(this.get().state.with(py, |state| state.writer.replace(kept)));
        Self::_replace_transport(this, &writer.getattr(intern!(py, "transport"))?)
    }

    /// The end of the connection is not reported, whether anybody waited for it or not.
    fn __del__(&self, py: Python<'_>) -> PyResult<()> {
        self.see_closed(py)
    }

    /// The reader, while somebody has it.
    #[getter]
    fn _stream_reader<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.own_reader(py)
    }

    #[getter]
    fn _stream_reader_wr<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyWeakrefReference>> {
        self.state.with(py, |state| state.reader.as_ref().map(|reader| reader.bind(py).clone()))
    }

    #[setter(_stream_reader_wr)]
    fn set_stream_reader_wr(&self, py: Python<'_>, value: Option<Py<PyWeakrefReference>>) {
        self.state.put(py, |state| &mut state.reader, value);
    }

    #[getter]
    fn _strong_reader<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.strong_reader.as_ref().map(|reader| reader.bind(py).clone()))
    }

    #[setter(_strong_reader)]
    fn set_strong_reader(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.strong_reader, value);
    }

    #[getter]
    fn _stream_writer<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.writer.as_ref().map(|writer| writer.bind(py).clone()))
    }

    #[setter(_stream_writer)]
    fn set_stream_writer(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.writer, value);
    }

    #[getter]
    fn _client_connected_cb<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.callback(py)
    }

    #[setter(_client_connected_cb)]
    fn set_callback(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.callback, value);
    }

    #[getter]
    fn _task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.task.as_ref().map(|task| task.bind(py).clone()))
    }

    #[setter(_task)]
    fn set_task(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.task, value);
    }

    #[getter]
    fn _transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.transport.as_ref().map(|transport| transport.bind(py).clone()))
    }

    #[setter(_transport)]
    fn set_transport(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.transport, value);
    }

    #[getter]
    fn _closed<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.closed(py)
    }

    #[setter(_closed)]
    fn set_closed(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.closed, value);
    }

    #[getter]
    pub(super) fn _source_traceback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.source_traceback.as_ref().map(|traceback| traceback.bind(py).clone()))
    }

    #[setter(_source_traceback)]
    fn set_source_traceback(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.source_traceback, value);
    }

    #[getter]
    fn _reject_connection(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.reject_connection)
    }

    #[setter(_reject_connection)]
    fn set_reject_connection(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.reject_connection = value);
    }

    #[getter]
    fn _over_ssl(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.over_ssl)
    }

    #[setter(_over_ssl)]
    fn set_over_ssl(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.over_ssl = value);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| state.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}
