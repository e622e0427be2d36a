//! `tp_finalize` for our classes, which PyO3 does not offer.
//!
//! "Task was destroyed but it is pending!" and "exception was never retrieved" hand the dying object to the exception
//! handler, which may keep it; only a finalizer may do that, a destructor may not. The finalizer is put into the type
//! once, at start-up. A subclass that Python makes inherits it only if the class has a method `__del__`.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::{PyTypeInfo, ffi};

/// A class whose dying objects still have something to say.
pub(crate) trait Finalize: PyTypeInfo + Sized {
    /// Whether `finalize` would do anything; asked for each object that dies, so it must be cheap.
    fn has_last_words(this: &Bound<'_, Self>) -> bool;

    /// Called at most once per object; the object may be kept alive from here.
    fn finalize(this: &Bound<'_, Self>);

    /// Lets go of what the object holds. The destructor behind it would do that too, but asks for each Python object whether this thread is
    /// attached to the interpreter.
    fn release(this: &Bound<'_, Self>) -> Released {
        let _ = this;
        Released::Nothing
    }

    /// Where the destructor that PyO3 made for this class is remembered.
    fn destructor() -> &'static OnceLock<ffi::destructor>;
}

/// What is left in a dying object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    /// Everything is still there: the destructor has to do it all.
    Nothing,
    /// The Rust part holds nothing that needs to be dropped, no box and no Python object.
    Everything,
}

/// Puts `T::finalize` into the type of `T`.
pub(crate) fn install<T: Finalize>(py: Python<'_>) {
    let object = T::type_object_raw(py);
    // SAFETY: the type is a heap type of ours, complete, and no other thread uses it yet: this runs at import.
    let original = unsafe { (*object).tp_dealloc };
    if let Some(original) = original
        && T::destructor().set(original).is_ok()
    {
        // SAFETY: as above.
        unsafe { (*object).tp_dealloc = Some(dealloc::<T>) };
        // SAFETY: as above.
        unsafe { (*object).tp_finalize = Some(finalize::<T>) };
        // SAFETY: as above; drops the attribute caches that may know the old slots.
        unsafe { ffi::PyType_Modified(object) };
    }
}

/// `tp_finalize`: called by the collector for an object in a cycle and by `dealloc` for any other.
unsafe extern "C" fn finalize<T: Finalize>(object: *mut ffi::PyObject) {
    let body = || {
        // SAFETY: finalizers run on an attached thread.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: the slot sits in T's type and its subclasses only, so `object` is a T; it is alive during the call.
        let any = unsafe { Bound::from_borrowed_ptr(py, object) };
        let this = any.cast_into::<T>();
        if let Ok(this) = this
            && T::has_last_words(&this)
        {
            // A finalizer may run while an exception is on its way: it must be there again afterwards.
            let pending = PyErr::take(py);
            // PyO3 puts off the end of what is dropped by a thread that it does not know to be attached.
            if Python::try_attach(|_| T::finalize(&this)).is_none() {
                T::finalize(&this);
            }
            if let Some(pending) = pending {
                pending.restore(py);
            }
        }
    };
    // A panic may not cross into C; there is nobody to tell at this point but stderr, which the panic hook did.
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)));
}

/// What the method `__del__` of a class with a finalizer does.
pub(crate) fn say_last_words<T: Finalize>(this: &Bound<'_, T>) {
    if T::has_last_words(this) {
        T::finalize(this);
    }
}

unsafe extern "C" fn dealloc<T: Finalize>(object: *mut ffi::PyObject) {
    // SAFETY: destructors run on an attached thread.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the slot is called with a T; its memory is valid until the original destructor below has run. The reference count is zero: it must not be
    // counted up and down, or the object would die again, so the handle is never dropped.
    let this = std::mem::ManuallyDrop::new(unsafe { Bound::from_owned_ptr(py, object) });
    // SAFETY: the type was said above.
    let this = unsafe { this.cast_unchecked::<T>() };
    if T::has_last_words(this) {
        // SAFETY: called by the interpreter with a dying object of T; it may be revived, then nothing is freed.
        if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
            return;
        }
    }
    // SAFETY: a dying object must be hidden from the collector before it is taken apart.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    if T::release(this) == Released::Everything && free::<T>(py, object) {
        return;
    }
    if let Some(original) = T::destructor().get() {
        // SAFETY: the destructor that PyO3 made for exactly this class.
        unsafe { original(object) };
    }
}

/// Frees an object whose Rust part holds nothing any more: what is left are weak references and the dictionary of attributes.
///
/// The destructor of PyO3 does the same and more, which is a tenth of the life of a task. False, and nothing done, where the type keeps them
/// in another way than at an offset of the object.
fn free<T: Finalize>(py: Python<'_>, object: *mut ffi::PyObject) -> bool {
    let class = T::type_object_raw(py);
    // SAFETY: a type object of ours, which lives for ever.
    let weak_references = unsafe { (*class).tp_weaklistoffset };
    // SAFETY: as above.
    let dictionary = unsafe { (*class).tp_dictoffset };
    if weak_references <= 0 || dictionary <= 0 {
        return false;
    }
    super::recycle::clear_weak_references::<T>(py, object);
    // SAFETY: the type says that its objects have a pointer there, NULL or to a dictionary that they own.
    let place = unsafe { object.byte_offset(dictionary).cast::<*mut ffi::PyObject>() };
    // SAFETY: as above; the reference is taken over.
    let attributes = unsafe { std::mem::replace(&mut *place, std::ptr::null_mut()) };
    // SAFETY: as above.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, attributes) });
    // SAFETY: the object's own type, which may be a subclass written in Python.
    let own_class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: every type has the slot.
    if let Some(tp_free) = unsafe { (*own_class).tp_free } {
        // SAFETY: the object holds nothing any more and nobody refers to it.
        unsafe { tp_free(object.cast()) };
    }
    // SAFETY: an object of a heap type owns a reference to it.
    unsafe { ffi::Py_DECREF(own_class.cast()) };
    true
}
