//! What holds for all batches: what is written is read back, and no bytes make a reader panic.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use proptest::collection::vec;
use proptest::prelude::*;
use strait_sdk::batch::{
    Builder, Entry, Field, Headers, Input, InputView, Limits, NewEmit, OutputView, Record, encode,
    encoded_len, progress,
};

type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug, Clone)]
struct Given {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
    attempt: u32,
    stream_time_ms: i64,
}

impl Record for Given {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
    fn header_count(&self) -> usize {
        self.headers.len()
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        self.headers
            .get(index)
            .map(|(name, value)| (name.as_slice(), value.as_deref()))
    }
    fn attempt(&self) -> u32 {
        self.attempt
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn headers() -> impl Strategy<Value = Vec<OwnedHeader>> {
    vec((bytes(), proptest::option::of(bytes())), 0..4)
}

prop_compose! {
    fn given()(
        offset: i64,
        timestamp_ms: i64,
        key in proptest::option::of(bytes()),
        value in proptest::option::of(bytes()),
        headers in headers(),
        attempt: u32,
        stream_time_ms in prop_oneof![any::<i64>(), Just(i64::MIN)],
    ) -> Given {
        Given { offset, timestamp_ms, key, value, headers, attempt, stream_time_ms }
    }
}

fn encoded(topic: &str, partition: i32, records: &[Given]) -> Vec<u8> {
    let stream_times_ms: Vec<_> = records.iter().map(|record| record.stream_time_ms).collect();
    let input = Input {
        topic,
        partition,
        now_ms: 0,
        records,
        stream_times_ms: &stream_times_ms,
    };
    let mut bytes = vec![0xAA; encoded_len(&input).unwrap()];
    encode(&input, &mut bytes).unwrap();
    bytes
}

/// What a transform may do with the record at hand.
#[derive(Debug, Clone)]
enum Act {
    Emit {
        output: u16,
        value: Change,
        headers: Option<Vec<OwnedHeader>>,
        timestamp_ms: Option<i64>,
    },
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        ttl_ms: Option<i64>,
    },
    Delete {
        key: Vec<u8>,
    },
    Next,
    Reject {
        reason: String,
    },
    Retry {
        reason: String,
    },
}

#[derive(Debug, Clone)]
enum Change {
    Keep,
    Null,
    Bytes(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Keep),
        Just(Change::Null),
        bytes().prop_map(Change::Bytes)
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let time = || proptest::option::of(0..i64::MAX);
    prop_oneof![
        6 => (0..3_u16, change(), proptest::option::of(headers()), time())
            .prop_map(|(output, value, headers, timestamp_ms)| Act::Emit { output, value, headers, timestamp_ms }),
        1 => (bytes(), bytes(), time()).prop_map(|(key, value, ttl_ms)| Act::Put { key, value, ttl_ms }),
        1 => bytes().prop_map(|key| Act::Delete { key }),
        6 => Just(Act::Next),
        1 => ".{0,9}".prop_map(|reason| Act::Reject { reason }),
        1 => ".{0,9}".prop_map(|reason| Act::Retry { reason }),
    ]
}

const RECORDS: u32 = 8;
const LIMITS: Limits = Limits {
    records: RECORDS,
    outputs: 3,
    stores: 1,
};

/// An entry in a form that is easily compared.
type Plain = (u32, String);

fn plain(entry: &Entry<'_>) -> Plain {
    (entry.origin(), format!("{entry:?}"))
}

/// Does all of it, and keeps account in the simplest way of what must come out.
fn build(acts: &[Act]) -> (Vec<u8>, Vec<Plain>) {
    let mut out = Builder::new(RECORDS);
    let mut kept: Vec<Plain> = Vec::new();
    for act in acts {
        let origin = out.origin();
        let done = match act {
            Act::Emit {
                output,
                value,
                headers,
                timestamp_ms,
            } => {
                let field = match value {
                    Change::Keep => Field::Inherit,
                    Change::Null => Field::Null,
                    Change::Bytes(bytes) => Field::Bytes(bytes),
                };
                let emit = NewEmit {
                    output: *output,
                    key: Field::Inherit,
                    value: field,
                    timestamp_ms: *timestamp_ms,
                    partition: None,
                };
                let borrowed = |header: &OwnedHeader| format!("{:?}", (&header.0[..], header.1.as_deref()));
                let list = headers
                    .as_ref()
                    .map(|list| list.iter().map(borrowed).collect::<Vec<_>>().join(", "));
                let list = list.map_or("Inherit".to_owned(), |list| format!("List([{list}])"));
                let text = format!(
                    "Emit(Emit {{ origin: {origin}, output: {output}, key: Inherit, value: {field:?}, \
                     headers: {list}, timestamp_ms: {timestamp_ms:?}, partition: None }})"
                );
                let done = match headers {
                    Some(list) => {
                        out.emit_with_headers(&emit, list.iter().map(|(n, v)| (n.as_slice(), v.as_deref())))
                    }
                    None => out.emit(&emit),
                };
                done.map(|()| kept.push((origin, text)))
            }
            Act::Put { key, value, ttl_ms } => out.state_put(0, key, value, *ttl_ms).map(|()| {
                let text = format!(
                    "State(StateOp {{ origin: {origin}, store: 0, key: {key:?}, value: Some({value:?}), \
                     ttl_ms: {ttl_ms:?} }})"
                );
                kept.push((origin, text));
            }),
            Act::Delete { key } => out.state_delete(0, key).map(|()| {
                let text = format!(
                    "State(StateOp {{ origin: {origin}, store: 0, key: {key:?}, value: None, ttl_ms: None }})"
                );
                kept.push((origin, text));
            }),
            Act::Next => out.begin(origin + 1),
            Act::Reject { reason } => out.reject(reason).map(|()| {
                kept.retain(|(other, _)| *other != origin);
                kept.push((
                    origin,
                    format!("Reject {{ origin: {origin}, reason: {reason:?} }}"),
                ));
            }),
            Act::Retry { reason } => out.retry(reason).map(|()| {
                kept.retain(|(other, _)| *other != origin);
                kept.push((
                    origin,
                    format!("Retry {{ origin: {origin}, reason: {reason:?} }}"),
                ));
            }),
        };
        // What the builder refuses must leave no trace.
        assert!(done.is_ok() || out.origin() == origin);
    }
    (out.finish(), kept)
}

/// Reads everything that can be read.
fn walk_output(bytes: &[u8]) {
    for view in [OutputView::parse(bytes, LIMITS), OutputView::reopen(bytes)]
        .into_iter()
        .flatten()
    {
        for entry in view
            .entries()
            .chain((0..view.len()).filter_map(|index| view.entry(index)))
        {
            if let Entry::Emit(emit) = entry
                && let Headers::List(list) = emit.headers
            {
                assert_eq!(list.iter().count(), list.len());
            }
        }
    }
}

fn walk_input(bytes: &[u8]) {
    let _hint = progress(bytes);
    if let Ok(view) = InputView::parse(bytes) {
        // A batch may claim rows of any number that fit into it; walk no more than there can be.
        for record in view.records().take(bytes.len() + 1).flatten() {
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }
    let mut bytes = bytes.to_vec();
    if let Ok((view, mut at)) = InputView::parse_with_progress(&mut bytes) {
        at.at(0);
        assert_eq!(view.is_empty(), progress(&bytes).is_none());
    }
}

fn damage(
    mut bytes: Vec<u8>,
    spots: &[(prop::sample::Index, u8)],
    cut: Option<prop::sample::Index>,
) -> Vec<u8> {
    for (at, byte) in spots {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len() + 1));
    }
    bytes
}

