//! The bodies of `read()`, `readexactly()`, `readuntil()`, `readline()` and `__anext__()`: each looks at the buffer as often as bytes come, until there are enough.

use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::reader::{State, StreamReader};
use super::separators::{Match, Separators};
use crate::coroutines::{Delegate, Resume, Steps};
use crate::exceptions;
use crate::ffi::call::{attached, call_method_one};
use crate::ffi::send::Sent;
use crate::futures::waiting::Waiting;

/// What is to be read.
pub(super) trait Goal: Send + 'static {
    /// The method, as it is called in messages.
    const METHOD: &'static str;

    /// What can be said before anything is looked at: the answer, if that is known by now.
    fn begin<'py>(&self, reader: &Bound<'py, StreamReader>) -> PyResult<Option<Bound<'py, PyAny>>> {
        reader.get().check_failure(reader.py())?;
        Ok(None)
    }

    /// The answer, if it is there already and nothing else is to be done: of a plain reader without a failure, whose transport is not paused and whose buffer
    /// needs no Python. PyO3 may not know here that the thread is attached.
    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>, state: &mut State) -> Option<PyResult<Bound<'py, PyBytes>>> {
        let _ = (py, state);
        None
    }

    /// The answer, if there is enough for one. `waited`: it was waited for since the beginning.
    fn attempt<'py>(
        &mut self,
        reader: &Bound<'py, StreamReader>,
        waited: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>>;
}

/// Reads something.
pub(super) struct Reading<G> {
    reader: Py<StreamReader>,
    goal: G,
    wait: Wait,
}

/// How more bytes are waited for.
enum Wait {
    NotBegun,
    Native(Waiting),
    /// By the `_wait_for_data()` of a subclass.
    Method(Delegate),
}

impl<G: Goal> Reading<G> {
    #[inline]
    pub(super) fn new(reader: &Bound<'_, StreamReader>, goal: G) -> Self {
        Self { reader: reader.clone().unbind(), goal, wait: Wait::NotBegun }
    }

    #[inline]
    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let reader = self.reader.bind(py).clone();
        let mut waited = match self.wait.step(&reader, resume)? {
            Waited::Yielded(yielded) => return Ok(Sent::Yielded(yielded)),
            Waited::Woken => true,
            Waited::Not => {
                if let Some(answer) = self.goal.begin(&reader)? {
                    return Ok(Sent::Returned(answer));
                }
                false
            }
        };
        loop {
            if let Some(answer) = self.goal.attempt(&reader, waited)? {
                return Ok(Sent::Returned(answer));
            }
            self.wait = Wait::begin(&reader, G::METHOD)?;
            match self.wait.step(&reader, Resume::Next)? {
                Waited::Yielded(yielded) => return Ok(Sent::Yielded(yielded)),
                Waited::Woken | Waited::Not => waited = true,
            }
        }
    }
}

impl<G: Goal> Steps for Reading<G> {
    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        let reader = self.reader.bind(py);
        if !StreamReader::is_plain(reader) {
            return None;
        }
        let answer = reader.get().state.with(py, |state| {
            let is_simple = state.exception.is_none() && !state.paused && state.buffer.is_native();
            if is_simple { self.goal.at_once(py, state) } else { None }
        })?;
        Some(answer.map_or_else(Sent::Raised, |bytes| Sent::Returned(bytes.into_any())))
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        let Self { reader, goal, wait } = self;
        drop(reader.into_bound(py));
        match wait {
            Wait::NotBegun => {}
            Wait::Native(waiting) => waiting.let_go(py),
            Wait::Method(delegate) => attached(py, || drop(delegate)),
        }
        if std::mem::needs_drop::<G>() {
            attached(py, || drop(goal));
        }
    }

    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)?;
        match &self.wait {
            Wait::NotBegun => Ok(()),
            Wait::Native(waiting) => waiting.visit(visit),
            Wait::Method(delegate) => delegate.visit(visit),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match &self.wait {
            Wait::NotBegun => None,
            Wait::Native(waiting) => Some(waiting.awaited(py)),
            Wait::Method(delegate) => Some(delegate.iterator(py)),
        }
    }
}

