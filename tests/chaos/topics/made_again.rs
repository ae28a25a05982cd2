//! An input that is deleted and made again under its name: another topic, whose offsets mean
//! nothing in the old one.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use strait_tests::chaos::load::{PARTITIONS, PROGRESS_WITHIN};
use strait_tests::chaos::progress::Mark;
use strait_tests::chaos::{Load, Run, Violation};
use strait_tests::ledger::{Account, Expected};
use strait_tests::orders::ORDERS;
use strait_tests::stream::Due;
use strait_tests::verifier::Row;
use strait_tests::wait;

use super::quick_to_look;
use strait_tests::chaos::strike::standing_still;

/// Waits until nobody knows the topic; gives what the judge is told of it.
pub fn gone(load: &Load, short: &str) -> Result<String> {
    let topic = load.fixture.topic(short);
    wait::until("the topic to be gone", Duration::from_secs(20), || {
        let answer = load.fixture.verifier().leaders(&topic);
        Ok(answer.err().map(|error| error.root_cause().to_string()))
    })
}

pub fn under_load(run: &mut Run) -> Result<()> {
    let mut load = quick_to_look(run)?;
    load.begin_with(2)?;
    let verifier = load.fixture.verifier().clone();
    let topic = load.fixture.topic("in");
    let id = verifier.topic_id(&topic)?;
    let mark = load.mark()?;
    let read = load.fixture.read("in")?;
    verifier.delete_topic(&topic)?;
    let gone = gone(&load, "in")?;
    // As many as there can be at most.
    let old = Old {
        rows: all_rows(load.input()?.sent() + 1000)?,
        id,
        mark,
    };
    old.check_same(&read)?;
    // It flowed all the time, and so must have been refused.
    let Err(refused) = load.stop_input() else {
        return run.not_run("the input did not notice that its topic was deleted");
    };
    run.fault(
        "the input is deleted under load",
        format!("{gone}; the input is told: {refused:#}"),
    );
    wait::until_true("members without a partition", Duration::from_secs(40), || {
        let members = verifier.members(load.fixture.name())?;
        // Whoever has nothing to read may also leave.
        ensure!(
            members.iter().all(|count| *count == 0),
            "the members hold {members:?}"
        );
        Ok(true)
    })?;
    load.book.foreign_inputs.push(old.id.clone());
    load.fixture.create_topic("in", PARTITIONS)?;
    let new = verifier.topic_id(&topic)?;
    run.fault(
        "and made again",
        format!("by the judge {new} instead of {}", old.id),
    );
    load.feed_at(ORDERS.per_second)?;
    wait::until_true("commits in the new topic", Duration::from_mins(1), || {
        Ok(load.mark()?.committed.len() == usize::try_from(PARTITIONS)?)
    })?;
    let again = load.mark()?;
    load.await_progress(run, &again, PROGRESS_WITHIN)?;
    load.settle_and(run, |load| old.check(load))
}

/// Longer than the process is asleep: nobody notices, and nothing is given to another member.
const SESSION: Duration = Duration::from_secs(45);
/// Longer than what a pipeline was told of a topic counts: the guarantee ends there.
const ASLEEP_FOR: Duration = Duration::from_secs(2);

pub fn unseen(run: &mut Run) -> Result<()> {
    let mut load = quick_to_look(run)?;
    load.fixture.set_session(SESSION)?;
    load.begin_with(1)?;
    let verifier = load.fixture.verifier().clone();
    let topic = load.fixture.topic("in");
    // Whoever joins last may still get its share.
    let members = [usize::try_from(PARTITIONS)? / 2; 2];
    wait::until_true("both lanes to have their share", PROGRESS_WITHIN, || {
        Ok(verifier.members(load.fixture.name())? == members)
    })?;
    // No transaction is to be open that could commit offsets of the old topic to the new one.
    let sent = load.finish_input()?;
    load.wait_worked_off()?;
    load.forget_sent(sent);
    let old = Old {
        id: verifier.topic_id(&topic)?,
        rows: load.fixture.read("in")?,
        mark: load.mark()?,
    };
    load.process(0)?.freeze()?;
    let frozen = Instant::now();
    let asleep = standing_still(load.process(0)?.pid())?;
    verifier.delete_topic(&topic)?;
    gone(&load, "in")?;
    // With their topic, and some time after it: else they would look like those of the new one.
    wait::until_true("the old offsets to be gone", Duration::from_secs(20), || {
        let left = load.mark()?.committed;
        ensure!(left.is_empty(), "the group still has {left:?}");
        Ok(true)
    })?;
    load.fixture.create_topic("in", PARTITIONS)?;
    let new = verifier.topic_id(&topic)?;
    load.feed_at(4 * ORDERS.per_second)?;
    let highest = old.mark.committed.values().copied().max().unwrap_or(0);
    wait::until_true("more records than there were", Duration::from_mins(1), || {
        let ends = verifier.ends(&topic)?;
        Ok(ends.iter().all(|ends| ends.high > highest + 200))
    })?;
    load.stop_input()?;
    let still = verifier.members(load.fixture.name())?;
    if still != members || frozen.elapsed() >= SESSION {
        return run.not_run(format!(
            "the process was asleep for too long: the members hold {still:?}"
        ));
    }
    run.fault(
        "the input is deleted and made again while the process sleeps",
        format!(
            "{asleep}; by the judge the topic is {new} instead of {}, and has more than {highest} records in each \
             partition, which is where the process stood",
            old.id
        ),
    );
    load.book.foreign_inputs.push(old.id.clone());
    std::thread::sleep(ASLEEP_FOR.saturating_sub(frozen.elapsed()));
    load.process(0)?.thaw()?;
    let thawed = Instant::now();
    wait::until_true("all of the new topic, or a stop", Duration::from_mins(1), || {
        if load.process(0)?.is_running()? {
            load.fixture.committed_to_end(&topic)?;
        }
        Ok(true)
    })?;
    if !load.process(0)?.is_running()? {
        // Loudly, and somebody has looked.
        load.restart(0)?;
        load.wait_worked_off()?;
    }
    run.progressed(thawed.elapsed());
    // Outputs that carry the wrong id are missing in the one, and too many in the other.
    let of_old = old.check(&load);
    match (load.settle(run), of_old) {
        (Err(new), Err(old)) => Err(new.context(old.to_string())),
        (new, old) => new.and(old),
    }
}

