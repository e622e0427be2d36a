//! `StreamWriter`: a transport, with the waiting that a task needs: `drain()`, `wait_closed()`, `start_tls()`.

use std::sync::OnceLock;

use pyo3::exceptions::{PyAssertionError, PyAttributeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{ffi, intern};

use super::flow_control::{Draining, FlowControl};
use super::protocol::StreamReaderProtocol;
use super::reader::StreamReader;
use crate::coroutines::{Coroutine, Delegate, Resume, Steps, wait_for};
use crate::ffi::allocation::new_with_dict;
use crate::ffi::attributes;
use crate::ffi::call::{attached, call_method_none, call_method_one};
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::Finalize;
use crate::ffi::send::Sent;
use crate::ffi::warning;
use crate::interop::stdlib;
use crate::subprocess::SubprocessStreamProtocol;
use crate::transports::direct;

/// Writes to a connection.
///
/// Parameters: `transport`, the connection; `protocol`, which has `_drain_helper()` and `_get_close_waiter()`; `reader`, whose exception `drain()` raises, or None;
/// `loop`.
///
/// <https://docs.python.org/3/library/asyncio-stream.html#asyncio.StreamWriter>
#[pyclass(frozen, subclass, weakref, dict, name = "StreamWriter", module = "rasyncio")]
#[derive(Default)]
pub(crate) struct StreamWriter {
    pub(super) state: GilCell<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) transport: Option<Py<PyAny>>,
    pub(super) protocol: Option<Py<PyAny>>,
    pub(super) reader: Option<Py<PyAny>>,
    pub(super) event_loop: Option<Py<PyAny>>,
    /// Made when somebody asks for it.
    pub(super) complete: Option<Py<PyAny>>,
}

