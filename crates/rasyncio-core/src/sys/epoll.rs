//! The kernel's list of watched descriptors, and the wait for it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::borrow;

/// Which directions of a descriptor are watched, or were found ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directions {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// The kernel stops watching with the first report, until it is told of the descriptor again.
    pub(crate) once: bool,
}

/// An epoll instance. Each descriptor in it carries the `key` that its events come back with.
#[derive(Debug)]
pub(crate) struct Epoll {
    descriptor: Arc<OwnedFd>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        Ok(Self { descriptor })
    }

    /// Watches `descriptor`, or changes how it is watched if it is in the list already.
    pub(crate) fn add(&self, descriptor: RawFd, key: u64, watched: Directions) -> io::Result<()> {
        let (source, data, flags) = (borrow(descriptor)?, EventData::new_u64(key), flags(watched));
        match epoll::add(&self.descriptor, source, data, flags) {
            Err(Errno::EXIST) => Ok(epoll::modify(&self.descriptor, source, data, flags)?),
            result => Ok(result?),
        }
    }

    /// Changes how `descriptor` is watched, or adds it if it left the list when it was closed.
    pub(crate) fn modify(&self, descriptor: RawFd, key: u64, watched: Directions) -> io::Result<()> {
        let (source, data, flags) = (borrow(descriptor)?, EventData::new_u64(key), flags(watched));
        match epoll::modify(&self.descriptor, source, data, flags) {
            Err(Errno::NOENT) => Ok(epoll::add(&self.descriptor, source, data, flags)?),
            result => Ok(result?),
        }
    }

    /// Stops watching `descriptor`. One that was closed behind our back has left the list alone.
    pub(crate) fn delete(&self, descriptor: RawFd) -> io::Result<()> {
        match epoll::delete(&self.descriptor, borrow(descriptor)?) {
            Err(Errno::BADF | Errno::NOENT | Errno::PERM) => Ok(()),
            result => Ok(result?),
        }
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// What can wait for this instance, without borrowing it.
    pub(crate) fn wait(&self) -> EpollWait {
        EpollWait {
            descriptor: Arc::clone(&self.descriptor),
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            lacks_nanoseconds: false,
        }
    }
}

/// The blocking half: owns the array that the kernel writes to.
#[derive(Debug)]
pub(crate) struct EpollWait {
    descriptor: Arc<OwnedFd>,
    events: Vec<libc::epoll_event>,
    /// The kernel (before 5.11) or its seccomp filter does not know `epoll_pwait2`.
    lacks_nanoseconds: bool,
}

impl EpollWait {
    /// Waits until something is ready, `timeout` has passed (never less; `None` is for ever) or a
    /// signal arrives, which is no error but an early end with nothing ready.
    pub(crate) fn run(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        let result = match timeout {
            Some(timeout) if !timeout.is_zero() && !self.lacks_nanoseconds => {
                match self.wait_nanoseconds(timeout) {
                    // EPERM is what a seccomp filter says of a call it has never heard of.
                    Err(Errno::NOSYS | Errno::PERM) => {
                        self.lacks_nanoseconds = true;
                        self.wait_milliseconds(Some(timeout))
                    }
                    result => result,
                }
            }
            timeout => self.wait_milliseconds(timeout),
        };
        match result {
            Ok(()) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The keys of what the last run found ready, and in which directions.
    pub(crate) fn events(&self) -> impl Iterator<Item = (u64, Directions)> {
        self.events.iter().map(|event| {
            // The kernel packs this structure on x86-64: its fields are copied, not borrowed.
            let (flags, key) = (EventFlags::from_bits_retain(event.events), event.u64);
            // A hang-up or an error ends both directions: whoever waits for either must look.
            let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            let read = broken || flags.contains(EventFlags::IN);
            let write = broken || flags.contains(EventFlags::OUT);
            (key, Directions { read, write, once: false })
        })
    }

    fn wait_milliseconds(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        let milliseconds = timeout.map_or(FOR_EVER, |timeout| {
            let rounded_up = timeout.as_nanos().div_ceil(1_000_000);
            i32::try_from(rounded_up).unwrap_or(i32::MAX)
        });
        let space = self.events.spare_capacity_mut();
        let room = i32::try_from(space.len()).unwrap_or(i32::MAX);
        let events = space.as_mut_ptr().cast();
        let epoll = self.descriptor.as_raw_fd();
        // SAFETY: the kernel writes at most `room` events to memory we borrow for the call.
        let count = unsafe { libc::epoll_wait(epoll, events, room, milliseconds) };
        self.take_events(count.into())
    }

    /// The C library has this call only since glibc 2.35, so it is made by number.
    fn wait_nanoseconds(&mut self, timeout: Duration) -> Result<(), Errno> {
        let timeout = KernelTimespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(timeout.subsec_nanos()),
        };
        let space = self.events.spare_capacity_mut();
        // SAFETY: the kernel writes at most `space.len()` events to memory we borrow for the
        // call, and only reads `timeout`; no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.descriptor.as_raw_fd(),
                space.as_mut_ptr(),
                space.len(),
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        self.take_events(count)
    }

    /// Makes the events that the kernel has just written part of the list.
    fn take_events(&mut self, count: libc::c_long) -> Result<(), Errno> {
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        };
        // SAFETY: `run` emptied the list, and the kernel has written this many events to its
        // memory, of which it was told the size.
        unsafe { self.events.set_len(count) };
        Ok(())
    }
}

fn flags(watched: Directions) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, watched.read);
    flags.set(EventFlags::OUT, watched.write);
    flags.set(EventFlags::ONESHOT, watched.once);
    flags
}

/// `struct __kernel_timespec`: 64 bits each, whatever the machine.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// What is ready beyond this many waits for the next turn; the kernel then gives it first.
const EVENTS_PER_WAIT: usize = 512;

/// The timeout of `epoll_wait` that never passes.
const FOR_EVER: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_nanoseconds_waits_in_milliseconds_and_never_too_short() {
        let epoll = Epoll::new().expect("an epoll instance");
        let mut wait = epoll.wait();
        for lacks_nanoseconds in [false, true] {
            wait.lacks_nanoseconds = lacks_nanoseconds;
            let started = crate::clock::monotonic();
            wait.run(Some(Duration::from_micros(2_300))).expect("a wait");
            assert!(crate::clock::monotonic() - started >= 0.0023);
            assert_eq!(wait.events().count(), 0);
        }
    }
}
