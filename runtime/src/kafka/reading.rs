//! Reading partitions from where they start to where they ended when they were asked.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::ffi::consume::{ConsumerClient, Failure, Scratch, Sink};
use super::ffi::list::List;
use super::ffi::message::Message;
use super::{KafkaError, Position, TopicPartition};

const FETCH_MAX: usize = 1000;

/// Where one partition of a topic begins and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// Asked before each fetch, with the position of each partition that is not at its end yet; says how
/// long the fetch may wait.
pub(super) type GoesOn<'a, E> = dyn FnMut(&BTreeMap<i32, i64>) -> Result<Duration, E> + 'a;

/// Hands over every record of these stretches of a topic. An error of `goes_on` or `take` ends it.
pub(super) fn read_to_ends<E: From<KafkaError>>(
    client: &Rc<ConsumerClient>,
    topic: &str,
    stretches: &[Stretch],
    goes_on: &mut GoesOn<'_, E>,
    take: impl FnMut(&Message) -> Result<(), E>,
) -> Result<(), E> {
    let unread = || stretches.iter().filter(|stretch| stretch.start < stretch.end);
    let starts: Vec<Position> = unread()
        .map(|stretch| Position {
            partition: TopicPartition {
                topic: topic.into(),
                partition: stretch.partition,
            },
            offset: stretch.start,
        })
        .collect();
    let ends: BTreeMap<i32, i64> = unread().map(|stretch| (stretch.partition, stretch.end)).collect();
    let mut positions: BTreeMap<i32, i64> = unread()
        .map(|stretch| (stretch.partition, stretch.start))
        .collect();
    if starts.is_empty() {
        return Ok(());
    }
    let mut taken = Taken { take, failure: None };
    let mut scratch = Scratch::default();
    client.assign(Some(&List::of_positions(&starts)?))?;
    while !positions.is_empty() {
        let wait = goes_on(&positions)?;
        client.fetch(&mut scratch, FETCH_MAX, wait, &mut taken);
        if let Some(failure) = taken.failure.take() {
            return Err(failure);
        }
        advance(client, topic, &ends, &mut positions)?;
    }
    client.assign(None)?;
    Ok(())
}

/// The position counts control records too, so it reaches an end that a record does not.
fn advance(
    client: &ConsumerClient,
    topic: &str,
    ends: &BTreeMap<i32, i64>,
    positions: &mut BTreeMap<i32, i64>,
) -> Result<(), KafkaError> {
    let mut list = List::new(positions.len())?;
    for partition in positions.keys() {
        list.add(topic, *partition, -1)?;
    }
    client.position(&list)?;
    for element in list.elements() {
        let is_at_end = ends
            .get(&element.partition)
            .is_some_and(|end| element.offset >= *end);
        if is_at_end {
            positions.remove(&element.partition);
        } else if let Some(position) = positions.get_mut(&element.partition) {
            *position = element.offset.max(*position);
        }
    }
    Ok(())
}

/// The first failure ends the reading.
struct Taken<T, E> {
    take: T,
    failure: Option<E>,
}

impl<E: From<KafkaError>, T: FnMut(&Message) -> Result<(), E>> Sink for Taken<T, E> {
    fn records(
        &mut self,
        _topic_handle: usize,
        _topic: &str,
        _partition: i32,
        run: impl ExactSizeIterator<Item = Message>,
    ) {
        for record in run {
            if self.failure.is_none() {
                self.failure = (self.take)(&record).err();
            }
        }
    }

    fn failure(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure.error.into());
    }
}
