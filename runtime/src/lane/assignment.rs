//! Partitions that come and go, and where they start.
//!
//! A partition given back: commit within a bound, else abort. One that was lost: abort,
//! since somebody else may own it already. The next owner waits for stable offsets, so it
//! never starts before the transaction of the owner before is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::{
    Consumer, GroupMember, KafkaError, Position, Producer, ProducerFactory, TopicPartition, TransactionError,
};
use crate::plan::{Delivery, Start};
use crate::stage::GuestFactory;
use crate::telemetry::metrics::RebalanceKind;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;
use super::ending::BOUNDED;
use super::partitions::{Partition, Standing};
use super::starts::{Beginning, Marks, decide};
use super::state::LaneState;

/// How long an assignment waits for stable offsets before the other partitions go on without it.
const STABLE_WAIT: Duration = Duration::from_secs(2);

/// And how long each later look takes.
const STABLE_GLANCE: Duration = Duration::from_millis(300);

/// How often starts that are not known yet are looked for.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// All of a later look together: the partitions whose starts are known go on meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// All of it together, when partitions are assigned: the group must be served.
const RESOLVE_MAX: Duration = Duration::from_secs(10);

/// Asking a leader for the bounds of a log.
pub(super) const BOUNDS_WAIT: Duration = Duration::from_secs(5);

/// librdkafka's "end of the log": where a partition waits until its start is known.
const LOG_END: i64 = -1;

/// What was asked anew for one look at where partitions start, once for all of them: what is
/// in memory may be of a topic that was made again since.
#[derive(Default)]
struct Fresh {
    marks: Option<Arc<Marks>>,
    topic_ids: HashMap<Arc<str>, Arc<str>>,
}

impl Fresh {
    fn beginning<D: Directory>(
        &mut self,
        directory: &D,
        id: &TopicPartition,
        start: Start,
    ) -> Result<(Beginning, Arc<str>), KafkaError> {
        let marks = match self.marks.take() {
            Some(marks) => marks,
            None => directory.marks()?,
        };
        let marks = self.marks.insert(marks);
        let marks = Arc::clone(marks);
        let topic_id = self.topic_id(directory, id)?;
        Ok((decide(&marks, &topic_id, id.partition, start), topic_id))
    }

    fn topic_id<D: Directory>(&mut self, directory: &D, id: &TopicPartition) -> Result<Arc<str>, KafkaError> {
        if let Some(topic_id) = self.topic_ids.get(&id.topic) {
            return Ok(Arc::clone(topic_id));
        }
        let topic_id = directory.topic(&id.topic, i32::MAX)?.id;
        self.topic_ids.insert(id.topic.clone(), Arc::clone(&topic_id));
        Ok(topic_id)
    }

    /// Where nobody answers, as while a node is dead, what is in memory has to do: the partition
    /// would stand still for as long. Should it be wrong, nothing of it is committed (`confirm_inputs`).
    fn topic_id_or_known<D: Directory>(
        &mut self,
        directory: &D,
        id: &TopicPartition,
    ) -> Result<Arc<str>, KafkaError> {
        self.topic_id(directory, id).or_else(|unanswered| {
            let known = directory
                .topic(&id.topic, id.partition)
                .map_err(|_| unanswered)?
                .id;
            self.topic_ids.insert(id.topic.clone(), Arc::clone(&known));
            Ok(known)
        })
    }
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Takes new partitions in.
    pub(super) fn assigned(&mut self, ids: &[TopicPartition]) -> Result<(), Interrupt> {
        let started = Instant::now();
        self.epoch += 1;
        self.report.rebalance(RebalanceKind::Assign);
        if let Some(member) = self.consumer.member() {
            self.report.generation(member.generation());
        }
        self.report.state(LaneState::Restoring)?;
        self.refuse_own_outputs(ids)?;
        for id in ids {
            self.partitions.add(Partition::new(id.clone()));
        }
        self.resolve(ids, STABLE_WAIT, RESOLVE_MAX)?;
        let positions: Vec<Position> = ids.iter().filter_map(|id| self.first_position(id)).collect();
        self.consumer
            .assign(&positions)
            .map_err(|error| Interrupt::Lane(format!("cannot assign: {error}")))?;
        self.hold_restoring(ids)?;
        self.report.assigned(self.partitions.len());
        self.report.rebalance_took(started.elapsed());
        self.report.state(LaneState::Running)
    }

