//! How many datagrams are worth asking for in one call. `recvmmsg` of several costs a third less for each than as many
//! `recvfrom`, but where only one is there it costs half as much again, for the look in vain (measured on Linux 6.18).
//! So a socket is asked for one until several come.

/// What was found lately on one socket.
#[derive(Clone, Debug)]
pub struct Burst {
    /// How many to ask for.
    size: usize,
    /// How often in a row one was asked for and found.
    singles: u32,
}

impl Burst {
    pub const MAXIMUM: usize = crate::sys::datagram::MAXIMUM;

    pub fn new() -> Self {
        Self { size: 1, singles: 0 }
    }

    /// How many datagrams to ask for.
    #[inline]
    pub fn size(&self) -> usize {
        self.size
    }

    /// So many were found.
    pub fn on_received(&mut self, count: usize) {
        if self.size == 1 {
            self.singles += 1;
            if self.singles >= LOOK_AFTER {
                self.size = FIRST;
            }
        } else if count < 2 {
            *self = Self::new();
        } else if count >= self.size {
            self.size = Self::MAXIMUM;
        }
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

/// After so many single datagrams it is worth a look whether there are more.
const LOOK_AFTER: u32 = 8;

/// How many are asked for then.
const FIRST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that were asked for while these many datagrams were waiting each time.
    fn asked(waiting: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut burst = Burst::new();
        let ask = |waiting: usize| {
            let size = burst.size();
            burst.on_received(waiting.min(size));
            size
        };
        waiting.into_iter().map(ask).collect()
    }

    #[test]
    fn one_at_a_time_is_asked_for_one_at_a_time_but_for_a_look_now_and_then() {
        assert_eq!(asked([1; 18]), [1, 1, 1, 1, 1, 1, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 4]);
    }

    #[test]
    fn a_flood_is_taken_by_the_largest_number_until_it_ends() {
        let waiting = [100; 12].into_iter().chain([16, 5, 1, 1]);
        assert_eq!(asked(waiting), [1, 1, 1, 1, 1, 1, 1, 1, 4, 16, 16, 16, 16, 16, 16, 1]);
    }
}
