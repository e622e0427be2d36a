//! The atomics and locks of this crate: those of the standard library, or those of loom, which
//! runs a test under every interleaving that the memory model allows (`tests/loom.rs`).

use std::sync::PoisonError;
use std::time::Duration;

#[cfg(not(loom))]
pub(crate) use std::sync::MutexGuard;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::{Condvar as RawCondvar, Mutex as RawMutex};

#[cfg(loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
#[cfg(loom)]
use loom::sync::{Condvar as RawCondvar, Mutex as RawMutex};

/// A lock without poisoning: what it guards here is a plain list, whole after every panic.
#[derive(Debug)]
pub(crate) struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What threads wait for under such a lock.
#[derive(Debug)]
pub(crate) struct Condvar(RawCondvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(RawCondvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits at most so long; tells whether that was it.
    pub(crate) fn wait_timeout<'lock, T>(
        &self,
        guard: MutexGuard<'lock, T>,
        timeout: Duration,
    ) -> (MutexGuard<'lock, T>, bool) {
        let result = self.0.wait_timeout(guard, timeout);
        let (guard, outcome) = result.unwrap_or_else(PoisonError::into_inner);
        (guard, outcome.timed_out())
    }
}
