//! A submission and completion ring of the kernel (`io_uring`), used by one thread at a time.
//!
//! Every request that outlives the call which submits it refers to nothing but descriptors and the ring's own buffers,
//! so none can write to memory of ours that is gone. `Ring` ends its requests before it gives that memory back. Those
//! that send (`sending`) refer to the caller's bytes, and end within the call.
//!
//! The kernel lets only the thread that enabled a ring submit to it, and does its work for the ring only in that
//! thread, when it asks (`SINGLE_ISSUER`, `DEFER_TASKRUN`): the first [`Ring::enter`] decides which that is.

mod buffers;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::thread::{self, ThreadId};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

pub(crate) use self::buffers::Piece;
use self::buffers::{Buffers, GROUP};
pub(crate) use self::sending::FEWEST_SENDS;
use super::{bad_descriptor, fork};

/// What a request is, and so what its completions mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Tells once that the descriptor is readable.
    Poll,
    /// Tells whenever the descriptor becomes readable.
    Watch,
    /// Receives from a socket of a stream, again and again.
    Receive,
    /// Accepts connections, again and again.
    Accept,
    /// Sends once what a socket takes now.
    Send,
    /// Ends another request; its own completion tells nothing.
    Cancel,
}

/// Names a request among those of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) index: u32,
}

impl Key {
    fn to_bits(self) -> u64 {
        u64::from(self.index) << 8 | u64::from(self.kind as u8)
    }

    fn from_bits(bits: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two parts, taken apart")]
        let (index, kind) = ((bits >> 8) as u32, bits as u8);
        let kinds = [Kind::Poll, Kind::Watch, Kind::Receive, Kind::Accept, Kind::Send];
        let kind = kinds.into_iter().find(|known| *known as u8 == kind).unwrap_or(Kind::Cancel);
        Self { kind, index }
    }
}

/// A request on its way to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    Start(Key, RawFd),
    Cancel(Key),
}

/// What the kernel says of a request.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) key: Key,
    pub(crate) outcome: Outcome,
    /// The request goes on: more of this will come.
    pub(crate) more: bool,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Bytes(Piece),
    /// The end of the stream.
    End,
    Connection(OwnedFd),
    Ready,
    Failed(io::Error),
}

pub(crate) struct Ring {
    /// Both are dropped by hand, in this order.
    uring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<Buffers>,
    /// The thread that may use it; none has yet.
    owner: Option<ThreadId>,
    /// What was completed before its turn came: it was found on the way to something else.
    early: Vec<Completed>,
    /// The kernel did not take what is in the submission queue, and never may.
    is_spent: bool,
    /// How many requests the kernel has, those that only cancel or send not counted; and how many of them receive.
    under_way: usize,
    receiving: usize,
    /// In a forked child the ring is still the parent's.
    generation: u32,
}

impl Ring {
    /// Fails where the kernel is too old, or does not let us.
    pub(crate) fn new() -> io::Result<Self> {
        Self::with_buffers(buffers::INCREMENTAL)
    }