/// The first records of the usual load as they stand in a topic that nobody else writes to.
fn all_rows(count: u64) -> Result<Vec<Row>> {
    let partitions = u64::try_from(PARTITIONS)?;
    let row = |number: u64| {
        let partition = i32::try_from(number % partitions)?;
        let message = (ORDERS.make)(partition, number);
        Ok(Row {
            partition,
            offset: i64::try_from(number / partitions)?,
            timestamp_ms: 0,
            key: message.key,
            value: message.value,
            headers: message.headers,
        })
    };
    (0..count).map(row).collect()
}

/// An input topic that is gone.
struct Old {
    id: String,
    rows: Vec<Row>,
    /// From before it was deleted.
    mark: Mark,
}

impl Old {
    /// What was read of it is what its rows say.
    fn check_same(&self, read: &[Row]) -> Result<()> {
        let by_place: BTreeMap<(i32, i64), &Row> = self
            .rows
            .iter()
            .map(|row| ((row.partition, row.offset), row))
            .collect();
        for row in read {
            let place = (row.partition, row.offset);
            let known = by_place.get(&place).with_context(|| format!("no {place:?}"))?;
            ensure!(
                (&known.key, &known.value) == (&row.key, &row.value),
                "{row:?} instead of {known:?}"
            );
        }
        Ok(())
    }

    /// All that became of the first so many records of a partition is there, once, in order;
    /// nothing of the others is. How many is known of none exactly, as offsets go with their
    /// topic: at least as many as were committed before.
    fn check(&self, load: &Load) -> Result<()> {
        let mut accounts = Vec::new();
        let mut decided: BTreeMap<i32, i64> = self.mark.committed.clone();
        for topic in &load.book.topics {
            let expected = self.expected(topic, load.fixture.name());
            let own = |row: &Row| {
                let source = row.header("strait-source");
                let source = source.or_else(|| row.header("strait-error-topic-id"));
                source.is_some_and(|source| source.contains(&self.id))
            };
            let found: Vec<Row> = load.fixture.read(topic)?.into_iter().filter(own).collect();
            let account = match *topic {
                "dlq" => Account::by_letter(&expected, &found),
                _ => Account::by_source(&expected, &found),
            };
            let missing: HashSet<&[u8]> = account.missing.iter().map(|output| &*output.token).collect();
            for output in expected.iter().filter(|output| !missing.contains(&*output.token)) {
                let end = decided.entry(output.input_partition).or_default();
                *end = (output.input_offset + 1).max(*end);
            }
            accounts.push((topic, account));
        }
        let complaints: Vec<String> = accounts
            .into_iter()
            .filter_map(|(topic, mut account)| {
                account.missing.retain(|output| {
                    let end = decided.get(&output.input_partition);
                    end.is_some_and(|end| output.input_offset < *end)
                });
                account.settle(topic).err().map(|error| error.to_string())
            })
            .collect();
        if complaints.is_empty() {
            return Ok(());
        }
        Err(Violation(format!("of the deleted topic {}", complaints.join("; "))).into())
    }

    fn expected(&self, topic: &str, pipeline: &str) -> Vec<Expected> {
        let of = |row: &Row| -> Vec<Expected> {
            let expected = |due: Due| match due {
                Due::Output {
                    topic: other,
                    part,
                    parts,
                } if other == topic => Some(Expected::by_source(row, &self.id, part, parts, pipeline)),
                Due::Letter if topic == "dlq" => Some(Expected::by_letter(row, &self.id)),
                _ => None,
            };
            (ORDERS.fate)(row).into_iter().filter_map(expected).collect()
        };
        self.rows.iter().flat_map(of).collect()
    }
}
