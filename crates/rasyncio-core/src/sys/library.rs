//! Shared libraries that this process has loaded. None is loaded here.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// A library that stays loaded as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub struct Loaded(NonNull<c_void>);

// SAFETY: a handle of the dynamic linker is good in every thread.
unsafe impl Send for Loaded {}
// SAFETY: as above; the linker locks its tables itself.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// The library that was loaded from the file `path`; None if none was.
    #[must_use]
    pub fn find(path: &CStr) -> Option<Self> {
        // SAFETY: `path` is a string that ends; with NOLOAD no code of a library runs. The handle is never closed, so the library stays.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        NonNull::new(handle).map(Self)
    }

    /// Where `name` is, in the library or in those that it was linked with.
    #[must_use]
    pub fn symbol(self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is open, `name` is a string that ends.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }
}
