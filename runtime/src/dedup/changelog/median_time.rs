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

#[cfg(test)]
mod tests {
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

    #[test]
    fn it_never_goes_back() {
        let mut time = MedianTime::default();
        time.reach(1000);
        (0..BLOCK).for_each(|_| time.observe(5));
        assert_eq!(time.reached_ms(), Some(1000));
        assert_eq!(MedianTime::default().reached_ms(), None);
    }
}
