//! What Python sees of a `StreamReader`: its methods, and the attributes that libraries and asyncio's own modules use.

use std::ffi::CStr;

use pyo3::exceptions::PyAssertionError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString, PyTuple};

use super::DEFAULT_LIMIT;
use super::buffer::Buffer;
use super::inherited;
use super::reader::{Limit, StreamReader};
use super::reading::{AtEnd, Everything, Exactly, Line, Reading, Until, UpTo, WaitingForData};
use super::separators::Separators;
use crate::coroutines::Coroutine;
use crate::ffi::call::{attached, given};
use crate::ffi::methods::{self, Arguments, FastMethod, Light};
use crate::interop::{shown_class, shown_names};

#[pymethods]
impl StreamReader {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(limit=65536, loop=None)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        Self::default()
    }

    #[pyo3(signature = (limit = None, r#loop = None))]
    fn __init__(
        this: &Bound<'_, Self>,
        #[pyo3(from_py_with = given)] limit: Option<Bound<'_, PyAny>>,
        r#loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::begin(this, limit, r#loop)
    }

    /// asyncio's class, so that `isinstance` finds it there. A class that derives from ours is only itself.
    #[getter]
    fn __class__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_class(this.as_any())
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown_names(this.as_any())
    }

    /// What `set_exception()` was given, or None.
    fn exception<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.failure(py)
    }

    /// Nothing more will come: whoever reads gets `exc`.
    fn set_exception(this: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::fail(this, exc)
    }

    fn _wakeup_waiter(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::wake_waiter(this)
    }

    /// Says from where the bytes come, once: that is told to pause and to go on.
    fn set_transport(this: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::attach(this, transport)
    }

    pub(super) fn _replace_transport(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut kept = Some(transport.clone().unbind());
        let old = self.state.with(transport.py(), |state| {
            if state.transport.is_some() {
                std::mem::replace(&mut state.transport, kept.take())
            } else {
                None
            }
        });
        drop(old);
        match kept {
            None => Ok(()),
            Some(_) => Err(PyAssertionError::new_err("Transport not set")),
        }
    }

    fn _maybe_resume_transport(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::maybe_resume(this)
    }

    /// Nothing more will come.
    fn feed_eof(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::end(this)
    }

    /// Whether everything was read that will ever come.
    fn at_eof(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.eof && state.buffer.is_empty(py))
    }

    /// Adds bytes that were received.
    fn feed_data(this: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            return Self::feed(this, bytes);
        }
        let py = this.py();
        this.get().state.with(py, |state| state.check_open())?;
        if !data.is_truthy()? {
            return Ok(());
        }
        let copy = PyByteArray::new(py, &[]);
        copy.call_method1(intern!(py, "extend"), (data,))?;
        let bytes = copy.to_vec();
        this.get().put(py, &bytes)?;
        Self::on_fed(this)
    }

    fn _wait_for_data<'py>(
        this: &Bound<'py, Self>,
        func_name: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "StreamReader._wait_for_data", WaitingForData::new(this, func_name))
    }

    /// Reads up to `separator` (from Python 3.13 on also a tuple of several), which comes with it.
    ///
    /// `IncompleteReadError` when nothing more will come, with what was there. `LimitOverrunError` when it would be longer than the limit, not counting the
    /// separator: nothing is read then.
    #[pyo3(signature = (separator = None), text_signature = "($self, separator=b'\\n')")]
    fn readuntil<'py>(
        this: &Bound<'py, Self>,
        #[pyo3(from_py_with = given)] separator: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        let separators = match separator {
            Some(separator) => Separators::of(separator.bind(py)),
            None => Ok(Separators::Newline),
        };
        match separators {
            Ok(separators) => {
                let goal = Until::new(separators);
                Coroutine::of(py, "StreamReader.readuntil", Reading::new(this, goal))
            }
            Err(error) => Coroutine::make(py, "StreamReader.readuntil", async move { Err(error) }),
        }
    }

    fn __aiter__<'py>(this: &Bound<'py, Self>) -> Bound<'py, Self> {
        this.clone()
    }

    fn __anext__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        if Self::is_plain(this) {
            let goal = Line::new(AtEnd::StopAsyncIteration);
            return Coroutine::of(this.py(), "StreamReader.__anext__", Reading::new(this, goal));
        }
        inherited::next_line(this)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut shown = vec!["StreamReader".to_owned()];
        let (size, eof, limit, paused) = self
            .state
            .with(py, |state| (state.buffer.len(py), state.eof, state.limit.shown(py), state.paused));
        if size > 0 {
            shown.push(format!("{size} bytes"));
        }
        if eof {
            shown.push("eof".to_owned());
        }
        if limit.ne(DEFAULT_LIMIT)? {
            shown.push(format!("limit={}", limit.str()?));
        }
        for (name, value) in
            [("waiter", self._waiter(py)), ("exception", self.failure(py)), ("transport", self.transport(py))]
        {
            if let Some(value) = value.filter(|value| value.is_truthy().unwrap_or(true)) {
                shown.push(format!("{name}={}", value.repr()?));
            }
        }
        if paused {
            shown.push("paused".to_owned());
        }
        Ok(format!("<{}>", shown.join(" ")))
    }

    /// What was received and not read, as a bytearray that may be changed.
    #[getter]
    fn _buffer<'py>(&self, py: Python<'py>) -> Bound<'py, PyByteArray> {
        self.state.with(py, |state| state.buffer.show(py))
    }

    /// Takes a bytearray, of no subclass.
    #[setter(_buffer)]
    fn set_buffer(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let shown = Buffer::Shown(value.cast_exact::<PyByteArray>()?.clone().unbind());
        self.state.put(value.py(), |state| &mut state.buffer, shown);
        Ok(())
    }

    #[getter]
    fn _limit<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.shown_limit(py)
    }

    #[setter(_limit)]
    fn set_limit(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = Limit::of(value)?;
        self.state.put(value.py(), |state| &mut state.limit, limit);
        Ok(())
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop(py)
    }

    #[setter(_loop)]
    fn set_loop(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.event_loop, value);
    }

    #[getter]
    fn _waiter<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| state.waiter.as_ref().map(|waiter| waiter.bind(py).clone()))
    }

    #[setter(_waiter)]
    fn set_waiter(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.waiter, value);
    }

    #[getter]
    fn _exception<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.failure(py)
    }

    #[setter(_exception)]
    fn replace_exception(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.exception, value);
    }

    #[getter]
    fn _transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.transport(py)
    }

    #[setter(_transport)]
    fn put_transport(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.transport, value);
    }

    #[getter]
    #[pyo3(name = "_source_traceback")]
    fn shown_traceback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.source_traceback(py)
    }

    #[setter(_source_traceback)]
    fn set_source_traceback(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.source_traceback, value);
    }

    #[getter]
    fn _eof(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.eof)
    }

    #[setter(_eof)]
    fn set_eof(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.eof = value);
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.paused)
    }

    #[setter(_paused)]
    fn set_paused(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.paused = value);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.peek(|state| state.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}

