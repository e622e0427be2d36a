//! Counts forks: a handler that the C library runs in every forked child raises a number.

use std::io;
use std::sync::OnceLock;
// Not those of `crate::sync`: loom's atomics cannot be static.
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static REGISTRATION: OnceLock<i32> = OnceLock::new();

#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Registers the handler, once per process and its children.
pub(crate) fn watch() -> io::Result<()> {
    let result = *REGISTRATION.get_or_init(|| {
        // SAFETY: `on_fork_in_child` only touches an atomic, as a handler that runs in a child of
        // a threaded process must; it lives as long as the library, which is never unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(on_fork_in_child)) }
    });
    match result {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

unsafe extern "C" fn on_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
