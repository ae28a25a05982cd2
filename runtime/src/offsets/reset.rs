//! `strait offsets reset`: the steps, in their order.
//!
//! 1. Claims are dropped. Whoever reads their records after all claims them anew.
//! 2. The state's marks are set back. A lane that starts before the offsets are set finds its state
//!    behind its offset, which is fine.
//! 3. The offsets are set, if nobody is in the group.
//! 4. The marks of where the group began move back, for `verify` alone.
//! 5. State is cleared. A lane that starts before that, at an offset further back, stops and says that
//!    the state is ahead.
//!
//! Each of them may be done once more, so the same command finishes what one that died has begun.

use super::Trouble;
use super::claims::{self, Dropped};
use super::goal::{Goals, Spot};
use super::group::{Group, Known};
use super::plan::{Choices, Keeps, Move, OfClaims, OfState, moves};
use super::state;
use super::write::{Written, write};
use crate::fault::{self, Point};
use crate::inquiry::Progress;
use crate::kafka::{Position, TopicPartition};
use crate::lane::starts::{PartitionMark, partition_key};
use crate::plan::{DedupMode, Pipeline};

/// The control topic has one.
const CONTROL_PARTITION: i32 = 0;

/// A reset that may be carried out.
#[derive(Debug)]
pub struct Reset {
    pub moves: Vec<Move>,
    pub choices: Choices,
}

/// What was done beside setting offsets.
#[derive(Debug, Default)]
pub struct Done {
    pub dropped: Dropped,
    /// Changelogs that were deleted.
    pub cleared: Vec<String>,
}

/// What the pipeline keeps beside its offsets.
pub fn keeps(plan: &Pipeline) -> Keeps {
    let dedup = plan.dedup.as_ref();
    Keeps {
        claims: dedup.is_some_and(|dedup| dedup.is_shared() && dedup.mode == DedupMode::Drop),
        state: !plan.stores.is_empty(),
    }
}

/// What the goals come to now.
pub fn planned(group: &Group, known: &Known, goals: &Goals) -> Result<Vec<Move>, Trouble> {
    let at_time = match goals.all {
        Some(Spot::Time(time_ms)) => group.at_time(&known.partitions, time_ms)?,
        _ => Vec::new(),
    };
    moves(&known.partitions, goals, &at_time).map_err(Trouble::Usage)
}

/// Carries it out, unless the group has moved since it was planned. `progress`: of the records
/// that are passed over, where their claims are looked for.
pub fn carry_out(group: &Group, reset: &Reset, progress: &mut Progress<'_>) -> Result<Done, Trouble> {
    let Reset { moves, choices } = reset;
    group.refuse_members()?;
    refuse_moved(&group.look()?, moves)?;
    let mut done = Done::default();
    if choices.claims == Some(OfClaims::Drop) {
        done.dropped = claims::drop_passed_over(group, moves, progress)?;
    }
    fault::pass(Point::ResetAfterClaims);
    if choices.state == Some(OfState::Keep) {
        write(&group.plan, &state::marks_set_back(group, moves)?)?;
    }
    fault::pass(Point::ResetAfterMarks);
    group.set(&positions(moves))?;
    fault::pass(Point::ResetAfterOffsets);
    write(&group.plan, &starts_set_back(&group.plan, moves)?)?;
    fault::pass(Point::ResetAfterStarts);
    if choices.state == Some(OfState::Clear) {
        done.cleared = state::clear(group)?;
    }
    fault::pass(Point::ResetAfterClear);
    Ok(done)
}

/// Somebody may have run the pipeline while the user was thinking.
fn refuse_moved(now: &Known, moves: &[Move]) -> Result<(), Trouble> {
    let is_as_planned = |step: &Move| {
        let facts = now.partitions.iter().find(|facts| facts.id == step.facts.id);
        facts.is_some_and(|facts| {
            facts.committed == step.facts.committed && facts.topic_id == step.facts.topic_id
        })
    };
    match moves.iter().find(|step| !is_as_planned(step)) {
        None => Ok(()),
        Some(step) => Err(Trouble::Refused(format!(
            "the group has moved on {} since this was planned; run it again",
            step.facts.name()
        ))),
    }
}

fn positions(moves: &[Move]) -> Vec<Position> {
    let changes = moves.iter().filter(|step| step.is_change());
    changes
        .map(|step| Position {
            partition: step.facts.id.clone(),
            offset: step.to,
        })
        .collect()
}

/// A partition without a mark gets one when the pipeline starts.
fn starts_set_back(plan: &Pipeline, moves: &[Move]) -> Result<Vec<Written>, Trouble> {
    let control: TopicPartition = TopicPartition {
        topic: plan.name.control_topic().into(),
        partition: CONTROL_PARTITION,
    };
    let ahead = |step: &&Move| step.facts.began.is_some_and(|began| step.to < began);
    let written = moves.iter().filter(ahead).map(|step| {
        let mark = PartitionMark {
            topic: step.facts.id.topic.to_string(),
            offset: step.to,
        };
        let value = serde_json::to_vec(&mark)
            .map_err(|error| Trouble::Refused(format!("cannot write a mark: {error}")))?;
        Ok(Written {
            at: control.clone(),
            key: partition_key(&step.facts.topic_id, step.facts.id.partition).into_bytes(),
            value,
        })
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Bounds;
    use crate::lane::starts::Marks;
    use crate::offsets::plan::Facts;

    fn facts(topic_id: &str, committed: Option<i64>) -> Facts {
        Facts {
            id: TopicPartition {
                topic: "in".into(),
                partition: 0,
            },
            topic_id: topic_id.into(),
            committed,
            began: Some(0),
            bounds: Bounds { start: 0, end: 100 },
        }
    }

    #[test]
    fn what_has_moved_since_it_was_planned_is_planned_again() {
        let now = Known {
            partitions: vec![facts("a", Some(50))],
            marks: Marks::default(),
        };
        let planned = |facts| refuse_moved(&now, &[Move { facts, to: 7 }]);
        assert!(planned(facts("a", Some(50))).is_ok());
        for other in [facts("a", Some(49)), facts("a", None), facts("b", Some(50))] {
            assert!(matches!(planned(other), Err(Trouble::Refused(_))));
        }
    }
}
