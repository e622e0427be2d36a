//! `CallArguments`: what a callback is called with. Hardly any takes more than two arguments, and those few need no tuple: one is made only for who asks for it.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::ffi::call::{call_none, call_one, call_tuple, call_two};
use crate::ffi::methods::Arguments;

pub(crate) enum CallArguments {
    Nothing,
    One(Py<PyAny>),
    Two(Py<PyAny>, Py<PyAny>),
    Many(Py<PyTuple>),
}

impl CallArguments {
    /// The positional arguments of a call but for the first `skipped`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "with the number known it is next to nothing")]
    pub(crate) fn behind(arguments: &Arguments<'_, '_>, skipped: usize) -> PyResult<Self> {
        let at = |index: usize| arguments.value(skipped + index).clone().unbind();
        Ok(match arguments.positional().saturating_sub(skipped) {
            0 => Self::Nothing,
            1 => Self::One(at(0)),
            2 => Self::Two(at(0), at(1)),
            count => {
                let values = (0..count).map(|index| arguments.value(skipped + index));
                Self::Many(PyTuple::new(arguments.py(), values)?.unbind())
            }
        })
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::One(first) => Self::One(first.clone_ref(py)),
            Self::Two(first, second) => Self::Two(first.clone_ref(py), second.clone_ref(py)),
            Self::Many(arguments) => Self::Many(arguments.clone_ref(py)),
        }
    }

    /// As Python has them.
    pub(super) fn into_tuple(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        match self {
            Self::Nothing => Ok(PyTuple::empty(py)),
            Self::One(first) => PyTuple::new(py, [first]),
            Self::Two(first, second) => PyTuple::new(py, [first, second]),
            Self::Many(arguments) => Ok(arguments.into_bound(py)),
        }
    }

    /// Calls `callback` with them.
    #[inline]
    pub(super) fn call<'py>(&self, callback: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = callback.py();
        match self {
            Self::Nothing => call_none(callback),
            Self::One(first) => call_one(callback, first.bind(py)),
            Self::Two(first, second) => call_two(callback, first.bind(py), second.bind(py)),
            Self::Many(arguments) => call_tuple(callback, arguments.bind(py)),
        }
    }

    /// Lets go of them, as `Bound`, which does not ask whether the thread is attached.
    #[inline]
    pub(super) fn release(self, py: Python<'_>) {
        match self {
            Self::Nothing => {}
            Self::One(first) => drop(first.into_bound(py)),
            Self::Two(first, second) => drop((first.into_bound(py), second.into_bound(py))),
            Self::Many(arguments) => drop(arguments.into_bound(py)),
        }
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Nothing => Ok(()),
            Self::One(first) => visit.call(first),
            Self::Two(first, second) => {
                visit.call(first)?;
                visit.call(second)
            }
            Self::Many(arguments) => visit.call(arguments),
        }
    }
}

impl From<Py<PyTuple>> for CallArguments {
    fn from(arguments: Py<PyTuple>) -> Self {
        Self::Many(arguments)
    }
}