    fn with_buffers(flags: u16) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
        builder.setup_r_disabled().setup_submit_all().setup_clamp().setup_cqsize(COMPLETIONS);
        let uring = ManuallyDrop::new(builder.build(SUBMISSIONS)?);
        let buffers = ManuallyDrop::new(Buffers::new()?);
        let ring = Self {
            uring,
            buffers,
            owner: None,
            early: Vec::new(),
            is_spent: false,
            under_way: 0,
            receiving: 0,
            generation: fork::generation(),
        };
        ring.buffers.register(&ring.uring.submitter(), flags)?;
        ring.probe_entering()?;
        Ok(ring)
    }

    /// Whether this thread cannot use it: another has, or nobody can any more.
    pub(crate) fn is_foreign(&self) -> bool {
        self.is_spent || self.owner.is_some_and(|owner| owner != thread::current().id())
    }

    /// Whether this thread has used it, and can go on.
    pub(crate) fn is_ours(&self) -> bool {
        !self.is_spent && self.is_owner()
    }

    fn is_owner(&self) -> bool {
        self.owner.is_some_and(|owner| owner == thread::current().id())
    }

    /// Submits what waits, then waits until something is completed, `timeout` has passed (never less; `None` is
    /// for ever) or a signal arrives. What the kernel does not take now stays in `waiting`.
    pub(crate) fn enter(
        &mut self,
        waiting: &mut VecDeque<Submission>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.enable()?;
        loop {
            let submitting = self.queue(waiting);
            let is_all = waiting.is_empty();
            let may_block = is_all && self.early.is_empty() && timeout != Some(Duration::ZERO);
            if is_all && submitting == 0 && !may_block && !self.has_deferred_work() {
                return Ok(());
            }
            let timeout = if may_block { timeout } else { Some(Duration::ZERO) };
            let submitted = match self.enter_once(submitting, timeout) {
                Err(error) if is_temporary(&error) => 0,
                result => result?,
            };
            if is_all || submitted < submitting {
                return Ok(());
            }
        }
    }

    /// Appends what was completed. All of it: what did not find room in the queue is asked for again.
    pub(crate) fn take_completed(&mut self, completed: &mut Vec<Completed>) {
        completed.append(&mut self.early);
        loop {
            self.take_queued(completed, |_, _| {});
            if !self.has_overflown() || self.enter_once(0, Some(Duration::ZERO)).is_err() {
                return;
            }
        }
    }

    /// Appends what the completion queue holds, and tells `on_sent` the index and the result of what sends.
    fn take_queued(&mut self, completed: &mut Vec<Completed>, mut on_sent: impl FnMut(u32, i32)) {
        let Self { uring, buffers, under_way, receiving, .. } = self;
        for entry in uring.completion() {
            let key = Key::from_bits(entry.user_data());
            if key.kind == Kind::Send {
                on_sent(key.index, entry.result());
                continue;
            }
            let completion = decode(key, &entry, buffers);
            let ends = key.kind != Kind::Cancel && !completion.more;
            *under_way -= usize::from(ends);
            *receiving -= usize::from(ends && key.kind == Kind::Receive);
            completed.push(completion);
        }
    }

    pub(crate) fn bytes(&self, piece: &Piece) -> &[u8] {
        self.buffers.bytes(piece)
    }

    pub(crate) fn give_back(&mut self, piece: Piece) {
        self.buffers.give_back(piece);
    }

    /// A seccomp filter may allow to make rings and not to use them. The kernel says EBADFD of a ring that was
    /// not enabled yet.
    fn probe_entering(&self) -> io::Result<()> {
        match self.enter_once(0, Some(Duration::ZERO)) {
            Err(error) if error.raw_os_error() != Some(libc::EBADFD) => Err(error),
            _ => Ok(()),
        }
    }

    fn enable(&mut self) -> io::Result<()> {
        if self.owner.is_none() {
            self.uring.submitter().register_enable_rings()?;
            self.owner = Some(thread::current().id());
        }
        Ok(())
    }

    /// Moves what waits into the submission queue as far as there is room; answers how much is in it.
    fn queue(&mut self, waiting: &mut VecDeque<Submission>) -> usize {
        let mut queue = self.uring.submission();
        while let Some(submission) = waiting.front() {
            // SAFETY: the entries that `encode` makes refer to descriptors and to the ring's own buffers only.
            if unsafe { queue.push(&encode(*submission)) }.is_err() {
                break;
            }
            if let Submission::Start(key, _) = submission {
                self.under_way += 1;
                self.receiving += usize::from(key.kind == Kind::Receive);
            }
            waiting.pop_front();
        }
        queue.len()
    }

    /// The kernel has something to do for us as soon as we come by.
    fn has_deferred_work(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    fn has_overflown(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    fn enter_once(&self, submitting: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let until = timeout.map(|timeout| Timespec::from(timeout.min(LONGEST_WAIT)));
        let arguments = SubmitArgs::new();
        let arguments = until.as_ref().map_or(arguments, |until| arguments.timespec(until));
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        let least = u32::from(timeout != Some(Duration::ZERO));
        let submitting = u32::try_from(submitting).unwrap_or(u32::MAX);
        // SAFETY: the argument is the structure that the flags announce, and lives until after the call.
        unsafe { self.uring.submitter().enter(submitting, least, flags, Some(&arguments)) }
    }
}

impl Ring {
    fn end_requests(&mut self) {
        if self.is_owner() && self.under_way > 0 {
            let soon = Some(Timespec::from(Duration::from_secs(1)));
            let ended = self.uring.submitter().register_sync_cancel(soon, CancelBuilder::any());
            if ended.is_ok() {
                // What was cancelled is told of when deferred work is done.
                let _ = self.enter_once(0, Some(Duration::ZERO));
            }
        }
        self.take_completed(&mut Vec::new());
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ring").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

/// Ends what is under way, so that no file stays open because of it, and closes connections that nobody took.
impl Drop for Ring {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.end_requests();
        }
        // SAFETY: this is its only drop, and nothing uses the ring afterwards.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        if self.receiving == 0 || self.generation != fork::generation() {
            // SAFETY: as above, and the kernel has no request that could write to the memory.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        } else {
            // Another thread has it still: the kernel ends its requests by itself, some time.
            self.buffers.abandon();
        }
    }
}

