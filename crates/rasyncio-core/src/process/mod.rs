//! A child process that somebody else started, from then until it has ended.
//!
//! The kernel tells of the end through a descriptor of the process (pidfd), so nobody needs a handler for SIGCHLD, and neither a
//! signal nor a wait ever reaches another process that was given the same number later. Without such descriptors (a kernel before 5.3,
//! a sandbox, or none left), a thread waits for the child; it leaves the child a zombie, whose number stays taken until we reap it.
//!
//! Who else waits for children of this process may take the end of one away from us: that is [`Ended::Elsewhere`].

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys;
use crate::sys::process::{
    Exit, Manner, Target, exit_of, is_no_child, no_such_process, open_descriptor, send_signal,
};

/// One child.
#[derive(Debug)]
pub struct Child {
    number: i32,
    descriptor: Option<OwnedFd>,
    /// Its number may belong to another process by now.
    gone: bool,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Somebody else was told how, or nobody is (SIGCHLD is ignored).
    Elsewhere,
}

impl Child {
    /// The child with this number, which may have ended already.
    pub fn watch(number: i32) -> Self {
        let descriptor = open_descriptor(number).ok();
        let mut child = Self { number, descriptor, gone: false };
        child.gone = child.look() == Some(Ended::Elsewhere);
        child
    }

    /// Becomes readable when the child ends. None: [`Self::await_in_thread`] tells of the end, if it has not come already.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.descriptor.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// How the child ended, if it did. It stays a zombie, so its number stays its own.
    pub fn look(&self) -> Option<Ended> {
        self.ask(Manner::Look)
    }

    /// How the child ended, if it did. From then on its number may be another process'.
    pub fn try_reap(&mut self) -> Option<Ended> {
        let ended = self.ask(Manner::Reap);
        self.gone = ended.is_some();
        ended
    }

    /// Somebody else was told how it ended: nothing is asked of the kernel any more.
    pub fn forget(&mut self) {
        self.gone = true;
        self.descriptor = None;
    }

    /// Calls `on_end` from a thread of its own once the child has ended. The child is not reaped.
    pub fn await_in_thread(&self, on_end: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let number = self.number;
        sys::thread::spawn("rasyncio-child", move || {
            // An error is ECHILD: somebody else was faster, and the child has ended all the same.
            let _ = exit_of(Target::Number(number), Manner::Await);
            on_end();
        })
    }

    /// Sends `signal` to the child and to nobody else; false when it is gone.
    pub fn send_signal(&self, signal: i32) -> io::Result<bool> {
        if self.gone {
            return Ok(false);
        }
        if let Some(descriptor) = &self.descriptor
            && send_signal(Target::Descriptor(descriptor), signal).is_ok()
        {
            return Ok(true);
        }
        // What the kernel refused it refuses again, with the same error; what a sandbox did not know is done the old way.
        if self.look() == Some(Ended::Elsewhere) {
            return Ok(false);
        }
        send_signal(Target::Number(self.number), signal).map(|()| true)
    }

    fn ask(&self, manner: Manner) -> Option<Ended> {
        if self.gone {
            return Some(Ended::Elsewhere);
        }
        let mut answer = Err(no_such_process());
        if let Some(descriptor) = &self.descriptor {
            answer = exit_of(Target::Descriptor(descriptor), manner);
        }
        // The kernel cannot wait for a descriptor before 5.4.
        if answer.as_ref().is_err_and(|error| !is_no_child(error)) {
            answer = exit_of(Target::Number(self.number), manner);
        }
        match answer {
            Ok(exit) => exit.map(Ended::from),
            Err(_) => Some(Ended::Elsewhere),
        }
    }
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Status(status) => Self::Exited(status),
            Exit::Signal(signal) => Self::Killed(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    use super::*;

    fn started(program: &str, argument: &str) -> (std::process::Child, Child) {
        let process = Command::new(program).arg(argument).stdout(Stdio::null()).spawn().expect("a child");
        let number = i32::try_from(process.id()).expect("a number of a process");
        (process, Child::watch(number))
    }

    fn awaited(child: &Child) {
        let (sender, receiver) = mpsc::channel();
        child.await_in_thread(move || sender.send(()).expect("somebody waits")).expect("a thread");
        receiver.recv().expect("the end of the child");
    }

    /// The same child where the kernel has no descriptors of processes.
    fn without_descriptor(child: &Child) -> Child {
        Child { number: child.number, descriptor: None, gone: child.gone }
    }

    #[test]
    fn a_child_runs_and_is_killed_and_reaped() {
        for strip in [false, true] {
            let (_process, mut child) = started("sleep", "3600");
            assert!(child.descriptor().is_some());
            if strip {
                child = without_descriptor(&child);
            }
            assert_eq!(child.look(), None);
            assert_eq!(child.try_reap(), None);
            assert!(child.send_signal(0).expect("it may be sent signals"));
            assert!(child.send_signal(9).expect("it may be sent signals"));
            awaited(&child);
            // A zombie, which can still be sent signals.
            assert_eq!(child.look(), Some(Ended::Killed(9)));
            assert!(child.send_signal(9).expect("its number is its own"));
            assert_eq!(child.try_reap(), Some(Ended::Killed(9)));
            assert!(!child.send_signal(9).expect("nothing was tried"));
        }
    }

    #[test]
    fn a_status_is_told_once() {
        let (_process, mut child) = started("false", "");
        awaited(&child);
        assert_eq!(child.look(), Some(Ended::Exited(1)));
        assert_eq!(child.try_reap(), Some(Ended::Exited(1)));
        assert_eq!(child.try_reap(), Some(Ended::Elsewhere));
    }

    #[test]
    fn a_child_that_somebody_else_reaped_ended_elsewhere() {
        for strip in [false, true] {
            let (mut process, mut child) = started("true", "");
            if strip {
                child = without_descriptor(&child);
            }
            let status = process.wait().expect("it ends");
            assert_eq!((status.code(), status.signal()), (Some(0), None));
            assert_eq!(child.look(), Some(Ended::Elsewhere));
            assert!(!child.send_signal(9).expect("nothing was tried"));
            assert_eq!(child.try_reap(), Some(Ended::Elsewhere));
        }
    }

    #[test]
    fn an_unknown_signal_is_refused() {
        let (mut process, child) = started("sleep", "3600");
        let error = child.send_signal(1000).expect_err("no such signal");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    #[test]
    fn who_is_no_child_ended_elsewhere_and_is_sent_nothing() {
        for number in [-1, 0, 1] {
            let child = Child::watch(number);
            assert_eq!(child.look(), Some(Ended::Elsewhere));
            assert!(!child.send_signal(0).expect("nothing was tried"));
        }
    }
}
