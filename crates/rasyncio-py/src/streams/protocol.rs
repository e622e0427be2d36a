//! `StreamReaderProtocol`: what a transport calls, and hands on to a reader.
//!
//! Transports of ours call a plain one without a Python call: `received`, or `reader_for` when the bytes are only lent.

use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefMethods, PyWeakrefReference};

use super::flow_control::FlowControl;
use super::reader::StreamReader;
use super::writer::StreamWriter;
use crate::event_loop::Loop;
use crate::exceptions::Report;
use crate::ffi::allocation::new_with_dict;
use crate::ffi::attributes;
use crate::ffi::call::{call_method_none, call_method_one, call_two};
use crate::ffi::cell::GilCell;
use crate::futures::waiting;
use crate::interop::stdlib;
use crate::tasks::{is_coroutine, spawn};

/// Lets a transport and a `StreamReader` work together.
///
/// Parameters: `stream_reader`, which is not kept alive, or None; `client_connected_cb`, called with the reader and a writer when there is a connection, a task is
/// made of what it gives if that is a coroutine; `loop`, by default the current one.
#[pyclass(frozen, subclass, extends = FlowControl, name = "StreamReaderProtocol", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct StreamReaderProtocol {
    pub(super) state: GilCell<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) reader: Option<Py<PyWeakrefReference>>,
    /// Until there is a connection, for a server's reader, which nobody else has.
    pub(super) strong_reader: Option<Py<PyAny>>,
    /// Where asyncio's protocol keeps it, too.
    pub(super) writer: Option<Py<PyAny>>,
    pub(super) callback: Option<Py<PyAny>>,
    pub(super) task: Option<Py<PyAny>>,
    pub(super) transport: Option<Py<PyAny>>,
    /// Done when the connection is lost.
    pub(super) closed: Option<Py<PyAny>>,
    pub(super) source_traceback: Option<Py<PyAny>>,
    pub(super) reject_connection: bool,
    pub(super) over_ssl: bool,
}

