//! The judgement on a run: what stands in the topics against what must stand there.
//!
//! For orders (see [`orders`](crate::orders)) with `provenance: headers`:
//! - each input below the committed offset has exactly its outputs, once; there is
//!   nothing else; the outputs of one input partition are in order;
//! - a `read_committed` consumer that read while records were written agrees with one
//!   that reads at the end;
//! - no transaction is open, and every end is stable.
//!
//! All of it is read by Kafka's own Java clients.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::fixture::Fixture;
use crate::ledger::{Account, Expected};
use crate::orders::Fate;
use crate::verifier::Row;
use crate::wait;

/// Outputs of a pipeline of orders, without and with dead letters.
pub const TOPICS: [&str; 3] = ["out", "audit", "dlq"];

const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long the last markers may take.
const STABLE_WITHIN: Duration = Duration::from_secs(30);

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
pub fn judge(fixture: &Fixture, concurrent: &BTreeMap<&'static str, Vec<Row>>) -> Result<Findings> {
    let topic = fixture.topic("in");
    let committed = fixture.verifier().committed(fixture.name())?;
    let input = fixture.read("in")?;
    let is_decided = |row: &&Row| {
        let offset = committed.get(&(topic.clone(), row.partition));
        offset.is_some_and(|offset| row.offset < *offset)
    };
    let decided: Vec<&Row> = input.iter().filter(is_decided).collect();
    let id = fixture.verifier().topic_id(&topic)?;
    let mut findings = Findings {
        input: input.len(),
        accounts: Vec::new(),
        disagreements: Vec::new(),
    };
    for topic in TOPICS {
        let rows = fixture.read(topic)?;
        let expected = expected(&decided, topic, &id, fixture.name());
        let account = match topic {
            "dlq" => Account::by_letter(&expected, &rows),
            _ => Account::by_source(&expected, &rows),
        };
        findings.accounts.push((topic, account));
        if let Some(seen) = concurrent.get(topic) {
            findings.disagreements.extend(disagreement(topic, seen, &rows));
        }
    }
    Ok(findings)
}

fn expected(decided: &[&Row], topic: &str, topic_id: &str, pipeline: &str) -> Vec<Expected> {
    let of = |row: &&Row| match (Fate::of(row), topic) {
        (Fate::Accepted, "out") => Some(Expected::by_source(row, topic_id, 1, 2, pipeline)),
        (Fate::Accepted, "audit") => Some(Expected::by_source(row, topic_id, 2, 2, pipeline)),
        (Fate::Malformed, "dlq") => Some(Expected::by_letter(row, topic_id)),
        _ => None,
    };
    decided.iter().filter_map(of).collect()
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
pub fn wait_stable(fixture: &Fixture) -> Result<()> {
    wait::until_true("stable ends", STABLE_WITHIN, || {
        fixture.check_no_open_transaction(&TOPICS)?;
        for ends in fixture.verifier().ends(OFFSETS_TOPIC)? {
            ensure!(ends.last_stable == ends.high, "{OFFSETS_TOPIC}: {ends:?}");
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
