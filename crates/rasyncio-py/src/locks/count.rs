//! Numbers of places: whatever a program counts with.

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

/// asyncio counts with whatever number it was given, and infinity is a useful one.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Whole(i64),
    Real(f64),
}

impl Count {
    pub(crate) fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyInt>() {
            return value.extract().map(Self::Whole);
        }
        if !value.is_instance_of::<PyFloat>() {
            // What cannot be compared with a number is refused in the interpreter's own words.
            value.lt(0)?;
        }
        value.extract().map(Self::Real)
    }

    pub(crate) fn shown(self, py: Python<'_>) -> Bound<'_, PyAny> {
        match self {
            Self::Whole(count) => PyInt::new(py, count).into_any(),
            Self::Real(count) => PyFloat::new(py, count).into_any(),
        }
    }

    #[inline]
    pub(crate) fn plus(self, more: i8) -> Self {
        match self {
            Self::Whole(count) => Self::Whole(count.saturating_add(i64::from(more))),
            Self::Real(count) => Self::Real(count + f64::from(more)),
        }
    }

    #[inline]
    fn as_real(self) -> f64 {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "compared with another kind of number, as Python does"
            )]
            Self::Whole(count) => count as f64,
            Self::Real(count) => count,
        }
    }

    /// How it stands to another; None where one is no number (NaN).
    #[inline]
    pub(crate) fn compared(self, other: Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            (one, other) => one.as_real().partial_cmp(&other.as_real()),
        }
    }

    #[inline]
    pub(crate) fn is_positive(self) -> bool {
        self.compared(Self::Whole(0)).is_some_and(std::cmp::Ordering::is_gt)
    }
}

/// A count as the argument of a class; not an `Option`, so that None is refused.
#[derive(Clone, Copy)]
pub(crate) struct GivenCount(pub(crate) Count);

impl GivenCount {
    pub(crate) const ZERO: Self = Self(Count::Whole(0));
    pub(crate) const ONE: Self = Self(Count::Whole(1));
}

impl<'py> FromPyObject<'_, 'py> for GivenCount {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Count::of(&value).map(Self)
    }
}
