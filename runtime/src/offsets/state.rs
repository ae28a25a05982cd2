//! Keyed state, when its offsets are set elsewhere.
//!
//! Kept, its marks are set back where they are ahead of the new offset: the lane would stop before it
//! counts records twice that it was not told to. The copies of other machines meet the new mark when
//! they read on, since it is the last one of the changelog. The stream time stays as it is.
//!
//! Cleared, its changelogs are deleted. The next start makes them anew, and copies of a topic with
//! another id are emptied.

use std::time::{Duration, Instant};

use super::Trouble;
use super::group::Group;
use super::plan::Move;
use super::write::Written;
use crate::inquiry::{self, ANSWER, insist};
use crate::kafka::changelog::ChangelogReader;
use crate::kafka::{Bounds, KafkaError, TopicPartition};
use crate::state::record::{MARK_KEY, Mark};

/// Each transaction ends with a mark, so the last one is near the end: how far to look for it first.
const TAIL: i64 = 1000;
/// And how much further each time it was not there.
const FURTHER: i64 = 20;
/// Reading one stretch.
const READ: Duration = Duration::from_mins(10);
/// Until the last node knows that a topic is gone.
const GONE: Duration = Duration::from_mins(1);
const AGAIN: Duration = Duration::from_millis(200);

/// Marks that let the state be gone on with from where these moves go.
pub fn marks_set_back(group: &Group, moves: &[Move]) -> Result<Vec<Written>, Trouble> {
    let mut reader =
        ChangelogReader::open(&group.plan.cluster, &group.client_id).map_err(inquiry::Trouble::opening)?;
    let mut written = Vec::new();
    for (store, input) in group.plan.state_topics() {
        let topic = group.plan.name.state_topic(store, input);
        let partitions = group.describe(&topic)?.map_or(0, |topic| topic.partitions);
        for step in moves {
            let id = &step.facts.id;
            if &*id.topic != input || id.partition >= partitions {
                continue;
            }
            let at = TopicPartition {
                topic: topic.as_str().into(),
                partition: id.partition,
            };
            let ahead = last_mark(&mut reader, &at)?.filter(|mark| mark.next > step.to);
            written.extend(ahead.map(|mark| {
                Written {
                    at,
                    key: MARK_KEY.to_vec(),
                    value: Mark {
                        next: step.to,
                        ..mark
                    }
                    .to_bytes(),
                }
            }));
        }
    }
    Ok(written)
}

fn last_mark(reader: &mut ChangelogReader, at: &TopicPartition) -> Result<Option<Mark>, Trouble> {
    let bounds = insist(&format!("ask for the bounds of {at}"), || reader.bounds(at))?;
    let mut tail = TAIL;
    loop {
        let start = bounds.end.saturating_sub(tail).max(bounds.start);
        let stretch = Bounds { start, ..bounds };
        let found = insist(&format!("read {at}"), || mark_within(reader, at, stretch))?;
        if found.is_some() || start == bounds.start {
            return Ok(found);
        }
        tail = tail.saturating_mul(FURTHER);
    }
}

fn mark_within(
    reader: &mut ChangelogReader,
    at: &TopicPartition,
    bounds: Bounds,
) -> Result<Option<Mark>, KafkaError> {
    let until = Instant::now() + READ;
    let mut last = None;
    let mut goes_on = |_| {
        if Instant::now() < until {
            return Ok(());
        }
        let message = format!("{at} could not be read to its end in time");
        Err(KafkaError::own("TOO_SLOW", &message, false))
    };
    reader.read(at, bounds, &mut goes_on, &mut |record| {
        if record.key == MARK_KEY {
            let mark = record.value.and_then(Mark::from_bytes);
            let unreadable = || {
                let message = format!(
                    "the mark at {} is not one that this version writes",
                    record.offset
                );
                KafkaError::own("UNREADABLE", &message, false)
            };
            last = Some(mark.ok_or_else(unreadable)?);
        }
        Ok(())
    })?;
    Ok(last)
}

/// Deletes the changelogs, and returns when they are gone. Says which there were.
pub fn clear(group: &Group) -> Result<Vec<String>, Trouble> {
    let mut cleared = Vec::new();
    for (store, input) in group.plan.state_topics() {
        let topic = group.plan.name.state_topic(store, input);
        if group.describe(&topic)?.is_none() {
            continue;
        }
        insist(&format!("delete {topic}"), || {
            group.admin.delete_topic(&topic, ANSWER)
        })?;
        let until = Instant::now() + GONE;
        while group.describe(&topic)?.is_some() {
            if Instant::now() >= until {
                let what =
                    format!("{topic} is still there, though its deletion was accepted; run this again");
                return Err(Trouble::Refused(what));
            }
            std::thread::sleep(AGAIN);
        }
        cleared.push(topic);
    }
    Ok(cleared)
}
