//! `Lock`: what makes the handles of `call_soon_threadsafe()` thread safe from Python 3.14 on (asyncio: `_ThreadSafeHandle`).
//!
//! While the callback runs in the thread of the loop, `cancel()` and `cancelled()` wait in every other thread. A thread may take the lock more
//! than once: the callback may cancel its own handle. A free lock costs two small writes; only who really waits makes an object to wait on,
//! a lock of Python's, so that Ctrl+C gets through and the interpreter lock is let go.

use pyo3::intern;
use pyo3::prelude::*;

use crate::ffi::call::thread_ident;
use crate::ffi::cell::GilCell;

#[derive(Default)]
pub(super) struct Lock {
    state: GilCell<State>,
}

#[derive(Default)]
struct State {
    /// The thread that has the lock, and how many times over; 0 times when it is free.
    owner: u64,
    depth: u32,
    /// Locked by who waits, unlocked by who lets go.
    waiting: Vec<Py<PyAny>>,
}

/// Holds the lock until it is dropped.
pub(super) struct Held<'a, 'py> {
    lock: &'a Lock,
    py: Python<'py>,
}

impl Lock {
    /// Waits until no other thread has the lock. Fails only when a signal's handler raises meanwhile.
    pub(super) fn hold<'py>(&self, py: Python<'py>) -> PyResult<Held<'_, 'py>> {
        let this_thread = thread_ident();
        while !self.state.with(py, |state| state.try_enter(this_thread)) {
            self.wait(py, this_thread)?;
        }
        Ok(Held { lock: self, py })
    }

    fn wait(&self, py: Python<'_>, this_thread: u64) -> PyResult<()> {
        let signal = py.import(intern!(py, "_thread"))?.call_method0(intern!(py, "allocate_lock"))?;
        signal.call_method0(intern!(py, "acquire"))?;
        let kept = signal.clone().unbind();
        let unneeded = self.state.with(py, |state| {
            if state.is_free_for(this_thread) {
                return Some(kept);
            }
            state.waiting.push(kept);
            None
        });
        if unneeded.is_none() {
            signal.call_method0(intern!(py, "acquire"))?;
        }
        Ok(())
    }
}

impl State {
    fn is_free_for(&self, thread: u64) -> bool {
        self.depth == 0 || self.owner == thread
    }

    fn try_enter(&mut self, thread: u64) -> bool {
        let enters = self.is_free_for(thread);
        if enters {
            self.owner = thread;
            self.depth += 1;
        }
        enters
    }

    /// Who is to be told that the lock is free.
    fn leave(&mut self) -> Vec<Py<PyAny>> {
        self.depth -= 1;
        if self.depth == 0 { std::mem::take(&mut self.waiting) } else { Vec::new() }
    }
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        let py = self.py;
        for signal in self.lock.state.with(py, State::leave) {
            if let Err(error) = signal.call_method0(py, intern!(py, "release")) {
                error.write_unraisable(py, None);
            }
        }
    }
}