/// How a step of waiting ended.
enum Waited<'py> {
    Not,
    Yielded(Bound<'py, PyAny>),
    Woken,
}

impl Wait {
    #[inline]
    fn begin(reader: &Bound<'_, StreamReader>, method: &str) -> PyResult<Self> {
        if StreamReader::is_plain(reader) {
            return Ok(Self::Native(Waiting::begin(&StreamReader::begin_wait(reader, method)?)?));
        }
        let py = reader.py();
        let name = PyString::new(py, method);
        let waiting = call_method_one(reader.as_any(), intern!(py, "_wait_for_data"), name.as_any())?;
        Ok(Self::Method(Delegate::begin(&waiting)?))
    }

    #[inline]
    fn step<'py>(&mut self, reader: &Bound<'py, StreamReader>, resume: Resume) -> PyResult<Waited<'py>> {
        let py = reader.py();
        let sent = match self {
            Self::NotBegun => return Ok(Waited::Not),
            Self::Native(waiting) => {
                let sent = waiting.step(py, resume);
                if !matches!(sent, Sent::Yielded(_)) {
                    reader.get().end_wait(&waiting.future(py));
                }
                sent
            }
            Self::Method(delegate) => delegate.step(py, resume),
        };
        match sent {
            Sent::Yielded(yielded) => Ok(Waited::Yielded(yielded)),
            Sent::Returned(_) => Ok(Waited::Woken),
            Sent::Raised(error) => Err(error),
        }
    }
}

/// `_wait_for_data(name)`.
pub(super) struct WaitingForData {
    reader: Py<StreamReader>,
    name: Py<PyString>,
    wait: Wait,
}

impl WaitingForData {
    pub(super) fn new(reader: &Bound<'_, StreamReader>, name: &Bound<'_, PyString>) -> Self {
        Self { reader: reader.clone().unbind(), name: name.clone().unbind(), wait: Wait::NotBegun }
    }

    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let reader = self.reader.bind(py);
        if matches!(self.wait, Wait::NotBegun) {
            let future = StreamReader::begin_wait(reader, self.name.bind(py).to_str()?)?;
            self.wait = Wait::Native(Waiting::begin(&future)?);
        }
        Ok(match self.wait.step(reader, resume)? {
            Waited::Yielded(yielded) => Sent::Yielded(yielded),
            Waited::Woken | Waited::Not => Sent::Returned(py.None().into_bound(py)),
        })
    }
}

impl Steps for WaitingForData {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)?;
        if let Wait::Native(waiting) = &self.wait { waiting.visit(visit) } else { Ok(()) }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if let Wait::Native(waiting) = &self.wait { Some(waiting.awaited(py)) } else { None }
    }
}

/// `read(n)` for an `n` that is not negative.
pub(super) struct UpTo(pub(super) usize);

impl Goal for UpTo {
    const METHOD: &'static str = "read";

    fn begin<'py>(&self, reader: &Bound<'py, StreamReader>) -> PyResult<Option<Bound<'py, PyAny>>> {
        reader.get().check_failure(reader.py())?;
        Ok((self.0 == 0).then(|| PyBytes::new(reader.py(), b"").into_any()))
    }

    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>, state: &mut State) -> Option<PyResult<Bound<'py, PyBytes>>> {
        (!state.buffer.is_empty(py)).then(|| state.buffer.take(py, self.0))
    }

    #[inline]
    fn attempt<'py>(
        &mut self,
        reader: &Bound<'py, StreamReader>,
        waited: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = reader.py();
        let taken = reader.get().state.with(py, |state| {
            if !waited && !state.eof && state.buffer.is_empty(py) {
                return Ok::<_, PyErr>(None);
            }
            state.buffer.take(py, self.0).map(Some)
        })?;
        if taken.is_some() {
            StreamReader::on_read(reader)?;
        }
        Ok(taken.map(Bound::into_any))
    }
}

