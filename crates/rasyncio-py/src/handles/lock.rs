//! `Locks`: what makes the handles of `call_soon_threadsafe()` thread safe from Python 3.14 on (asyncio: `_ThreadSafeHandle`).
//!
//! While the callback runs in the thread of the loop, `cancel()` and `cancelled()` wait in every other thread. A thread may take a lock more
//! than once: the callback may cancel its own handle. The loop keeps those locks that are held, hardly ever more than one, so that a handle
//! needs no memory for its own; only who really waits makes an object to wait on, a lock of Python's, so that Ctrl+C gets through and the
//! interpreter lock is let go.

use pyo3::intern;
use pyo3::prelude::*;

use super::Handle;
use crate::ffi::call::thread_ident;
use crate::ffi::cell::GilCell;

/// The locks of a loop's handles.
#[derive(Default)]
pub(crate) struct Locks {
    held: GilCell<Vec<HeldLock>>,
}

struct HeldLock {
    /// The address of the handle, which whoever holds its lock keeps alive.
    handle: usize,
    owner: u64,
    depth: u32,
    /// Locked by who waits, unlocked by who lets go.
    waiting: Vec<Py<PyAny>>,
}

/// Holds the lock of a handle until it is dropped.
pub(super) struct Held<'a, 'py> {
    locks: &'a Locks,
    handle: &'a Bound<'py, Handle>,
}

impl Locks {
    /// Waits until no other thread has the lock of `handle`. Fails only when a signal's handler raises meanwhile.
    pub(super) fn hold<'a, 'py>(&'a self, handle: &'a Bound<'py, Handle>) -> PyResult<Held<'a, 'py>> {
        let py = handle.py();
        let (address, this_thread) = (address_of(handle), thread_ident());
        while !self.held.with(py, |held| try_enter(held, address, this_thread)) {
            self.wait(py, address, this_thread)?;
        }
        Ok(Held { locks: self, handle })
    }

    fn wait(&self, py: Python<'_>, handle: usize, this_thread: u64) -> PyResult<()> {
        let signal = py.import(intern!(py, "_thread"))?.call_method0(intern!(py, "allocate_lock"))?;
        signal.call_method0(intern!(py, "acquire"))?;
        let kept = signal.clone().unbind();
        let unneeded = self.held.with(py, |held| match held.iter_mut().find(|lock| lock.handle == handle) {
            Some(lock) if lock.owner != this_thread => {
                lock.waiting.push(kept);
                None
            }
            _ => Some(kept),
        });
        if unneeded.is_none() {
            signal.call_method0(intern!(py, "acquire"))?;
        }
        Ok(())
    }
}

fn address_of(handle: &Bound<'_, Handle>) -> usize {
    handle.as_ptr().addr()
}

#[inline]
fn try_enter(held: &mut Vec<HeldLock>, handle: usize, thread: u64) -> bool {
    match held.iter_mut().find(|lock| lock.handle == handle) {
        None => {
            held.push(HeldLock { handle, owner: thread, depth: 1, waiting: Vec::new() });
            true
        }
        Some(lock) if lock.owner == thread => {
            lock.depth += 1;
            true
        }
        Some(_) => false,
    }
}

/// Who is to be told that the lock is free.
#[inline]
fn leave(held: &mut Vec<HeldLock>, handle: usize) -> Vec<Py<PyAny>> {
    let Some(place) = held.iter().position(|lock| lock.handle == handle) else {
        return Vec::new();
    };
    held[place].depth -= 1;
    if held[place].depth == 0 { held.swap_remove(place).waiting } else { Vec::new() }
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        let py = self.handle.py();
        let address = address_of(self.handle);
        for signal in self.locks.held.with(py, |held| leave(held, address)) {
            if let Err(error) = signal.call_method0(py, intern!(py, "release")) {
                error.write_unraisable(py, None);
            }
        }
    }
}
