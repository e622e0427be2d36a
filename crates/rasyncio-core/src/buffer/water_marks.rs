//! Between which amounts of unsent bytes a writer is asked to pause and to go on: asyncio's rules
//! (`transports._FlowControlMixin`).

/// The limits of a write buffer, in bytes; `high >= low` always holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaterMarks {
    high: usize,
    low: usize,
}

impl WaterMarks {
    /// Fills in what is not given: `high` is 64 KiB or four times `low`, `low` a quarter of
    /// `high`. Answers `(high, low)` as an error if they are the wrong way round.
    pub fn new(high: Option<usize>, low: Option<usize>) -> Result<Self, (usize, usize)> {
        Self::with_default(high, low, DEFAULT_HIGH)
    }

    /// `new` with another `high` for when nothing is given.
    pub fn with_default(
        high: Option<usize>,
        low: Option<usize>,
        default_high: usize,
    ) -> Result<Self, (usize, usize)> {
        let high = match (high, low) {
            (Some(high), _) => high,
            (None, Some(low)) => low.saturating_mul(4),
            (None, None) => default_high,
        };
        let low = low.unwrap_or(high / 4);
        if low <= high { Ok(Self { high, low }) } else { Err((high, low)) }
    }

    pub fn high(&self) -> usize {
        self.high
    }

    pub fn low(&self) -> usize {
        self.low
    }

    /// So many unsent bytes are too many: the writer should pause.
    pub fn is_above_high(&self, size: usize) -> bool {
        size > self.high
    }

    /// So few unsent bytes are few enough: a paused writer may go on.
    pub fn is_at_or_below_low(&self, size: usize) -> bool {
        size <= self.low
    }
}

impl Default for WaterMarks {
    fn default() -> Self {
        Self { high: DEFAULT_HIGH, low: DEFAULT_HIGH / 4 }
    }
}

const DEFAULT_HIGH: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(high: Option<usize>, low: Option<usize>) -> Result<(usize, usize), (usize, usize)> {
        WaterMarks::new(high, low).map(|marks| (marks.high(), marks.low()))
    }

    #[test]
    fn what_is_not_given_is_filled_in_as_asyncio_does() {
        assert_eq!(limits(None, None), Ok((65_536, 16_384)));
        assert_eq!(WaterMarks::new(None, None), Ok(WaterMarks::default()));
        assert_eq!(limits(Some(100), None), Ok((100, 25)));
        assert_eq!(limits(None, Some(100)), Ok((400, 100)));
        assert_eq!(limits(Some(0), None), Ok((0, 0)));
        assert_eq!(limits(Some(7), Some(7)), Ok((7, 7)));
        assert_eq!(WaterMarks::with_default(None, None, 80), WaterMarks::new(Some(80), Some(20)));
        assert_eq!(WaterMarks::with_default(None, Some(1), 80), WaterMarks::new(Some(4), Some(1)));
    }

    #[test]
    fn a_low_mark_above_the_high_one_is_refused() {
        assert_eq!(limits(Some(5), Some(6)), Err((5, 6)));
    }

    #[test]
    fn the_high_mark_itself_does_not_pause_and_the_low_mark_itself_resumes() {
        let marks = WaterMarks::new(Some(10), Some(5)).expect("the right way round");
        assert!(!marks.is_above_high(10));
        assert!(marks.is_above_high(11));
        assert!(marks.is_at_or_below_low(5));
        assert!(!marks.is_at_or_below_low(6));
    }
}
