//! The table of sources: slots that are used again under a new generation, and for each
//! descriptor the chain of its sources, newest first. Knows nothing of the kernel.

use std::collections::HashMap;
use std::os::fd::RawFd;

use super::operation::{Operations, Token};

/// One source.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) fd: RawFd,
    /// What the owner asked for.
    pub(super) armed: Operations,
    /// What the kernel was asked for. Differs from `armed` only for a source whose descriptor
    /// number has come to belong to a newer one: then it is empty.
    pub(super) watched: Operations,
    pub(super) source: S,
    /// The source of the same descriptor that was inserted before this one.
    older: Option<Token>,
}

#[derive(Debug)]
pub(super) struct Sources<S> {
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
    newest: HashMap<RawFd, Token>,
}

#[derive(Debug)]
struct Entry<S> {
    /// Raised when the slot is vacated, so old tokens stop fitting.
    generation: u32,
    slot: Option<Slot<S>>,
}

impl<S> Sources<S> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), newest: HashMap::new() }
    }

    pub(super) fn insert(&mut self, fd: RawFd, source: S) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, slot: None });
            u32::try_from(self.entries.len() - 1).expect("fewer sources than 2^32")
        });
        let entry = &mut self.entries[index as usize];
        let token = Token { slot: index, generation: entry.generation };
        let older = self.newest.insert(fd, token);
        let (armed, watched) = (Operations::NONE, Operations::NONE);
        entry.slot = Some(Slot { fd, armed, watched, source, older });
        token
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Slot<S>> {
        self.get(token)?;
        let entry = &mut self.entries[token.slot as usize];
        let slot = entry.slot.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(token.slot);
        self.unlink(token, &slot);
        Some(slot)
    }

    #[inline]
    pub(super) fn get(&self, token: Token) -> Option<&Slot<S>> {
        let entry = self.entries.get(token.slot as usize)?;
        entry.slot.as_ref().filter(|_| entry.generation == token.generation)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Slot<S>> {
        let entry = self.entries.get_mut(token.slot as usize)?;
        entry.slot.as_mut().filter(|_| entry.generation == token.generation)
    }

    /// The newest source of `fd`.
    pub(super) fn find(&self, fd: RawFd) -> Option<Token> {
        self.newest.get(&fd).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &Slot<S>)> {
        (0..).zip(&self.entries).filter_map(|(slot, entry)| {
            let token = Token { slot, generation: entry.generation };
            Some((token, entry.slot.as_ref()?))
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Token, &mut Slot<S>)> {
        (0..).zip(&mut self.entries).filter_map(|(slot, entry)| {
            let token = Token { slot, generation: entry.generation };
            Some((token, entry.slot.as_mut()?))
        })
    }

    /// The kernel now watches the descriptor of `token` for it alone. Answers who was watched before, and for what.
    pub(super) fn displace_others(&mut self, token: Token) -> Vec<(Token, Operations)> {
        let mut displaced = Vec::new();
        let mut next = self.get(token).and_then(|slot| self.find(slot.fd));
        while let Some(current) = next
            && let Some(slot) = self.get_mut(current)
        {
            if current != token && !slot.watched.is_empty() {
                displaced.push((current, std::mem::take(&mut slot.watched)));
            }
            next = slot.older;
        }
        displaced
    }

    /// Takes `slot`, which was `token`'s, out of the chain of its descriptor.
    fn unlink(&mut self, token: Token, slot: &Slot<S>) {
        let Some(newest) = self.find(slot.fd) else {
            return;
        };
        if newest == token {
            match slot.older {
                Some(older) => self.newest.insert(slot.fd, older),
                None => self.newest.remove(&slot.fd),
            };
            return;
        }
        // Chains have one or two links: a descriptor rarely has more than one source.
        let mut newer = newest;
        while let Some(current) = self.get_mut(newer) {
            match current.older {
                Some(older) if older == token => {
                    current.older = slot.older;
                    return;
                }
                Some(older) => newer = older,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_of_a_removed_source_fits_no_other() {
        let mut sources = Sources::new();
        let first = sources.insert(5, "first");
        sources.remove(first).expect("it was there");
        let second = sources.insert(5, "second");
        assert_eq!(first.slot, second.slot);
        assert!(sources.get(first).is_none());
        assert!(sources.remove(first).is_none());
        assert_eq!(sources.get(second).map(|slot| slot.source), Some("second"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(RawFd),
        Remove(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4).prop_map(Step::Insert),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn finds_the_newest_source_of_each_descriptor(
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let mut sources = Sources::new();
            let mut model: Vec<(RawFd, Token)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(fd) => model.push((fd, sources.insert(fd, ()))),
                    Step::Remove(index) if !model.is_empty() => {
                        let (fd, token) = model.remove(index.index(model.len()));
                        prop_assert_eq!(sources.remove(token).map(|slot| slot.fd), Some(fd));
                    }
                    Step::Remove(_) => {}
                }
                for fd in 0..4 {
                    let newest = model.iter().rfind(|(of, _)| *of == fd).map(|(_, token)| *token);
                    prop_assert_eq!(sources.find(fd), newest);
                }
                prop_assert_eq!(sources.len(), model.len());
                prop_assert_eq!(sources.iter().count(), model.len());
            }
        }
    }
}
