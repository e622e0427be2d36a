//! Objects that are made and dropped all the time are kept and used again, as the interpreter does with its own.
//!
//! A recycled object is a dead one whose memory was not given back: it still is a whole `T`, holds nothing, and is not tracked by the collector.

use pyo3::prelude::*;
use pyo3::{PyClass, PyClassInitializer, PyTypeInfo, ffi};

use super::allocation::new_with_dict;
use super::cell::GilCell;

/// A class whose dead objects are kept.
pub(crate) trait Recycle: PyTypeInfo + Sized {
    /// Whether the class has a finalizer. An object whose finalizer ran once would never have it run again, so it is not recycled.
    const HAS_FINALIZER: bool = false;

    /// How many dead objects are kept.
    const KEPT: usize = FEW;

    /// How many of them until `trim`.
    const KEPT_WHILE_BUSY: usize = Self::KEPT;

    /// Whether this dying object may be used again; one that may not gets the destructor that its class had before.
    #[inline]
    fn is_recyclable(this: &Bound<'_, Self>) -> bool {
        let _ = this;
        true
    }

    /// Lets go of what the object holds, so that it can wait for its next use.
    fn empty(this: &Bound<'_, Self>);

    fn bin() -> &'static Bin;
}

/// Dead objects of one class.
pub(crate) struct Bin {
    objects: GilCell<Vec<Dead>>,
    destructor: std::sync::OnceLock<ffi::destructor>,
}

/// A dead object; whoever takes it out of the bin owns it.
struct Dead(*mut ffi::PyObject);

// SAFETY: the object belongs to the bin alone, and the bin is entered by attached threads one at a time.
unsafe impl Send for Dead {}

impl Bin {
    pub(crate) const fn new() -> Self {
        Self { objects: GilCell::new(Vec::new()), destructor: std::sync::OnceLock::new() }
    }
}

/// Puts the recycling destructor into T's type.
pub(crate) fn install<T: Recycle>(py: Python<'_>) {
    let object = T::type_object_raw(py);
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    let original = unsafe { (*object).tp_dealloc };
    if let Some(original) = original
        && T::bin().destructor.set(original).is_ok()
    {
        // SAFETY: as above.
        unsafe { (*object).tp_dealloc = Some(dealloc::<T>) };
    }
}

/// A `T` with `contents`: a used object after `fill`, which the collector sees from then on, or one that `create` makes when there is none.
#[inline]
pub(crate) fn make<'py, T, C, I>(
    py: Python<'py>,
    contents: C,
    fill: impl FnOnce(&Bound<'py, T>, C),
    create: impl FnOnce(C) -> I,
) -> PyResult<Bound<'py, T>>
where
    T: Recycle + PyClass,
    I: Into<PyClassInitializer<T>>,
{
    let (this, is_tracked) = obtain(py, contents, fill, create)?;
    if !is_tracked {
        // SAFETY: the object is whole and was untracked when it died.
        unsafe { ffi::PyObject_GC_Track(this.as_ptr().cast()) };
    }
    Ok(this)
}

/// `make` for an object that the collector is not to see before `show`. Until then it does not know what the object holds, so that is kept alive.
#[inline]
pub(crate) fn make_hidden<'py, T, C, I>(
    py: Python<'py>,
    contents: C,
    fill: impl FnOnce(&Bound<'py, T>, C),
    create: impl FnOnce(C) -> I,
) -> PyResult<Bound<'py, T>>
where
    T: Recycle + PyClass,
    I: Into<PyClassInitializer<T>>,
{
    let (this, is_tracked) = obtain(py, contents, fill, create)?;
    if is_tracked {
        // SAFETY: a whole object of a class that the collector knows.
        unsafe { ffi::PyObject_GC_UnTrack(this.as_ptr().cast()) };
    }
    Ok(this)
}

/// A used object after `fill`, or one that `create` makes, and whether the collector sees it: only what is new.
#[inline(always)]
#[expect(clippy::inline_always, reason = "on the way of each callback")]
fn obtain<'py, T, C, I>(
    py: Python<'py>,
    contents: C,
    fill: impl FnOnce(&Bound<'py, T>, C),
    create: impl FnOnce(C) -> I,
) -> PyResult<(Bound<'py, T>, bool)>
where
    T: Recycle + PyClass,
    I: Into<PyClassInitializer<T>>,
{
    let Some(Dead(object)) = T::bin().objects.with(py, Vec::pop) else {
        return Ok((new_with_dict(py, create(contents))?, true));
    };
    // SAFETY: the object is dead and ours: this makes it an object with one reference.
    unsafe { _Py_NewReference(object) };
    // SAFETY: that reference is handed out here.
    let this = unsafe { Bound::from_owned_ptr(py, object) };
    // SAFETY: the bin keeps objects of T only.
    let this = unsafe { this.cast_into_unchecked::<T>() };
    fill(&this, contents);
    Ok((this, false))
}

/// Lets the collector see an object of `make_hidden`, unless it does already.
#[inline]
pub(crate) fn show<T: Recycle>(this: &Bound<'_, T>) {
    // SAFETY: an object that is alive.
    if unsafe { ffi::PyObject_GC_IsTracked(this.as_ptr()) } == 0 {
        // SAFETY: a whole object of a class that the collector knows, which is not tracked.
        unsafe { ffi::PyObject_GC_Track(this.as_ptr().cast()) };
    }
}

unsafe extern "C" fn dealloc<T: Recycle>(object: *mut ffi::PyObject) {
    // SAFETY: destructors run on an attached thread.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the slot is called with a T whose memory stays valid; its reference count is zero, so the handle is never dropped.
    let this = std::mem::ManuallyDrop::new(unsafe { Bound::from_owned_ptr(py, object) });
    // SAFETY: the type was said above.
    let this = unsafe { this.cast_unchecked::<T>() };
    // SAFETY: the object is whole, and of a class that the collector knows.
    let is_fresh = || !T::HAS_FINALIZER || unsafe { ffi::PyObject_GC_IsFinalized(object) } == 0;
    let has_room = || {
        cfg!(not(Py_GIL_DISABLED)) && T::bin().objects.with(py, |objects| objects.len() < T::KEPT_WHILE_BUSY)
    };
    if !has_room() || !is_plain::<T>(py, object) || !T::is_recyclable(this) || !is_fresh() {
        if let Some(original) = T::bin().destructor.get() {
            // SAFETY: the destructor that this class had before.
            unsafe { original(object) };
        }
        return;
    }
    // SAFETY: a dying object must be hidden from the collector before it is taken apart.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    clear_weak_references::<T>(py, object);
    T::empty(this);
    T::bin().objects.with(py, |objects| objects.push(Dead(object)));
}

/// Gives back a quarter of what is beyond `KEPT`. Called whenever the loop sleeps, so that floods in a row find memory and the last one leaves little behind.
#[inline]
pub(crate) fn trim<T: Recycle>(py: Python<'_>) {
    if T::bin().objects.with(py, |objects| objects.len() > T::KEPT) {
        give_back::<T>(py);
    }
}

#[cold]
fn give_back<T: Recycle>(py: Python<'_>) {
    let unneeded: Vec<_> = T::bin().objects.with(py, |objects| {
        let rest = objects.len() - (objects.len() - T::KEPT).div_ceil(4);
        objects.drain(rest..).collect()
    });
    for Dead(object) in unneeded {
        if let Some(original) = T::bin().destructor.get() {
            // SAFETY: the destructor that this class had before, for an object that died and was not given back.
            unsafe { original(object) };
        }
    }
}

/// Whether the object is of this very class, no subclass, and nobody gave it attributes of its own.
#[inline]
fn is_plain<T: PyTypeInfo>(py: Python<'_>, object: *mut ffi::PyObject) -> bool {
    let class = T::type_object_raw(py);
    // SAFETY: the object is whole.
    if unsafe { ffi::Py_TYPE(object) } != class {
        return false;
    }
    // SAFETY: a type object of ours, which lives for ever.
    let dictionary = unsafe { (*class).tp_dictoffset };
    if dictionary <= 0 {
        return dictionary == 0;
    }
    // SAFETY: the type says that its objects have a pointer there, NULL or to a dictionary.
    let place = unsafe { object.byte_offset(dictionary).cast::<*mut ffi::PyObject>() };
    // SAFETY: as above.
    unsafe { *place }.is_null()
}

/// Tells the weak references of a dying object that it is gone.
pub(super) fn clear_weak_references<T: PyTypeInfo>(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: a type object of ours, which lives for ever.
    let offset = unsafe { (*T::type_object_raw(py)).tp_weaklistoffset };
    if offset == 0 {
        return;
    }
    if offset > 0 {
        // SAFETY: the type says that its objects have a pointer there, NULL or to a weak reference.
        let list = unsafe { object.byte_offset(offset).cast::<*mut ffi::PyObject>() };
        // SAFETY: as above.
        if unsafe { *list }.is_null() {
            return;
        }
    }
    // SAFETY: the object is dying and whole, and its class has weak references.
    unsafe { ffi::PyObject_ClearWeakRefs(object) };
}

unsafe extern "C" {
    /// Makes the memory of a dead object a new one with one reference. Not in PyO3's bindings; the interpreter's own free lists use it.
    fn _Py_NewReference(object: *mut ffi::PyObject);
}

/// As many as the interpreter keeps of its own future iterators.
const FEW: usize = 255;

/// For what a program makes a thousand of before the first is used.
pub(crate) const MANY: usize = 1024;

/// For what another thread makes while it has the interpreter lock, five milliseconds at a time.
pub(crate) const A_FLOOD: usize = 16 * MANY;
