//! The judgement on a run: what stands in the topics against what must stand there.
//!
//! For a stream (see [`stream`](crate::stream)) with `provenance: headers`:
//! - each input below the committed offset has exactly its outputs, once; there is
//!   nothing else; each has the value that the transform makes of the input's; the outputs of
//!   one input partition are in order;
//! - a `read_committed` consumer that read while records were written agrees with one
//!   that reads at the end;
//! - no transaction is open, and every end is stable, that of the control topic too.
//!
//! All of it is read by Kafka's own Java clients.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::fixture::Fixture;
use crate::ledger::{Account, Expected};
use crate::stream::{self, Due, Stream};
use crate::verifier::Row;
use crate::wait;

const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long the last markers may take.
const STABLE_WITHIN: Duration = Duration::from_secs(30);

/// What must become of a record.
pub type FateOf = Box<dyn Fn(&Row) -> Vec<Due>>;

/// Which value an output must have: of the input topic, the record, and what is due for it.
pub type ValueOf = Box<dyn Fn(&str, &Row, Due) -> Option<Vec<u8>>>;

/// What must stand where, and from which records on.
pub struct Book {
    pub topics: Vec<&'static str>,
    pub fate: FateOf,
    pub value: ValueOf,
    /// Decided records that the input topic has lost since.
    pub gone: Vec<Row>,
    /// Of these topics only what comes of records from these offsets on, by input partition,
    /// is looked for: what stood there before was deleted.
    pub since: BTreeMap<&'static str, BTreeMap<i32, i64>>,
    /// Outputs of the input topics with these ids are not looked at.
    pub foreign_inputs: Vec<String>,
}

impl Book {
    pub fn of(stream: &Stream) -> Self {
        let guest = stream.guest;
        Self {
            topics: stream.topics.to_vec(),
            fate: Box::new(stream.fate),
            value: Box::new(move |input, row, due| stream::value(guest, input, row, due)),
            gone: Vec::new(),
            since: BTreeMap::new(),
            foreign_inputs: Vec::new(),
        }
    }

    /// What must stand in one topic.
    fn expected(&self, decided: &[&Row], topic: &str, input: &Input<'_>) -> Vec<Expected> {
        let since = self.since.get(topic);
        let counts = |row: &&&Row| {
            let from = since.and_then(|since| since.get(&row.partition));
            from.is_none_or(|from| row.offset >= *from)
        };
        let of = |row: &&Row| -> Vec<Expected> {
            let expected = |due: Due| {
                let output = match due {
                    Due::Output {
                        topic: other,
                        part,
                        parts,
                    } if other == topic => {
                        Expected::by_source(row, input.topic_id, part, parts, input.pipeline)
                    }
                    Due::Letter if topic == "dlq" => Expected::by_letter(row, input.topic_id),
                    _ => return None,
                };
                Some(output.with_value((self.value)(input.topic, row, due)))
            };
            (self.fate)(row).into_iter().filter_map(expected).collect()
        };
        decided.iter().filter(counts).flat_map(of).collect()
    }

    fn is_foreign(&self, row: &Row) -> bool {
        let source = row
            .header("strait-source")
            .or_else(|| row.header("strait-error-topic-id"));
        source.is_some_and(|source| self.foreign_inputs.iter().any(|id| source.contains(id.as_str())))
    }
}

/// Where the records come from.
struct Input<'a> {
    topic: &'a str,
    topic_id: &'a str,
    pipeline: &'a str,
}

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// Records that stand in the input.
    pub input: usize,
    pub accounts: Vec<(&'static str, Account)>,
    /// Topics in which the two readers saw different records, and where.
    pub disagreements: Vec<String>,
}

