//! The bytes of version 1, pinned: a change that would break compiled transforms fails here.
//!
//! When the format changes on purpose, write the files anew and look at the difference:
//!
//! ```sh
//! STRAIT_WRITE_GOLDEN=1 cargo test -p strait-sdk --test golden
//! ```
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::path::Path;

use strait_sdk::batch::{
    Builder, Emit, Entry, Field, Headers, Input, InputView, Limits, NewEmit, OutputView, Record, StateOp,
    encode, encoded_len,
};

type Header = (&'static [u8], Option<&'static [u8]>);

#[derive(Debug)]
struct Given {
    offset: i64,
    timestamp_ms: i64,
    key: Option<&'static [u8]>,
    value: Option<&'static [u8]>,
    headers: &'static [Header],
    attempt: u32,
}

const GIVEN: [Given; 3] = [
    Given {
        offset: 10,
        timestamp_ms: 20,
        key: Some(b"key"),
        value: Some(b"value"),
        headers: &[],
        attempt: 0,
    },
    Given {
        offset: 11,
        timestamp_ms: -1,
        key: None,
        value: Some(b""),
        headers: &[(b"h", Some(b""))],
        attempt: 0,
    },
    Given {
        offset: 12,
        timestamp_ms: 30,
        key: Some(b""),
        value: None,
        headers: &[(b"trace", Some(b"abc")), (b"null", None)],
        attempt: 4,
    },
];

const STREAM_TIMES_MS: [i64; 3] = [20, i64::MIN, 30];

impl Record for Given {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
    fn key(&self) -> Option<&[u8]> {
        self.key
    }
    fn value(&self) -> Option<&[u8]> {
        self.value
    }
    fn header_count(&self) -> usize {
        self.headers.len()
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        self.headers.get(index).copied()
    }
    fn attempt(&self) -> u32 {
        self.attempt
    }
}

fn input() -> Vec<u8> {
    let input = Input {
        topic: "orders",
        partition: 5,
        now_ms: 1_700_000_000_123,
        records: &GIVEN,
        stream_times_ms: &STREAM_TIMES_MS,
    };
    let mut bytes = vec![0; encoded_len(&input).unwrap()];
    encode(&input, &mut bytes).unwrap();
    bytes
}

const PASS: NewEmit<'_> = NewEmit {
    output: 0,
    key: Field::Inherit,
    value: Field::Inherit,
    timestamp_ms: None,
    partition: None,
};

const CHANGED: NewEmit<'_> = NewEmit {
    output: 1,
    key: Field::Null,
    value: Field::Bytes(b"other"),
    timestamp_ms: Some(77),
    partition: Some(9),
};

const CHANGED_HEADERS: [Header; 2] = [(b"a", Some(b"1")), (b"n", None)];

fn output() -> Vec<u8> {
    let mut out = Builder::new(3);
    out.emit(&PASS).unwrap();
    out.emit_with_headers(&CHANGED, CHANGED_HEADERS).unwrap();
    out.state_put(1, b"customer", b"12", Some(60_000)).unwrap();
    out.state_delete(0, b"old").unwrap();
    out.begin(1).unwrap();
    out.reject("malformed").unwrap();
    out.begin(2).unwrap();
    out.retry("later").unwrap();
    out.finish()
}

/// The golden file, which is written first if that is asked for.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("STRAIT_WRITE_GOLDEN").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn an_input_batch_is_written_and_read_as_ever() {
    let bytes = golden("input.bin", &input());
    assert!(
        bytes == input(),
        "version 1 is written in another way than it was"
    );
    let view = InputView::parse(&bytes).unwrap();
    assert_eq!(view.now_ms(), 1_700_000_000_123);
    let records: Vec<_> = view.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), GIVEN.len());
    let stream_times_ms: Vec<_> = records.iter().map(|record| record.stream_time_ms).collect();
    assert_eq!(stream_times_ms, [Some(20), None, Some(30)]);
    for (record, given) in records.iter().zip(&GIVEN) {
        assert_eq!((record.topic, record.partition), ("orders", 5));
        assert_eq!(
            (record.offset, record.timestamp_ms),
            (given.offset, given.timestamp_ms)
        );
        assert_eq!(
            (record.key, record.value, record.attempt),
            (given.key, given.value, given.attempt)
        );
        assert_eq!(record.headers.iter().collect::<Vec<_>>(), given.headers);
    }
}

#[test]
fn an_output_batch_is_written_and_read_as_ever() {
    let bytes = golden("output.bin", &output());
    assert!(
        bytes == output(),
        "version 1 is written in another way than it was"
    );
    let view = OutputView::parse(
        &bytes,
        Limits {
            records: 3,
            outputs: 2,
            stores: 2,
        },
    )
    .unwrap();
    let entries: Vec<_> = view.entries().collect();
    let [
        Entry::Emit(pass),
        Entry::Emit(changed),
        put,
        delete,
        reject,
        retry,
    ] = entries[..]
    else {
        panic!("{entries:?}");
    };
    let expected = Emit {
        origin: 0,
        output: 0,
        key: Field::Inherit,
        value: Field::Inherit,
        headers: Headers::Inherit,
        timestamp_ms: None,
        partition: None,
    };
    assert_eq!(pass, expected);
    let Headers::List(headers) = changed.headers else {
        panic!("{changed:?}")
    };
    assert_eq!(headers.iter().collect::<Vec<_>>(), CHANGED_HEADERS);
    let NewEmit {
        output,
        key,
        value,
        timestamp_ms,
        partition,
    } = CHANGED;
    assert_eq!(
        changed,
        Emit {
            origin: 0,
            output,
            key,
            value,
            timestamp_ms,
            partition,
            ..changed
        }
    );
    let op = StateOp {
        origin: 0,
        store: 1,
        key: b"customer",
        value: Some(b"12"),
        ttl_ms: Some(60_000),
    };
    assert_eq!(put, Entry::State(op));
    assert_eq!(
        delete,
        Entry::State(StateOp {
            origin: 0,
            store: 0,
            key: b"old",
            value: None,
            ttl_ms: None
        })
    );
    assert_eq!(
        reject,
        Entry::Reject {
            origin: 1,
            reason: "malformed"
        }
    );
    assert_eq!(
        retry,
        Entry::Retry {
            origin: 2,
            reason: "later"
        }
    );
}
