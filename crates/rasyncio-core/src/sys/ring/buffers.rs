//! The memory that a ring receives into: buffers that the kernel takes from a queue, fills, and gets back when
//! their bytes were taken. They belong to the ring, for the kernel may write to them at any time.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Received bytes in one of the buffers, until they are given back.
#[derive(Debug)]
pub(crate) struct Piece {
    buffer: u16,
    offset: usize,
    length: usize,
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

/// The queue and its buffers, in one mapping: first the entries of the queue, then the memory.
#[derive(Debug)]
pub(super) struct Buffers {
    mapping: NonNull<libc::c_void>,
    tail: u16,
    states: [State; COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How far the kernel has filled it.
    filled: usize,
    /// How many pieces of it are out.
    out: usize,
    /// The kernel puts no more into it.
    spent: bool,
}

// SAFETY: the mapping belongs to this value alone, and nothing in it depends on the thread.
unsafe impl Send for Buffers {}

impl Buffers {
    pub(super) fn new() -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping anywhere, of memory that is nobody's yet.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), MAPPED, protection, flags, -1, 0) };
        let mapping = NonNull::new(address).filter(|_| address != libc::MAP_FAILED);
        let mapping = mapping.ok_or_else(io::Error::last_os_error)?;
        let mut buffers = Self { mapping, tail: 0, states: [State::default(); COUNT] };
        for buffer in 0..COUNT_U16 {
            buffers.publish(buffer);
        }
        Ok(buffers)
    }

    /// Tells the kernel of the queue. With [`INCREMENTAL`], which is known since Linux 6.12, one buffer takes what comes until it is full, whoever it
    /// is for; before, each message takes one.
    pub(super) fn register(&self, submitter: &Submitter<'_>, flags: u16) -> io::Result<()> {
        let address = self.mapping.as_ptr() as u64;
        let register = |flags| {
            // SAFETY: the mapping is large enough and aligned to a page, and `Ring` keeps it until the kernel is
            // done with it.
            unsafe { submitter.register_buf_ring_with_flags(address, COUNT_U16, GROUP, flags) }
        };
        match register(flags) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => register(0),
            result => result,
        }
    }

    /// The kernel has put `length` bytes into a buffer; `more` if it goes on with that buffer.
    pub(super) fn take(&mut self, buffer: u16, length: usize, more: bool) -> Piece {
        let state = &mut self.states[usize::from(buffer) % COUNT];
        let offset = state.filled.min(SIZE);
        let length = length.min(SIZE - offset);
        state.filled = offset + length;
        state.out += 1;
        state.spent |= !more;
        Piece { buffer, offset, length }
    }

    pub(super) fn bytes(&self, piece: &Piece) -> &[u8] {
        let start = QUEUE + usize::from(piece.buffer) % COUNT * SIZE + piece.offset;
        // SAFETY: within the mapping, for `take` keeps a piece within its buffer.
        let first = unsafe { self.mapping.as_ptr().cast::<u8>().add(start) };
        // SAFETY: as above; the kernel wrote these bytes before it told of them, and does not write to them again
        // before the piece is given back, which its exclusive reference prevents meanwhile.
        unsafe { std::slice::from_raw_parts(first, piece.length) }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a piece that was given back is gone")]
    pub(super) fn give_back(&mut self, piece: Piece) {
        let state = &mut self.states[usize::from(piece.buffer) % COUNT];
        state.out -= 1;
        if state.spent && state.out == 0 {
            *state = State::default();
            self.publish(piece.buffer);
        }
    }

    /// Gives the memory back and keeps the addresses, where the kernel may still write: nobody else will have them.
    pub(super) fn abandon(&self) {
        // SAFETY: the whole of our mapping, which nothing reads any more; what is written to it later is lost.
        unsafe { libc::madvise(self.mapping.as_ptr(), MAPPED, libc::MADV_DONTNEED) };
    }

    /// How many buffers the kernel has not filled yet.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.states.iter().filter(|state| !state.spent && state.out == 0).count()
    }

    /// Puts an empty buffer at the end of the queue.
    fn publish(&mut self, buffer: u16) {
        let queue = self.mapping.as_ptr().cast::<BufRingEntry>();
        let place = usize::from(self.tail) % COUNT;
        // SAFETY: one of the `COUNT` places at the head of the mapping.
        let entry = unsafe { queue.add(place) };
        // SAFETY: aligned, and the kernel does not look at a place before the tail has passed it. The tail itself
        // lies in the first place, in a field that is not written to here.
        let entry = unsafe { &mut *entry };
        // SAFETY: within the mapping.
        let memory =
            unsafe { self.mapping.as_ptr().cast::<u8>().add(QUEUE + usize::from(buffer) % COUNT * SIZE) };
        entry.set_addr(memory as u64);
        entry.set_len(SIZE_U32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first place of the queue, as the function wants it.
        let tail = unsafe { BufRingEntry::tail(queue) };
        // SAFETY: aligned, in our mapping, and only ever written to through this atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the whole of our mapping; `Ring` has seen to it that the kernel does not use it any more.
        unsafe { libc::munmap(self.mapping.as_ptr(), MAPPED) };
    }
}

/// The only group of buffers that a ring has.
pub(super) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC`.
pub(super) const INCREMENTAL: u16 = 2;

/// A power of two.
pub(super) const COUNT: usize = 16;
const COUNT_U16: u16 = 16;

/// One receive takes no more than this, and all that a turn receives has to find room in `COUNT` of them.
pub(super) const SIZE: usize = 64 * 1024;
const SIZE_U32: u32 = 64 * 1024;

/// The entries of the queue, rounded up to the largest page there is.
const QUEUE: usize = 64 * 1024;

const MAPPED: usize = QUEUE + COUNT * SIZE;

const _: () = assert!(COUNT * size_of::<BufRingEntry>() <= QUEUE && COUNT.is_power_of_two());
