use super::*;
use crate::inquiry::testing::{Log, Reader, Rec};

const GIVE_UP: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum Own {
    Cluster(Trouble),
    At(i64),
}

impl From<Trouble> for Own {
    fn from(trouble: Trouble) -> Self {
        Self::Cluster(trouble)
    }
}

/// Counts the records, and cannot go on with the one at an offset.
struct Counts {
    records: usize,
    fails_at: i64,
}

impl Handler<Rec> for Counts {
    type Trouble = Own;

    fn records(&mut self, _: &Stretch, records: &[Rec]) -> Result<bool, Own> {
        for record in records {
            if record.offset == self.fails_at {
                return Err(Own::At(record.offset));
            }
            self.records += 1;
        }
        Ok(true)
    }

    fn gap(&mut self, _: &Stretch, _: i64, _: i64) {}
}

/// Logs with so many records each.
fn reader(records: &[usize]) -> Reader {
    let mut reader = Reader::default();
    for (partition, count) in (0..).zip(records) {
        let mut log = Log::default();
        for _ in 0..*count {
            log.append(Rec::default());
        }
        reader.logs.insert(id(partition), log);
    }
    reader
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "in".into(),
        partition,
    }
}

fn stretch(partition: i32, to: i64) -> Stretch {
    Stretch {
        index: 0,
        partition: id(partition),
        from: 0,
        to,
    }
}

#[test]
fn a_log_that_stands_still_is_named() {
    let mut counts = Counts {
        records: 0,
        fails_at: -1,
    };
    let stretches = vec![stretch(0, 1), stretch(1, 1000)];
    let stalled = read(&mut reader(&[4, 4]), stretches, GIVE_UP, &mut counts);
    let Err(Own::Cluster(trouble)) = stalled else {
        panic!("{stalled:?}");
    };
    let said = trouble.to_string();
    assert!(
        said.contains("in:1") && said.contains("last stable offset stands at 5"),
        "{said}"
    );
}

#[test]
fn a_handlers_own_trouble_ends_it_and_leaves_no_pause_behind() {
    let mut reader = reader(&[1, 40]);
    let stretches = vec![stretch(0, 1), stretch(1, reader.logs[&id(1)].end)];
    let mut counts = Counts {
        records: 0,
        fails_at: 20,
    };
    let failed = read(&mut reader, stretches.clone(), GIVE_UP, &mut counts);
    assert!(matches!(failed, Err(Own::At(20))), "{failed:?}");
    counts = Counts {
        records: 0,
        fails_at: -1,
    };
    read(&mut reader, stretches, GIVE_UP, &mut counts).unwrap();
    assert_eq!(counts.records, 41);
}