fn spots() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xFF), 0..5_u8];
    vec((any::<prop::sample::Index>(), byte), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_host_writes_the_guest_reads(
        topic in ".{0,12}",
        partition: i32,
        records in vec(given(), 0..6),
    ) {
        let bytes = encoded(&topic, partition, &records);
        let view = InputView::parse(&bytes).unwrap();
        let read: Vec<_> = view.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (read, given) in read.iter().zip(&records) {
            prop_assert_eq!((read.topic, read.partition), (topic.as_str(), partition));
            prop_assert_eq!((read.offset, read.timestamp_ms), (given.offset, given.timestamp_ms));
            prop_assert_eq!((read.key, read.value), (given.key(), given.value()));
            prop_assert_eq!(read.attempt, given.attempt);
            prop_assert_eq!(read.stream_time_ms.unwrap_or(i64::MIN), given.stream_time_ms);
            let headers: Vec<_> = read.headers.iter().map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&headers, &given.headers);
        }
    }

    #[test]
    fn what_the_guest_writes_the_host_reads(acts in vec(act(), 0..40)) {
        let (bytes, expected) = build(&acts);
        let view = OutputView::parse(&bytes, LIMITS).unwrap();
        let read: Vec<_> = view.entries().map(|entry| plain(&entry)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..300)) {
        walk_input(&bytes);
        walk_output(&bytes);
    }

    #[test]
    fn no_damage_makes_a_reader_panic(
        records in vec(given(), 0..4),
        acts in vec(act(), 0..20),
        spots in spots(),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        walk_input(&damage(encoded("topic", 0, &records), &spots, cut));
        walk_output(&damage(build(&acts).0, &spots, cut));
    }
}
