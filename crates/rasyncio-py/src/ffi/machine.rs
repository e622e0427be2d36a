//! State machines of any type in a place of fixed size: the body of a coroutine needs no allocation of its own.

use std::mem::MaybeUninit;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::send::Sent;

/// What Python resumes a coroutine with.
pub(crate) enum Resume {
    Next,
    Throw(PyErr),
}

/// What runs between two awaits: the body of a coroutine, written by hand.
pub(crate) trait Steps: Send + Sized + 'static {
    /// Goes on until it awaits something or ends; not called again after it ended. The first call is with `Resume::Next`.
    ///
    /// Nothing of the coroutine is borrowed meanwhile: Python may be called, and may find the coroutine running.
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py>;

    /// Shows the garbage collector every Python object that the machine holds.
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;

    /// What it awaits while it is suspended (`cr_await`).
    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let _ = py;
        None
    }
}

/// Larger machines live in a box.
impl<T: Steps> Steps for Box<T> {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        (**self).step(py, resume)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        (**self).visit(visit)
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        (**self).awaited(py)
    }
}

/// Some type that implements `Steps`, in place.
pub(crate) struct Machine {
    place: Place,
    /// Of the type whose value is in `place`.
    table: &'static Table,
}

type Place = [MaybeUninit<usize>; WORDS];

struct Table {
    step: for<'py> unsafe fn(*mut Place, Python<'py>, Resume) -> Sent<'py>,
    visit: unsafe fn(*const Place, &PyVisit<'_>) -> Result<(), PyTraverseError>,
    awaited: for<'py> unsafe fn(*const Place, Python<'py>) -> Option<Bound<'py, PyAny>>,
    drop: unsafe fn(*mut Place),
}

struct Of<T>(std::marker::PhantomData<T>);

impl<T: Steps> Of<T> {
    const TABLE: Table = {
        assert!(size_of::<T>() <= size_of::<Place>(), "put it into a box");
        assert!(align_of::<T>() <= align_of::<Place>(), "put it into a box");
        Table { step: step::<T>, visit: visit::<T>, awaited: awaited::<T>, drop: drop_in_place::<T> }
    };
}

impl Machine {
    #[inline]
    pub(crate) fn new<T: Steps>(machine: T) -> Self {
        let mut place = [MaybeUninit::uninit(); WORDS];
        // SAFETY: building the table for T checked that it fits, in size and alignment; `place` is ours and holds nothing yet.
        unsafe { place.as_mut_ptr().cast::<T>().write(machine) };
        Self { place, table: &Of::<T>::TABLE }
    }

    #[inline]
    pub(crate) fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        // SAFETY: the table is that of the type whose value is in `place`, from `new` until the drop.
        unsafe { (self.table.step)(&raw mut self.place, py, resume) }
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: as in `step`.
        unsafe { (self.table.visit)(&raw const self.place, visit) }
    }

    pub(crate) fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: as in `step`.
        unsafe { (self.table.awaited)(&raw const self.place, py) }
    }
}

impl Drop for Machine {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `step`; the value is not used again.
        unsafe { (self.table.drop)(&raw mut self.place) };
    }
}

unsafe fn step<T: Steps>(place: *mut Place, py: Python<'_>, resume: Resume) -> Sent<'_> {
    // SAFETY: the caller has a T at `place`, which nobody else refers to now.
    unsafe { &mut *place.cast::<T>() }.step(py, resume)
}

unsafe fn visit<T: Steps>(place: *const Place, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    // SAFETY: the caller has a T at `place`.
    unsafe { &*place.cast::<T>() }.visit(visit)
}

unsafe fn awaited<T: Steps>(place: *const Place, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the caller has a T at `place`.
    unsafe { &*place.cast::<T>() }.awaited(py)
}

unsafe fn drop_in_place<T>(place: *mut Place) {
    // SAFETY: the caller has a T at `place` and does not use it again.
    unsafe { place.cast::<T>().drop_in_place() };
}

/// Room for the machines of locks and queues. It is moved at each step, so more is not free.
const WORDS: usize = 7;
