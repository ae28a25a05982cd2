use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::dedup::memory::MemoryClaims;
use crate::dedup::message_id::IdSource;
use crate::lane::testing::Rec;

fn dedup(mode: DedupMode, on_missing_id: OnMissingId) -> Dedup {
    let window = Duration::from_mins(1);
    let ids = NonZeroUsize::new(100).unwrap();
    let plan = plan::Dedup {
        id: IdSource::parse("json:/id").unwrap(),
        id_definition: "json:/id".to_owned(),
        window,
        store: plan::ClaimStore::Memory { ids },
        mode,
        on_missing_id,
        on_store_error: OnStoreError::Stop,
        scope: None,
    };
    let store = Arc::new(Mutex::new(MemoryClaims::new(ids, window)));
    let name = PipelineName::new("p").unwrap();
    Dedup::new(Arc::new(plan), &name, "cluster", Holder::AtOnce(Box::new(store)))
}

fn judge(dedup: &mut Dedup, records: &[(i64, &str)]) -> Judged {
    let records: Vec<Rec> = records
        .iter()
        .map(|(offset, id)| Rec::new(*offset, format!(r#"{{"id": "{id}"}}"#).as_bytes()))
        .collect();
    let partition = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    dedup
        .judge(&partition, &"topic".into(), &records, Instant::now())
        .unwrap()
}

#[test]
fn later_ones_of_a_batch_and_of_later_batches_are_left_out() {
    let mut dedup = dedup(DedupMode::Drop, OnMissingId::Pass);
    let first = judge(&mut dedup, &[(0, "a"), (1, "a"), (2, "b"), (3, "")]);
    let sifted = first.sifted().unwrap();
    assert_eq!((sifted.passing, sifted.dropped), (vec![0, 2, 3], vec![1]));
    assert!(sifted.failures.is_empty());
    let counts = |checked, repeated, unidentified| Counts {
        checked,
        repeated,
        unidentified,
    };
    assert_eq!(first.counts(4), counts(3, 1, 1));
    assert_eq!(first.counts(1), counts(1, 0, 0), "only what is decided counts");
    // Read again from there on.
    let again = judge(&mut dedup, &[(2, "b"), (4, "b")]);
    assert_eq!(again.sifted().unwrap().passing, [0]);
    assert!(
        judge(&mut dedup, &[(5, "c")]).sifted().is_none(),
        "all of it passes"
    );
}

#[test]
fn who_only_observes_leaves_nothing_out() {
    let mut dedup = dedup(DedupMode::Observe, OnMissingId::Pass);
    let judged = judge(&mut dedup, &[(0, "a"), (1, "a")]);
    assert!(judged.sifted().is_none());
    assert_eq!(judged.counts(2).repeated, 1);
}

/// A record with a header that says where it stood first.
struct Put(Rec, String);

impl Record for Put {
    fn offset(&self) -> i64 {
        self.0.offset()
    }
    fn timestamp_ms(&self) -> i64 {
        self.0.timestamp_ms()
    }
    fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }
    fn value(&self) -> Option<&[u8]> {
        self.0.value()
    }
    fn header_count(&self) -> usize {
        1
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        (index == 0).then_some((b"strait-replayed", Some(self.1.as_bytes())))
    }
}

#[test]
fn a_replayed_record_passes_as_the_one_that_it_was() {
    let mut dedup = dedup(DedupMode::Drop, OnMissingId::Pass);
    judge(&mut dedup, &[(3, "a")]);
    let partition = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    let mut passes = |offset, header: &str| {
        let record = Put(Rec::new(offset, br#"{"id": "a"}"#), header.to_owned());
        let judged = dedup.judge(&partition, &"topic".into(), &[record], Instant::now());
        judged.unwrap().sifted().is_none()
    };
    assert!(passes(7, "1/cluster/topic/0/3/1/1/p"));
    assert!(passes(7, "1/cluster/topic/0/3/1/1/p"), "read again");
    assert!(passes(3, "no coordinate"), "its own");
    for other in [
        "no coordinate",
        "1/cluster/topic/0/2/1/1/p",
        "1/cluster/topic/1/3/1/1/p",
        "1/cluster/other/0/3/1/1/p",
        "1/other/topic/0/3/1/1/p",
        "1/cluster/topic/0/3/1/1/another",
    ] {
        assert!(!passes(8, other), "{other}");
    }
    assert!(
        !passes(2, "1/cluster/topic/0/3/1/1/p"),
        "nothing stands first before it was sent"
    );
}

#[test]
fn a_replayed_record_passes_in_another_input_too() {
    const TOPIC_ID: &str = "JWfdnEyxTGeaU_xkzuFZvA";
    let mut dedup = dedup(DedupMode::Drop, OnMissingId::Pass);
    let mut passes = |topic: &str, topic_id: &str, offset, header: &str| {
        let partition = TopicPartition {
            topic: topic.into(),
            partition: 0,
        };
        let record = Put(Rec::new(offset, br#"{"id": "a"}"#), header.to_owned());
        let judged = dedup.judge(&partition, &topic_id.into(), &[record], Instant::now());
        judged.unwrap().sifted().is_none()
    };
    assert!(passes("in", TOPIC_ID, 9, "no coordinate"));
    let first = format!("1/cluster/{TOPIC_ID}/0/9/1/1/p");
    assert!(passes("other", "other id", 2, &first));
    assert!(!passes("other", "other id", 3, "no coordinate"), "a copy of it");
    let long = format!("1/cluster/{TOPIC_ID}{TOPIC_ID}/0/9/1/1/p");
    assert!(!passes("other", "other id", 4, &long), "no topic has such an id");
}

#[test]
fn a_record_without_an_id_may_fail() {
    for on_missing_id in [OnMissingId::DeadLetter, OnMissingId::Stop] {
        let mut dedup = dedup(DedupMode::Drop, on_missing_id);
        let sifted = judge(&mut dedup, &[(0, "a"), (1, "")]).sifted().unwrap();
        let failed: Vec<_> = sifted.failures.iter().map(|f| (f.record, f.kind)).collect();
        assert_eq!(failed, [(1, FailureKind::MissingId)]);
        assert_eq!(sifted.passing, [0]);
    }
}
