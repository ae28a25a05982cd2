//! Reads stretches of partitions to their ends: read-committed, in no group, from all at once.
//!
//! Invariant: it returns when the end of each stretch is reached or its handler has enough,
//! and not before; or with the handler's own trouble, or with which partition stood still.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use crate::kafka::{Consumer, GroupEvent, KafkaError, Position, TopicPartition};

use super::{ANSWER, Trouble};

const RECORDS_MAX: usize = 10_000;
const POLL: Duration = Duration::from_millis(100);

/// A part of a partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Of the partition, as the handler knows it.
    pub index: usize,
    pub partition: TopicPartition,
    pub from: i64,
    /// Behind the last offset. The log has reached it, or will soon.
    pub to: i64,
}

/// How many offsets these are.
pub fn length(stretches: &[Stretch]) -> u64 {
    let length = |s: &Stretch| u64::try_from(s.to - s.from).unwrap_or_default();
    stretches.iter().map(length).sum()
}

/// How far a reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// So many offsets are to be read from here on, as far as is known.
    Total(u64),
    /// So many more were read.
    Offsets(u64),
}

/// Is told how far.
pub type Progress<'a> = dyn FnMut(Passed) + 'a;

/// What reads along.
pub trait Handler<R> {
    /// Why it may have to end; the cluster's troubles become one, too.
    type Trouble: From<Trouble>;

    /// The next records of a stretch. False: that is enough of this one.
    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Self::Trouble>;

    /// Records of a stretch that were deleted before they could be read.
    fn gap(&mut self, stretch: &Stretch, from: i64, to: i64);

    /// The end of a stretch was reached.
    fn end(&mut self, _stretch: &Stretch) {}

    /// So many offsets were passed.
    fn progress(&mut self, _offsets: u64) {}
}

struct Open {
    stretch: Stretch,
    next: i64,
}

/// Reads all of them. Nothing may come for `give_up` at most.
pub fn read<C: Consumer, H: Handler<C::Record>>(
    consumer: &mut C,
    stretches: Vec<Stretch>,
    give_up: Duration,
    handler: &mut H,
) -> Result<(), H::Trouble> {
    let ids: Vec<TopicPartition> = stretches.iter().map(|s| s.partition.clone()).collect();
    let mut open: HashMap<TopicPartition, Open> = HashMap::new();
    let mut positions = Vec::new();
    for stretch in stretches {
        if stretch.from >= stretch.to {
            handler.end(&stretch);
            continue;
        }
        positions.push(Position {
            partition: stretch.partition.clone(),
            offset: stretch.from,
        });
        let next = stretch.from;
        open.insert(stretch.partition.clone(), Open { stretch, next });
    }
    if open.is_empty() {
        return Ok(());
    }
    consumer.assign(&positions).map_err(failed)?;
    let outcome = Reading {
        consumer,
        open,
        moved: Instant::now(),
        trouble: None,
    }
    .run(give_up, handler);
    // A pause would outlive the assignment.
    consumer.unassign(&ids).map_err(failed)?;
    outcome
}

fn failed(error: KafkaError) -> Trouble {
    Trouble::of("read", error)
}

struct Reading<'c, C> {
    consumer: &'c mut C,
    open: HashMap<TopicPartition, Open>,
    /// When something came last.
    moved: Instant,
    trouble: Option<KafkaError>,
}

