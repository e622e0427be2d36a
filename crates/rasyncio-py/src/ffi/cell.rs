//! `GilCell`: the mutable state of a Python object, reached only by a thread attached to the interpreter.
//!
//! A frozen PyO3 class hands out `&T` for nothing, where a mutable one checks a borrow flag on every method; the state
//! that changes lives in these cells instead. Invariant: nothing inside of `with` calls Python or drops a Python object;
//! what is replaced is handed out and dropped by the caller, after the cell is free again.
//!
//! A cell of zeroes reads as one that is being changed: up to Python 3.12 the interpreter makes an object's dictionary before PyO3 has filled in the
//! object, and that may begin a garbage collection. So a class with `dict` shows the collector only what it finds with a free cell.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::Python;

/// A value that any attached thread may change, one at a time.
pub(crate) struct GilCell<T> {
    free: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` admits one thread at a time: on a build with a GIL because the closure cannot release it (the `free` flag turns a
// nested entry into a panic), on a free-threaded build because the flag is taken like a lock.
unsafe impl<T: Send> Sync for GilCell<T> {}

struct Release<'a>(&'a AtomicBool);

impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl<T> GilCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { free: AtomicBool::new(true), value: UnsafeCell::new(value) }
    }

    /// Reads or changes the value. `change` must neither call Python nor drop a Python object.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn with<R>(&self, _py: Python<'_>, change: impl FnOnce(&mut T) -> R) -> R {
        self.enter();
        let _release = Release(&self.free);
        // SAFETY: `enter` made this the only live reference until `_release` is dropped.
        change(unsafe { &mut *self.value.get() })
    }

    /// Lets the garbage collector look at the value. A value that is being changed at this moment is passed over: what it
    /// holds then counts as reachable.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        if !self.free.swap(false, Ordering::Acquire) {
            return None;
        }
        let _release = Release(&self.free);
        // SAFETY: as in `with`; the flag was free and is ours now.
        Some(look(unsafe { &*self.value.get() }))
    }

    /// Puts `value` into a place of the value. What was there is dropped when the cell is free again.
    #[inline]
    pub(crate) fn put<V>(&self, py: Python<'_>, place: impl FnOnce(&mut T) -> &mut V, value: V) {
        drop(self.with(py, |state| std::mem::replace(place(state), value)));
    }

    pub(crate) fn replace(&self, py: Python<'_>, value: T) -> T {
        self.with(py, |slot| std::mem::replace(slot, value))
    }

    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    fn enter(&self) {
        // With a GIL no other thread can be inside, so a plain load and store do: no locked instruction.
        assert!(self.free.load(Ordering::Relaxed), "state entered twice");
        self.free.store(false, Ordering::Relaxed);
    }

    #[cfg(Py_GIL_DISABLED)]
    fn enter(&self) {
        while self.free.compare_exchange_weak(true, false, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
    }
}

impl<T: Copy> GilCell<T> {
    #[inline]
    pub(crate) fn get(&self, py: Python<'_>) -> T {
        self.with(py, |slot| *slot)
    }

    #[inline]
    pub(crate) fn set(&self, py: Python<'_>, value: T) {
        self.with(py, |slot| *slot = value);
    }
}

impl<T: Default> GilCell<T> {
    pub(crate) fn take(&self, py: Python<'_>) -> T {
        self.replace(py, T::default())
    }
}

impl<T: Default> Default for GilCell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
