//! How far the records of a partition have come in time, by their own timestamps.

/// So many timestamps are looked at together.
const BLOCK: usize = 512;

/// The highest of the medians of blocks: a few records from the future, or a producer whose clock
/// is wrong, do not move it. It is up to a block behind, which only keeps claims for longer: nothing
/// but what may be forgotten is decided by it, so it need not cost what the SDK's `StreamTime` does.
#[derive(Debug, Clone, Default)]
pub struct MedianTime {
    reached_ms: Option<i64>,
    block: Vec<i64>,
}

impl MedianTime {
    /// Goes on where another owner was.
    pub fn reach(&mut self, reached_ms: i64) {
        self.reached_ms = self.reached_ms.max(Some(reached_ms));
    }

    pub fn observe(&mut self, timestamp_ms: i64) {
        self.block.push(timestamp_ms);
        if self.block.len() < BLOCK {
            return;
        }
        let (_, median, _) = self.block.select_nth_unstable(BLOCK / 2);
        let median = *median;
        self.block.clear();
        self.reach(median);
    }

    /// `None` before the first block is full.
    pub fn reached_ms(&self) -> Option<i64> {
        self.reached_ms
    }
}

/// The ceiling is where so many timestamps of a block of half the size are not below. Half of a
/// whole block is not below its median, and it touches three halves at the most, so one of these
/// has more than that.
const ABOVE: usize = 64;

/// No median time of the same timestamps is beyond this, wherever its blocks begin: another owner
/// of the partition may have come in between.
#[derive(Debug, Clone, Default)]
pub struct Ceiling {
    highest_ms: Option<i64>,
    block: Vec<i64>,
}

impl Ceiling {
    pub fn observe(&mut self, timestamp_ms: i64) {
        self.block.push(timestamp_ms);
        if self.block.len() == BLOCK / 2 {
            self.highest_ms = self.ms();
            self.block.clear();
        }
    }

    /// `None`: nobody has come anywhere yet.
    pub fn ms(&self) -> Option<i64> {
        let Some(place) = self.block.len().checked_sub(ABOVE) else {
            return self.highest_ms;
        };
        let mut block = self.block.clone();
        let (_, above, _) = block.select_nth_unstable(place);
        self.highest_ms.max(Some(*above))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minority_from_the_future_does_not_move_it() {
        let mut time = MedianTime::default();
        let block = i64::try_from(BLOCK).unwrap();
        for n in 0..10 * block {
            time.observe(if n % 3 == 0 { i64::MAX } else { n });
        }
        let reached = time.reached_ms().unwrap();
        assert!((8 * block..10 * block).contains(&reached), "{reached}");
    }

    proptest! {
        #[test]
        fn nobody_comes_beyond_the_ceiling(
            from in 0..BLOCK,
            times in prop::collection::vec(0_i64..1000, 0..3 * BLOCK),
        ) {
            let (mut time, mut ceiling) = (MedianTime::default(), Ceiling::default());
            for (n, (timestamp_ms, rise)) in times.iter().zip(0..).enumerate() {
                let timestamp_ms = timestamp_ms + rise;
                ceiling.observe(timestamp_ms);
                if n >= from {
                    time.observe(timestamp_ms);
                }
                prop_assert!(time.reached_ms() <= ceiling.ms());
            }
        }
    }

    #[test]
    fn a_minority_from_the_future_does_not_move_the_ceiling_either() {
        let mut ceiling = Ceiling::default();
        assert_eq!(ceiling.ms(), None);
        for n in 0..10_000 {
            ceiling.observe(if n % 5 == 0 { i64::MAX } else { n });
        }
        assert!(ceiling.ms().unwrap() < 10_000);
    }

    #[test]
    fn it_never_goes_back() {
        let mut time = MedianTime::default();
        time.reach(1000);
        (0..BLOCK).for_each(|_| time.observe(5));
        assert_eq!(time.reached_ms(), Some(1000));
        assert_eq!(MedianTime::default().reached_ms(), None);
    }
}