/// `read()` of everything up to the end.
pub(super) struct Everything(pub(super) Vec<Py<PyBytes>>);

impl Goal for Everything {
    const METHOD: &'static str = "read";

    fn attempt<'py>(
        &mut self,
        reader: &Bound<'py, StreamReader>,
        _waited: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = reader.py();
        let (chunk, eof) = reader.get().state.with(py, |state| {
            let chunk = if state.buffer.is_empty(py) { None } else { Some(state.buffer.take_all(py)?) };
            Ok::<_, PyErr>((chunk, state.eof))
        })?;
        if let Some(chunk) = chunk {
            self.0.push(chunk.unbind());
            StreamReader::on_read(reader)?;
        }
        reader.get().check_failure(py)?;
        if !eof {
            return Ok(None);
        }
        let blocks = std::mem::take(&mut self.0);
        if let [only] = &blocks[..] {
            return Ok(Some(only.bind(py).clone().into_any()));
        }
        PyBytes::new(py, b"").call_method1(intern!(py, "join"), (blocks,)).map(Some)
    }
}

/// `readexactly(n)`.
pub(super) struct Exactly(pub(super) i64);

impl Goal for Exactly {
    const METHOD: &'static str = "readexactly";

    fn begin<'py>(&self, reader: &Bound<'py, StreamReader>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.0 < 0 {
            return Err(PyValueError::new_err("readexactly size can not be less than zero"));
        }
        reader.get().check_failure(reader.py())?;
        Ok((self.0 == 0).then(|| PyBytes::new(reader.py(), b"").into_any()))
    }

    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>, state: &mut State) -> Option<PyResult<Bound<'py, PyBytes>>> {
        let count = usize::try_from(self.0).ok()?;
        (state.buffer.len(py) >= count).then(|| state.buffer.take(py, count))
    }

    fn attempt<'py>(
        &mut self,
        reader: &Bound<'py, StreamReader>,
        _waited: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = reader.py();
        let count = usize::try_from(self.0)?;
        let taken = reader.get().state.with(py, |state| {
            if state.buffer.len(py) >= count {
                return Ok(Some(state.buffer.take(py, count)?));
            }
            if !state.eof {
                return Ok(None);
            }
            let partial = state.buffer.take_all(py)?;
            Err(exceptions::incomplete_read(&partial, Some(self.0)))
        })?;
        if taken.is_some() {
            StreamReader::on_read(reader)?;
        }
        Ok(taken.map(Bound::into_any))
    }
}

/// What the buffer has of a piece.
enum Found<'py> {
    NotYet,
    Whole(Bound<'py, PyBytes>),
    /// The end came before the separator.
    Partial(Bound<'py, PyBytes>),
    /// It is longer than the limit: how many bytes, and in which words.
    TooLong(usize, &'static str),
}

/// Looks for a piece up to one of `separators`; nothing needs to be looked for before `offset`, which moves on.
#[inline]
fn find<'py>(
    reader: &Bound<'py, StreamReader>,
    separators: &Separators,
    offset: &mut usize,
) -> PyResult<Found<'py>> {
    let py = reader.py();
    reader.get().state.with(py, |state| {
        let limit = state.limit.bytes;
        match state.buffer.look(py, |bytes| separators.find(bytes, *offset)) {
            Some(Ok(Match { start, .. })) if start > limit => {
                return Ok(Found::TooLong(start, FOUND_TOO_FAR));
            }
            Some(Ok(Match { end, .. })) => return Ok(Found::Whole(state.buffer.take(py, end)?)),
            Some(Err(seen)) => {
                *offset = seen;
                if seen > limit {
                    return Ok(Found::TooLong(seen, NOT_FOUND));
                }
            }
            None => {}
        }
        if !state.eof {
            return Ok(Found::NotYet);
        }
        Ok(Found::Partial(state.buffer.take_all(py)?))
    })
}

