//! The event loop under rasyncio, without any Python: it decides what runs next, asks the kernel
//! what happened and moves bytes. The extension module `rasyncio-py` gives it Python's names.
//!
//! The map, one line per room:
//! - [`clock`]: the only reader of the time, and a clock that tests move by hand.
//! - [`scheduler`]: ready work, timers, what other threads hand in, the order of one turn.
//! - [`wake`]: how another thread ends the loop's sleep.
//! - [`reactor`]: what the kernel tells us; one contract, the backends behind it.
//! - [`buffer`]: bytes waiting to be written, and when to ask the writer to pause.
//! - [`net`]: addresses, names, socket options, the order of connecting, the pause of a starved listener.
//! - [`pipe`]: what can be read and written like a pipe.
//! - [`file`]: sending files to sockets.
//! - [`library`]: what a shared library that is loaded offers.
//! - [`signal`]: the pipe that a signal handler writes to.
//! - [`process`]: a child process, from its start until it has ended.
//! - [`fork`]: tells whether this process is still the one that made the loop.
//! - [`workers`]: threads for calls that block.
//! - `sync`: atomics and locks, of the standard library or of the loom checker.
//! - `sys`: the only room with system calls and `unsafe`.

pub mod buffer;
pub mod clock;
pub mod file;
pub mod fork;
pub mod library;
pub mod net;
pub mod pipe;
pub mod process;
pub mod reactor;
pub mod scheduler;
pub mod signal;
pub mod wake;
pub mod workers;

mod sync;
mod sys;
