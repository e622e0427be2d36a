//! What a reader of a subclass does natively no more: asyncio's methods that are made of others, which the subclass may have replaced.

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::reader::StreamReader;
use super::reading::drop_line;
use crate::coroutines::{Coroutine, wait_holding};
use crate::interop::stdlib;

/// `read()` of everything, by `read(limit)`.
pub(super) fn read_everything<'py>(reader: &Bound<'py, StreamReader>) -> PyResult<Bound<'py, Coroutine>> {
    let held = [reader.clone().into_any().unbind()];
    Coroutine::make(reader.py(), "StreamReader.read", async move {
        let mut held = held;
        Python::attach(|py| reader_of(py, &held)?.get().check_failure(py))?;
        let mut blocks = Vec::new();
        loop {
            let reading = Python::attach(|py| {
                let reader = reader_of(py, &held)?;
                let limit = reader.get().shown_limit(py);
                reader.call_method1(intern!(py, "read"), (limit,)).map(Bound::unbind)
            })?;
            let (block, still_held) = wait_holding(reading, held).await;
            held = still_held;
            let block = block?;
            if !Python::attach(|py| block.bind(py).is_truthy())? {
                break;
            }
            blocks.push(block);
        }
        Python::attach(|py| {
            PyBytes::new(py, b"").call_method1(intern!(py, "join"), (blocks,)).map(Bound::unbind)
        })
    })
}

/// `readline()`, by `readuntil()`.
pub(super) fn read_line<'py>(reader: &Bound<'py, StreamReader>) -> PyResult<Bound<'py, Coroutine>> {
    let held = [reader.clone().into_any().unbind()];
    Coroutine::make(reader.py(), "StreamReader.readline", async move {
        let reading = Python::attach(|py| {
            let separator = PyBytes::new(py, b"\n");
            held[0].bind(py).call_method1(intern!(py, "readuntil"), (separator,)).map(Bound::unbind)
        })?;
        let (line, held) = wait_holding(reading, held).await;
        line.or_else(|error| {
            Python::attach(|py| {
                let library = &stdlib(py).streams;
                if error.is_instance(py, library.incomplete_read_error.bind(py)) {
                    return error.value(py).getattr(intern!(py, "partial")).map(Bound::unbind);
                }
                if error.is_instance(py, library.limit_overrun_error.bind(py)) {
                    let consumed = error.value(py).getattr(intern!(py, "consumed"))?.extract()?;
                    return Err(drop_line(reader_of(py, &held)?, consumed, error)?);
                }
                Err(error)
            })
        })
    })
}

/// `__anext__()`, by `readline()`.
pub(super) fn next_line<'py>(reader: &Bound<'py, StreamReader>) -> PyResult<Bound<'py, Coroutine>> {
    let held = [reader.clone().into_any().unbind()];
    Coroutine::make(reader.py(), "StreamReader.__anext__", async move {
        let reading =
            Python::attach(|py| held[0].bind(py).call_method0(intern!(py, "readline")).map(Bound::unbind))?;
        let line = wait_holding(reading, held).await.0?;
        Python::attach(|py| {
            if line.bind(py).eq(PyBytes::new(py, b""))? {
                return Err(PyStopAsyncIteration::new_err(()));
            }
            Ok(line)
        })
    })
}

fn reader_of<'a, 'py>(py: Python<'py>, held: &'a [Py<PyAny>; 1]) -> PyResult<&'a Bound<'py, StreamReader>> {
    Ok(held[0].bind(py).cast::<StreamReader>()?)
}
