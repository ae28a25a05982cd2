//! The input side over librdkafka: a member of the group, classic protocol.
//!
//! Invariants: nothing is assigned, unassigned or reset but by the lane's answer to a
//! [`GroupEvent`]; [`Consumer::position`] never reports an offset that a record before
//! it was not handed over for; a committed offset that could not be read is an error,
//! never "none".

mod gathered;
mod leaving;
mod moving;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ffi::conf::Notice;
use super::ffi::consume::{ConsumerClient, Failure, GroupMetadata, Scratch};
use super::ffi::list::List;
use super::ffi::message::Message;
use super::settings::ConsumerSettings;
use super::{
    Bounds, Consumer, GroupEvent, GroupMember, KafkaError, Polled, Position, TopicPartition, codes,
    statistics,
};
use gathered::{Gathered, intern};

/// A consumer. It belongs to the thread that opened it, as its records do.
#[derive(Debug)]
pub struct LibrdConsumer {
    client: Rc<ConsumerClient>,
    scratch: Scratch,
    names: Vec<Arc<str>>,
    assigned: BTreeMap<TopicPartition, Assigned>,
    /// When the group last told of a change.
    changed: Option<Instant>,
    /// The group metadata of the moment at which the client was made, for a sabotage.
    #[cfg(feature = "fault-injection")]
    stale_member: Option<LibrdMember>,
}

/// What is known of an assigned partition.
#[derive(Debug)]
struct Assigned {
    /// The offset after the last record handed over, or where it was told to start.
    next: i64,
    paused: bool,
    /// A position of the library's that no record stands behind.
    untrue: Option<i64>,
}

/// A consumer's membership, taken right before it is used.
#[derive(Debug, Clone)]
pub struct LibrdMember(pub(super) Arc<GroupMetadata>);

impl GroupMember for LibrdMember {
    fn generation(&self) -> i32 {
        self.0.generation()
    }
}

impl LibrdConsumer {
    /// Creates the client; it connects when it subscribes.
    pub fn open(settings: &ConsumerSettings) -> Result<Self, KafkaError> {
        let mut conf = settings.conf()?;
        conf.record_notices();
        let client = ConsumerClient::new(conf)?;
        Ok(Self {
            #[cfg(feature = "fault-injection")]
            stale_member: client
                .unfenced_group_metadata()
                .filter(|_| crate::fault::has(crate::fault::Sabotage::StaleMember))
                .map(|metadata| LibrdMember(Arc::new(metadata))),
            client: Rc::new(client),
            scratch: Scratch::default(),
            names: Vec::new(),
            assigned: BTreeMap::new(),
            changed: None,
        })
    }

    /// The cluster's id, once a broker has told it.
    pub fn cluster_id(&self, timeout: Duration) -> Option<String> {
        self.client.client().cluster_id(timeout)
    }

    fn events(&mut self, failures: Vec<Failure>) -> Vec<GroupEvent> {
        let mut events = Vec::new();
        if self.client.client().hooks().has_notices() {
            for notice in self.client.client().hooks().take_notices() {
                if matches!(notice, Notice::Assigned(_) | Notice::Revoked { .. }) {
                    self.changed = Some(Instant::now());
                }
                match notice {
                    Notice::Assigned(list) => events.push(GroupEvent::Assigned(self.named(&list))),
                    Notice::Revoked { partitions, lost } => {
                        events.push(GroupEvent::Revoked {
                            partitions: self.named(&partitions),
                            lost,
                        });
                    }
                    Notice::Error(error) => events.push(GroupEvent::Trouble(error)),
                    Notice::Statistics(json) => self.watermarks(&json, &mut events),
                }
            }
        }
        for failure in failures {
            let event = self.failed(failure);
            events.push(event);
        }
        events
    }

    fn watermarks(&mut self, json: &str, events: &mut Vec<GroupEvent>) {
        for mark in statistics::watermarks(json) {
            let partition = TopicPartition {
                topic: self.name(mark.topic),
                partition: mark.partition,
            };
            if self.assigned.contains_key(&partition) {
                events.push(GroupEvent::Watermarks {
                    partition,
                    high: mark.high,
                    last_stable: mark.last_stable,
                });
            }
        }
    }

    /// An error in place of a record of a partition. The library counts it as one
    /// (librdkafka 4844), so its position is off by one until it is told again.
    fn failed(&mut self, failure: Failure) -> GroupEvent {
        let Some(topic) = failure.topic else {
            return GroupEvent::Trouble(failure.error);
        };
        let partition = TopicPartition {
            topic: self.name(&topic),
            partition: failure.partition,
        };
        if let Some(state) = self.assigned.get_mut(&partition) {
            state.untrue = Some(failure.offset.saturating_add(1));
        }
        match failure.error.code {
            codes::LOCAL_AUTO_OFFSET_RESET | codes::OFFSET_OUT_OF_RANGE | codes::LOCAL_LOG_TRUNCATION => {
                tracing::warn!(%partition, offset = failure.offset, "{}", failure.error.message);
                GroupEvent::Gap { partition }
            }
            _ => {
                self.mend(&partition);
                let message = format!("{partition}: {}", failure.error.message);
                GroupEvent::Trouble(KafkaError {
                    message,
                    ..failure.error
                })
            }
        }
    }

