//! The log's consumer: assigns all partitions, and takes some of them back now and then.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rand::Rng;

use super::{Log, error};
use crate::kafka::{
    Bounds, Chunk, Consumer, GroupEvent, GroupMember, KafkaError, Polled, Position, TopicPartition,
};
use crate::lane::testing::Rec;

pub struct Member(pub(super) i32);

impl GroupMember for Member {
    fn generation(&self) -> i32 {
        self.0
    }
}

pub struct MemoryConsumer {
    pub(super) log: Log,
    /// To be assigned with the next poll.
    pub(super) away: Vec<TopicPartition>,
    pub(super) positions: BTreeMap<i32, i64>,
    pub(super) moved: HashMap<i32, i64>,
}

pub(super) fn id(number: usize) -> TopicPartition {
    TopicPartition {
        topic: "in".into(),
        partition: i32::try_from(number).unwrap(),
    }
}

impl Consumer for MemoryConsumer {
    type Record = Rec;
    type Member = Member;

    fn subscribe(&mut self, _: &[&str]) -> Result<(), KafkaError> {
        Ok(())
    }

    /// Assigns all partitions first. Later some of them are revoked now and then, in the same
    /// poll that brings records of them all, and come back with the next one.
    fn poll(&mut self, records_max: usize, _: Duration) -> Result<Polled<Rec>, KafkaError> {
        let state = &mut *self.log.0.borrow_mut();
        if !self.away.is_empty() {
            let back = std::mem::take(&mut self.away);
            return Ok(Polled {
                chunks: Vec::new(),
                events: vec![GroupEvent::Assigned(back)],
            });
        }
        let mut chunks = Vec::new();
        for (number, offset) in &mut self.positions {
            let log = &state.inputs[usize::try_from(*number).unwrap()];
            let from = usize::try_from(*offset).unwrap().min(log.len());
            let take = state.rng.random_range(0..=records_max.min(7));
            let records: Vec<Rec> = log[from..].iter().take(take).cloned().collect();
            if records.is_empty() && take > 0 && from == log.len() {
                *offset = i64::try_from(log.len()).unwrap() + state.tail;
                self.moved.insert(*number, *offset);
                continue;
            }
            if records.is_empty() {
                continue;
            }
            *offset += i64::try_from(records.len()).unwrap();
            self.moved.insert(*number, *offset);
            chunks.push(Chunk {
                partition: id(usize::try_from(*number).unwrap()),
                records,
            });
        }
        let mut events = Vec::new();
        if !self.positions.is_empty() && state.fails(state.faults.rebalance) {
            state.generation += 1;
            let lost = state.rng.random_bool(0.3);
            let leaves = |_: &&i32| lost || state.rng.random_bool(0.5);
            let partitions = self
                .positions
                .keys()
                .filter(leaves)
                .map(|n| id(usize::try_from(*n).unwrap()));
            events.push(GroupEvent::Revoked {
                partitions: partitions.collect(),
                lost,
            });
        }
        Ok(Polled { chunks, events })
    }

    fn assign(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        let state = self.log.0.borrow();
        let end = |number: i32| i64::try_from(state.inputs[usize::try_from(number).unwrap()].len()).unwrap();
        let start = |p: &Position| {
            if p.offset < 0 {
                end(p.partition.partition)
            } else {
                p.offset
            }
        };
        self.positions
            .extend(positions.iter().map(|p| (p.partition.partition, start(p))));
        Ok(())
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        for partition in partitions {
            self.positions.remove(&partition.partition);
            self.moved.remove(&partition.partition);
        }
        self.away.extend_from_slice(partitions);
        Ok(())
    }

    fn assignment_lost(&self) -> bool {
        false
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        _: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError> {
        let state = &mut *self.log.0.borrow_mut();
        // Stable offsets only: an open transaction of an earlier owner must be over.
        if state.open.as_ref().is_some_and(|open| !open.offsets.is_empty()) {
            return Err(error("UNSTABLE_OFFSET_COMMIT"));
        }
        Ok(partitions
            .iter()
            .map(|p| (p.clone(), state.committed.get(&p.partition).copied()))
            .collect())
    }

    fn bounds(&self, partition: &TopicPartition, _: Duration) -> Result<Bounds, KafkaError> {
        let state = self.log.0.borrow();
        let len = state.inputs[usize::try_from(partition.partition).unwrap()].len();
        Ok(Bounds {
            start: state.start,
            end: i64::try_from(len).unwrap(),
        })
    }

    fn seek(&mut self, positions: &[Position], _: Duration) -> Result<(), KafkaError> {
        for position in positions {
            self.positions
                .insert(position.partition.partition, position.offset);
            self.moved.remove(&position.partition.partition);
        }
        Ok(())
    }

    fn pause(&mut self, _: &[TopicPartition]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn resume(&mut self, _: &[TopicPartition]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.moved.get(&partition.partition).copied()
    }

    fn member(&self) -> Option<Member> {
        Some(Member(self.log.0.borrow().generation))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        let committed = positions.iter().map(|p| (p.partition.partition, p.offset));
        self.log.0.borrow_mut().committed.extend(committed);
        Ok(())
    }

    fn close(self, _: Duration) {}
}
