//! A BIO of our own: OpenSSL reads from memory of ours and writes to it. What arrives need not be copied for that: it is lent while it is looked at.
//!
//! Python lets go of the interpreter lock while it shakes hands, so the memory is behind a lock, which nobody holds for longer than a copy takes.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::table::Table;

/// Cipher text on its way in and out.
pub(super) struct Ends {
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    /// How many of them OpenSSL has read.
    read: usize,
    /// What comes behind them and belongs to somebody else.
    lent: Option<Lent>,
}

/// Bytes that `lend` borrows, without those that OpenSSL has read.
struct Lent(*const [u8]);

// SAFETY: the bytes do not change while they are lent.
unsafe impl Send for Lent {}

impl Lent {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `Ends::lend` borrows them until it takes this back.
        unsafe { &*self.0 }
    }
}

/// Ends a loan, however its time ends.
struct GiveBack<'a>(&'a Ends);

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        let mut incoming = locked(&self.0.incoming);
        if let Some(lent) = incoming.lent.take() {
            incoming.keep(lent.bytes());
        }
    }
}

impl Incoming {
    /// Puts a copy behind what is there.
    fn keep(&mut self, cipher_text: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(cipher_text);
    }

    fn unread(&self) -> usize {
        let lent = self.lent.as_ref().map_or(0, |lent| lent.bytes().len());
        self.bytes.len() - self.read + lent
    }

    /// Copies to the start of `memory` what fits, of what came first.
    fn read(&mut self, memory: &mut [u8]) -> usize {
        if self.bytes.is_empty() {
            return self.read_lent(memory);
        }
        let rest = &self.bytes[self.read..];
        let count = rest.len().min(memory.len());
        memory[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        if self.read == self.bytes.len() {
            // A connection that waits keeps nothing.
            (self.bytes, self.read) = (Vec::new(), 0);
        }
        count + self.read_lent(&mut memory[count..])
    }

    fn read_lent(&mut self, memory: &mut [u8]) -> usize {
        let Some(lent) = self.lent.as_mut().filter(|_| self.bytes.is_empty()) else {
            return 0;
        };
        let bytes = lent.bytes();
        let (now, later) = bytes.split_at(bytes.len().min(memory.len()));
        memory[..now.len()].copy_from_slice(now);
        let (count, later) = (now.len(), std::ptr::from_ref(later));
        lent.0 = later;
        count
    }
}

impl Ends {
    pub(super) fn new() -> Self {
        Self { incoming: Mutex::default(), outgoing: Mutex::default() }
    }

    #[inline]
    pub(super) fn feed(&self, cipher_text: &[u8]) {
        locked(&self.incoming).keep(cipher_text);
    }

    /// Lends the bytes while `action` runs; what nobody read until then is kept.
    #[inline]
    pub(super) fn lend<R>(&self, cipher_text: &[u8], action: impl FnOnce() -> R) -> R {
        {
            let mut incoming = locked(&self.incoming);
            // Of two loans the first one ends here: the order is that of arrival.
            if let Some(lent) = incoming.lent.take() {
                incoming.keep(lent.bytes());
            }
            incoming.lent = Some(Lent(cipher_text));
        }
        let _give_back = GiveBack(self);
        action()
    }

    #[inline]
    pub(super) fn unread(&self) -> usize {
        locked(&self.incoming).unread()
    }

    #[inline]
    pub(super) fn unsent(&self) -> usize {
        locked(&self.outgoing).len()
    }

    /// Makes room for the records of so many bytes.
    #[inline]
    pub(super) fn expect(&self, plain_text: usize) {
        locked(&self.outgoing).reserve(plain_text + (plain_text / RECORD + 1) * OVERHEAD);
    }

    #[inline]
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut locked(&self.outgoing))
    }
}

/// What OpenSSL calls a method: the functions of one kind of BIO.
pub(super) struct Method(NonNull<c_void>);

// SAFETY: nobody changes it after `make`.
unsafe impl Send for Method {}
// SAFETY: as above.
unsafe impl Sync for Method {}

impl Method {
    /// None if OpenSSL has no memory. It lives as long as the process.
    pub(super) fn make(table: &Table) -> Option<Self> {
        let table = TABLE.get_or_init(|| *table);
        // SAFETY: the call takes and needs nothing.
        let kind = unsafe { (table.bio_get_new_index)() } | SOURCE_SINK;
        // SAFETY: the name is a string that ends, which OpenSSL copies.
        let method = NonNull::new(unsafe { (table.bio_meth_new)(kind, c"rasyncio".as_ptr()) })?;
        // SAFETY: the method is new and whole, and the function has the signature that is asked for.
        let reads = unsafe { (table.bio_meth_set_read)(method.as_ptr(), on_read) };
        // SAFETY: as above.
        let writes = unsafe { (table.bio_meth_set_write)(method.as_ptr(), on_write) };
        // SAFETY: as above.
        let obeys = unsafe { (table.bio_meth_set_ctrl)(method.as_ptr(), on_control) };
        // SAFETY: as above.
        let ends = unsafe { (table.bio_meth_set_destroy)(method.as_ptr(), on_destroy) };
        ([reads, writes, obeys, ends] == [1; 4]).then_some(Self(method))
    }

