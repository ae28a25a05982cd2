//! The input side over librdkafka: a member of the group, classic protocol.
//!
//! Invariants: nothing is assigned, unassigned or reset but by the lane's answer to a
//! [`GroupEvent`]; [`Consumer::position`] never reports an offset that a record before
//! it was not handed over for; a committed offset that could not be read is an error,
//! never "none".

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ffi::conf::Notice;
use super::ffi::consume::{ConsumerClient, Failure, GroupMetadata, Scratch, Sink};
use super::ffi::error::{CallFailed, of_code};
use super::ffi::list::List;
use super::ffi::message::Message;
use super::settings::ConsumerSettings;
use super::{
    Bounds, Chunk, Consumer, GroupEvent, GroupMember, KafkaError, Polled, Position, TopicPartition, codes,
    statistics,
};

/// A seek that must wait for its partition to start is tried again this often.
const SEEK_AGAIN: Duration = Duration::from_millis(20);
/// A change of the group may go on for this long: a heartbeat, and a bit.
const SETTLE: Duration = Duration::from_millis(3500);
/// Left for leaving itself.
const FAREWELL: Duration = Duration::from_millis(1500);
/// librdkafka's "end of the log".
const LOG_END: i64 = -1;
/// How long the lane's thread may stand still to mend a position after a fetch error.
const MEND_MAX: Duration = Duration::from_millis(500);

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

    /// Makes the library's position true again, for a pause would save the wrong one.
    fn mend(&mut self, partition: &TopicPartition) {
        let Some(state) = self.assigned.get(partition).filter(|s| s.untrue.is_some()) else {
            return;
        };
        let back = Position {
            partition: partition.clone(),
            offset: state.next,
        };
        if let Err(error) = self.seek(&[back], MEND_MAX) {
            tracing::debug!(%partition, %error, "the position stays unknown for now");
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

    /// A partition begins at this position, or goes on there.
    fn start(&mut self, position: &Position) {
        // Nothing was handed over since, so whatever the library reports is an echo.
        let untrue = self.library_position(&position.partition);
        let paused = self
            .assigned
            .get(&position.partition)
            .is_some_and(|state| state.paused);
        let state = Assigned {
            next: position.offset,
            paused,
            untrue,
        };
        self.assigned.insert(position.partition.clone(), state);
    }

    fn library_position(&self, partition: &TopicPartition) -> Option<i64> {
        let list = List::of_partitions(std::slice::from_ref(partition)).ok()?;
        self.client.position(&list).ok()?;
        list.first()
            .filter(|(offset, code)| *offset >= 0 && *code == codes::NO_ERROR)
            .map(|(offset, _)| offset)
    }

    /// The partitions that still have to be moved, and why the first of them was not.
    fn seek_once(
        &self,
        positions: &[Position],
        timeout: Duration,
    ) -> Result<Vec<(Position, KafkaError)>, KafkaError> {
        let list = List::of_positions(positions)?;
        match self.client.seek(&list, timeout) {
            Ok(())
            | Err(CallFailed {
                error:
                    KafkaError {
                        code: codes::LOCAL_TIMED_OUT,
                        ..
                    },
                ..
            }) => {}
            Err(failed) => return Err(failed.error),
        }
        let outcomes = positions.iter().zip(list.elements());
        Ok(outcomes
            .filter(|(_, element)| element.code != codes::NO_ERROR)
            .map(|(position, element)| {
                (
                    position.clone(),
                    of_code(element.code, &position.partition.to_string()),
                )
            })
            .collect())
    }

    /// Partitions whose fetcher gave up (after a gap, say) take no seek: they are taken
    /// out of the assignment and put back in.
    fn restart(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        if positions.is_empty() {
            return Ok(());
        }
        if self.client.is_cooperative() {
            let list = List::of_positions(positions)?;
            self.client.incremental_unassign(&list)?;
            return self.client.incremental_assign(&list);
        }
        for position in positions {
            self.start(position);
        }
        let all = self.assigned.iter();
        let all = all.map(|(partition, state)| Position {
            partition: partition.clone(),
            offset: state.next,
        });
        self.client
            .assign(Some(&List::of_positions(&all.collect::<Vec<_>>())?))?;
        let paused = self.assigned.iter().filter(|(_, state)| state.paused);
        let paused: Vec<_> = paused.map(|(partition, _)| partition.clone()).collect();
        if paused.is_empty() {
            Ok(())
        } else {
            self.client.pause(&List::of_partitions(&paused)?)
        }
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
        let deadline = Instant::now() + timeout;
        // First of all: a restart of one partition assigns all of them anew, at what is noted.
        for position in positions
            .iter()
            .filter(|p| self.assigned.contains_key(&p.partition))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.start(&position);
        }
        let mut rest: Vec<Position> = positions.to_vec();
        let mut restarted = false;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let failed = self.seek_once(&rest, left)?;
            let Some((_, why)) = failed.first() else { break };
            let waits = |code| {
                matches!(
                    code,
                    codes::LOCAL_STATE | codes::LOCAL_PREVIOUS_IN_PROGRESS | codes::LOCAL_IN_PROGRESS
                )
            };
            if left.is_zero() || failed.iter().any(|(_, e)| !waits(e.code)) {
                return Err(why.clone());
            }
            if !std::mem::replace(&mut restarted, true) {
                let stopped = failed.iter().filter(|(position, error)| {
                    error.code == codes::LOCAL_STATE && self.assigned.contains_key(&position.partition)
                });
                let stopped: Vec<_> = stopped.map(|(position, _)| position.clone()).collect();
                self.restart(&stopped)?;
            }
            rest = failed.into_iter().map(|(position, _)| position).collect();
            std::thread::sleep(SEEK_AGAIN.min(left));
        }
        for position in positions {
            if self.assigned.contains_key(&position.partition) {
                self.start(position);
            }
        }
        Ok(())
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

impl LibrdConsumer {
    /// Leaves the group, answering the revoke that this causes. Also sends the leave
    /// request, so that the others need not wait for the session to end.
    fn leave(&mut self, deadline: Instant) -> Result<(), KafkaError> {
        self.settle(deadline)?;
        self.client.unsubscribe()?;
        self.client.start_closing()?;
        while !self.client.is_closed() && Instant::now() < deadline {
            self.answer_farewell()?;
        }
        Ok(())
    }

    /// While a join is under way, the broker answers nothing else on that connection: a leave
    /// request would be lost with it, and the others would wait for the session to end. A
    /// member that joined lately may be in that, until the slowest of the others has had its
    /// heartbeat.
    fn settle(&mut self, deadline: Instant) -> Result<(), KafkaError> {
        let until = deadline.checked_sub(FAREWELL).unwrap_or(deadline);
        while self.changed.is_some_and(|at| at.elapsed() < SETTLE) && Instant::now() < until {
            self.answer_farewell()?;
        }
        Ok(())
    }

    fn answer_farewell(&mut self) -> Result<(), KafkaError> {
        for event in self.poll(1000, Duration::from_millis(50))?.events {
            match event {
                GroupEvent::Revoked { partitions, .. } => self.unassign(&partitions)?,
                GroupEvent::Assigned(partitions) => {
                    let parked = |partition| Position {
                        partition,
                        offset: LOG_END,
                    };
                    self.assign(&partitions.into_iter().map(parked).collect::<Vec<_>>())?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The chunks of one poll while they grow.
struct Gathered<'a> {
    chunks: Vec<Chunk<Message>>,
    /// The topic handle of each chunk: comparing it is cheaper than the name.
    handles: Vec<usize>,
    names: &'a mut Vec<Arc<str>>,
    failures: Vec<Failure>,
}

impl Sink for Gathered<'_> {
    fn records(
        &mut self,
        topic_handle: usize,
        topic: &str,
        partition: i32,
        run: impl ExactSizeIterator<Item = Message>,
    ) {
        let mut chunks = self.handles.iter().zip(&mut self.chunks);
        let known = chunks.find(|(handle, c)| **handle == topic_handle && c.partition.partition == partition);
        if let Some((_, chunk)) = known {
            chunk.records.extend(run);
            return;
        }
        let topic = intern(self.names, topic);
        self.handles.push(topic_handle);
        self.chunks.push(Chunk {
            partition: TopicPartition { topic, partition },
            records: run.collect(),
        });
    }

    fn failure(&mut self, failure: Failure) {
        self.failures.push(failure);
    }
}

/// Each topic's name once, to be shared.
fn intern(names: &mut Vec<Arc<str>>, topic: &str) -> Arc<str> {
    if let Some(name) = names.iter().find(|name| ***name == *topic) {
        return Arc::clone(name);
    }
    let name: Arc<str> = topic.into();
    names.push(Arc::clone(&name));
    name
}
