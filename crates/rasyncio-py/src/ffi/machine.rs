//! State machines of any type in a place of fixed size: the body of a coroutine needs no allocation of its own, and is never moved.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::call::attached;
use super::send::Sent;

/// What Python resumes a coroutine with.
pub(crate) enum Resume {
    Next,
    Throw(PyErr),
}

/// What a quick step came to.
pub(crate) enum Quick<'py> {
    /// Nothing has happened: it takes an ordinary step.
    Declined,
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    /// The error is set in the interpreter.
    Raised,
}

impl<'py> Quick<'py> {
    #[inline]
    pub(crate) fn of(py: Python<'py>, sent: Sent<'py>) -> Self {
        match sent {
            Sent::Yielded(object) => Self::Yielded(object),
            Sent::Returned(value) => Self::Returned(value),
            Sent::Raised(error) => {
                error.restore(py);
                Self::Raised
            }
        }
    }
}

/// What runs between two awaits: the body of a coroutine, written by hand.
pub(crate) trait Steps: Send + Sized + 'static {
    /// Goes on until it awaits something or ends; not called again after it ended. The first call is with `Resume::Next`, right after
    /// `quick` or `end_at_once` has declined.
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

    /// Tries to end with the first step; None: nothing has happened, and `step` is called instead. For what is awaited all the time
    /// and seldom has to wait: PyO3 may not know here that the thread is attached, so Python objects are let go of as `Bound`.
    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        let _ = py;
        None
    }

    /// Tries what `step` does with `Resume::Next`, without a `PyErr` to be handed up and without telling PyO3 that the thread is attached, which
    /// cost more than a whole step of a lock: so the same goes for it as for `end_at_once`.
    #[inline]
    fn quick<'py>(&mut self, py: Python<'py>, is_first: bool) -> Quick<'py> {
        if is_first && let Some(sent) = self.end_at_once(py) {
            return Quick::of(py, sent);
        }
        if self.is_quick(py, is_first) { Quick::of(py, self.step(py, Resume::Next)) } else { Quick::Declined }
    }

    /// Whether `step` itself may be called by `quick`, when `end_at_once` has declined or this is not the first step.
    #[inline]
    fn is_quick(&self, py: Python<'_>, is_first: bool) -> bool {
        let _ = (py, is_first);
        false
    }

    /// The first step, for a machine inside of another one.
    #[inline]
    fn first_step<'py>(&mut self, py: Python<'py>) -> Sent<'py> {
        match self.end_at_once(py) {
            Some(sent) => sent,
            None => self.step(py, Resume::Next),
        }
    }

    /// Lets go of what it holds. Likewise.
    #[inline]
    fn let_go(self, py: Python<'_>) {
        attached(py, || drop(self));
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

/// How far a body has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Created,
    Suspended,
    Running,
    Closed,
}

impl Status {
    /// Whether there is a machine that does not run.
    #[inline]
    fn has_machine(self) -> bool {
        matches!(self, Self::Created | Self::Suspended)
    }
}

/// The body of a coroutine: a machine of some type that implements `Steps`, in place.
pub(crate) struct Body(UnsafeCell<Inner>);

struct Inner {
    status: Status,
    /// Of the type whose value is in `place`.
    table: &'static Table,
    /// Holds a value from `Created` to the end of the last step.
    place: Place,
}

type Place = [MaybeUninit<usize>; WORDS];

struct Table {
    step: for<'py> unsafe fn(*mut Place, Python<'py>, Resume) -> Sent<'py>,
    /// Where it ends, the value is gone.
    quick: for<'py> unsafe fn(*mut Place, Python<'py>, bool) -> Quick<'py>,
    visit: unsafe fn(*const Place, &PyVisit<'_>) -> Result<(), PyTraverseError>,
    awaited: for<'py> unsafe fn(*const Place, Python<'py>) -> Option<Bound<'py, PyAny>>,
    let_go: unsafe fn(*mut Place, Python<'_>),
    drop: unsafe fn(*mut Place),
}

struct Of<T>(std::marker::PhantomData<T>);

impl<T: Steps> Of<T> {
    const TABLE: Table = {
        assert!(size_of::<T>() <= size_of::<Place>(), "put it into a box");
        assert!(align_of::<T>() <= align_of::<Place>(), "put it into a box");
        Table {
            step: step::<T>,
            quick: quick::<T>,
            visit: visit::<T>,
            awaited: awaited::<T>,
            let_go: let_go::<T>,
            drop: drop_in_place::<T>,
        }
    };
}

// SAFETY: the machines are `Send`. A body is reached by threads attached to the interpreter only, one at a time (the module asks for the
// interpreter lock); what a step lets in between finds the status `Running` and leaves the place alone.
unsafe impl Sync for Body {}

impl Body {
    pub(crate) fn new<T: Steps>(machine: T) -> Self {
        let mut place = [MaybeUninit::uninit(); WORDS];
        // SAFETY: building the table for T checked that it fits, in size and alignment; `place` is ours and holds nothing yet.
        unsafe { place.as_mut_ptr().cast::<T>().write(machine) };
        Self(UnsafeCell::new(Inner { status: Status::Created, table: &Of::<T>::TABLE, place }))
    }

    #[inline]
    pub(crate) fn status(&self, _py: Python<'_>) -> Status {
        // SAFETY: nobody keeps a reference to the status; see `Sync`.
        unsafe { (*self.0.get()).status }
    }