    /// A BIO with both ends, with one reference; None if OpenSSL has no memory.
    pub(super) fn bio(&self, table: &Table, ends: &Arc<Ends>) -> Option<NonNull<c_void>> {
        // SAFETY: the method is whole and stays.
        let bio = NonNull::new(unsafe { (table.bio_new)(self.0.as_ptr()) })?;
        let data = Arc::into_raw(Arc::clone(ends)).cast_mut().cast();
        // SAFETY: the BIO is new, and ours alone; `on_destroy` takes the reference back.
        unsafe { (table.bio_set_data)(bio.as_ptr(), data) };
        // SAFETY: as above.
        unsafe { (table.bio_set_init)(bio.as_ptr(), 1) };
        Some(bio)
    }
}

/// For the callbacks, which OpenSSL gives nothing but the BIO. There is one library, that of the interpreter.
static TABLE: OnceLock<Table> = OnceLock::new();

unsafe extern "C" fn on_read(bio: *mut c_void, memory: *mut c_char, size: c_int) -> c_int {
    let (Some(table), Ok(size)) = (TABLE.get(), usize::try_from(size)) else {
        return -1;
    };
    // SAFETY: OpenSSL calls with a BIO that is alive.
    unsafe { (table.bio_clear_flags)(bio, RETRY_FLAGS) };
    // SAFETY: as above.
    let Some(ends) = (unsafe { ends_of(table, bio) }) else {
        return -1;
    };
    if size == 0 || memory.is_null() {
        return 0;
    }
    // SAFETY: OpenSSL lends `size` bytes of its own for the call. They are plain bytes, which nobody else looks at meanwhile.
    let memory = unsafe { std::slice::from_raw_parts_mut(memory.cast::<u8>(), size) };
    let count = locked(&ends.incoming).read(memory);
    if count == 0 {
        // Not the end: later there may be more.
        // SAFETY: as above.
        unsafe { (table.bio_set_flags)(bio, READ_AGAIN) };
        return -1;
    }
    c_int::try_from(count).unwrap_or(-1)
}

unsafe extern "C" fn on_write(bio: *mut c_void, bytes: *const c_char, size: c_int) -> c_int {
    let (Some(table), Ok(length)) = (TABLE.get(), usize::try_from(size)) else {
        return -1;
    };
    // SAFETY: OpenSSL calls with a BIO that is alive.
    unsafe { (table.bio_clear_flags)(bio, RETRY_FLAGS) };
    // SAFETY: as above.
    let Some(ends) = (unsafe { ends_of(table, bio) }) else {
        return -1;
    };
    if length > 0 && !bytes.is_null() {
        // SAFETY: OpenSSL lends `length` bytes for the call.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
        locked(&ends.outgoing).extend_from_slice(bytes);
    }
    size
}

unsafe extern "C" fn on_control(
    _bio: *mut c_void,
    command: c_int,
    _number: c_long,
    _pointer: *mut c_void,
) -> c_long {
    // Everything is where it belongs already; nothing else is known here, which is what 0 says.
    c_long::from(command == FLUSH)
}

unsafe extern "C" fn on_destroy(bio: *mut c_void) -> c_int {
    let Some(table) = TABLE.get().filter(|_| !bio.is_null()) else {
        return 0;
    };
    // SAFETY: OpenSSL calls this once, with a BIO that is about to go.
    let data = unsafe { (table.bio_get_data)(bio) };
    if !data.is_null() {
        // SAFETY: as above.
        unsafe { (table.bio_set_data)(bio, std::ptr::null_mut()) };
        // SAFETY: `bio` gave this reference to the BIO, which has no use for it any more.
        drop(unsafe { Arc::from_raw(data.cast::<Ends>()) });
    }
    1
}

/// What a BIO of ours has.
///
/// # Safety
/// The BIO is alive for `'call`.
unsafe fn ends_of<'call>(table: &Table, bio: *mut c_void) -> Option<&'call Ends> {
    // SAFETY: the caller's promise.
    let data = unsafe { (table.bio_get_data)(bio) };
    // SAFETY: `Method::bio` put it there, and the BIO has a reference to it until `on_destroy`.
    unsafe { data.cast::<Ends>().as_ref() }
}

/// Nothing that fails happens while the lock is held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most plain text of a record, and more than what comes with it.
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 128;

/// OpenSSL's `BIO_TYPE_SOURCE_SINK`, `BIO_CTRL_FLUSH`, `BIO_FLAGS_SHOULD_RETRY` with all directions, and with `BIO_FLAGS_READ`.
const SOURCE_SINK: c_int = 0x0400;
const FLUSH: c_int = 11;
const RETRY_FLAGS: c_int = 0x0f;
const READ_AGAIN: c_int = 0x09;
