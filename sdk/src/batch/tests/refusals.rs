//! Each rule that a reader checks is broken here, one at a time.

use super::*;

/// Damages a batch.
type Break = fn(&mut Vec<u8>);

/// Two emits with a value, for origins 0 and 1.
fn valid() -> Vec<u8> {
    let mut out = Builder::new(3);
    out.emit_with_headers(
        &NewEmit {
            value: Field::Bytes(b"one"),
            ..plain(0)
        },
        [(b"h".as_slice(), None)],
    )
    .unwrap();
    out.begin(1).unwrap();
    out.emit(&NewEmit {
        value: Field::Bytes(b"two"),
        ..plain(1)
    })
    .unwrap();
    out.finish()
}

fn row(index: usize) -> usize {
    OUTPUT_HEADER_LEN + index * ENTRY_LEN
}

#[test]
fn the_host_names_what_is_malformed() {
    let cases: [(Break, &str); 19] = [
        (|b| b.truncate(10), "shorter than its header"),
        (|b| b[0] = b'X', "mark of a batch"),
        (|b| b[4] = 2, "another version"),
        (|b| b[6] = 39, "shorter than version 1"),
        (|b| b[16] = 47, "shorter than version 1"),
        (|b| b[36 - 4] = 1, "flags"),
        (|b| b.push(0), "length is not"),
        (|b| b[12] = 200, "entry table does not fit"),
        (|b| b[20] = 0, "entry table does not fit"),
        (|b| b[28..32].fill(0xFF), "heap does not fit"),
        (|b| b[row(0)] = 3, "entry 0: its origin is no record"),
        (|b| b[row(0)] = 2, "entry 1: its origin is before"),
        (|b| b[row(0) + 4] = 2, "entry 0: its output does not exist"),
        (|b| b[row(1) + 6] = 9, "entry 1: its kind"),
        (|b| b[row(1) + 7] = 8, "entry 1: it inherits"),
        (
            |b| b[row(0) + 8..row(0) + 16].fill(0xFF),
            "entry 0: its timestamp",
        ),
        (
            |b| b[row(0) + 24] = 0xFF,
            "entry 0: a key, value, reason or header lies outside",
        ),
        (
            |b| b[row(0) + 36] = 2,
            "entry 0: a key, value, reason or header lies outside",
        ),
        (|b| b[row(0) + 40] = 0xFE, "entry 0: its partition"),
    ];
    for (index, (damage, expected)) in cases.into_iter().enumerate() {
        let mut bytes = valid();
        read(&bytes).unwrap();
        damage(&mut bytes);
        match read(&bytes) {
            Err(message) => assert!(
                message.contains(expected),
                "{index}: {message} is not about {expected}"
            ),
            Ok(_) => panic!("{index}: taken although {expected}"),
        }
    }
}

#[test]
fn a_guest_cannot_multiply_its_bytes() {
    let mut bytes = valid();
    let (value, len) = (row(1) + 24, 4);
    bytes.copy_within(row(0) + 24..row(0) + 28, value); // same offset
    assert!(
        read(&bytes).is_ok(),
        "the same bytes twice fit as long as others are unused"
    );
    bytes[value + len] = 4; // one byte more than the heap has in all
    assert!(read(&bytes).unwrap_err().contains("entries share bytes"));
}

#[test]
fn a_rejected_or_retried_record_stands_alone() {
    let answers = |first: u8, second: u8, origins: [u8; 2]| {
        let mut bytes = valid();
        for (index, (kind, origin)) in [(first, origins[0]), (second, origins[1])]
            .into_iter()
            .enumerate()
        {
            bytes[row(index)] = origin;
            bytes[row(index) + 6] = kind;
        }
        read(&bytes).map(|entries| entries.len())
    };
    assert_eq!(answers(1, 1, [0, 1]), Ok(2));
    assert_eq!(answers(0, 2, [0, 1]), Ok(2));
    for bad in [
        answers(1, 0, [0, 0]),
        answers(0, 1, [0, 0]),
        answers(0, 2, [1, 1]),
        answers(1, 1, [1, 1]),
    ] {
        assert!(bad.unwrap_err().contains("has another entry"));
    }
    assert!(answers(2, 0, [0, 1]).unwrap_err().contains("follows a retry"));
    assert!(answers(2, 1, [0, 0]).unwrap_err().contains("follows a retry"));
}

#[test]
fn a_later_version_may_widen_header_and_rows() {
    let mut out = Builder::new(3);
    out.emit(&NewEmit {
        value: Field::Bytes(b"v"),
        ..plain(1)
    })
    .unwrap();
    let bytes = out.finish();
    let mut wide = bytes[..OUTPUT_HEADER_LEN].to_vec();
    wide.extend([0xEE; 8]);
    wide.extend(&bytes[row(0)..row(1)]);
    wide.extend([0xEE; 16]);
    wide.extend(&bytes[row(1)..]);
    let at = |bytes: &mut [u8], at: usize, value: usize| {
        bytes[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_le_bytes());
    };
    at(&mut wide, 6, OUTPUT_HEADER_LEN + 8);
    let total_len = wide.len();
    at(&mut wide, 8, total_len);
    at(&mut wide, 16, ENTRY_LEN + 16);
    at(&mut wide, 20, OUTPUT_HEADER_LEN + 8);
    at(&mut wide, 24, row(1) + 24);
    assert_eq!(read(&wide).unwrap(), read(&bytes).unwrap());
}