impl StreamReaderProtocol {
    /// A protocol of a connection that we make ourselves.
    pub(crate) fn make<'py>(
        event_loop: &Bound<'py, PyAny>,
        reader: &Bound<'py, StreamReader>,
        callback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let fresh = PyClassInitializer::from(FlowControl::default()).add_subclass(Self::default());
        let protocol = new_with_dict(event_loop.py(), fresh)?;
        Self::begin(&protocol, Some(reader.as_any()), callback, Some(event_loop))?;
        Ok(protocol)
    }

    /// What `__init__` does.
    pub(super) fn begin(
        this: &Bound<'_, Self>,
        reader: Option<&Bound<'_, PyAny>>,
        callback: Option<&Bound<'_, PyAny>>,
        event_loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        FlowControl::begin(this.as_super(), event_loop)?;
        let mut fresh =
            State { callback: callback.map(|callback| callback.clone().unbind()), ..State::default() };
        if let Some(reader) = reader {
            fresh.reader = Some(PyWeakrefReference::new(reader)?.unbind());
            fresh.source_traceback = match StreamReader::plain(reader) {
                Some(reader) => reader.get().source_traceback(py).map(Bound::unbind),
                None => Some(reader.getattr(intern!(py, "_source_traceback"))?.unbind()),
            };
            fresh.strong_reader = callback.map(|_| reader.clone().unbind());
        }
        fresh.closed = Some(Loop::new_future(&this.as_super().get().event_loop(py)?)?.unbind());
        drop(this.get().state.replace(py, fresh));
        Ok(())
    }

    /// `object`, if it is a protocol whose methods are the ones here.
    #[inline]
    pub(crate) fn plain<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Self>> {
        if attributes::is_plain::<Self>(object) { object.cast_exact::<Self>().ok() } else { None }
    }

    /// The reader, through the attribute that a subclass may have.
    pub(super) fn reader<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if attributes::is_plain::<Self>(this.as_any()) {
            return Ok(this.get().own_reader(this.py()));
        }
        let reader = this.getattr(intern!(this.py(), "_stream_reader"))?;
        Ok((!reader.is_none()).then_some(reader))
    }

    #[inline]
    pub(super) fn own_reader<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let reference =
            self.state.with(py, |state| state.reader.as_ref().map(|reader| reader.bind(py).clone()));
        reference?.upgrade()
    }

    /// The reader of a plain protocol for bytes that are only lent: they are for `StreamReader::put()`. None: there is none, or it wants `received`.
    #[inline]
    pub(crate) fn reader_for<'py>(this: &Bound<'py, Self>) -> Option<Bound<'py, StreamReader>> {
        let reader = this.get().own_reader(this.py())?;
        StreamReader::plain(&reader).cloned()
    }

    /// `data_received()` of a plain protocol.
    #[inline]
    pub(crate) fn received(this: &Bound<'_, Self>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        match this.get().own_reader(this.py()) {
            Some(reader) => feed(&reader, data.as_any()),
            None => Ok(()),
        }
    }

    /// There is a connection: a server's callback is told of it.
    pub(super) fn connected(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let kept = transport.clone().unbind();
        drop(own.state.with(py, |state| state.transport.replace(kept)));
        let reader = Self::reader(this)?;
        if let Some(reader) = &reader {
            call_method_one(reader, intern!(py, "set_transport"), transport)?;
        }
        let over_ssl = is_over_tls(transport)?;
        own.state.with(py, |state| state.over_ssl = over_ssl);
        let Some(callback) = own.callback(py) else {
            return Ok(());
        };
        let event_loop = this.as_super().get().event_loop(py)?;
        let none = py.None().into_bound(py);
        let reader = reader.unwrap_or(none);
        let writer = StreamWriter::make(transport, this.as_any(), &reader, &event_loop)?;
        if stdlib(py).streams.protocol_keeps_writer {
            let kept = writer.clone().into_any().unbind();
            drop(own.state.with(py, |state| state.writer.replace(kept)));
        }
        let begun = match call_two(&callback, &reader, writer.as_any()) {
            Ok(result) if is_coroutine(&result)? => Self::serve(this, &event_loop, transport, &result),
            Ok(_) => Ok(()),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                report(&event_loop, transport, &error)?;
                call_method_none(transport, intern!(py, "close")).map(drop)
            }
            Err(error) => Err(error),
        };
        let strong_reader = own.state.with(py, |state| state.strong_reader.take());
        drop(strong_reader);
        begun
    }

    /// Makes a task of what the callback gave. When that fails, or is cancelled, the connection ends.
    fn serve(
        this: &Bound<'_, Self>,
        event_loop: &Bound<'_, PyAny>,
        transport: &Bound<'_, PyAny>,
        coroutine: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let task = spawn(event_loop, coroutine)?;
        let kept = task.clone().unbind();
        drop(this.get().state.with(py, |state| state.task.replace(kept)));
        let served =
            Served { event_loop: event_loop.clone().unbind(), transport: transport.clone().unbind() };
        let callback = Bound::new(py, served)?;
        call_method_one(&task, intern!(py, "add_done_callback"), callback.as_any()).map(drop)
    }

    /// A reader that nobody has any more asked for no connection.
    pub(super) fn reject(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let mut report = Report::new(py, REJECTED)?;
        if let Some(traceback) = this.get()._source_traceback(py)
            && traceback.is_truthy()?
        {
            report = report.with("source_traceback", traceback)?;
        }
        report.tell(&this.as_super().get().event_loop(py)?)?;
        call_method_none(transport, intern!(py, "abort")).map(drop)
    }

    pub(super) fn callback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.callback.as_ref().map(|callback| callback.bind(py).clone()))
    }

    /// What `wait_closed()` waits for.
    pub(super) fn closed<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.closed.as_ref().map(|closed| closed.bind(py).clone()))
    }

    /// Ends the future of those who wait for the end. Nobody has to: its exception is not worth a report.
    pub(super) fn end(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        let Some(closed) = self.closed(py) else {
            return Ok(());
        };
        if waiting::is_done(&closed)? {
            return Ok(());
        }
        if error.is_none() {
            return waiting::wake(&closed, error).map(drop);
        }
        call_method_one(&closed, intern!(py, "set_exception"), error)?;
        self.see_closed(py)
    }

    /// The end of `closed` counts as seen.
    pub(super) fn see_closed(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(closed) = self.closed(py)
            && waiting::is_done(&closed)?
            && !waiting::is_cancelled(&closed)?
        {
            call_method_none(&closed, intern!(py, "exception"))?;
        }
        Ok(())
    }
}

impl State {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)?;
        visit.call(&self.strong_reader)?;
        visit.call(&self.writer)?;
        visit.call(&self.callback)?;
        visit.call(&self.task)?;
        visit.call(&self.transport)?;
        visit.call(&self.closed)?;
        visit.call(&self.source_traceback)
    }
}

/// `reader.feed_data(data)`.
#[inline]
pub(crate) fn feed(reader: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(reader) = StreamReader::plain(reader)
        && let Ok(data) = data.cast_exact::<PyBytes>()
    {
        return StreamReader::feed(reader, data);
    }
    call_method_one(reader, intern!(reader.py(), "feed_data"), data).map(drop)
}

pub(super) fn is_over_tls(transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = transport.py();
    let context = call_method_one(transport, intern!(py, "get_extra_info"), intern!(py, "sslcontext"))?;
    Ok(!context.is_none())
}

/// Called when the task of a server's callback is done.
#[pyclass(frozen, name = "_Served", module = "rasyncio")]
struct Served {
    event_loop: Py<PyAny>,
    transport: Py<PyAny>,
}

#[pymethods]
impl Served {
    fn __call__(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        let transport = self.transport.bind(py);
        if !waiting::is_cancelled(task)? {
            let exception = call_method_none(task, intern!(py, "exception"))?;
            if exception.is_none() {
                return Ok(());
            }
            report(self.event_loop.bind(py), transport, &PyErr::from_value(exception))?;
        }
        call_method_none(transport, intern!(py, "close")).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.transport)
    }
}

/// Tells the loop's exception handler that a server's callback failed.
fn report(event_loop: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
    let py = transport.py();
    Report::of_error(py, "Unhandled exception in client_connected_cb", error)?
        .with("transport", transport)?
        .tell(event_loop)
}

const REJECTED: &str = "An open stream was garbage collected prior to establishing network connection; \
                        call \"stream.close()\" explicitly.";
