use super::*;

fn partition() -> TopicPartition {
    TopicPartition {
        topic: "in".into(),
        partition: 0,
    }
}

fn entry(value: &[u8], expires_at_ms: i64) -> Entry {
    Entry {
        value: value.into(),
        expires_at_ms,
    }
}

fn put(tree: &Tree, key: &[u8], entry: &Entry) -> Result<(), LocalError> {
    tree.apply(&Batch {
        changes: vec![(key, Some(entry))],
        ..Batch::default()
    })
}

#[test]
fn who_had_a_partition_before_changes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let before = folder
        .tree("s", &partition(), folder.assigned(&partition()))
        .unwrap();
    put(&before, b"k", &entry(b"1", record::NEVER_MS)).unwrap();
    let ticket = folder.assigned(&partition());
    // Opened late, and under the old assignment.
    let late = folder.tree("t", &partition(), Ticket(ticket.0 - 1)).unwrap();
    let now = folder.tree("s", &partition(), ticket).unwrap();
    for stale in [&before, &late] {
        assert_eq!(
            put(stale, b"k", &entry(b"2", record::NEVER_MS)),
            Err(LocalError::NotOwner)
        );
        assert_eq!(stale.clear(), Err(LocalError::NotOwner));
    }
    assert_eq!(&*now.get(b"k").unwrap().unwrap().value, b"1");
    put(&now, b"k", &entry(b"3", record::NEVER_MS)).unwrap();
}

#[test]
fn a_folder_that_is_condemned_or_damaged_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let held = |folder: &Folder| {
        let tree = folder
            .tree("s", &partition(), folder.assigned(&partition()))
            .unwrap();
        let held = tree.get(b"k").unwrap().is_some();
        put(&tree, b"k", &entry(b"1", record::NEVER_MS)).unwrap();
        held
    };
    assert!(!held(&Folder::open(dir.path()).unwrap()));
    let folder = Folder::open(dir.path()).unwrap();
    assert!(held(&folder), "it outlives its process");
    folder.condemn();
    drop(folder);
    assert!(!held(&Folder::open(dir.path()).unwrap()));
    assert!(held(&Folder::open(dir.path()).unwrap()), "once");
}

#[test]
fn the_longest_key_fits_with_its_place_in_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let tree = folder
        .tree("s", &partition(), folder.assigned(&partition()))
        .unwrap();
    let key = vec![7; KEY_BYTES_MAX];
    put(&tree, &key, &entry(b"1", 10)).unwrap();
    assert!(tree.get(&key).unwrap().is_some());
    assert_eq!(tree.expired(9, 5).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(tree.expired(10, 5).unwrap(), [key]);
}

#[test]
fn what_was_written_again_does_not_expire_with_what_it_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let tree = folder
        .tree("s", &partition(), folder.assigned(&partition()))
        .unwrap();
    for (key, times) in [
        (&b"a"[..], [-5, 20]),
        (b"b", [3, 4]),
        (b"c", [1, record::NEVER_MS]),
    ] {
        for expires_at_ms in times {
            put(&tree, key, &entry(b"x", expires_at_ms)).unwrap();
        }
    }
    // One for each place in the index, the oldest first; what is out of date is cleared away.
    assert_eq!(tree.expired(10, 3).unwrap(), [b"b"]);
    assert_eq!(tree.expired(10, 3).unwrap(), [b"b", b"b"]);
    assert!(tree.get(b"c").unwrap().is_some());
}
