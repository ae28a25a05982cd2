//! Against lanes that read everything, forget and hand over when they like.

use proptest::prelude::*;

use super::*;

const WINDOW_MS: i64 = 1000;

fn claim(id: i64, offset: i64, timestamp_ms: i64) -> Entry {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    Entry {
        id: MessageId::from_bytes(bytes),
        offset,
        timestamp_ms,
    }
}

fn read(history: &mut History, claim: Entry) -> Standing {
    let standing = history.judge(claim.offset, claim);
    history.count();
    standing
}

/// Records of these ids, so long after each other; some come late.
fn records(records: Vec<(i64, i64, i64)>) -> Vec<Entry> {
    let mut at_ms = 0;
    (0..)
        .zip(records)
        .map(|(offset, (id, pause_ms, late_ms))| {
            at_ms += pause_ms;
            claim(id, offset, at_ms - late_ms)
        })
        .collect()
}

/// What a lane says that commits after so many records each time, and every now and then is
/// followed by another that knows the changelog from some record on.
fn lane(records: &[Entry], commits: &[(usize, bool)]) -> Vec<Verdict> {
    let (mut table, mut log) = (Table::new(WINDOW_MS), Vec::new());
    let (mut verdicts, mut rest) = (Vec::new(), records);
    for (count, moves) in commits.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, others) = rest.split_at((*count).min(rest.len()));
        rest = others;
        verdicts.extend(batch.iter().map(|record| table.claim(record.offset, *record)));
        let next = batch.last().map_or(0, |last| last.offset + 1);
        log.extend(table.write(next));
        table.committed(next);
        if *moves {
            // What is old is deleted from its beginning.
            if let Some(oldest_ms) = table.oldest_ms() {
                let old = log.iter().take_while(|written| written.latest_ms < oldest_ms);
                let old = old.count();
                log.drain(..old);
            }
            table = Table::new(WINDOW_MS);
            for written in &log {
                table.restore(&written.value).unwrap();
            }
        }
    }
    verdicts
}

fn agrees(standing: Standing, verdict: Verdict) -> bool {
    match standing {
        Standing::First => verdict == Verdict::First,
        Standing::Repeat => verdict == Verdict::Repeated,
        Standing::Doubtful => true,
    }
}

fn commits() -> impl Strategy<Value = Vec<(usize, bool)>> {
    // Who commits seldom forgets late.
    let count = prop_oneof![9 => 1_usize..60, 1 => 1000_usize..9000];
    prop::collection::vec((count, prop::bool::weighted(0.1)), 1..40)
}