impl Findings {
    /// What is wrong, in words; `None` if nothing is.
    pub fn complaint(&self) -> Option<String> {
        let unbalanced = self.accounts.iter().filter(|(_, account)| !account.balances());
        let mut wrong: Vec<String> = unbalanced
            .map(|(topic, account)| format!("{topic} does not balance: {account}"))
            .collect();
        wrong.extend(self.disagreements.iter().cloned());
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

/// Reads everything back and compares it. `concurrent` is what a reader saw meanwhile, by topic.
pub fn judge(
    fixture: &Fixture,
    book: &Book,
    concurrent: &BTreeMap<&'static str, Vec<Row>>,
) -> Result<Findings> {
    let input_topic = fixture.topic("in");
    let committed = fixture.verifier().committed(fixture.name())?;
    let input = fixture.read("in")?;
    let is_decided = |row: &&Row| {
        let offset = committed.get(&(input_topic.clone(), row.partition));
        offset.is_some_and(|offset| row.offset < *offset)
    };
    let decided: Vec<&Row> = book.gone.iter().chain(&input).filter(is_decided).collect();
    let from = Input {
        topic: &input_topic,
        topic_id: &fixture.verifier().topic_id(&input_topic)?,
        pipeline: fixture.name(),
    };
    let mut findings = Findings {
        input: input.len(),
        accounts: Vec::new(),
        disagreements: Vec::new(),
    };
    for topic in &book.topics {
        let rows = fixture.read(topic)?;
        if let Some(seen) = concurrent.get(topic) {
            findings.disagreements.extend(disagreement(topic, seen, &rows));
        }
        let own: Vec<Row> = rows.into_iter().filter(|row| !book.is_foreign(row)).collect();
        let expected = book.expected(&decided, topic, &from);
        let account = match *topic {
            "dlq" => Account::by_letter(&expected, &own),
            _ => Account::by_source(&expected, &own),
        };
        findings.accounts.push((*topic, account));
    }
    Ok(findings)
}

fn disagreement(topic: &str, concurrent: &[Row], last: &[Row]) -> Option<String> {
    if concurrent == last {
        return None;
    }
    let differs = concurrent.iter().zip(last).find(|(one, other)| one != other);
    Some(format!(
        "{topic}: a concurrent reader saw {} records, the last one {}; they differ first at {:?}",
        concurrent.len(),
        last.len(),
        differs.map(|(one, other)| (one.partition, one.offset, other.partition, other.offset))
    ))
}

/// Nothing is left undecided.
pub fn wait_stable(fixture: &Fixture, topics: &[&str]) -> Result<()> {
    wait::until_true("stable ends", STABLE_WITHIN, || {
        fixture.check_no_open_transaction(topics)?;
        check_stable(fixture, OFFSETS_TOPIC)?;
        match check_stable(fixture, &control_topic(fixture)) {
            // A pipeline that never came up has made none.
            Err(error) if error.root_cause().to_string().contains("UnknownTopicOrPartition") => {}
            checked => checked?,
        }
        Ok(true)
    })
}

fn check_stable(fixture: &Fixture, topic: &str) -> Result<()> {
    for ends in fixture.verifier().ends(topic)? {
        ensure!(ends.last_stable == ends.high, "{topic}: {ends:?}");
    }
    Ok(())
}

/// Where the pipeline's transactions leave their marks.
fn control_topic(fixture: &Fixture) -> String {
    format!("__strait.{}.control", fixture.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Content;
    use crate::orders::{self, ORDERS};

    fn row(offset: i64) -> Row {
        Row {
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn two_readers_must_see_the_same() {
        assert_eq!(disagreement("out", &[row(0), row(1)], &[row(0), row(1)]), None);
        let early = disagreement("out", &[row(0), row(1)], &[row(0)]);
        assert!(early.unwrap().contains("saw 2 records, the last one 1"));
        let other = disagreement("out", &[row(0), row(2)], &[row(0), row(1)]);
        assert!(other.unwrap().contains("(0, 2, 0, 1)"));
    }

    #[test]
    fn what_is_expected_has_a_value() {
        let from = Input {
            topic: "in",
            topic_id: "t",
            pipeline: "p",
        };
        let with = |value: &str| Row {
            value: Some(value.into()),
            ..row(3)
        };
        let (good, bad) = (with(r#"{"id": "a", "amount": 20}"#), with("{"));
        let book = Book::of(&ORDERS);
        let value_in = |topic| {
            let expected = book.expected(&[&good, &bad], topic, &from);
            assert_eq!(expected.len(), 1);
            expected[0].value.clone()
        };
        assert_eq!(value_in("out"), Content::Is(orders::cleaned(&good)));
        assert_eq!(value_in("audit"), Content::Is(orders::audited(&good, "in")));
        assert_eq!(value_in("dlq"), Content::Is(bad.value.clone()));
    }
}