    fn named(&mut self, list: &[(String, i32)]) -> Vec<TopicPartition> {
        list.iter()
            .map(|(topic, partition)| TopicPartition {
                topic: self.name(topic),
                partition: *partition,
            })
            .collect()
    }

    fn name(&mut self, topic: &str) -> Arc<str> {
        intern(&mut self.names, topic)
    }
}

impl Consumer for LibrdConsumer {
    type Record = Message;
    type Member = LibrdMember;

    fn subscribe(&mut self, topics: &[&str]) -> Result<(), KafkaError> {
        self.client.subscribe(&List::of_topics(topics)?)
    }

    fn poll(&mut self, records_max: usize, timeout: Duration) -> Result<Polled<Message>, KafkaError> {
        let mut gathered = Gathered {
            chunks: Vec::new(),
            handles: Vec::new(),
            names: &mut self.names,
            failures: Vec::new(),
        };
        self.client
            .fetch(&mut self.scratch, records_max, timeout, &mut gathered);
        let Gathered { chunks, failures, .. } = gathered;
        for chunk in &chunks {
            let Some(state) = self.assigned.get_mut(&chunk.partition) else {
                continue;
            };
            if let Some(last) = chunk.records.last() {
                state.next = strait_sdk::batch::Record::offset(last) + 1;
                state.untrue = None;
            }
        }
        let events = self.events(failures);
        Ok(Polled { chunks, events })
    }

    fn assign(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        let list = List::of_positions(positions)?;
        if self.client.is_cooperative() {
            self.client.incremental_assign(&list)?;
        } else {
            self.client.assign(Some(&list))?;
            self.assigned.clear();
        }
        for position in positions {
            self.start(position);
        }
        Ok(())
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        // The library keeps a pause across assignments: a partition that comes back would
        // never be fetched again.
        let paused = self.assigned.iter().filter(|(_, state)| state.paused);
        let paused: Vec<TopicPartition> = paused.map(|(partition, _)| partition.clone()).collect();
        let leaving: Vec<TopicPartition> = paused.into_iter().filter(|id| partitions.contains(id)).collect();
        if !leaving.is_empty() {
            self.client.resume(&List::of_partitions(&leaving)?)?;
        }
        if self.client.is_cooperative() {
            for partition in partitions {
                self.assigned.remove(partition);
            }
            self.client
                .incremental_unassign(&List::of_partitions(partitions)?)
        } else {
            self.assigned.clear();
            self.client.assign(None)
        }
    }

    fn assignment_lost(&self) -> bool {
        self.client.assignment_lost()
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError> {
        super::admin::committed(&self.client, partitions, timeout)
    }

    fn bounds(&self, partition: &TopicPartition, timeout: Duration) -> Result<Bounds, KafkaError> {
        let (start, end) = self
            .client
            .client()
            .bounds(&partition.topic, partition.partition, timeout)?;
        Ok(Bounds { start, end })
    }

    fn seek(&mut self, positions: &[Position], timeout: Duration) -> Result<(), KafkaError> {
        self.move_to(positions, timeout)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        for partition in partitions {
            self.mend(partition);
            if let Some(state) = self.assigned.get_mut(partition) {
                state.paused = true;
            }
        }
        self.client.pause(&List::of_partitions(partitions)?)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        for partition in partitions {
            if let Some(state) = self.assigned.get_mut(partition) {
                state.paused = false;
            }
        }
        self.client.resume(&List::of_partitions(partitions)?)
    }

    fn position(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.assigned.get(partition)?;
        self.library_position(partition)
            .filter(|offset| state.untrue != Some(*offset) && *offset >= state.next)
    }

    fn member(&self) -> Option<LibrdMember> {
        #[cfg(feature = "fault-injection")]
        if self.stale_member.is_some() {
            return self.stale_member.clone();
        }
        self.client
            .group_metadata()
            .map(|metadata| LibrdMember(Arc::new(metadata)))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        if positions.is_empty() {
            return Ok(());
        }
        let list = List::of_positions(positions)?;
        self.client.commit(&list)?;
        list.check_elements()
    }

    fn close(mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        if let Err(error) = self.leave(deadline) {
            tracing::debug!(%error, "could not leave the group in an orderly way");
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match Rc::try_unwrap(self.client) {
            Ok(client) => {
                if !client.free(left) {
                    tracing::warn!("the consumer did not end in time and is left behind");
                }
            }
            Err(_) => {
                tracing::debug!("records of the consumer are still in use: it ends with the last of them");
            }
        }
    }
}
