//! What is taken from asyncio's streams.

use pyo3::prelude::*;
use pyo3::types::PyType;

/// What streams use.
pub(crate) struct Streams {
    pub(crate) reader_class: Py<PyAny>,
    pub(crate) protocol_class: Py<PyAny>,
    pub(crate) incomplete_read_error: Py<PyType>,
    pub(crate) limit_overrun_error: Py<PyType>,
    /// A server's protocol keeps the writer of its connection alive (up to some 3.12).
    pub(crate) protocol_keeps_writer: bool,
    /// What stands in asyncio's place of our classes, by name.
    classes: Vec<(&'static str, Py<PyAny>)>,
}

impl Streams {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
        let streams = py.import("asyncio.streams")?;
        let exceptions = py.import("asyncio.exceptions")?;
        let error =
            |name| -> PyResult<Py<PyType>> { Ok(exceptions.getattr(name)?.cast_into::<PyType>()?.unbind()) };
        let protocol = streams.getattr("StreamReaderProtocol")?;
        Ok(Self {
            reader_class: streams.getattr("StreamReader")?.unbind(),
            incomplete_read_error: error("IncompleteReadError")?,
            limit_overrun_error: error("LimitOverrunError")?,
            protocol_keeps_writer: protocol.hasattr("_replace_writer")?,
            protocol_class: protocol.unbind(),
            classes: CLASSES
                .iter()
                .map(|(module, name)| Ok((*name, py.import(*module)?.getattr(*name)?.unbind())))
                .collect::<PyResult<_>>()?,
        })
    }

    /// asyncio's class of that name.
    pub(super) fn class_of<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
        let found = self.classes.iter().find(|(known, _)| *known == name);
        found.map(|(_, class)| class.bind(py).clone())
    }
}

const CLASSES: [(&str, &str); 6] = [
    ("asyncio.streams", "FlowControlMixin"),
    ("asyncio.streams", "StreamReader"),
    ("asyncio.streams", "StreamReaderProtocol"),
    ("asyncio.streams", "StreamWriter"),
    ("asyncio.subprocess", "SubprocessStreamProtocol"),
    ("asyncio.subprocess", "Process"),
];
