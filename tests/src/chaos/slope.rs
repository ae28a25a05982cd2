//! Whether a series of samples rises: a least-squares line through it, and how far that
//! line can be trusted.
//!
//! Neighbouring samples resemble each other, and a line through all of them would claim to
//! be far more exact than it is. So the series is cut into a few long blocks, and the line
//! goes through their means, which are nearly independent: an allocator takes memory in
//! steps of megabytes, and gives it back over half a minute.

/// Blocks of a series.
const BLOCKS: usize = 10;
/// Samples of a block: a second apart, longer than such a step is felt.
const BLOCK_MIN: usize = 30;
/// Samples that it takes at least.
pub const SAMPLES_MIN: usize = BLOCKS * BLOCK_MIN;

/// A line through a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Rise for each unit of time.
    pub rise: f64,
    /// Its standard error.
    pub error: f64,
}

impl Slope {
    /// Of points (time, value) in the order of time. `None`: fewer than [`SAMPLES_MIN`].
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let size = points.len() / BLOCKS;
        if size < BLOCK_MIN {
            return None;
        }
        // What is left over is left out at the beginning.
        let from = points.len() - size * BLOCKS;
        let blocks: Vec<(f64, f64)> = points.get(from..)?.chunks(size).map(mean).collect();
        Some(Self::through(&blocks))
    }

    #[allow(clippy::cast_precision_loss, reason = "a handful of blocks")]
    fn through(points: &[(f64, f64)]) -> Self {
        let (middle, level) = mean(points);
        let spread: f64 = points.iter().map(|(x, _)| (x - middle).powi(2)).sum();
        let common: f64 = points.iter().map(|(x, y)| (x - middle) * (y - level)).sum();
        let rise = common / spread;
        let residual = |(x, y): &(f64, f64)| (y - level - rise * (x - middle)).powi(2);
        let left: f64 = points.iter().map(residual).sum();
        let error = (left / (points.len() as f64 - 2.0) / spread).sqrt();
        Self { rise, error }
    }

    /// Whether it rises by more than twice its error.
    pub fn rises(&self) -> bool {
        self.rise > 2.0 * self.error
    }
}

#[allow(clippy::cast_precision_loss, reason = "far fewer samples than that")]
fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    (x / count, y / count)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn series(rise: f64, noise: f64, seed: u64) -> Vec<(f64, f64)> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut value = |n| 50.0 + rise * n + noise * random.random_range(-1.0..1.0);
        (0..600).map(f64::from).map(|n| (n, value(n))).collect()
    }

    #[test]
    fn a_line_is_found_exactly() {
        let slope = Slope::of(&series(0.25, 0.0, 1)).unwrap();
        assert!(
            (slope.rise - 0.25).abs() < 1e-9 && slope.error < 1e-6,
            "{slope:?}"
        );
        assert!(slope.rises());
    }

    #[test]
    fn noise_is_told_from_a_rise() {
        // Twice the error is passed by chance in 4 of 100.
        let rises = |rise| {
            let slopes = (0..500).filter_map(|seed| Slope::of(&series(rise, 5.0, seed)));
            slopes.filter(Slope::rises).count()
        };
        let by_chance = rises(0.0);
        assert!((5..40).contains(&by_chance), "{by_chance}");
        // 6 in all, under a noise of 10.
        assert_eq!((rises(0.01), rises(-0.01)), (500, 0));
    }

    #[test]
    fn the_error_is_that_of_the_textbook() {
        let slope = Slope::through(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0), (3.0, 3.0)]);
        assert!((slope.rise - 0.8).abs() < 1e-12, "{slope:?}");
        assert!((slope.error - 0.18_f64.sqrt()).abs() < 1e-12, "{slope:?}");
    }

    #[test]
    fn too_few_samples_tell_nothing() {
        assert_eq!(Slope::of(&series(1.0, 0.0, 1)[..SAMPLES_MIN - 1]), None);
        assert!(Slope::of(&series(1.0, 0.0, 1)[..SAMPLES_MIN]).is_some());
    }
}
