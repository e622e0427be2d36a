//! The order of one turn of the loop, and the decision whether it asks the kernel.
//!
//! 1. Discard the cancelled timers at the head; decide how long to wait ([`TurnPolicy::poll`]).
//! 2. Wait for the kernel, the interpreter lock let go if that may block.
//! 3. Queue what the kernel completed, in its order; for one descriptor, reading before writing.
//! 4. Queue what other threads handed in.
//! 5. Queue the timers that are due, in the order of their deadlines.
//! 6. Run as many entries as the queue holds now. What they queue is the next turn's.
//! 7. Flush what was written meanwhile; then the loop ends if it was told to stop.
//!
//! asyncio asks the kernel in every turn. One `epoll_wait` costs several times what a short turn
//! costs, so a busy turn (one with work waiting) asks only now and then, within fixed bounds: see
//! [`TurnPolicy`].

use std::time::Duration;

/// What a turn asks of the kernel.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Poll {
    /// Nothing: there is work, and the last look was not long ago.
    Skip,
    /// A look, without waiting.
    Now,
    /// A wait until this deadline; `None` is for ever.
    Until(Option<f64>),
}

/// Decides when a turn asks the kernel.
///
/// The bounds, for a loop that always has work: with sources of its own it looks at least once in
/// 8 turns, and in every turn that begins with 64 entries run since the last look, so a thousand
/// tasks pay one look per turn (a thousandth of its cost) while two tasks that wake each other pay
/// one in eight. Without such sources only signals can arrive, and it looks once in 64 turns.
/// The first turn of a run and the last one always look, as whoever calls `run_once` in asyncio's
/// manner (`loop.stop(); loop.run_forever()`) expects, and so does the one after something was sent
/// or closed, or may have been: a program that watches descriptors uses them by itself. So does the one
/// after somebody began to wait for a descriptor, where something may lie ready.
#[derive(Debug)]
pub struct TurnPolicy {
    /// Busy turns and entries since the last look.
    turns: usize,
    entries: usize,
    /// How many of them may be before the next look; set by the last full decision.
    turns_bound: usize,
    entries_bound: usize,
    /// Those that went on since the last look.
    handshakes: usize,
}

impl Default for TurnPolicy {
    fn default() -> Self {
        Self {
            turns: 0,
            entries: 0,
            turns_bound: TURNS_WITH_SOURCES,
            entries_bound: ENTRIES_WITH_SOURCES,
            handshakes: 0,
        }
    }
}

impl TurnPolicy {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a busy turn skips the kernel whatever else is the case: the answer of most busy turns,
    /// found without looking at sources or timers. If not, [`Self::poll`] decides.
    #[inline]
    #[must_use]
    pub fn skips(&mut self, ready: usize) -> bool {
        let skips = ready != 0 && self.turns + 1 < self.turns_bound && self.entries < self.entries_bound;
        if skips {
            self.turns += 1;
            self.entries = self.entries.saturating_add(ready);
        }
        skips
    }

    /// Something was sent or closed, or may be by a callback that is to run: who has the other end in the same program is
    /// told in the next turn, as by asyncio. Or somebody began to wait for a descriptor, and what is there already is told them.
    #[inline]
    pub fn look_next_turn(&mut self) {
        self.entries = usize::MAX;
    }

    fn set_bounds(&mut self, has_sources: bool) {
        (self.turns_bound, self.entries_bound) = if has_sources {
            (TURNS_WITH_SOURCES, ENTRIES_WITH_SOURCES)
        } else {
            (TURNS_WITHOUT_SOURCES, usize::MAX)
        };
    }

    /// `ready` is the length of the queue, `has_sources` whether descriptors other than the loop's
    /// own are watched, and `next_deadline` that of the timers.
    pub fn poll(
        &mut self,
        ready: usize,
        stopping: bool,
        first_turn: bool,
        has_sources: bool,
        next_deadline: Option<f64>,
    ) -> Poll {
        self.set_bounds(has_sources);
        if ready == 0 && !stopping {
            (self.turns, self.entries, self.handshakes) = (0, 0, 0);
            return Poll::Until(next_deadline);
        }
        self.turns += 1;
        let is_due = self.turns >= self.turns_bound || self.entries >= self.entries_bound;
        if stopping || first_turn || is_due {
            (self.turns, self.entries, self.handshakes) = (0, ready, 0);
            return Poll::Now;
        }
        self.entries = self.entries.saturating_add(ready);
        Poll::Skip
    }

    /// Whether one more handshake of TLS may go on before the next look. A step of one takes as long as a thousand
    /// messages, so a crowd of them would keep all other connections waiting; those that may not go on leave their
    /// bytes where they are, and the next look tells of them again.
    pub fn admits_handshake(&mut self) -> bool {
        let admits = self.handshakes < HANDSHAKES_BETWEEN_LOOKS;
        self.handshakes += usize::from(admits);
        admits
    }
}

/// How long to wait for `deadline`, rounded up to the nanosecond so that a wait never ends before
/// it, and at most a day, as in asyncio. `None` waits for ever.
pub fn timeout_until(deadline: Option<f64>, now: f64) -> Option<Duration> {
    let seconds = deadline? - now;
    if seconds <= 0.0 {
        return Some(Duration::ZERO);
    }
    // Written so that a NaN, which compares false with everything, waits the longest.
    if seconds < MAXIMUM_WAIT.as_secs_f64() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a day, checked above"
        )]
        let nanoseconds = (seconds * 1e9).ceil() as u64;
        return Some(Duration::from_nanos(nanoseconds));
    }
    Some(MAXIMUM_WAIT)
}

