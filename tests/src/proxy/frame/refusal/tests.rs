use std::ops::RangeInclusive;

use super::super::super::tests::build::{Build, end_txn, head};
use super::super::reply_codes;
use super::*;

const FENCED: i16 = 90;

/// With two partitions of one topic and one of another, as the protocol's definition has it.
fn request(api: Api, version: i16, flexible: bool) -> Vec<u8> {
    let mut build = head(api, version, 8, "client", flexible).string("id.0", flexible);
    build = match api {
        Api::PRODUCE => build.i16(-1).i32(1000),
        Api::TXN_OFFSET_COMMIT => {
            let build = build.string("group", flexible).i64(77).i16(3);
            if version >= 3 {
                build.i32(5).string("member", flexible).null(flexible)
            } else {
                build
            }
        }
        _ => build.i64(77).i16(3),
    };
    build = build.count(2, flexible);
    for (topic, partitions) in [("one", vec![0, 300]), ("other", vec![2])] {
        build = build.string(topic, flexible).count(partitions.len(), flexible);
        for partition in partitions {
            build = build.i32(partition);
            if api == Api::PRODUCE {
                let records = vec![7; 200];
                build = if flexible {
                    build.varint(201).raw(&records)
                } else {
                    build.i32(200).raw(&records)
                };
                build = build.tags(flexible);
            } else if api == Api::TXN_OFFSET_COMMIT {
                build = build.i64(42);
                if version >= 2 {
                    build = build.i32(-1);
                }
                build = build.string("", flexible).tags(flexible);
            }
        }
        build = build.tags(flexible);
    }
    build.tags(flexible).frame()
}

fn refused(frame: &[u8]) -> Option<Vec<u8>> {
    refusal(&Request::read(frame).unwrap(), frame, FENCED)
}

#[test]
fn every_partition_is_refused_at_every_version() {
    let apis: [(Api, RangeInclusive<i16>, i16); 3] = [
        (Api::PRODUCE, 3..=10, 9),
        (Api::ADD_PARTITIONS_TO_TXN, 0..=0, 3),
        (Api::TXN_OFFSET_COMMIT, 0..=3, 3),
    ];
    for (api, versions, flexible_from) in apis {
        for version in versions {
            let reply = refused(&request(api, version, version >= flexible_from)).unwrap();
            let codes = reply_codes(api, version, &reply);
            assert_eq!(codes, Some(vec![FENCED; 3]), "{api} v{version}");
        }
    }
}

#[test]
fn replies_are_as_the_protocol_has_them() {
    let frame = request(Api::PRODUCE, 10, true);
    let unsaid = |build: Build| build.i64(-1).i64(-1).i64(-1).count(0, true).null(true).i8(0);
    let mut expected = Build::default().i32(8).i8(0).count(2, true);
    expected = unsaid(expected.string("one", true).count(2, true).i32(0).i16(FENCED));
    expected = unsaid(expected.i32(300).i16(FENCED)).i8(0);
    expected = unsaid(expected.string("other", true).count(1, true).i32(2).i16(FENCED)).i8(0);
    assert_eq!(refused(&frame), Some(expected.i32(0).i8(0).frame()));

    let frame = request(Api::ADD_PARTITIONS_TO_TXN, 0, false);
    let expected = Build::default()
        .i32(8)
        .i32(0)
        .i32(2)
        .string("one", false)
        .i32(2)
        .i32(0)
        .i16(FENCED)
        .i32(300)
        .i16(FENCED)
        .string("other", false)
        .i32(1)
        .i32(2)
        .i16(FENCED);
    assert_eq!(refused(&frame), Some(expected.frame()));

    let frame = request(Api::TXN_OFFSET_COMMIT, 3, true);
    let mut expected = Build::default().i32(8).i8(0).i32(0).count(2, true);
    expected = expected.string("one", true).count(2, true);
    expected = expected.i32(0).i16(FENCED).i8(0).i32(300).i16(FENCED).i8(0).i8(0);
    expected = expected.string("other", true).count(1, true).i32(2).i16(FENCED);
    assert_eq!(refused(&frame), Some(expected.i8(0).i8(0).i8(0).frame()));
}

#[test]
fn replies_without_partitions_too() {
    let short = Some(Build::default().i32(8).i32(0).i16(FENCED).frame());
    assert_eq!(refused(&end_txn(8, "id.0", true)), short);
    let add_offsets = head(Api::ADD_OFFSETS_TO_TXN, 0, 8, "client", false)
        .string("id.0", false)
        .i64(77)
        .i16(3)
        .string("group", false);
    assert_eq!(refused(&add_offsets.frame()), short);
    let init = head(Api::INIT_PRODUCER_ID, 4, 8, "client", true)
        .string("id.0", true)
        .i32(20_000)
        .i64(-1)
        .i16(-1)
        .tags(true);
    let expected = Build::default()
        .i32(8)
        .i8(0)
        .i32(0)
        .i16(FENCED)
        .i64(-1)
        .i16(-1)
        .i8(0);
    assert_eq!(refused(&init.frame()), Some(expected.frame()));
}

#[test]
fn what_cannot_be_read_is_not_refused() {
    let whole = request(Api::TXN_OFFSET_COMMIT, 3, true);
    let read = Request::read(&whole).unwrap();
    for length in 12..whole.len() {
        assert_eq!(refusal(&read, &whole[..length], FENCED), None);
    }
    assert_eq!(refused(&request(Api::PRODUCE, 11, true)), None);
    assert_eq!(refused(&head(Api::METADATA, 12, 8, "client", true).frame()), None);
}
