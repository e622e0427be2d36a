//! Where a piece of a stream ends: at the first of some separators.

use std::io::BufRead;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyTuple};

/// What `readuntil()` looks for.
pub(super) enum Separators {
    Newline,
    /// Not empty, none of them empty, the shortest first.
    Any(Box<[Vec<u8>]>),
}

/// A separator that was found: from `start` up to `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Separators {
    /// From what `readuntil()` was given. A tuple of several counts from Python 3.13 on. ValueError when one is empty, or there is none.
    pub(super) fn of(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = given.py();
        let several = given.cast::<PyTuple>().ok().filter(|_| py.version_info() >= (3, 13));
        let mut separators = match several {
            Some(several) => several.iter().map(|one| bytes_of(&one)).collect::<PyResult<Vec<_>>>()?,
            None => vec![bytes_of(given)?],
        };
        separators.sort_by_key(Vec::len);
        match separators.first() {
            None => Err(PyValueError::new_err("Separator should contain at least one element")),
            Some(shortest) if shortest.is_empty() => {
                Err(PyValueError::new_err("Separator should be at least one-byte string"))
            }
            Some(_) if matches!(&separators[..], [only] if only == b"\n") => Ok(Self::Newline),
            Some(_) => Ok(Self::Any(separators.into_boxed_slice())),
        }
    }

    fn shortest(&self) -> usize {
        match self {
            Self::Newline => 1,
            Self::Any(separators) => separators.first().map_or(1, Vec::len),
        }
    }

    /// How many of the last bytes may be part of a separator whose end is not there yet.
    fn overlap(&self) -> usize {
        match self {
            Self::Newline => 0,
            Self::Any(separators) => separators.last().map_or(0, |longest| longest.len() - 1),
        }
    }

    /// The match that ends first, behind `offset`; of several that end there the shortest. If there is none, how far nothing needs
    /// to be looked for again. None: there are not enough bytes to look.
    pub(super) fn find(&self, bytes: &[u8], offset: usize) -> Option<Result<Match, usize>> {
        let unseen = bytes.get(offset..).filter(|unseen| unseen.len() >= self.shortest())?;
        let found = match self {
            Self::Newline => position(unseen, b"\n").map(|start| (start, 1)),
            Self::Any(separators) => {
                let ends = separators.iter().filter_map(|one| Some((position(unseen, one)?, one.len())));
                ends.min_by_key(|(start, size)| start + size)
            }
        };
        Some(match found {
            Some((start, size)) => Ok(Match { start: offset + start, end: offset + start + size }),
            None => Err(bytes.len().saturating_sub(self.overlap())),
        })
    }
}

/// Where `needle`, which is not empty, is found first.
fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut from = 0;
    loop {
        let mut unseen = haystack.get(from..)?;
        // The standard library's way to libc's `memchr`, which looks at many bytes at once.
        let behind = from + unseen.skip_until(*first).ok()?;
        if behind == from || haystack[behind - 1] != *first {
            return None;
        }
        if haystack[behind..].starts_with(rest) {
            return Some(behind - 1);
        }
        from = behind;
    }
}

fn bytes_of(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(array) = given.cast::<PyByteArray>() {
        return Ok(array.to_vec());
    }
    if let Ok(view) = PyMemoryView::from(given) {
        return Ok(view.call_method0("tobytes")?.cast_into::<PyBytes>()?.as_bytes().to_vec());
    }
    // What has no length is refused in the interpreter's own words, before what is no bytes.
    given.len()?;
    let class = given.get_type().name()?;
    Err(PyTypeError::new_err(format!("argument should be integer or bytes-like object, not '{class}'")))
}