impl StreamWriter {
    /// A writer of a connection that we made ourselves. `reader` may be None.
    pub(crate) fn make<'py>(
        transport: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        reader: &Bound<'py, PyAny>,
        event_loop: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let writer = new_with_dict(transport.py(), Self::default())?;
        Self::begin(&writer, transport, protocol, reader, event_loop)?;
        Ok(writer)
    }

    /// What `__init__` does.
    pub(super) fn begin(
        this: &Bound<'_, Self>,
        transport: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        reader: &Bound<'_, PyAny>,
        event_loop: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        if !reader.is_none()
            && !reader.is_instance_of::<StreamReader>()
            && !reader.is_instance(stdlib(py).streams.reader_class.bind(py))?
        {
            return Err(PyAssertionError::new_err(()));
        }
        let fresh = State {
            transport: Some(transport.clone().unbind()),
            protocol: Some(protocol.clone().unbind()),
            reader: (!reader.is_none()).then(|| reader.clone().unbind()),
            event_loop: Some(event_loop.clone().unbind()),
            complete: None,
        };
        drop(this.get().state.replace(py, fresh));
        Ok(())
    }

    #[inline]
    pub(super) fn transport<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.transport.as_ref().map(|transport| transport.bind(py).clone()))
            .ok_or_else(|| missing("_transport"))
    }

    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.protocol.as_ref().map(|protocol| protocol.bind(py).clone()))
            .ok_or_else(|| missing("_protocol"))
    }

    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.bind(py).clone()))
            .ok_or_else(|| missing("_loop"))
    }

    pub(super) fn reader<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.reader.as_ref().map(|reader| reader.bind(py).clone()))
    }

    /// Fails with the exception that the reader was told of.
    #[inline]
    fn check_reader(&self, py: Python<'_>) -> PyResult<()> {
        let Some(reader) = self.reader(py) else {
            return Ok(());
        };
        if let Some(reader) = StreamReader::plain(&reader) {
            return reader.get().check_failure(py);
        }
        let exception = call_method_none(&reader, intern!(py, "exception"))?;
        if exception.is_none() { Ok(()) } else { Err(PyErr::from_value(exception)) }
    }

    /// `drain()`.
    #[inline]
    pub(crate) fn drain<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let body = Drain { writer: this.clone().unbind(), stage: Stage::Begin };
        Coroutine::of(this.py(), "StreamWriter.drain", body)
    }

    /// `wait_closed()`.
    pub(super) fn wait_closed<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let body = WaitingForEnd { writer: this.clone().unbind(), delegate: None };
        Coroutine::of(this.py(), "StreamWriter.wait_closed", body)
    }

    /// `start_tls()`; `options` are the keywords of `loop.start_tls()`.
    pub(super) fn start_tls<'py>(
        this: &Bound<'py, Self>,
        context: Py<PyAny>,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let (writer, options) = (this.clone().unbind(), options.clone().unbind());
        Coroutine::make(this.py(), "StreamWriter.start_tls", async move {
            let draining = Python::attach(|py| {
                let protocol = writer.get().protocol(py)?;
                let is_server = !protocol.getattr(intern!(py, "_client_connected_cb"))?.is_none();
                options.bind(py).set_item("server_side", is_server)?;
                call_method_none(writer.bind(py), intern!(py, "drain")).map(Bound::unbind)
            })?;
            wait_for(draining).await?;
            let upgrading = Python::attach(|py| {
                let own = writer.get();
                let arguments = (own.transport(py)?, own.protocol(py)?, context);
                let event_loop = own.event_loop(py)?;
                event_loop
                    .call_method(intern!(py, "start_tls"), arguments, Some(options.bind(py)))
                    .map(Bound::unbind)
            })?;
            let transport = wait_for(upgrading).await?;
            Python::attach(|py| {
                Self::change_transport(writer.bind(py), transport.bind(py))?;
                Ok(py.None())
            })
        })
    }

    fn change_transport(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let kept = transport.clone().unbind();
        drop(this.get().state.with(py, |state| state.transport.replace(kept)));
        let protocol = this.get().protocol(py)?;
        let replace = intern!(py, "_replace_transport");
        if protocol.hasattr(replace)? {
            return call_method_one(&protocol, replace, transport).map(drop);
        }
        call_method_one(&protocol, intern!(py, "_replace_writer"), this.as_any()).map(drop)
    }

    /// A writer that nobody closed closes its transport and says so.
    pub(super) fn die(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let transport = this.get().transport(py)?;
        if direct::is_closing(&transport)? {
            return Ok(());
        }
        let event_loop = this.get().event_loop(py)?;
        if call_method_none(&event_loop, intern!(py, "is_closed"))?.is_truthy()? {
            return warning::resource(this.as_any(), "loop is closed");
        }
        call_method_none(this.as_any(), intern!(py, "close"))?;
        warning::resource(this.as_any(), &format!("unclosed {}", this.repr()?))
    }
}

fn missing(name: &str) -> PyErr {
    PyAttributeError::new_err(format!("'StreamWriter' object has no attribute '{name}'"))
}

impl State {
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.transport)?;
        visit.call(&self.protocol)?;
        visit.call(&self.reader)?;
        visit.call(&self.event_loop)?;
        visit.call(&self.complete)
    }
}

impl Finalize for StreamWriter {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        match this.get().transport(this.py()) {
            Ok(transport) => !direct::is_known_to_close(&transport),
            Err(_) => false,
        }
    }

    fn finalize(this: &Bound<'_, Self>) {
        if let Err(error) = Self::die(this) {
            error.write_unraisable(this.py(), Some(this.as_any()));
        }
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

/// The body of `drain()`.
struct Drain {
    writer: Py<StreamWriter>,
    stage: Stage,
}

enum Stage {
    Begin,
    /// The connection is closing: the loop gets a turn, so that who writes on and on sees the end.
    Yielded,
    Native(Draining),
    Other(Delegate),
}

impl Drain {
    #[inline]
    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        match &mut self.stage {
            Stage::Native(draining) => return Ok(draining.step(py, resume)),
            Stage::Other(delegate) => return Ok(delegate.step(py, resume)),
            Stage::Begin => {
                let writer = self.writer.get();
                writer.check_reader(py)?;
                if direct::is_closing(&writer.transport(py)?)? {
                    self.stage = Stage::Yielded;
                    return Ok(Sent::Yielded(py.None().into_bound(py)));
                }
            }
            Stage::Yielded => {
                if let Resume::Throw(error) = resume {
                    return Err(error);
                }
            }
        }
        let protocol = self.writer.get().protocol(py)?;
        if let Some(flow) = plain_flow(&protocol) {
            let mut draining = Draining::new(flow);
            let sent = draining.step(py, Resume::Next);
            if matches!(sent, Sent::Yielded(_)) {
                self.stage = Stage::Native(draining);
            }
            return Ok(sent);
        }
        let delegate = Delegate::begin(&call_method_none(&protocol, intern!(py, "_drain_helper"))?)?;
        let sent = delegate.step(py, Resume::Next);
        self.stage = Stage::Other(delegate);
        Ok(match sent {
            Sent::Returned(_) => Sent::Returned(py.None().into_bound(py)),
            sent => sent,
        })
    }
}