#[test]
fn a_later_version_may_widen_the_rows_of_records() {
    const FIRST: usize = INPUT_HEADER_LEN + TOPIC_LEN;
    let bytes = encoded(&given());
    let (tables, heap) = bytes.split_at(FIRST + 3 * RECORD_LEN);
    let mut wide = tables[..FIRST].to_vec();
    for row in tables[FIRST..].chunks(RECORD_LEN) {
        wide.extend(row);
        wide.extend([0xEE; 8]);
    }
    let heap_offset = wide.len();
    wide.extend(heap);
    let mut at = |at: usize, value: usize| {
        wide[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_le_bytes());
    };
    at(8, bytes.len() + 3 * 8);
    at(16, RECORD_LEN + 8);
    at(28, heap_offset);
    let read = |bytes| InputView::parse(bytes).unwrap().records().collect::<Vec<_>>();
    assert_eq!(read(&wide), read(&bytes));
}

#[test]
fn state_operations_are_checked() {
    let put = || {
        let mut out = Builder::new(3);
        out.state_put(0, b"k", b"v", Some(1)).unwrap();
        out.finish()
    };
    let cases: [(Break, &str); 5] = [
        (|b| b[row(0) + 4] = 1, "its store does not exist"),
        (|b| b[row(0) + 6] = 4, "a delete has none"),
        (
            |b| b[row(0) + 20..row(0) + 24].fill(0xFF),
            "its state key is null",
        ),
        (|b| b[row(0) + 28..row(0) + 32].fill(0xFF), "a put has a value"),
        (
            |b| b[row(0) + 8..row(0) + 16].fill(0xFF),
            "its time to live is negative",
        ),
    ];
    for (damage, expected) in cases {
        let mut bytes = put();
        read(&bytes).unwrap();
        damage(&mut bytes);
        let message = read(&bytes).unwrap_err();
        assert!(message.contains(expected), "{message} is not about {expected}");
    }
}

#[test]
fn reasons_are_checked() {
    let with_reason = |reason: &[u8]| {
        let mut out = Builder::new(1);
        out.emit(&NewEmit {
            value: Field::Bytes(reason),
            ..plain(0)
        })
        .unwrap();
        let mut bytes = out.finish();
        let at = if reason.len() > ENTRY_LEN {
            OUTPUT_HEADER_LEN + reason.len()
        } else {
            OUTPUT_HEADER_LEN
        };
        bytes[at + 6] = 1;
        read(&bytes).map(|entries| entries.len())
    };
    assert_eq!(with_reason(&[b'x'; REASON_LEN_MAX]), Ok(1));
    assert!(
        with_reason(&[b'x'; REASON_LEN_MAX + 1])
            .unwrap_err()
            .contains("longer than 4096")
    );
    assert!(with_reason(b"\xFF").unwrap_err().contains("not UTF-8"));
}

#[test]
fn a_batch_has_a_greatest_length() {
    let message = read(&vec![0; LEN_MAX + 1]).unwrap_err(); // zeroed memory that nobody touches
    assert!(message.contains("longer than a batch may be"), "{message}");
}

#[test]
fn the_guest_names_what_is_malformed() {
    const FIRST: usize = INPUT_HEADER_LEN + TOPIC_LEN;
    let cases: [(Break, &str); 16] = [
        (|b| b.truncate(63), "shorter than its header"),
        (|b| b[0] = b'X', "mark of a batch"),
        (|b| b[4] = 2, "another version"),
        (|b| b[6] = 63, "header is shorter"),
        (|b| b[16] = 63, "rows of a table are shorter"),
        (|b| b[18] = 7, "rows of a table are shorter"),
        (|b| b[44] = 1, "flags"),
        (|b| b.push(0), "length is not"),
        (|b| b[12] = 200, "record table does not fit"),
        (|b| b[20] = 200, "topic table does not fit"),
        (|b| b[20] = 0, "topic's name lies outside"),
        (|b| b[28..32].fill(0xFF), "heap does not fit"),
        (|b| b[INPUT_HEADER_LEN + 4] = 0xFF, "topic's name lies outside"),
        (|b| b[FIRST + RECORD_LEN * 3] = 0xFF, "topic's name is not UTF-8"),
        (|b| b[FIRST + 40] = 1, "topic's name lies outside"),
        (
            |b| b[FIRST + 28] = 0xFF,
            "entry 0: a key, value, reason or header lies outside",
        ),
    ];
    for (index, (damage, expected)) in cases.into_iter().enumerate() {
        let mut bytes = encoded(&given());
        damage(&mut bytes);
        let message = match InputView::parse(&bytes) {
            Err(malformed) => malformed.to_string(),
            Ok(view) => view.record(0).unwrap_err().to_string(),
        };
        assert!(
            message.contains(expected),
            "{index}: {message} is not about {expected}"
        );
    }
}
