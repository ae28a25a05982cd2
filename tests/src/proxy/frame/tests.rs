use super::super::tests::build::{Build, end_txn, head};
use super::*;

const VERSIONS: [(Api, RangeInclusive<i16>, i16); 6] = [
    (Api::PRODUCE, 3..=10, 9),
    (Api::INIT_PRODUCER_ID, 0..=4, 2),
    (Api::ADD_PARTITIONS_TO_TXN, 0..=0, 3),
    (Api::ADD_OFFSETS_TO_TXN, 0..=0, 3),
    (Api::END_TXN, 0..=1, 3),
    (Api::TXN_OFFSET_COMMIT, 0..=3, 3),
];

/// A reply with those codes, as the protocol's definition has it.
fn reply(api: Api, version: i16, flexible: bool, codes: &[i16]) -> Vec<u8> {
    let mut reply = Build::default().i32(5).tags(flexible);
    let topics = |mut build: Build| {
        build = build.count(codes.len(), flexible);
        for code in codes {
            build = build
                .string("a topic", flexible)
                .count(1, flexible)
                .i32(4)
                .i16(*code);
            if api == Api::PRODUCE {
                build = build.i64(100).i64(-1);
                if version >= 5 {
                    build = build.i64(0);
                }
                if version >= 8 {
                    build = build
                        .count(1, flexible)
                        .i32(0)
                        .string("bad", flexible)
                        .tags(flexible);
                    build = build.null(flexible);
                }
            }
            build = build.tags(flexible).tags(flexible);
        }
        build
    };
    reply = match api {
        Api::PRODUCE => topics(reply).i32(0),
        Api::ADD_PARTITIONS_TO_TXN | Api::TXN_OFFSET_COMMIT => topics(reply.i32(0)),
        Api::INIT_PRODUCER_ID => reply.i32(0).i16(codes[0]).i64(9).i16(1),
        _ => reply.i32(0).i16(codes[0]),
    };
    reply.tags(flexible).frame()
}

#[test]
fn codes_are_read_at_every_version_and_at_no_other() {
    for (api, versions, flexible_from) in VERSIONS {
        for version in -1..16 {
            let flexible = version >= flexible_from;
            let several = [Api::PRODUCE, Api::ADD_PARTITIONS_TO_TXN, Api::TXN_OFFSET_COMMIT].contains(&api);
            let codes: &[i16] = if several { &[0, 47, -1] } else { &[51] };
            let frame = reply(api, version, flexible, codes);
            let read = reply_codes(api, version, &frame);
            let expected = versions.contains(&version).then(|| codes.to_vec());
            assert_eq!(read, expected, "{api} v{version}");
        }
    }
}

#[test]
fn a_reply_that_is_too_short_or_too_long_is_not_guessed_at() {
    for (api, versions, flexible_from) in VERSIONS {
        for version in versions {
            let frame = reply(api, version, version >= flexible_from, &[3]);
            for length in 0..frame.len() {
                assert_eq!(
                    reply_codes(api, version, &frame[..length]),
                    None,
                    "{api} v{version}"
                );
            }
            let longer = [frame.as_slice(), &[0]].concat();
            assert_eq!(reply_codes(api, version, &longer), None, "{api} v{version}");
        }
    }
    assert_eq!(reply_codes(Api::METADATA, 12, &[0; 40]), None);
}

#[test]
fn a_request_tells_its_owner() {
    for (api, versions, flexible_from) in VERSIONS {
        for version in -1..16 {
            let flexible = version >= flexible_from;
            let mut build = head(api, version, 8, "client", flexible).string("id.0", flexible);
            if api == Api::END_TXN {
                build = build.i64(77).i16(3).i8(1);
            }
            let request = Request::read(&build.frame()).unwrap();
            let decoded = versions.contains(&version);
            let owner = if decoded { "id.0" } else { "client" };
            let read = (request.api, request.version, request.correlation, request.decoded);
            assert_eq!(read, (api, version, 8, decoded));
            assert_eq!(request.owner, owner, "{api} v{version}");
            let committed = (api == Api::END_TXN && decoded).then_some(true);
            assert_eq!(request.committed, committed, "{api} v{version}");
        }
    }
    let abort = Request::read(&end_txn(1, "id", false)).unwrap();
    assert_eq!((abort.committed, abort.producer), (Some(false), Some((77, 3))));
}

#[test]
fn without_a_transactional_id_the_client_is_the_owner() {
    for version in [0, 4] {
        let flexible = version >= 2;
        let head = head(Api::INIT_PRODUCER_ID, version, 8, "client", flexible);
        let request = Request::read(&head.null(flexible).i32(1000).frame()).unwrap();
        assert_eq!((request.owner.as_str(), request.decoded), ("client", true));
    }
    let heartbeat = Request::read(&head(Api::HEARTBEAT, 4, 8, "member", true).frame()).unwrap();
    assert_eq!((heartbeat.owner.as_str(), heartbeat.decoded), ("member", true));
}