proptest! {
    #[test]
    fn who_has_read_everything_is_certain(
        given in prop::collection::vec((0_i64..8, 0_i64..300, 0_i64..200), 1..300),
        again in prop::collection::vec(any::<bool>(), 1..20),
        commits in commits(),
    ) {
        let records = records(given);
        let mut history = History::new(WINDOW_MS, Unseen::Nothing);
        let expected = lane(&records, &commits);
        for ((record, verdict), again) in records.iter().zip(expected).zip(again.iter().cycle()) {
            // A round may end before it, or behind it and those that follow.
            if *again {
                history.judge(record.offset, *record);
                history.judge(record.offset + 1, claim(record.offset % 8, record.offset + 1, 0));
            }
            let standing = read(&mut history, *record);
            prop_assert!(standing != Standing::Doubtful, "{record:?}");
            prop_assert!(agrees(standing, verdict), "{record:?} {standing:?}");
        }
    }

    #[test]
    fn who_begins_in_between_never_says_what_is_not_so(
        given in prop::collection::vec((0_i64..8, 0_i64..300, 0_i64..1500), 1..300),
        begin: prop::sample::Index,
        knows_time: bool,
        commits in commits(),
    ) {
        let records = records(given);
        let expected = lane(&records, &commits);
        let (unread, read_now) = records.split_at(begin.index(records.len()));
        let behind = unread.iter().map(|record| record.timestamp_ms + 1).max();
        let unseen = match behind {
            None => Unseen::Nothing,
            Some(behind) if knows_time => Unseen::Before(behind),
            Some(_) => Unseen::Earlier,
        };
        let mut history = History::new(WINDOW_MS, unseen);
        for (record, verdict) in read_now.iter().zip(&expected[unread.len()..]) {
            let standing = read(&mut history, *record);
            prop_assert!(agrees(standing, *verdict), "{record:?} {standing:?}");
            let is_far = behind.is_none_or(|behind| record.timestamp_ms >= behind + WINDOW_MS);
            if knows_time && is_far && !is_near_another(read_now, record) {
                prop_assert!(standing != Standing::Doubtful, "{record:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn who_loses_sight_never_says_what_is_not_so(
        given in prop::collection::vec((0_i64..8, 0_i64..300, 0_i64..1500), 1..300),
        ends in any::<[prop::sample::Index; 2]>(),
        commits in commits(),
    ) {
        let records = records(given);
        let expected = lane(&records, &commits);
        let mut ends = ends.map(|end| end.index(records.len()));
        ends.sort_unstable();
        let [from, to] = ends;
        let mut history = History::new(WINDOW_MS, Unseen::Nothing);
        for (place, (record, verdict)) in records.iter().zip(&expected).enumerate() {
            if (from..to).contains(&place) {
                continue;
            }
            if place == to && from < to {
                history.lose_sight();
            }
            let standing = read(&mut history, *record);
            prop_assert!(agrees(standing, *verdict), "{record:?} {standing:?}");
        }
    }
}

/// One of the same id stands before it, not two windows away: what is in doubt of that one is in
/// doubt of this one.
fn is_near_another(records: &[Entry], record: &Entry) -> bool {
    let before = records
        .iter()
        .filter(|other| other.offset < record.offset && other.id == record.id);
    before
        .into_iter()
        .any(|other| (other.timestamp_ms - record.timestamp_ms).abs() < 2 * WINDOW_MS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Long enough for claims to be forgotten, by everybody at another time.
    #[test]
    fn what_others_may_have_forgotten_is_in_doubt(
        seed in prop::collection::vec((0_i64..2000, 0_i64..8, 0_i64..40), 50..400),
        late in prop::collection::vec(0_i64..4, 7..50),
        commits in commits(),
    ) {
        let given = seed.iter().cycle().take(8000).zip(late.iter().cycle()).zip(0_i64..);
        let given = given.map(|(((id, pause_ms, late_ms), much), n)| {
            let late_ms = if *late_ms == 0 { 2 * much * WINDOW_MS } else { *late_ms };
            ((id + n % 13 * 100) % 2000, *pause_ms, late_ms)
        });
        let records = records(given.collect());
        let expected = lane(&records, &commits);
        let mut history = History::new(WINDOW_MS, Unseen::Nothing);
        let mut certain = 0;
        for (record, verdict) in records.iter().zip(expected) {
            let standing = read(&mut history, *record);
            prop_assert!(agrees(standing, verdict), "{record:?} {standing:?}");
            certain += usize::from(standing != Standing::Doubtful);
        }
        prop_assert!(certain * 2 > records.len(), "{certain}");
    }
}

#[test]
fn a_repeat_of_what_is_in_doubt_is_in_doubt() {
    let mut history = History::new(WINDOW_MS, Unseen::Before(0));
    // It may repeat one at -500, so that this one holds the id.
    assert_eq!(read(&mut history, claim(1, 0, 300)), Standing::Doubtful);
    assert_eq!(read(&mut history, claim(1, 1, 900)), Standing::Doubtful);
    // Whoever holds it, its window has ended.
    assert_eq!(read(&mut history, claim(1, 2, 1899)), Standing::Doubtful);
    assert_eq!(read(&mut history, claim(1, 3, 2899)), Standing::First);
    assert_eq!(read(&mut history, claim(1, 4, 3000)), Standing::Repeat);
    assert_eq!(read(&mut history, claim(2, 5, 1000)), Standing::First);
}

#[test]
fn a_late_record_may_repeat_what_one_in_doubt_repeats() {
    let mut history = History::new(WINDOW_MS, Unseen::Before(1000));
    // Of one at 600, which stands a window away from neither.
    assert_eq!(read(&mut history, claim(1, 0, 1500)), Standing::Doubtful);
    assert_eq!(read(&mut history, claim(1, 1, 400)), Standing::Doubtful);
    assert_eq!(read(&mut history, claim(1, 2, -2000)), Standing::First);
}

#[test]
fn a_beginning_that_is_gone_matters_until_the_records_have_come_further() {
    let mut history = History::new(WINDOW_MS, Unseen::Earlier);
    let mut first_certain = None;
    for n in 0..5000 {
        let standing = read(&mut history, claim(n, n, n));
        if standing == Standing::First {
            first_certain.get_or_insert(n);
        }
        assert_eq!(standing == Standing::First, first_certain.is_some(), "{n}");
    }
    // The middle of the first block, and the table's own allowance of a window.
    assert_eq!(first_certain, Some(256 + 2 * WINDOW_MS));
    history.lose_sight();
    assert_eq!(read(&mut history, claim(6000, 6000, 6000)), Standing::Doubtful);
    assert_eq!(read(&mut history, claim(4500, 6001, 5000)), Standing::Doubtful);
}

#[test]
fn where_records_may_be_missing_anywhere_no_first_one_is_certain() {
    let mut history = History::new(WINDOW_MS, Unseen::Everywhere);
    for n in 0..3000 {
        assert_eq!(read(&mut history, claim(n, n, n)), Standing::Doubtful);
    }
    history.lose_sight();
    assert_eq!(read(&mut history, claim(9000, 9000, 9000)), Standing::Doubtful);
    assert!(history.table.is_empty() && history.doubts.is_empty());
}

#[test]
fn a_late_record_may_repeat_one_that_is_forgotten_here() {
    let mut history = History::new(WINDOW_MS, Unseen::Nothing);
    for n in 0..6000 {
        assert_eq!(read(&mut history, claim(n, n, n)), Standing::First, "{n}");
    }
    assert_eq!(history.table.holder(&claim(1000, 0, 0).id), None);
    let late = claim(1000, 6000, 1100);
    assert_eq!(read(&mut history, late), Standing::Doubtful);
    // In doubt is then who repeats it.
    assert_eq!(read(&mut history, claim(1000, 6001, 1200)), Standing::Doubtful);
    assert_eq!(read(&mut history, claim(7000, 6002, 5500)), Standing::First);
}
