use super::*;
use crate::state::local::{Folder, Tree};

struct Desk {
    session: Session,
    partition: TopicPartition,
    _dir: tempfile::TempDir,
}

fn stage(name: &str) -> Arc<str> {
    Arc::from(name)
}

/// Two stores of which the second keeps entries for ten milliseconds and takes 100 bytes.
fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let partition = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    let store = |name: &str, ttl| Store {
        name: name.to_owned(),
        ttl,
    };
    let stores = [store("a", None), store("b", Some(Duration::from_millis(10)))];
    let session = Session::new(&stores, &[1 << 20, 100]);
    let ticket = folder.assigned(&partition);
    let tree = |name| -> Tree { folder.tree(name, &partition, ticket).unwrap() };
    let whole = Whole {
        trees: vec![tree("a"), tree("b")],
        changelog_ids: vec!["ida".to_owned(), "idb".to_owned()],
        mark: None,
    };
    session.own(partition.clone(), "topic".into(), whole);
    Desk {
        session,
        partition,
        _dir: dir,
    }
}

fn op<'a>(store: u16, key: &'a [u8], value: Option<&'a [u8]>) -> StateOp<'a> {
    StateOp {
        origin: 0,
        store,
        key,
        value,
        ttl_ms: None,
    }
}

/// Keys and values of a page.
fn entries(page: &[u8]) -> Vec<(String, String)> {
    let (mut rest, mut entries) = (page, Vec::new());
    while !rest.is_empty() {
        let (key_len, after) = rest.split_first_chunk::<4>().unwrap();
        let (value_len, after) = after.split_first_chunk::<4>().unwrap();
        let (key, after) = after.split_at(u32::from_le_bytes(*key_len) as usize);
        let (value, after) = after.split_at(u32::from_le_bytes(*value_len) as usize);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        entries.push((text(key), text(value)));
        rest = after;
    }
    entries
}

#[test]
fn a_scan_sees_the_newest_of_what_is_committed_open_and_of_this_run() {
    let desk = desk();
    let run = |writes: &[(&str, Option<&str>)]| {
        assert!(desk.session.begin(&desk.partition, [1].into_iter()));
        desk.session.enter(&stage("wasm"));
        for (key, value) in writes {
            let op = op(0, key.as_bytes(), value.map(str::as_bytes));
            desk.session.write(0, &op).unwrap();
        }
    };
    run(&[
        ("k1", Some("old")),
        ("k2", Some("old")),
        ("k3", Some("old")),
        ("l", Some("other")),
    ]);
    desk.session.settle(&[0], std::iter::empty());
    desk.session.committed(&desk.partition, 1).unwrap();
    run(&[("k1", Some("open")), ("k2", None), ("k4", Some("open"))]);
    desk.session.settle(&[0], std::iter::empty());
    run(&[("k0", Some("new")), ("k2", Some("new")), ("k4", None)]);
    let scan = |after: &[u8]| entries(&desk.session.scan(0, b"k", after, 1, None).unwrap());
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let all = [
        pair("k0", "new"),
        pair("k1", "open"),
        pair("k2", "new"),
        pair("k3", "old"),
    ];
    assert_eq!(scan(b""), all);
    assert_eq!(scan(b"k1"), all[2..]);
    assert_eq!(scan(b"k3"), []);
    // What failed is gone, and what aborted too.
    desk.session.settle(&[0], [0].into_iter());
    desk.session.aborted(&desk.partition);
    run(&[]);
    assert_eq!(scan(b"").len(), 3);
    assert_eq!(
        desk.session.get(0, b"k1", 1).unwrap().as_deref(),
        Some(&b"old"[..])
    );
}

#[test]
fn a_write_that_is_refused_is_remembered_with_its_record() {
    let desk = desk();
    assert!(desk.session.begin(&desk.partition, [1, 1, 1].into_iter()));
    desk.session.enter(&stage("wasm"));
    let long = vec![0; 200];
    let endless = vec![1; 70_000];
    for refused in [
        op(1, b"k", Some(&long)),
        op(0, b"", Some(b"v")),
        op(0, &endless, None),
    ] {
        assert!(matches!(desk.session.write(1, &refused), Err(Refused::Entry(_))));
    }
    desk.session.touch(2);
    assert_eq!(desk.session.first_touched([0, 1, 2].into_iter()), Some(1));
    assert_eq!(desk.session.first_touched([0, 2].into_iter()), Some(2));
    assert_eq!(desk.session.get(0, &endless, 1), Ok(None));
    assert_eq!(desk.session.scan(0, b"", &endless, 1, None), Ok(Vec::new()));
}

#[test]
fn a_store_belongs_to_the_stage_that_uses_it_first() {
    let desk = desk();
    assert!(desk.session.begin(&desk.partition, [1].into_iter()));
    desk.session.enter(&stage("wasm"));
    desk.session.get(0, b"k", 1).unwrap();
    desk.session.enter(&stage("wasm-2"));
    desk.session.get(1, b"k", 1).unwrap();
    let refused = desk.session.get(0, b"k", 1).unwrap_err();
    assert!(
        refused.contains("wasm and wasm-2") && refused.contains("store a"),
        "{refused}"
    );
    assert!(matches!(
        desk.session.write(0, &op(0, b"k", None)),
        Err(Refused::Pipeline(_))
    ));
    assert!(desk.session.get(2, b"k", 1).is_err(), "there are two");
}

#[test]
fn positions_of_another_changelog_are_not_those_of_this_state() {
    let desk = desk();
    let positions = |ids: [&str; 2]| {
        ids.map(|id| Position {
            changelog_id: id.to_owned(),
            offset: 1,
            at_ms: 0,
        })
    };
    assert!(desk.session.is_of(&desk.partition, &positions(["ida", "idb"])));
    assert!(
        !desk
            .session
            .is_of(&desk.partition, &positions(["ida", "made again"]))
    );
}

#[test]
fn an_entry_lasts_as_long_as_its_store_says_in_the_time_of_the_records() {
    let desk = desk();
    assert!(desk.session.begin(&desk.partition, [100, 105].into_iter()));
    desk.session.enter(&stage("wasm"));
    desk.session.write(1, &op(1, b"k", Some(b"v"))).unwrap();
    let there = |time_ms| desk.session.get(1, b"k", time_ms).unwrap().is_some();
    assert!(there(114) && !there(115));
}

#[test]
fn a_scan_over_what_has_expired_ends_with_its_call() {
    const ENTRIES: u32 = 2000;
    let desk = desk();
    assert!(desk.session.begin(&desk.partition, [1].into_iter()));
    desk.session.enter(&stage("wasm"));
    for n in 0..ENTRIES {
        desk.session
            .write(0, &op(1, &n.to_be_bytes(), Some(b"v")))
            .unwrap();
    }
    desk.session.settle(&[0], std::iter::empty());
    desk.session.committed(&desk.partition, 1).unwrap();
    assert!(desk.session.begin(&desk.partition, [100].into_iter()));
    desk.session.write(0, &op(1, b"z", Some(b"alive"))).unwrap();
    let scan = |time_ms, until| desk.session.scan(1, b"", b"", time_ms, until);
    let over = Some(Instant::now());
    assert_eq!(scan(100, over), Err(NoPage::Late));
    let alive = [("z".to_owned(), "alive".to_owned())];
    assert_eq!(entries(&scan(100, None).unwrap()), alive);
    let soon = Instant::now() + Duration::from_mins(1);
    assert_eq!(entries(&scan(100, Some(soon)).unwrap()), alive);
    // What is handed over costs the guest's time, which has a limit of its own.
    assert!(!scan(1, over).unwrap().is_empty());
}
