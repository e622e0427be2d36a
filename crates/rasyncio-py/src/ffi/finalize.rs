//! `tp_finalize` for our classes, which PyO3 does not offer.
//!
//! "Task was destroyed but it is pending!" and "exception was never retrieved" hand the dying object to the exception
//! handler, which may keep it; only a finalizer may do that, a destructor may not. The finalizer is put into the type
//! once, at start-up, before any subclass exists (a subclass inherits the slot).

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::{PyTypeInfo, ffi};

/// A class whose dying objects still have something to say.
pub(crate) trait Finalize: PyTypeInfo + Sized {
    /// Whether `finalize` would do anything; asked for each object that dies, so it must be cheap.
    fn has_last_words(this: &Bound<'_, Self>) -> bool;

    /// Called at most once per object; the object may be kept alive from here.
    fn finalize(this: &Bound<'_, Self>);

    /// Lets go of the Python objects that it holds, one reference count each. The destructor behind it would do that too, but asks for each of
    /// them whether this thread is attached to the interpreter.
    fn release(this: &Bound<'_, Self>) {
        let _ = this;
    }

    /// Where the destructor that PyO3 made for this class is remembered.
    fn destructor() -> &'static OnceLock<ffi::destructor>;
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
            T::finalize(&this);
            if let Some(pending) = pending {
                pending.restore(py);
            }
        }
    };
    // A panic may not cross into C; there is nobody to tell at this point but stderr, which the panic hook did.
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)));
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
    T::release(this);
    if let Some(original) = T::destructor().get() {
        // SAFETY: the destructor that PyO3 made for exactly this class.
        unsafe { original(object) };
    }
}
