//! Child processes: watching one, asking how it ended, sending it a signal.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

/// Which process is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// A process, whatever becomes of its number.
    Descriptor(&'a OwnedFd),
    /// Whoever has this number.
    Number(i32),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Status(i32),
    Signal(i32),
}

/// What asking for the end of a child leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The process stays as it is: running, or a zombie whose number nobody else gets.
    Look,
    /// One that has ended is gone afterwards.
    Reap,
    /// As `Look`, and blocks until it has ended.
    Await,
}

/// A descriptor that becomes readable when the process ends. Closed on exec.
pub(crate) fn open_descriptor(process: i32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(number(process)?, PidfdFlags::empty())?)
}

/// How the child ended; None while it runs. ECHILD: it is no child of this process, or not any more.
pub(crate) fn exit_of(target: Target<'_>, manner: Manner) -> io::Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED
        | match manner {
            Manner::Look => WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
            Manner::Reap => WaitIdOptions::NOHANG,
            Manner::Await => WaitIdOptions::NOWAIT,
        };
    let wanted = match target {
        Target::Descriptor(descriptor) => WaitId::PidFd(descriptor.as_fd()),
        Target::Number(process) => WaitId::Pid(number(process)?),
    };
    loop {
        match rustix::process::waitid(wanted.clone(), options) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(status) => return Ok(status.as_ref().and_then(exit)),
        }
    }
}

fn exit(status: &WaitIdStatus) -> Option<Exit> {
    let by_itself = status.exit_status().map(Exit::Status);
    by_itself.or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// Sends `signal`, any number that the kernel knows; 0 only asks whether it could be sent.
pub(crate) fn send_signal(target: Target<'_>, signal: i32) -> io::Result<()> {
    let result = match target {
        Target::Descriptor(descriptor) => {
            let information = std::ptr::null::<libc::siginfo_t>();
            let (call, flags) = (libc::SYS_pidfd_send_signal, 0_u32);
            // SAFETY: the call takes numbers and a pointer that may be null.
            unsafe { libc::syscall(call, descriptor.as_raw_fd(), signal, information, flags) }
        }
        Target::Number(process) => {
            let process = number(process)?.as_raw_nonzero().get();
            // SAFETY: the call takes two numbers.
            unsafe { libc::kill(process, signal) }.into()
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// ECHILD: the process that was asked about is no child of ours.
pub(crate) fn is_no_child(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::CHILD)
}

/// ESRCH: what the kernel says of a number that no process has.
pub(crate) fn no_such_process() -> io::Error {
    Errno::SRCH.into()
}

/// The number of one process. Zero and below mean groups of processes, or all, to the kernel.
fn number(process: i32) -> io::Result<Pid> {
    let number = if process > 0 { Pid::from_raw(process) } else { None };
    number.ok_or_else(no_such_process)
}