    #[inline]
    fn set_status(&self, status: Status) {
        // SAFETY: as in `status`.
        unsafe { (*self.0.get()).status = status };
    }

    #[inline]
    fn table(&self) -> &'static Table {
        // SAFETY: as in `status`.
        unsafe { (*self.0.get()).table }
    }

    #[inline]
    fn place(&self) -> *mut Place {
        // SAFETY: only an address is taken.
        unsafe { &raw mut (*self.0.get()).place }
    }

    /// Gives a body that is over a new machine.
    #[inline]
    pub(crate) fn refill<T: Steps>(&self, py: Python<'_>, machine: T) {
        debug_assert_eq!(self.status(py), Status::Closed, "the place is free");
        // SAFETY: as in `new`; a closed body holds nothing.
        unsafe { self.place().cast::<T>().write(machine) };
        // SAFETY: as in `status`.
        unsafe { (*self.0.get()).table = &Of::<T>::TABLE };
        self.set_status(Status::Created);
    }

    /// Tries a quick step with `Resume::Next`. `Declined`, and nothing done, also when the machine runs already, or is over.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each await of a lock or queue")]
    pub(crate) fn run_quick<'py>(&self, py: Python<'py>) -> Quick<'py> {
        let status = self.status(py);
        if !status.has_machine() {
            return Quick::Declined;
        }
        self.set_status(Status::Running);
        let (table, place) = (self.table(), self.place());
        // SAFETY: there was a value of the table's type, and from `Running` on it is this call's alone.
        let quick = unsafe { (table.quick)(place, py, status == Status::Created) };
        self.set_status(match quick {
            Quick::Declined => status,
            Quick::Yielded(_) => Status::Suspended,
            Quick::Returned(_) | Quick::Raised => Status::Closed,
        });
        quick
    }

    /// Runs the machine, which declined to be quick, until it awaits something or is over. None, and nothing done, when it runs already, or is over.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each await of a lock or queue")]
    pub(crate) fn run<'py>(&self, py: Python<'py>, resume: Resume) -> Option<Sent<'py>> {
        let status = self.status(py);
        if !status.has_machine() {
            return None;
        }
        self.set_status(Status::Running);
        let (table, place) = (self.table(), self.place());
        // SAFETY: there is a value of the table's type, and from `Running` on it is this call's alone.
        let sent = attached(py, || unsafe { (table.step)(place, py, resume) });
        if matches!(sent, Sent::Yielded(_)) {
            self.set_status(Status::Suspended);
        } else {
            self.set_status(Status::Closed);
            // SAFETY: as above; it is not used again.
            unsafe { (table.let_go)(place, py) };
        }
        Some(sent)
    }

    /// Ends a machine that does not run, without a step.
    pub(crate) fn discard(&self, py: Python<'_>) {
        if self.status(py).has_machine() {
            self.set_status(Status::Closed);
            // SAFETY: there was a value of the table's type, which nobody else uses: it did not run, and never will.
            unsafe { (self.table().let_go)(self.place(), py) };
        }
    }

    /// A machine that runs at this moment is passed over: what it holds then counts as reachable.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: as in `status`; the collector runs on an attached thread.
        let status = unsafe { (*self.0.get()).status };
        if !status.has_machine() {
            return Ok(());
        }
        // SAFETY: there is a value of the table's type, and it does not run.
        unsafe { (self.table().visit)(self.place(), visit) }
    }

    /// What a suspended machine awaits.
    pub(crate) fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if self.status(py) != Status::Suspended {
            return None;
        }
        // SAFETY: there is a value of the table's type, and it does not run.
        unsafe { (self.table().awaited)(self.place(), py) }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let inner = self.0.get_mut();
        if inner.status.has_machine() {
            // SAFETY: there is a value of the table's type, which goes with the body.
            unsafe { (inner.table.drop)(&raw mut inner.place) };
        }
    }
}

unsafe fn step<T: Steps>(place: *mut Place, py: Python<'_>, resume: Resume) -> Sent<'_> {
    // SAFETY: the caller has a T at `place`, which nobody else refers to now.
    unsafe { &mut *place.cast::<T>() }.step(py, resume)
}

unsafe fn quick<T: Steps>(place: *mut Place, py: Python<'_>, is_first: bool) -> Quick<'_> {
    // SAFETY: the caller has a T at `place`, which nobody else refers to now.
    let quick = unsafe { &mut *place.cast::<T>() }.quick(py, is_first);
    if matches!(quick, Quick::Returned(_) | Quick::Raised) {
        // SAFETY: as above, and the caller does not use it again.
        unsafe { place.cast::<T>().read() }.let_go(py);
    }
    quick
}

unsafe fn visit<T: Steps>(place: *const Place, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    // SAFETY: the caller has a T at `place`.
    unsafe { &*place.cast::<T>() }.visit(visit)
}

unsafe fn awaited<T: Steps>(place: *const Place, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the caller has a T at `place`.
    unsafe { &*place.cast::<T>() }.awaited(py)
}

unsafe fn let_go<T: Steps>(place: *mut Place, py: Python<'_>) {
    // SAFETY: the caller has a T at `place` and does not use it again.
    unsafe { place.cast::<T>().read() }.let_go(py);
}

unsafe fn drop_in_place<T>(place: *mut Place) {
    // SAFETY: the caller has a T at `place` and does not use it again.
    unsafe { place.cast::<T>().drop_in_place() };
}

/// Room for the machines of locks and queues.
const WORDS: usize = 7;
