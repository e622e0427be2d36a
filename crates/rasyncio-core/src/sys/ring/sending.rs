//! Sends to many sockets by one system call, which answers for each as `send(2)` does.
//!
//! A request that may not wait (`MSG_DONTWAIT`) ends within the call that submits it: the kernel tries it there and
//! then, and what it would put off for another is refused. So its completion is there when the call returns, and the
//! bytes are the caller's again.

use std::io;
use std::mem::MaybeUninit;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::{Key, Kind, Ring, SUBMISSIONS, fork, is_temporary};
use crate::sys::socket::{MAXIMUM_SLICES, Outgoing};

impl Ring {
    /// Answers how many of `sends`, from the first on, were answered; the kernel has heard nothing of the others, and
    /// will not.
    pub(crate) fn send_together(&mut self, sends: &mut [Outgoing<'_>]) -> usize {
        let mut answered = 0;
        for part in sends.chunks_mut(SUBMISSIONS as usize) {
            if !self.is_ours() || self.generation != fork::generation() {
                break;
            }
            let count = self.send_part(part);
            answered += count;
            if count < part.len() {
                break;
            }
        }
        answered
    }

    /// The same for as many as the submission queue has room for.
    fn send_part(&mut self, sends: &mut [Outgoing<'_>]) -> usize {
        let messages: Vec<libc::msghdr> =
            sends.iter().filter(|send| send.slices.len() > 1).map(message).collect();
        let queued = self.queue_sends(sends, &messages);
        let submitted = queued - self.submit_queued().min(queued);
        self.take_answers(&mut sends[..submitted]);
        drop(messages);
        submitted
    }

    /// Answers how many found room.
    fn queue_sends(&mut self, sends: &[Outgoing<'_>], messages: &[libc::msghdr]) -> usize {
        let mut queue = self.uring.submission();
        let mut messages = messages.iter();
        let mut queued = 0;
        for (index, send) in (0..).zip(sends) {
            let entry = encode(send, &mut messages);
            let entry = entry.user_data(Key { kind: Kind::Send, index }.to_bits());
            // SAFETY: what the entry points to lives until `send_part` returns. By then the kernel is done with it, as
            // the head of this file says, or has not taken the entry, and then the ring is spent and it never will.
            if unsafe { queue.push(&entry) }.is_err() {
                break;
            }
            queued += 1;
        }
        queued
    }

    /// Answers how many the kernel did not take, all at the end of the queue.
    fn submit_queued(&mut self) -> usize {
        let mut left = self.uring.submission().len();
        while left > 0 {
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            // SAFETY: there is no argument. Nothing is asked for but to take the entries: what the kernel has done
            // for others meanwhile is for the next wait.
            let taken = unsafe { self.uring.submitter().enter::<libc::sigset_t>(count, 0, 0, None) };
            match taken {
                Ok(taken) if taken > 0 => left = self.uring.submission().len(),
                _ => {
                    self.is_spent = true;
                    break;
                }
            }
        }
        left
    }

    fn take_answers(&mut self, sends: &mut [Outgoing<'_>]) {
        for send in &mut *sends {
            send.answer = Err(io::Error::from_raw_os_error(LOST));
        }
        let mut missing = sends.len();
        let mut early = std::mem::take(&mut self.early);
        let mut may_look = true;
        loop {
            self.take_queued(&mut early, |index, result| {
                if let Some(send) = sends.get_mut(index as usize) {
                    send.answer = answer(result);
                    missing = missing.saturating_sub(1);
                }
            });
            if missing == 0 || !may_look {
                break;
            }
            // There was no room for it in the queue of completions.
            if let Err(error) = self.enter_once(0, None)
                && !is_temporary(&error)
            {
                self.is_spent = true;
                may_look = false;
            }
        }
        self.early = early;
    }
}

fn message(send: &Outgoing<'_>) -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, for which all zeros say that nothing is there.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // The kernel only reads them; an `IoSlice` is an `iovec`.
    message.msg_iov = send.slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = send.slices.len().min(MAXIMUM_SLICES) as _;
    message
}

fn encode<'a>(send: &Outgoing<'_>, messages: &mut impl Iterator<Item = &'a libc::msghdr>) -> squeue::Entry {
    let socket = Fd(send.socket);
    match &send.slices[..] {
        [] => opcode::Nop::new().build(),
        [slice] => {
            // What it does not take of more than 2 GiB it says.
            let length = u32::try_from(slice.len()).unwrap_or(u32::MAX);
            opcode::Send::new(socket, slice.as_ptr(), length).flags(FLAGS).build()
        }
        _ => {
            let message = messages.next().map_or(std::ptr::null(), std::ptr::from_ref);
            opcode::SendMsg::new(socket, message).flags(FLAGS.cast_unsigned()).build()
        }
    }
}

fn answer(result: i32) -> io::Result<usize> {
    match -result {
        libc::EINTR => Err(io::ErrorKind::WouldBlock.into()),
        error => usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(error)),
    }
}

/// The kernel lost a completion for want of memory, and says so (`EBADR`) once: nobody knows whether the bytes were sent.
const LOST: i32 = libc::EBADR;

/// By measurement: two cost more together than by themselves, three as much, and from four on it is less.
pub(crate) const FEWEST_SENDS: usize = 4;

/// As `socket::send` has them.
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
