//! The only reader of the time. Everything else takes the time as an argument, in seconds as
//! Python's `time.monotonic()` counts them, so that tests can move it by hand.

use std::cell::Cell;

use crate::sys;

/// Seconds of `CLOCK_MONOTONIC`: the same number Python's `time.monotonic()` gives.
#[inline]
pub fn monotonic() -> f64 {
    let nanoseconds = sys::time::monotonic_nanoseconds();
    #[expect(
        clippy::cast_precision_loss,
        reason = "Python rounds the same way; 104 days of uptime still fit exactly"
    )]
    let nanoseconds = nanoseconds as f64;
    nanoseconds / 1e9
}

/// A source of the time.
pub trait Clock {
    /// Seconds since some fixed point; never goes back.
    fn now(&self) -> f64;
}

/// The machine's clock: [`monotonic`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> f64 {
        monotonic()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now: Cell<f64>,
}

impl ManualClock {
    pub fn new(now: f64) -> Self {
        Self { now: Cell::new(now) }
    }

    pub fn advance(&self, seconds: f64) {
        self.now.set(self.now.get() + seconds);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> f64 {
        self.now.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_never_goes_back() {
        let mut earlier = MonotonicClock.now();
        for _ in 0..1000 {
            let later = MonotonicClock.now();
            assert!(later >= earlier);
            earlier = later;
        }
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(5.0);
        assert!((clock.now() - 5.0).abs() < f64::EPSILON);
        clock.advance(2.5);
        assert!((clock.now() - 7.5).abs() < f64::EPSILON);
    }
}