impl StreamReader {
    /// Adds the methods that programs call all the time.
    pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
        methods::install::<Read>(py)?;
        methods::install::<ReadExactly>(py)?;
        Light::<Self>::to_class(py).alone(
            c"readline",
            c"readline($self)\n--\n\n\
              Reads a line, with its newline; what is left when nothing more will come, in the end b\"\".\n\n\
              ValueError when the line is longer than the limit: it is dropped, or what is there of it.",
            |this| {
                if !Self::is_plain(this) {
                    return attached(this.py(), || Ok(inherited::read_line(this)?.into_any()));
                }
                let body = Reading::new(this, Line::new(AtEnd::Empty));
                Ok(Coroutine::of(this.py(), "StreamReader.readline", body)?.into_any())
            },
        )?;
        Ok(())
    }
}

/// `StreamReader.read()`.
struct Read;

impl FastMethod for Read {
    type Class = StreamReader;
    const NAME: &'static CStr = c"read";
    const DOCUMENTATION: &'static CStr = c"read($self, n=-1)\n--\n\n\
        Reads up to `n` bytes: what is there, after waiting for the first; b\"\" when nothing more will come.\n\n\
        With an `n` of -1 everything until nothing more will come, with 0 nothing.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, StreamReader>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let count =
            if arguments.is_empty() { -1 } else { arguments.one("StreamReader.read", "n")?.extract()? };
        let name = "StreamReader.read";
        let coroutine = match usize::try_from(count) {
            Ok(count) => Coroutine::of(py, name, Reading::new(this, UpTo(count))),
            Err(_) if StreamReader::is_plain(this) => {
                Coroutine::of(py, name, Reading::new(this, Everything(Vec::new())))
            }
            Err(_) => inherited::read_everything(this),
        };
        Ok(coroutine?.into_any())
    }
}

/// `StreamReader.readexactly()`.
struct ReadExactly;

impl FastMethod for ReadExactly {
    type Class = StreamReader;
    const NAME: &'static CStr = c"readexactly";
    const DOCUMENTATION: &'static CStr = c"readexactly($self, n)\n--\n\n\
        Reads `n` bytes. IncompleteReadError when fewer will come, with what was there; ValueError for a negative `n`.";

    #[inline]
    fn call<'py>(
        this: &Bound<'py, StreamReader>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let count = arguments.one("StreamReader.readexactly", "n")?.extract()?;
        let body = Reading::new(this, Exactly(count));
        Ok(Coroutine::of(this.py(), "StreamReader.readexactly", body)?.into_any())
    }
}
