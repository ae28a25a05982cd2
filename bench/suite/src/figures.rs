//! What a run cost, and what several runs say together.

use serde::Serialize;

/// Of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub contender: String,
    pub records: u64,
    /// From the first record appended to the last.
    pub seconds: f64,
    pub records_per_s: f64,
    /// Of input, keys and values.
    pub mb_per_s: f64,
    /// The same for the second half alone.
    pub settled_records_per_s: f64,
    /// User and system time of the whole process, its start and end included.
    pub client_us: f64,
    pub settled_client_us: f64,
    pub broker_us: f64,
    pub peak_mib: f64,
    /// Marks of ended transactions in all output partitions.
    pub markers: u64,
}

/// The middle of several values, and how far they reach. With five values, the true median lies between
/// the least and the greatest with a probability of 94 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self {
            median: f64::midpoint(*low, *high),
            least,
            greatest,
        })
    }

    /// Of ratios, round by round: what runs one after the other share is left out of it.
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_reach() {
        let spread = Spread::of([3.0, 1.0, 2.0, f64::NAN]).unwrap();
        assert_eq!((spread.least, spread.median, spread.greatest), (1.0, 2.0, 3.0));
        let two = Spread::of([1.0, 2.0]).unwrap();
        assert_eq!((two.least, two.median), (1.0, 1.5));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let spread = Spread::of_ratios(&[2.0, 6.0], &[1.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.greatest), (2.0, 3.0));
    }
}
