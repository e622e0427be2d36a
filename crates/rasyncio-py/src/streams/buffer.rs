//! Bytes that were received and not read yet.
//!
//! A chunk that finds the buffer empty is kept as the `bytes` object it came in, and handed out whole if it is asked for whole: nothing is copied. What comes
//! behind unread bytes is put together with them in one place, so that looking for a separator sees them side by side. Who asks for `_buffer` gets a real
//! bytearray, which then is the buffer, until it is empty and nobody else has it.
//!
//! Nothing here runs Python code: objects of exact types are made, filled and dropped. So it may happen while the state of a reader is borrowed.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PySlice};

use crate::ffi::buffer;

#[derive(Default)]
pub(super) enum Buffer {
    #[default]
    Empty,
    /// One chunk, read up to `start`.
    Chunk { bytes: Py<PyBytes>, start: usize },
    /// Several chunks put together, read up to `start`.
    Joined { bytes: Vec<u8>, start: usize },
    /// Somebody looked at it.
    Shown(Py<PyByteArray>),
}

impl Buffer {
    #[inline]
    pub(super) fn len(&self, py: Python<'_>) -> usize {
        self.look(py, <[u8]>::len)
    }

    #[inline]
    pub(super) fn is_empty(&self, py: Python<'_>) -> bool {
        self.len(py) == 0
    }

    /// Lets `look` see everything.
    #[inline]
    pub(super) fn look<R>(&self, py: Python<'_>, look: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Empty => look(&[]),
            Self::Chunk { bytes, start } => look(&bytes.as_bytes(py)[*start..]),
            Self::Joined { bytes, start } => look(&bytes[*start..]),
            Self::Shown(array) => buffer::look(array.bind(py), look),
        }
    }

    /// Adds a copy of `data`. BufferError when the bytearray that was shown is in use.
    pub(super) fn push(&mut self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.unshow(py);
        if let Self::Shown(array) = self {
            return array.bind(py).call_method1("extend", (PyBytes::new(py, data),)).map(drop);
        }
        if matches!(self, Self::Empty) {
            *self = Self::Chunk { bytes: PyBytes::new(py, data).unbind(), start: 0 };
            return Ok(());
        }
        self.join(py, data.len());
        if let Self::Joined { bytes, .. } = self {
            bytes.extend_from_slice(data);
        }
        Ok(())
    }

    /// Adds `data`, the object itself where that can be. As `push`.
    #[inline]
    pub(super) fn push_object(&mut self, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        if matches!(self, Self::Empty) {
            *self = Self::Chunk { bytes: data.clone().unbind(), start: 0 };
            return Ok(());
        }
        self.push(data.py(), data.as_bytes())
    }

    /// Takes the first `count` bytes, or as many as there are. BufferError when the bytearray that was shown is in use.
    #[inline]
    pub(super) fn take<'py>(&mut self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        if let Self::Chunk { bytes, start: 0 } = self
            && bytes.as_bytes(py).len() <= count
        {
            let whole = bytes.bind(py).clone();
            if let Self::Chunk { bytes, .. } = std::mem::take(self) {
                drop(bytes.into_bound(py));
            }
            return Ok(whole);
        }
        let count = count.min(self.len(py));
        let taken = self.look(py, |bytes| PyBytes::new(py, &bytes[..count]));
        self.discard(py, count)?;
        Ok(taken)
    }

    /// Whether the bytes are here and not in a bytearray: `take` needs no Python then, and cannot fail.
    #[inline]
    pub(super) fn is_native(&self) -> bool {
        !matches!(self, Self::Shown(_))
    }

    /// Takes everything.
    pub(super) fn take_all<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, usize::MAX)
    }

    /// Forgets the first `count` bytes, which are there.
    pub(super) fn discard(&mut self, py: Python<'_>, count: usize) -> PyResult<()> {
        let size = match self {
            Self::Empty => return Ok(()),
            Self::Shown(array) => {
                let front = PySlice::new(py, 0, isize::try_from(count)?, 1);
                return array.bind(py).del_item(front);
            }
            Self::Chunk { bytes, start } => {
                *start += count;
                bytes.as_bytes(py).len() - *start
            }
            Self::Joined { bytes, start } => {
                *start += count;
                bytes.len() - *start
            }
        };
        if size == 0
            && let Self::Chunk { bytes, .. } = std::mem::take(self)
        {
            // Who awaits a read at once comes here without PyO3 knowing that the thread is attached.
            drop(bytes.into_bound(py));
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, py: Python<'_>) -> PyResult<()> {
        self.discard(py, self.len(py))
    }

    /// Somebody waits for more: the memory of what was read is given back.
    pub(super) fn compact(&mut self, py: Python<'_>) {
        if matches!(self, Self::Chunk { start: 1.., .. }) {
            self.join(py, 0);
        }
    }

    /// The bytearray that is the buffer from now on.
    pub(super) fn show<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyByteArray> {
        if let Self::Shown(array) = self {
            return array.bind(py).clone();
        }
        let array = self.look(py, |bytes| PyByteArray::new(py, bytes));
        *self = Self::Shown(array.clone().unbind());
        array
    }

    /// What goes on without the bytearray once nobody else has it and nothing is in it.
    fn unshow(&mut self, py: Python<'_>) {
        if let Self::Shown(array) = self
            && buffer::is_unshared(array.bind(py))
            && array.bind(py).len() == 0
        {
            *self = Self::Empty;
        }
    }

    /// Makes room for `more` bytes behind those that are there, in one place.
    fn join(&mut self, py: Python<'_>, more: usize) {
        if let Self::Joined { bytes, start } = self {
            // What was read goes when the rest has to move anyway.
            if *start > 0 && bytes.capacity() - bytes.len() < more {
                bytes.drain(..*start);
                *start = 0;
            }
            return;
        }
        let joined = self.look(py, |unread| {
            let mut joined = Vec::with_capacity(unread.len() + more);
            joined.extend_from_slice(unread);
            joined
        });
        *self = Self::Joined { bytes: joined, start: 0 };
    }
}