    fn first_position(&mut self, id: &TopicPartition) -> Option<Position> {
        let partition = self.partitions.get_mut(id)?;
        let offset = if partition.standing == Standing::Resolving {
            LOG_END
        } else {
            partition.next
        };
        Some(Position {
            partition: id.clone(),
            offset,
        })
    }

    /// The configuration refuses what it can see; a pattern can match a topic that is made later.
    fn refuse_own_outputs(&self, ids: &[TopicPartition]) -> Result<(), Interrupt> {
        let looped = self.plan.own_topic_among(ids.iter().map(|id| &*id.topic));
        looped.map_or(Ok(()), |topic| {
            Err(Interrupt::Pipeline(format!(
                "the input matches {topic}, which this pipeline writes to; change input.pattern so that it does not"
            )))
        })
    }

    /// Looks again, not too often, for the starts of partitions that were not known yet.
    pub(super) fn resolve_positions(&mut self) -> Result<(), Interrupt> {
        let ids: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|p| p.standing == Standing::Resolving)
            .map(|p| p.id.clone())
            .collect();
        if ids.is_empty() || self.last_resolve.elapsed() < self.look_interval {
            return Ok(());
        }
        // Not always the same ones first: those behind may be stable long since.
        let mut ids = ids;
        let turn = self.looks % ids.len();
        ids.rotate_left(turn);
        self.looks = self.looks.wrapping_add(1);
        self.resolve(&ids, STABLE_GLANCE, LOOK_MAX)?;
        let found: Vec<Position> = ids
            .iter()
            .filter_map(|id| {
                self.partitions
                    .get(id)
                    .filter(|p| p.standing != Standing::Resolving)
            })
            .map(Partition::position)
            .collect();
        if !found.is_empty() && self.consumer.seek(&found, BOUNDS_WAIT).is_err() {
            // Not fetching yet: the start is looked up again.
            for position in &found {
                if let Some(partition) = self.partitions.get_mut(&position.partition) {
                    partition.standing = Standing::Resolving;
                }
            }
        }
        self.hold_restoring(&ids)
    }

    /// Finds out where partitions start, within a bound. What is not known in time stays
    /// `Resolving`.
    fn resolve(&mut self, ids: &[TopicPartition], wait: Duration, limit: Duration) -> Result<(), Interrupt> {
        if ids.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + limit;
        let mut fresh = Fresh::default();
        for (id, offset) in self.committed_offsets(ids, wait, until) {
            if Instant::now() >= until {
                break;
            }
            let result = match offset {
                Some(offset) => self.start_committed(&id, offset, &mut fresh),
                None => self.start_uncommitted(&id, &mut fresh)?,
            };
            if let Err(error) = result {
                self.report.trouble(&error);
            }
        }
        self.last_resolve = Instant::now();
        Ok(())
    }

    /// Asks for all at once, and one by one if that fails: an open transaction on one of them
    /// must not hold up the others.
    fn committed_offsets(
        &self,
        ids: &[TopicPartition],
        wait: Duration,
        until: Instant,
    ) -> Vec<(TopicPartition, Option<i64>)> {
        let error = match self.consumer.committed(ids, wait) {
            Ok(committed) => return committed,
            Err(error) => error,
        };
        tracing::debug!(%error, "not all committed offsets are stable yet");
        if ids.len() == 1 {
            return Vec::new();
        }
        let mut stable = Vec::new();
        for id in ids {
            if Instant::now() >= until {
                break;
            }
            stable.extend(
                self.consumer
                    .committed(std::slice::from_ref(id), STABLE_GLANCE)
                    .into_iter()
                    .flatten(),
            );
        }
        stable
    }

    fn start_committed(
        &mut self,
        id: &TopicPartition,
        offset: i64,
        fresh: &mut Fresh,
    ) -> Result<(), KafkaError> {
        let topic_id = fresh.topic_id_or_known(&*self.directory, id)?;
        let marked = self.directory.known_marks()?.has(&topic_id, id.partition);
        if let Some(partition) = self.partitions.get_mut(id) {
            partition.start_at(offset, Standing::Steady);
            partition.topic_id = topic_id;
            partition.mark_due = !marked;
        }
        self.restore(id);
        Ok(())
    }

    /// The outer error stops the pipeline, the inner one means: look again.
    fn start_uncommitted(
        &mut self,
        id: &TopicPartition,
        fresh: &mut Fresh,
    ) -> Result<Result<(), KafkaError>, Interrupt> {
        let found = fresh.beginning(&*self.directory, id, self.plan.input.start);
        let (beginning, topic_id) = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        if beginning == Beginning::Expired {
            // A node that has not heard of the new topic yet may have told the id of the old one.
            match self.directory.topic(&id.topic, i32::MAX) {
                Ok(facts) if facts.id == topic_id => {}
                Ok(_) => {
                    return Ok(Err(KafkaError::own(
                        "TOPIC_UNCONFIRMED",
                        "nodes disagree on its id",
                        true,
                    )));
                }
                Err(error) => return Ok(Err(error)),
            }
            return Err(Interrupt::Pipeline(format!(
                "{id}: the group committed an offset for it once, and has none now: it expired \
                 (offsets.retention.minutes) or was deleted. Going on from anywhere would lose or double records. \
                 Set it with strait offsets reset to where the pipeline shall go on"
            )));
        }
        let bounds = match self.consumer.bounds(id, BOUNDS_WAIT) {
            Ok(bounds) => bounds,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(partition) = self.partitions.get_mut(id) {
            let offset = if beginning == Beginning::Latest {
                bounds.end
            } else {
                bounds.start
            };
            partition.start_at(offset, Standing::Starting);
            partition.topic_id = topic_id;
            partition.mark_due = true;
            tracing::info!(partition = %id, offset, ?beginning, "no committed offset: starting here");
        }
        self.restore(id);
        Ok(Ok(()))
    }

    /// Gives partitions back.
    pub(super) fn revoked(&mut self, ids: &[TopicPartition], lost: bool) -> Result<(), Interrupt> {
        let lost = lost || self.consumer.assignment_lost();
        self.report.rebalance(if lost {
            RebalanceKind::Lost
        } else {
            RebalanceKind::Revoke
        });
        let ended = if lost {
            self.give_up("the assignment was lost")
        } else {
            self.end_open_transaction()
        };
        self.epoch += 1;
        let pending = match ended {
            Ok(()) => None,
            Err(Interrupt::Transaction { error, in_commit }) => Some((error, in_commit)),
            Err(other) => return Err(other),
        };
        self.consumer
            .unassign(ids)
            .map_err(|error| Interrupt::Lane(format!("cannot unassign: {error}")))?;
        self.partitions.remove(ids);
        self.forget_restored(ids);
        for id in ids {
            self.report.forget(id);
            // What is known of its failing records stays: it may come back.
        }
        self.report.revoked(self.partitions.len());
        if let Some((error, in_commit)) = pending {
            self.recover(&error, in_commit)?;
        }
        Ok(())
    }

    /// Commits what is open, within a bound. Positions alone are not worth it here: whoever
    /// comes next finds them again.
    fn end_open_transaction(&mut self) -> Result<(), Interrupt> {
        if self.open.is_some() {
            self.end_transaction(BOUNDED)
        } else {
            Ok(())
        }
    }

    /// An open transaction that must not commit.
    fn give_up(&self, why: &str) -> Result<(), Interrupt> {
        if self.open.is_none() {
            return Ok(());
        }
        Err(Interrupt::from(TransactionError::Abortable(KafkaError::own(
            "ASSIGNMENT_LOST",
            why,
            false,
        ))))
    }

    /// At most once: offsets are committed before anything is done with their records.
    pub(super) fn commit_what_was_polled(&mut self) -> Result<(), Interrupt> {
        debug_assert_eq!(self.plan.delivery, Delivery::AtMostOnce);
        let positions: Vec<Position> = self
            .partitions
            .iter()
            .filter(|p| p.standing == Standing::Steady)
            .filter_map(|p| {
                p.unpromised().map(|offset| Position {
                    partition: p.id.clone(),
                    offset,
                })
            })
            .collect();
        if positions.is_empty() {
            return Ok(());
        }
        self.confirm_inputs(&positions)?;
        self.consumer
            .commit(&positions)
            .map_err(|error| Interrupt::from(TransactionError::Abortable(error)))?;
        for position in positions {
            if let Some(partition) = self.partitions.get_mut(&position.partition) {
                partition.promised = position.offset;
            }
        }
        Ok(())
    }
}
