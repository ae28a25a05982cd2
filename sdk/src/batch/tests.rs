//! What is written is read; what must be refused is in `refusals`.

use super::*;

mod refusals;

#[derive(Debug, Clone, Default)]
struct Given {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    attempt: u32,
}

impl Record for Given {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn timestamp_ms(&self) -> i64 {
        self.offset * 10
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

fn given() -> Vec<Given> {
    vec![
        Given {
            offset: 7,
            key: Some(b"k".to_vec()),
            value: Some(b"v".to_vec()),
            ..Given::default()
        },
        Given {
            offset: 9,
            key: None,
            value: Some(vec![]),
            ..Given::default()
        },
        Given {
            offset: 10,
            key: Some(vec![]),
            value: None,
            headers: vec![
                (b"a".to_vec(), Some(b"1".to_vec())),
                (b"".to_vec(), None),
                (b"a".to_vec(), Some(vec![])),
            ],
            attempt: 3,
        },
    ]
}

fn encoded(records: &[Given]) -> Vec<u8> {
    let input = Input {
        topic: "orders",
        partition: 4,
        now_ms: 99,
        records,
        stream_times_ms: &[5, i64::MIN], // one fewer than there are records
    };
    let mut bytes = vec![0xAA; encoded_len(&input).unwrap()];
    encode(&input, &mut bytes).unwrap();
    bytes
}

const LIMITS: Limits = Limits {
    records: 3,
    outputs: 2,
    stores: 1,
};

fn plain(output: u16) -> NewEmit<'static> {
    NewEmit {
        output,
        key: Field::Inherit,
        value: Field::Inherit,
        timestamp_ms: None,
        partition: None,
    }
}

/// Entries that the host reads, or why it refuses.
fn read(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let view = OutputView::parse(bytes, LIMITS).map_err(|error| error.to_string())?;
    let entries: Vec<_> = view.entries().collect();
    assert_eq!(entries.len(), view.len());
    let by_index: Vec<_> = (0..view.len()).map_while(|index| view.entry(index)).collect();
    assert_eq!(by_index, entries);
    Ok(entries)
}

#[test]
fn the_guest_reads_what_the_host_wrote() {
    let records = given();
    let bytes = encoded(&records);
    let view = InputView::parse(&bytes).unwrap();
    assert_eq!((view.len(), view.now_ms()), (3, 99));
    for (index, record) in view.records().enumerate() {
        let (record, expected) = (record.unwrap(), &records[index]);
        assert_eq!(record.index as usize, index);
        assert_eq!((record.topic, record.partition), ("orders", 4));
        assert_eq!(
            (record.offset, record.timestamp_ms),
            (expected.offset, expected.offset * 10)
        );
        assert_eq!((record.key, record.value), (expected.key(), expected.value()));
        assert_eq!(record.attempt, expected.attempt);
        assert_eq!(record.stream_time_ms, (index == 0).then_some(5));
        let headers: Vec<_> = (0..expected.header_count())
            .map_while(|i| expected.header(i))
            .collect();
        assert_eq!(record.headers.iter().collect::<Vec<_>>(), headers);
        assert_eq!(record.headers.get(headers.len()), None);
    }
    assert!(view.record(3).is_err());
}

#[test]
fn a_batch_without_records_is_a_batch() {
    let bytes = encoded(&[]);
    assert!(InputView::parse(&bytes).unwrap().is_empty());
    assert_eq!(progress(&bytes), None);
}

#[test]
fn room_that_does_not_fit_is_refused() {
    let records = given();
    let input = Input {
        topic: "t",
        partition: 0,
        now_ms: 0,
        records: &records,
        stream_times_ms: &[],
    };
    let len = encoded_len(&input).unwrap();
    for wrong in [0, 10, len - 1, len + 1] {
        let refused = encode(&input, &mut vec![0; wrong]);
        assert_eq!(
            refused,
            Err(TooLarge {
                needed_bytes: len,
                room_bytes: wrong
            })
        );
    }
}

#[test]
fn progress_is_what_the_guest_noted_last() {
    let mut bytes = encoded(&given());
    assert_eq!(progress(&bytes), None);
    let (view, mut at) = InputView::parse_with_progress(&mut bytes).unwrap();
    at.at(0);
    at.at(2);
    assert_eq!(view.len(), 3);
    assert_eq!(progress(&bytes), Some(2));
    InputView::parse_with_progress(&mut bytes).unwrap().1.at(3);
    assert_eq!(progress(&bytes), None, "past the last record");
    assert_eq!(progress(&bytes[..20]), None);
}

#[test]
fn the_host_reads_what_the_guest_wrote() {
    let mut out = Builder::new(3);
    out.begin(0).unwrap();
    out.emit(&plain(0)).unwrap();
    let headers = [(b"h".as_slice(), Some(b"1".as_slice())), (b"n", None)];
    let changed = NewEmit {
        output: 1,
        key: Field::Null,
        value: Field::Bytes(b"value"),
        timestamp_ms: Some(5),
        partition: Some(6),
    };
    out.emit_with_headers(&changed, headers).unwrap();
    out.state_put(0, b"sk", b"sv", Some(8)).unwrap();
    out.state_delete(0, b"sk").unwrap();
    out.begin(2).unwrap();
    out.emit_with_headers(&plain(1), []).unwrap();
    let bytes = out.finish();

    let entries = read(&bytes).unwrap();
    let Entry::Emit(first) = entries[0] else {
        panic!("{entries:?}")
    };
    assert_eq!(
        (first.origin, first.output, first.key, first.value),
        (0, 0, Field::Inherit, Field::Inherit)
    );
    assert_eq!(
        (first.headers, first.timestamp_ms, first.partition),
        (Headers::Inherit, None, None)
    );
    let Entry::Emit(second) = entries[1] else {
        panic!("{entries:?}")
    };
    assert_eq!((second.key, second.value), (Field::Null, Field::Bytes(b"value")));
    assert_eq!((second.timestamp_ms, second.partition), (Some(5), Some(6)));
    let Headers::List(list) = second.headers else {
        panic!("{second:?}")
    };
    assert_eq!(list.iter().collect::<Vec<_>>(), headers);
    let put = StateOp {
        origin: 0,
        store: 0,
        key: b"sk",
        value: Some(b"sv"),
        ttl_ms: Some(8),
    };
    assert_eq!(entries[2], Entry::State(put));
    assert_eq!(
        entries[3],
        Entry::State(StateOp {
            value: None,
            ttl_ms: None,
            ..put
        })
    );
    let Entry::Emit(Emit {
        origin: 2,
        headers: Headers::List(none),
        ..
    }) = entries[4]
    else {
        panic!()
    };
    assert!(none.is_empty());
}

#[test]
fn both_orders_of_heap_and_table_read_the_same() {
    let value = |len: usize| {
        let mut out = Builder::new(3);
        let bytes = vec![b'x'; len];
        out.emit(&NewEmit {
            value: Field::Bytes(&bytes),
            ..plain(0)
        })
        .unwrap();
        let batch = out.finish();
        let Entry::Emit(emit) = read(&batch).unwrap()[0] else {
            panic!()
        };
        assert_eq!(emit.value, Field::Bytes(&bytes));
    };
    value(1); // the heap goes behind the table
    value(1000); // and before it
}

#[test]
fn a_reject_takes_back_what_its_record_emitted_and_no_more() {
    let mut out = Builder::new(3);
    out.emit(&NewEmit {
        value: Field::Bytes(b"kept"),
        ..plain(0)
    })
    .unwrap();
    out.begin(1).unwrap();
    out.emit(&NewEmit {
        value: Field::Bytes(b"gone"),
        ..plain(0)
    })
    .unwrap();
    out.state_put(0, b"gone", b"gone", None).unwrap();
    out.reject("bad").unwrap();
    assert_eq!(out.emit(&plain(0)), Err(BuildError::Answered));
    out.begin(2).unwrap();
    out.emit(&plain(0)).unwrap();
    let bytes = out.finish();
    assert!(!bytes.windows(4).any(|window| window == b"gone"));
    let entries = read(&bytes).unwrap();
    assert_eq!(entries.iter().map(Entry::origin).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(
        entries[1],
        Entry::Reject {
            origin: 1,
            reason: "bad"
        }
    );
}

#[test]
fn nothing_follows_a_retry() {
    let mut out = Builder::new(3);
    out.begin(1).unwrap();
    out.emit(&plain(0)).unwrap();
    out.retry("later").unwrap();
    assert_eq!(out.begin(2), Err(BuildError::Answered));
    assert_eq!(out.emit(&plain(0)), Err(BuildError::Answered));
    assert_eq!(
        read(&out.finish()).unwrap(),
        [Entry::Retry {
            origin: 1,
            reason: "later"
        }]
    );
}

#[test]
fn the_builder_refuses_what_the_host_would() {
    let mut out = Builder::new(2);
    out.begin(1).unwrap();
    assert_eq!(out.begin(0), Err(BuildError::OutOfOrder));
    assert_eq!(out.begin(2), Err(BuildError::OutOfOrder));
    assert_eq!(
        out.emit(&NewEmit {
            partition: Some(-1),
            ..plain(0)
        }),
        Err(BuildError::Negative)
    );
    assert_eq!(
        out.emit(&NewEmit {
            timestamp_ms: Some(-1),
            ..plain(0)
        }),
        Err(BuildError::Negative)
    );
    assert_eq!(out.state_put(0, b"k", b"v", Some(-1)), Err(BuildError::Negative));
    assert_eq!(Builder::new(0).emit(&plain(0)), Err(BuildError::OutOfOrder));
    assert_eq!(read(&out.finish()).unwrap(), []);
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let mut out = Builder::new(1);
    out.reject(&"ä".repeat(REASON_LEN_MAX)).unwrap();
    let bytes = out.finish();
    let Entry::Reject { reason, .. } = read(&bytes).unwrap()[0] else {
        panic!()
    };
    assert_eq!(reason, "ä".repeat(REASON_LEN_MAX / 2));
    let mut out = Builder::new(1);
    out.reject(&format!("x{}", "ä".repeat(REASON_LEN_MAX))).unwrap();
    let bytes = out.finish();
    let Entry::Reject { reason, .. } = read(&bytes).unwrap()[0] else {
        panic!()
    };
    assert_eq!(reason.len(), REASON_LEN_MAX - 1);
}

#[test]
fn what_a_batch_cannot_hold_is_refused_before_it_is_copied() {
    let huge = vec![0; LEN_MAX]; // zeroed memory that nobody touches
    let mut out = Builder::new(1);
    assert_eq!(
        out.emit(&NewEmit {
            value: Field::Bytes(&huge),
            ..plain(0)
        }),
        Err(BuildError::TooLarge)
    );
    let headers = [(b"h".as_slice(), Some(huge.as_slice()))];
    assert_eq!(
        out.emit_with_headers(&plain(0), headers),
        Err(BuildError::TooLarge)
    );
    assert_eq!(out.state_put(0, b"k", &huge, None), Err(BuildError::TooLarge));
    assert_eq!(read(&out.finish()).unwrap(), []);
}
