//! Tells whether this process is still the one that made the loop. A forked child shares the
//! kernel objects of its parent, so a loop must notice the fork before it touches them.

use std::io;

use crate::sys;

/// Counts the forks between this process and the one that first called [`watch_forks`]: a loop
/// remembers the number it was born with, and a different one later means "I am in a child".
/// Costs one relaxed load.
#[inline]
pub fn process_generation() -> u32 {
    sys::fork::generation()
}

/// Starts counting. [`crate::reactor::Reactor::new`] has done it for every loop; doing it again
/// changes nothing.
pub fn watch_forks() -> io::Result<()> {
    sys::fork::watch()
}
