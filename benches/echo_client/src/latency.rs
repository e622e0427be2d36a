//! Answer times of all messages, kept one by one: a run is bounded, so no histogram is needed.

use std::time::Duration;

#[derive(Default)]
pub struct Latencies {
    nanoseconds: Vec<u64>,
}

impl Latencies {
    pub fn record(&mut self, elapsed: Duration) {
        self.nanoseconds.push(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn count(&self) -> u64 {
        self.nanoseconds.len() as u64
    }

    /// The smallest time that `percent` of all messages did not exceed (nearest rank), in µs.
    pub fn percentile(&mut self, percent: u8) -> f64 {
        self.nanoseconds.sort_unstable();
        let rank = (self.nanoseconds.len() * usize::from(percent)).div_ceil(100);
        let nanoseconds = self.nanoseconds.get(rank.saturating_sub(1));
        Duration::from_nanos(nanoseconds.copied().unwrap_or(0)).as_secs_f64() * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let mut latencies = Latencies::default();
        for microseconds in (1..=200).rev() {
            latencies.record(Duration::from_micros(microseconds));
        }
        assert_eq!(latencies.count(), 200);
        assert!((latencies.percentile(50) - 100.0).abs() < 1e-9);
        assert!((latencies.percentile(99) - 198.0).abs() < 1e-9);
        assert!((latencies.percentile(100) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_recorded_gives_zero() {
        assert!(Latencies::default().percentile(99).abs() < 1e-9);
    }
}