/// asyncio: `base_events.MAXIMUM_SELECT_TIMEOUT`.
const MAXIMUM_WAIT: Duration = Duration::from_secs(24 * 3600);

const TURNS_WITH_SOURCES: usize = 8;
const ENTRIES_WITH_SOURCES: usize = 64;
const TURNS_WITHOUT_SOURCES: usize = 64;

/// Signing takes up to a millisecond.
const HANDSHAKES_BETWEEN_LOOKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many turns pass, the asking one included, until the policy looks.
    fn turns_until_look(policy: &mut TurnPolicy, ready: usize, has_sources: bool) -> usize {
        let mut turns = 1;
        while policy.poll(ready, false, false, has_sources, None) == Poll::Skip {
            turns += 1;
        }
        turns
    }

    #[test]
    fn an_idle_loop_waits_for_the_next_deadline() {
        let mut policy = TurnPolicy::new();
        assert_eq!(policy.poll(0, false, true, true, Some(3.0)), Poll::Until(Some(3.0)));
        assert_eq!(policy.poll(0, false, false, true, None), Poll::Until(None));
    }

    #[test]
    fn a_stopping_loop_looks_but_never_waits() {
        let mut policy = TurnPolicy::new();
        assert_eq!(policy.poll(0, true, false, true, Some(3.0)), Poll::Now);
        assert_eq!(policy.poll(1, true, false, false, None), Poll::Now);
    }

    #[test]
    fn the_first_turn_of_a_run_looks() {
        let mut policy = TurnPolicy::new();
        assert_eq!(policy.poll(1, false, true, false, None), Poll::Now);
        assert_eq!(policy.poll(1, false, false, false, None), Poll::Skip);
    }

    #[test]
    fn a_busy_loop_with_sources_looks_every_eighth_turn() {
        let mut policy = TurnPolicy::new();
        assert_eq!(turns_until_look(&mut policy, 1, true), 8);
        assert_eq!(turns_until_look(&mut policy, 1, true), 8);
    }

    #[test]
    fn a_busy_loop_without_sources_looks_every_sixty_fourth_turn() {
        let mut policy = TurnPolicy::new();
        assert_eq!(turns_until_look(&mut policy, 1000, false), 64);
    }

    #[test]
    fn long_turns_with_sources_look_every_time() {
        let mut policy = TurnPolicy::new();
        assert_eq!(policy.poll(1000, false, true, true, None), Poll::Now);
        assert_eq!(policy.poll(1000, false, false, true, None), Poll::Now);
        assert_eq!(policy.poll(1, false, false, true, None), Poll::Now);
        assert_eq!(policy.poll(1, false, false, true, None), Poll::Skip);
    }

    #[test]
    fn the_short_answer_is_the_long_one() {
        for ready in [1, 7, 64, 1000] {
            let (mut short, mut long) = (TurnPolicy::new(), TurnPolicy::new());
            for _ in 0..100 {
                let skipped = short.skips(ready) || short.poll(ready, false, false, true, None) == Poll::Skip;
                let expected = long.poll(ready, false, false, true, None) == Poll::Skip;
                assert_eq!(skipped, expected);
            }
        }
    }

    #[test]
    fn timeouts_are_rounded_up_and_clamped() {
        assert_eq!(timeout_until(None, 5.0), None);
        assert_eq!(timeout_until(Some(4.0), 5.0), Some(Duration::ZERO));
        assert_eq!(timeout_until(Some(5.0 + 1e-12), 5.0), Some(Duration::from_nanos(1)));
        assert_eq!(timeout_until(Some(6.5), 5.0), Some(Duration::from_millis(1500)));
        for late in [1e9, f64::INFINITY, f64::NAN] {
            assert_eq!(timeout_until(Some(late), 5.0), Some(Duration::from_secs(86_400)));
        }
        assert_eq!(timeout_until(Some(f64::NEG_INFINITY), 5.0), Some(Duration::ZERO));
    }

    #[test]
    fn a_turn_after_something_happened_looks() {
        for has_sources in [true, false] {
            let mut policy = TurnPolicy::new();
            assert_eq!(policy.poll(1, false, true, has_sources, None), Poll::Now);
            assert!(policy.skips(1));
            policy.look_next_turn();
            assert!(!policy.skips(1));
            assert_eq!(policy.poll(1, false, false, has_sources, None), Poll::Now);
            assert!(policy.skips(1));
        }
    }

    #[test]
    fn a_crowd_of_handshakes_goes_on_in_parts() {
        let mut policy = TurnPolicy::new();
        let part = |policy: &mut TurnPolicy| (0..20).filter(|_| policy.admits_handshake()).count();
        assert_eq!(part(&mut policy), HANDSHAKES_BETWEEN_LOOKS);
        assert_eq!(policy.poll(1, false, false, true, None), Poll::Skip);
        assert_eq!(part(&mut policy), 0);
        assert_eq!(policy.poll(0, false, false, true, None), Poll::Until(None));
        assert_eq!(part(&mut policy), HANDSHAKES_BETWEEN_LOOKS);
        assert_eq!(policy.poll(1, false, true, true, None), Poll::Now);
        assert_eq!(part(&mut policy), HANDSHAKES_BETWEEN_LOOKS);
    }
}
