//! Who sent datagrams lately. Most senders send more than once, and to make a tuple of an address, or an address of a tuple, costs more
//! than all the rest that is ours in receiving or sending a datagram.

use pyo3::prelude::*;
use rasyncio_core::net::PeerAddress;

/// An address as the kernel wrote it, and as Python sees it.
pub(super) struct Sender {
    pub(super) address: PeerAddress,
    pub(super) object: Py<PyAny>,
}

/// A table in which each address has a few places, which it may lose to others.
#[derive(Default)]
pub(super) struct Senders {
    /// As many as it takes for those known, within a limit; a power of two.
    sets: Vec<[Option<Sender>; PLACES]>,
    /// The set and the place of who sent last, and most probably is answered.
    last: (usize, usize),
}

impl Senders {
    /// What Python sees of the address, if it is known. Who has it counts as the last who sent.
    #[inline]
    pub(super) fn find(&mut self, py: Python<'_>, address: &PeerAddress) -> Option<Py<PyAny>> {
        let number = set_of(address, self.sets.len());
        let mut known = self.sets.get(number)?.iter().enumerate();
        let (place, sender) = known.find_map(|(place, sender)| {
            Some((place, sender.as_ref().filter(|sender| sender.address == *address)?))
        })?;
        self.last = (number, place);
        Some(sender.object.clone_ref(py))
    }

    /// Remembers who was not known and counts as the last who sent. Answers whom it forgets instead, for the caller to drop.
    pub(super) fn remember(&mut self, sender: Sender) -> Option<Sender> {
        loop {
            let number = set_of(&sender.address, self.sets.len());
            let free = self.sets.get(number).and_then(|set| set.iter().position(Option::is_none));
            if free.is_none() && self.sets.len() < MOST {
                self.grow();
                continue;
            }
            // Who takes another's place takes that behind the last one.
            let place = free.unwrap_or((self.last.1 + 1) % PLACES);
            self.last = (number, place);
            return self.sets[number][place].replace(sender);
        }
    }

    /// The address of the last who sent, if this is what Python sees of it.
    #[inline]
    pub(super) fn last(&self, object: &Bound<'_, PyAny>) -> Option<&PeerAddress> {
        let (number, place) = self.last;
        let sender = self.sets.get(number)?[place].as_ref().filter(|sender| sender.object.is(object))?;
        Some(&sender.address)
    }

    /// Twice as many sets: each is divided between two, so there is room for everybody.
    fn grow(&mut self) {
        let size = (self.sets.len() * 2).max(1);
        let new = std::iter::repeat_with(Default::default).take(size).collect();
        for sender in std::mem::replace(&mut self.sets, new).into_iter().flatten().flatten() {
            let mut set = self.sets[set_of(&sender.address, size)].iter_mut();
            if let Some(place) = set.find(|place| place.is_none()) {
                *place = Some(sender);
            }
        }
    }
}

/// The set of an address among so many, a power of two.
#[inline]
fn set_of(address: &PeerAddress, size: usize) -> usize {
    let mixed = match address {
        PeerAddress::Inet4 { ip, port } => mix(u64::from(ip.to_bits()) << 16 | u64::from(*port)),
        PeerAddress::Inet6 { ip, port, .. } => {
            ip.segments().iter().fold(u64::from(*port), |mixed, part| mix(mixed ^ u64::from(*part)))
        }
        PeerAddress::Unix { path } => path.iter().fold(0, |mixed, byte| mix(mixed ^ u64::from(*byte))),
        PeerAddress::Other { .. } => 0,
    };
    usize::from(mixed.to_be_bytes()[0]) & size.wrapping_sub(1)
}

/// Makes the high bits depend on all.
#[inline]
fn mix(bits: u64) -> u64 {
    bits.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// So many of a set are looked at.
const PLACES: usize = 4;

/// For 256 senders; `set_of` tells as many sets apart.
const MOST: usize = 64;