fn encode(submission: Submission) -> squeue::Entry {
    let (key, fd) = match submission {
        Submission::Start(key, fd) => (key, Fd(fd)),
        Submission::Cancel(key) => {
            let entry = opcode::AsyncCancel::new(key.to_bits()).build();
            let own = Key { kind: Kind::Cancel, index: key.index };
            return entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(own.to_bits());
        }
    };
    let entry = match key.kind {
        Kind::Poll => opcode::PollAdd::new(fd, READABLE).build(),
        Kind::Watch => opcode::PollAdd::new(fd, READABLE).multi(true).build(),
        Kind::Receive => opcode::RecvMulti::new(fd, GROUP).build(),
        Kind::Accept => opcode::AcceptMulti::new(fd).flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC).build(),
        // Each of these has an encoding of its own.
        Kind::Send | Kind::Cancel => opcode::Nop::new().build(),
    };
    entry.user_data(key.to_bits())
}

fn decode(key: Key, entry: &cqueue::Entry, buffers: &mut Buffers) -> Completed {
    let flags = entry.flags();
    let length = usize::try_from(entry.result());
    let piece = cqueue::buffer_select(flags)
        .map(|buffer| buffers.take(buffer, length.unwrap_or(0), cqueue::buffer_more(flags)));
    let outcome = match (length, key.kind, piece) {
        (Ok(1..), Kind::Receive, Some(piece)) => Outcome::Bytes(piece),
        (length, kind, piece) => {
            if let Some(unused) = piece {
                buffers.give_back(unused);
            }
            match (length, kind) {
                (Err(_), _) => Outcome::Failed(io::Error::from_raw_os_error(-entry.result())),
                (Ok(_), Kind::Receive) => Outcome::End,
                (Ok(_), Kind::Accept) => connection(entry.result()),
                (Ok(_), Kind::Poll | Kind::Watch | Kind::Send | Kind::Cancel) => Outcome::Ready,
            }
        }
    };
    Completed { key, outcome, more: cqueue::more(flags) }
}

fn connection(number: RawFd) -> Outcome {
    if number < 0 {
        return Outcome::Failed(bad_descriptor());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Outcome::Connection(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What a request ended with is no news of its descriptor: there was no buffer, or the thread that asked has ended.
pub(crate) fn has_passed(kind: Kind, error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => kind == Kind::Receive,
        Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => true,
        _ => false,
    }
}

/// The wait has ended early, or the kernel could not take all just now.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// So much is submitted by one call; more takes another call.
const SUBMISSIONS: u32 = 256;

/// What is completed beyond this many is kept by the kernel until there is room.
const COMPLETIONS: u32 = 2048;

/// The number of `poll(2)`.
const READABLE: u32 = libc::POLLIN as u32;

/// More than the kernel's clock will live to see, in a form it takes.
const LONGEST_WAIT: Duration = Duration::from_secs(u32::MAX as u64);