/// The flow control of a protocol of ours whose methods are ours.
#[inline]
fn plain_flow<'a, 'py>(protocol: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, FlowControl>> {
    if let Some(protocol) = StreamReaderProtocol::plain(protocol) {
        return Some(protocol.as_super());
    }
    if attributes::is_plain::<SubprocessStreamProtocol>(protocol) {
        return protocol.cast_exact::<SubprocessStreamProtocol>().ok().map(Bound::as_super);
    }
    None
}

impl Steps for Drain {
    /// Nothing is wrong and there is room.
    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        let (transport, protocol, reader) = self.writer.get().state.with(py, |state| {
            let of = |object: &Option<Py<PyAny>>| object.as_ref().map(|object| object.bind(py).clone());
            (of(&state.transport), of(&state.protocol), of(&state.reader))
        });
        let is_well = match &reader {
            Some(reader) => !StreamReader::plain(reader)?.get().has_failed(py),
            None => true,
        };
        let has_room = plain_flow(&protocol?)?.get().has_room(py);
        let ends = is_well && has_room && direct::is_known_to_be_open(&transport?);
        ends.then(|| Sent::Returned(py.None().into_bound(py)))
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        let Self { writer, stage } = self;
        drop(writer.into_bound(py));
        if !matches!(stage, Stage::Begin | Stage::Yielded) {
            attached(py, || drop(stage));
        }
    }

    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.writer)?;
        match &self.stage {
            Stage::Begin | Stage::Yielded => Ok(()),
            Stage::Native(draining) => draining.visit(visit),
            Stage::Other(delegate) => delegate.visit(visit),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match &self.stage {
            Stage::Begin | Stage::Yielded => None,
            Stage::Native(draining) => draining.awaited(py),
            Stage::Other(delegate) => Some(delegate.iterator(py)),
        }
    }
}

/// The body of `wait_closed()`.
struct WaitingForEnd {
    writer: Py<StreamWriter>,
    delegate: Option<Delegate>,
}

impl WaitingForEnd {
    fn begin(&self, py: Python<'_>) -> PyResult<Delegate> {
        let writer = self.writer.bind(py);
        let protocol = writer.get().protocol(py)?;
        let waiter = call_method_one(&protocol, intern!(py, "_get_close_waiter"), writer.as_any())?;
        Delegate::begin(&waiter)
    }
}

impl Steps for WaitingForEnd {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        if self.delegate.is_none() {
            match self.begin(py) {
                Ok(delegate) => self.delegate = Some(delegate),
                Err(error) => return Sent::Raised(error),
            }
        }
        match self.delegate.as_ref().map(|delegate| delegate.step(py, resume)) {
            Some(Sent::Returned(_)) | None => Sent::Returned(py.None().into_bound(py)),
            Some(sent) => sent,
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.writer)?;
        self.delegate.as_ref().map_or(Ok(()), |delegate| delegate.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.delegate.as_ref().map(|delegate| delegate.iterator(py))
    }
}

/// `writer._transport.name()`.
pub(super) fn ask<'py>(
    writer: &Bound<'py, StreamWriter>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    call_method_none(&writer.get().transport(writer.py())?, name)
}