impl<C: Consumer> Reading<'_, C> {
    fn run<H: Handler<C::Record>>(mut self, give_up: Duration, handler: &mut H) -> Result<(), H::Trouble> {
        while !self.open.is_empty() {
            let polled = self.consumer.poll(RECORDS_MAX, POLL).map_err(failed)?;
            let mut count = 0;
            for chunk in &polled.chunks {
                count += chunk.records.len();
                self.take(&chunk.partition, &chunk.records, handler)?;
            }
            for event in polled.events {
                match event {
                    GroupEvent::Gap { partition } => self.gap(&partition, handler)?,
                    GroupEvent::Trouble(error) => self.trouble = Some(error),
                    _ => {}
                }
            }
            if count < RECORDS_MAX / 2 {
                self.look_at_positions(handler)?;
            }
            if self.moved.elapsed() > give_up {
                return Err(self.stalled(give_up).into());
            }
        }
        Ok(())
    }

    fn take<H: Handler<C::Record>>(
        &mut self,
        id: &TopicPartition,
        records: &[C::Record],
        handler: &mut H,
    ) -> Result<(), H::Trouble> {
        let Some(open) = self.open.get_mut(id) else {
            return Ok(());
        };
        let first = records.partition_point(|record| record.offset() < open.next);
        let behind = records.partition_point(|record| record.offset() < open.stretch.to);
        let wanted = records.get(first..behind).unwrap_or_default();
        let goes_on = wanted.is_empty() || handler.records(&open.stretch, wanted)?;
        let next = if behind < records.len() {
            open.stretch.to
        } else {
            records.last().map_or(open.next, |last| last.offset() + 1)
        };
        // Recomputing may have taken its time.
        self.moved = Instant::now();
        if goes_on {
            self.advance(id, next, handler)?;
        } else {
            self.finish(id)?;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        id: &TopicPartition,
        next: i64,
        handler: &mut impl Handler<C::Record>,
    ) -> Result<(), Trouble> {
        let Some(open) = self.open.get_mut(id).filter(|open| open.next < next) else {
            return Ok(());
        };
        let next = next.min(open.stretch.to);
        handler.progress(u64::try_from(next - open.next).unwrap_or_default());
        open.next = next;
        self.moved = Instant::now();
        if next < open.stretch.to {
            return Ok(());
        }
        handler.end(&open.stretch);
        self.finish(id)
    }

    /// No more of it.
    fn finish(&mut self, id: &TopicPartition) -> Result<(), Trouble> {
        self.open.remove(id);
        self.consumer
            .pause(std::slice::from_ref(id))
            .map_err(|error| Trouble::of(&format!("pause {id}"), error))
    }

    /// Control records and aborted ones move a position without a record.
    fn look_at_positions(&mut self, handler: &mut impl Handler<C::Record>) -> Result<(), Trouble> {
        let ids: Vec<TopicPartition> = self.open.keys().cloned().collect();
        for id in ids {
            if let Some(position) = self.consumer.position(&id) {
                self.advance(&id, position, handler)?;
            }
        }
        Ok(())
    }

    /// Retention has passed where it stands.
    fn gap(&mut self, id: &TopicPartition, handler: &mut impl Handler<C::Record>) -> Result<(), Trouble> {
        let Some(open) = self.open.get(id) else {
            return Ok(());
        };
        let failed = |error| Trouble::of(&format!("find the beginning of {id}"), error);
        let bounds = self.consumer.bounds(id, ANSWER).map_err(failed)?;
        let next = bounds.start.max(open.next).min(open.stretch.to);
        if next > open.next {
            handler.gap(&open.stretch, open.next, next);
        }
        let position = Position {
            partition: id.clone(),
            offset: next,
        };
        self.consumer.seek(&[position], ANSWER).map_err(failed)?;
        self.advance(id, next, handler)
    }

    fn stalled(&self, waited: Duration) -> Trouble {
        let open = self
            .open
            .values()
            .min_by(|a, b| a.stretch.partition.cmp(&b.stretch.partition));
        let Some(open) = open else {
            return Trouble::Stalled {
                what: "nothing came".to_owned(),
                remedy: "look at the brokers".to_owned(),
            };
        };
        let id = &open.stretch.partition;
        let (next, to) = (open.next, open.stretch.to);
        let what = format!(
            "nothing came of {}:{} for {} s: read up to offset {next} of {to}",
            id.topic,
            id.partition,
            waited.as_secs()
        );
        let stable = self.consumer.bounds(id, ANSWER).map(|bounds| bounds.end);
        let remedy = match (stable, &self.trouble) {
            (Ok(stable), _) if stable < to => format!(
                "its last stable offset stands at {stable}, so a transaction is open there; wait until it ends, or \
                 find it with kafka-transactions.sh find-hanging"
            ),
            (_, Some(error)) => format!("the last trouble was {error}; look at the brokers and try again"),
            _ => "look at the brokers and try again".to_owned(),
        };
        Trouble::Stalled { what, remedy }
    }
}

#[cfg(test)]
mod tests;
