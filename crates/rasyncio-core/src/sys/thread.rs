//! Threads of our own.

use std::io;
use std::thread;

/// Runs `body` in a new thread that no signal interrupts: signals are the program's, whose handlers
/// expect to run in its own threads. Nobody joins it.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    let before = exchange_mask(&all_but_faults())?;
    // A thread is born with the mask of the one that makes it.
    let spawned = builder.spawn(body);
    exchange_mask(&before)?;
    spawned.map(drop)
}

/// Every signal but those that a thread raises by its own fault, which debugging handlers wait for.
fn all_but_faults() -> libc::sigset_t {
    // SAFETY: all zeroes is a value of this plain structure, which the next call fills in.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours; the call cannot fail for a valid pointer.
    unsafe { libc::sigfillset(&raw mut set) };
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP] {
        // SAFETY: as above, with a signal number that exists.
        unsafe { libc::sigdelset(&raw mut set, fault) };
    }
    set
}

/// Replaces the mask of this thread; gives the one before.
fn exchange_mask(mask: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    // SAFETY: all zeroes is a value of this plain structure, which the next call fills in.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are valid for the call, and only `before` is written to.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, &raw mut before) } {
        0 => Ok(before),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn mask_of_this_thread() -> libc::sigset_t {
        // SAFETY: all zeroes is a value of this plain structure, which the next call fills in.
        let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: no new mask is given; `mask` is valid for the call.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask) }, 0);
        mask
    }

    fn blocks(mask: &libc::sigset_t, signal: i32) -> bool {
        // SAFETY: a valid set and a signal number that exists.
        unsafe { libc::sigismember(mask, signal) == 1 }
    }

    #[test]
    fn a_thread_of_ours_takes_no_signal_and_its_maker_keeps_its_mask() {
        let (sender, masks) = mpsc::channel();
        spawn("test", move || sender.send(mask_of_this_thread()).expect("a receiver")).expect("a thread");
        let mask = masks.recv().expect("a mask");
        assert!(blocks(&mask, libc::SIGINT) && blocks(&mask, libc::SIGCHLD));
        assert!(!blocks(&mask, libc::SIGSEGV));
        assert!(!blocks(&mask_of_this_thread(), libc::SIGINT));
    }
}
