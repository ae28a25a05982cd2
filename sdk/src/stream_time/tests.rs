//! The rule, held against a model that is written as the rule is said.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HOUR_MS: i64 = STEP_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A time like those of real records.
const NOW_MS: i64 = 1_700_000_000_000;
const FUTURE_MS: i64 = NOW_MS + 100 * 365 * DAY_MS;

fn after(timestamps: impl IntoIterator<Item = i64>) -> (StreamTime, Vec<i64>) {
    let mut time = StreamTime::default();
    let seen = timestamps.into_iter().map(|at| time.observe(at)).collect();
    (time, seen)
}

#[test]
fn it_follows_records_that_are_close() {
    let (time, seen) = after([NOW_MS, NOW_MS + 5, NOW_MS + 3, NOW_MS + HOUR_MS, -1]);
    assert_eq!(seen[..3], [NOW_MS, NOW_MS + 5, NOW_MS + 5]);
    assert_eq!(seen[3..], [NOW_MS + HOUR_MS; 2]);
    assert_eq!(time.reached_ms(), Some(NOW_MS + HOUR_MS));
}

#[test]
fn nothing_is_known_before_a_timestamp() {
    let (time, seen) = after([-1, i64::MIN]);
    assert_eq!((seen, time.reached_ms()), (vec![0, 0], None));
    assert_eq!(time, StreamTime::default());
}

#[test]
fn a_first_record_from_the_future_does_not_stick() {
    let (time, seen) = after([FUTURE_MS, -1, NOW_MS, NOW_MS + 1, NOW_MS + 2]);
    assert_eq!(seen, [FUTURE_MS, FUTURE_MS, NOW_MS, NOW_MS + 1, NOW_MS + 2]);
    assert_eq!(time.reached_ms(), Some(NOW_MS + 2));
    assert_eq!(after([FUTURE_MS]).0.reached_ms(), None);
}

#[test]
fn a_first_record_from_the_past_holds_up_for_one_more() {
    let (_, seen) = after([0, NOW_MS, NOW_MS + 1]);
    assert_eq!(seen, [0, 0, NOW_MS + 1]);
}

#[test]
fn one_record_from_the_future_moves_nothing() {
    let ahead = NOW_MS + HOUR_MS + 1;
    for records in [2, 3, 16, 40] {
        let usual = std::iter::repeat_n(NOW_MS, records);
        let (time, _) = after(usual.clone().chain([ahead]).chain(usual.clone()));
        assert_eq!(time.reached_ms(), Some(NOW_MS), "after {records}");
        let (time, _) = after(usual.chain([i64::MAX]));
        assert_eq!(time.reached_ms(), Some(NOW_MS), "after {records}");
    }
}

#[test]
fn a_jump_needs_more_than_half_of_the_last() {
    let later = NOW_MS + 30 * DAY_MS;
    let mut time = after([NOW_MS; 40]).0;
    let seen: Vec<_> = (0..9).map(|_| time.observe(later)).collect();
    assert_eq!(seen[..8], [NOW_MS; 8]);
    assert_eq!(seen[8], later);
}

#[test]
fn the_end_of_time_is_a_time() {
    let (time, _) = after([i64::MAX, i64::MAX, i64::MAX - 1]);
    assert_eq!(time.reached_ms(), Some(i64::MAX));
}

#[test]
fn bytes_that_were_not_written_are_refused() {
    let good = after([NOW_MS; 3]).0.to_bytes();
    assert_eq!(StreamTime::from_bytes(&good), Some(after([NOW_MS; 3]).0));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        StreamTime::from_bytes(&bytes)
    };
    assert_eq!(changed(0, 2), None, "another format");
    assert_eq!(changed(8, 0x80), None, "no time is reached after three");
    assert_eq!(changed(16, 0x00), None, "timestamps behind a gap");
    assert_eq!(changed(LEN - 1, 0x80), None, "a negative timestamp");
    assert_eq!(StreamTime::from_bytes(&good[..LEN - 1]), None);
    assert_eq!(StreamTime::from_bytes(&[&good[..], &[0]].concat()), None);
    assert_eq!(StreamTime::from_bytes(&[]), None);
}

/// The rule in its plainest form.
#[derive(Default)]
struct Model {
    all: Vec<i64>,
    reached: Option<i64>,
}

impl Model {
    fn observe(&mut self, timestamp_ms: i64) -> i64 {
        if timestamp_ms < 0 {
            return self.reached.or(self.all.first().copied()).unwrap_or(0);
        }
        self.all.push(timestamp_ms);
        let mut last = self.all[self.all.len().saturating_sub(16)..].to_vec();
        if last.len() == 1 {
            return timestamp_ms;
        }
        last.sort_unstable();
        let median = last[(last.len() - 1) / 2];
        let reached = self.reached.map_or(median, |reached| reached.max(median));
        let near = timestamp_ms > reached && timestamp_ms - reached <= HOUR_MS;
        let reached = if near { timestamp_ms } else { reached };
        self.reached = Some(reached);
        reached
    }
}

fn timestamps() -> impl Strategy<Value = Vec<i64>> {
    let one = prop_oneof![
        8 => NOW_MS..NOW_MS + 2 * HOUR_MS,
        2 => NOW_MS..NOW_MS + 3 * DAY_MS,
        1 => any::<i64>(),
        1 => Just(FUTURE_MS),
        1 => Just(-1),
    ];
    vec(one, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_the_rule_says(timestamps in timestamps()) {
        let (mut time, mut model) = (StreamTime::default(), Model::default());
        for at in timestamps {
            prop_assert_eq!(time.observe(at), model.observe(at));
            prop_assert_eq!(time.reached_ms(), model.reached);
        }
    }

    #[test]
    fn once_reached_it_never_goes_back(timestamps in timestamps()) {
        let mut time = StreamTime::default();
        for at in timestamps {
            let before = time.reached_ms();
            let now = time.observe(at);
            prop_assert!(time.reached_ms() >= before);
            prop_assert!(before.is_none_or(|before| now >= before));
        }
    }

    #[test]
    fn who_goes_on_from_its_bytes_sees_the_same(timestamps in timestamps(), cut: prop::sample::Index) {
        let (head, tail) = timestamps.split_at(cut.index(timestamps.len() + 1));
        let mut time = after(head.iter().copied()).0;
        let mut other = StreamTime::from_bytes(&time.to_bytes()).unwrap();
        for at in tail {
            prop_assert_eq!(other.observe(*at), time.observe(*at));
        }
        prop_assert_eq!(other, time);
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), LEN - 1..=LEN + 1), format: bool) {
        if format {
            bytes[0] = FORMAT;
        }
        if let Some(mut time) = StreamTime::from_bytes(&bytes) {
            time.observe(NOW_MS);
        }
    }

    /// However a minority of the last sixteen lies, the rest hold the time.
    #[test]
    fn a_minority_from_the_future_moves_nothing(from_future in vec(any::<bool>(), 16..200)) {
        let mut time = after([NOW_MS; 16]).0;
        let mut last = [false; 16];
        for future in from_future {
            last.rotate_left(1);
            let minority = last[..15].iter().filter(|future| **future).count() < 8;
            last[15] = future && minority;
            let at = if last[15] { FUTURE_MS } else { NOW_MS };
            prop_assert_eq!(time.observe(at), NOW_MS);
        }
    }
}