/// `readuntil()`.
pub(super) struct Until {
    separators: Separators,
    offset: usize,
}

impl Until {
    pub(super) fn new(separators: Separators) -> Self {
        Self { separators, offset: 0 }
    }
}

impl Goal for Until {
    const METHOD: &'static str = "readuntil";

    fn attempt<'py>(
        &mut self,
        reader: &Bound<'py, StreamReader>,
        _waited: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match find(reader, &self.separators, &mut self.offset)? {
            Found::NotYet => Ok(None),
            Found::Whole(piece) => {
                StreamReader::on_read(reader)?;
                Ok(Some(piece.into_any()))
            }
            Found::Partial(partial) => Err(exceptions::incomplete_read(&partial, None)),
            Found::TooLong(consumed, text) => Err(exceptions::limit_overrun(reader.py(), text, consumed)),
        }
    }
}

/// `readline()` of a reader whose `readuntil()` is the one here.
pub(super) struct Line {
    offset: usize,
    end: AtEnd,
}

/// What there is behind the last line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    Empty,
    StopAsyncIteration,
}

impl Line {
    #[inline]
    pub(super) fn new(end: AtEnd) -> Self {
        Self { offset: 0, end }
    }
}

impl Goal for Line {
    const METHOD: &'static str = "readuntil";

    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>, state: &mut State) -> Option<PyResult<Bound<'py, PyBytes>>> {
        match state.buffer.look(py, |bytes| Separators::Newline.find(bytes, 0))? {
            Ok(Match { start, end }) if start <= state.limit.bytes => Some(state.buffer.take(py, end)),
            Ok(_) | Err(_) => None,
        }
    }

    #[inline]
    fn attempt<'py>(
        &mut self,
        reader: &Bound<'py, StreamReader>,
        _waited: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match find(reader, &Separators::Newline, &mut self.offset)? {
            Found::NotYet => Ok(None),
            Found::Whole(line) => {
                StreamReader::on_read(reader)?;
                Ok(Some(line.into_any()))
            }
            Found::Partial(partial)
                if self.end == AtEnd::StopAsyncIteration && partial.as_bytes().is_empty() =>
            {
                Err(PyStopAsyncIteration::new_err(()))
            }
            Found::Partial(partial) => Ok(Some(partial.into_any())),
            Found::TooLong(consumed, text) => {
                let overrun = exceptions::limit_overrun(reader.py(), text, consumed);
                Err(drop_line(reader, consumed, overrun)?)
            }
        }
    }
}

/// A line is too long, as `overrun` says: it is dropped, or all that is there of it. Gives what `readline()` raises.
pub(super) fn drop_line(
    reader: &Bound<'_, StreamReader>,
    consumed: usize,
    overrun: PyErr,
) -> PyResult<PyErr> {
    let py = reader.py();
    reader.get().state.with(py, |state| {
        let ends_there = state.buffer.look(py, |bytes| bytes.get(consumed) == Some(&b'\n'));
        if ends_there { state.buffer.discard(py, consumed + 1) } else { state.buffer.clear(py) }
    })?;
    StreamReader::on_read(reader)?;
    let overrun = overrun.into_value(py).into_bound(py);
    let text = overrun.getattr(intern!(py, "args"))?.get_item(0)?;
    let error = PyValueError::new_err(text.unbind()).into_value(py).into_bound(py);
    error.setattr(intern!(py, "__context__"), overrun)?;
    Ok(PyErr::from_value(error.into_any()))
}

const FOUND_TOO_FAR: &str = "Separator is found, but chunk is longer than limit";
const NOT_FOUND: &str = "Separator is not found, and chunk exceed the limit";
