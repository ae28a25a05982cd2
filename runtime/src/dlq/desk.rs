//! The cluster, the topic of the letters and that of their marks, and reading through them.
//!
//! Invariant: letters are read up to the last stable offset that was asked for first, so an
//! open transaction of a lane holds nobody up; partitions one after the other, so that their
//! order is always the same.

use std::ops::ControlFlow;
use std::sync::Arc;

use strait_sdk::batch::Record;

use super::Trouble;
use super::letter::{Letter, Owner, Place};
use super::marks::{MARKS_MAX, Marks};
use super::selection::Selection;
use crate::inquiry::{self, ANSWER, Handler, Passed, Progress, Reader, Stretch, insist, length};
use crate::kafka::admin::Admin;
use crate::kafka::ends::LogEnds;
use crate::kafka::{Bounds, TopicPartition};
use crate::pipeline::preflight::{self, Refusal};
use crate::plan::Pipeline;

/// The topic of marks has one.
const MARKS_PARTITION: i32 = 0;

/// Where all verbs begin.
pub struct Desk {
    pub plan: Arc<Pipeline>,
    pub cluster_id: String,
    /// Of the letters.
    pub topic: Arc<str>,
    pub topic_id: String,
    pub owner: Owner,
    pub admin: Admin,
    partitions: i32,
    client_id: String,
}

/// What a record of the topic is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Ours(Letter),
    /// A letter of another pipeline.
    Others(Letter),
    /// No dead letter in any style.
    NoLetter(Place),
}

/// Gets each record, and says whether to go on.
type TakeRecord<'a> = dyn FnMut(&dyn Record) -> Result<ControlFlow<()>, Trouble> + 'a;

/// The same, with what the record is.
type TakeLetter<'a> = dyn FnMut(&dyn Record, Read) -> Result<ControlFlow<()>, Trouble> + 'a;

impl Desk {
    pub fn open(plan: &Arc<Pipeline>) -> Result<Self, Trouble> {
        let Some(topic) = plan.dead_letter_topic() else {
            return Err(Trouble::Usage(format!(
                "{} writes no dead letters, so nothing says where they are; if it did, name the topic with --set \
                 on_error.then=dead_letter --set on_error.dead_letter=TOPIC",
                plan.name
            )));
        };
        let client_id = format!("{}.dlq", plan.name);
        let admin = Admin::open(&plan.cluster, &client_id).map_err(inquiry::Trouble::opening)?;
        let cluster_id = insist("reach the cluster", || admin.cluster_id(ANSWER))?;
        let described = insist(&format!("find the dead letters' topic {topic}"), || {
            admin.describe_topic(topic, ANSWER)
        })?;
        Ok(Self {
            cluster_id,
            topic: topic.into(),
            topic_id: described.id.unwrap_or_else(|| topic.to_owned()),
            owner: Owner::new(plan),
            partitions: described.partitions,
            plan: Arc::clone(plan),
            admin,
            client_id,
        })
    }

    /// The marks as an onlooker sees them; none if there is no topic of them.
    pub fn marks(&self) -> Result<Marks, Trouble> {
        let topic = self.marks_partition().topic;
        let found = inquiry::topic(&self.admin, &format!("find the topic {topic}"), &topic)?;
        if found.is_some() {
            self.all_marks()
        } else {
            Ok(Marks::new(&self.topic_id))
        }
    }

    /// All marks, for whoever has fenced all others that write them.
    ///
    /// They are read up to the high watermark: a commit is acknowledged before its markers are
    /// written, which the last stable offset waits for.
    pub fn all_marks(&self) -> Result<Marks, Trouble> {
        let partition = self.marks_partition();
        let mut ends =
            LogEnds::open(&self.plan.cluster, &self.client_id).map_err(inquiry::Trouble::opening)?;
        let bounds = insist("ask for the bounds of the marks", || {
            ends.bounds(&partition, ANSWER)
        })?;
        self.read_marks(&partition, bounds)
    }

    fn read_marks(&self, partition: &TopicPartition, bounds: Bounds) -> Result<Marks, Trouble> {
        let mut marks = Marks::new(&self.topic_id);
        let stretch = Stretch {
            index: 0,
            partition: partition.clone(),
            from: bounds.start,
            to: bounds.end,
        };
        each(&mut self.reader()?, stretch, &mut |_| {}, &mut |record| {
            marks
                .take(record.key(), record.value())
                .map_err(|unreadable| Trouble::Misfit {
                    what: format!("{} at {}: {unreadable}", partition.topic, record.offset()),
                    remedy: "run the newer version that has written it".to_owned(),
                })?;
            if marks.len() > MARKS_MAX {
                return Err(Trouble::TooManyMarks {
                    topic: partition.topic.to_string(),
                    max: MARKS_MAX,
                });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(marks)
    }

    fn marks_partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.plan.name.dead_letter_marks_topic().into(),
            partition: MARKS_PARTITION,
        }
    }

    /// Finds the topic of the marks or makes it; says how large a record it takes.
    pub fn make_marks_topic(&self) -> Result<usize, Trouble> {
        let found = insist(
            "find or create the topic of the marks",
            || match preflight::dead_letter_marks(&self.plan) {
                Ok(capacity) => Ok(Ok(capacity.message_bytes_max)),
                Err(Refusal::Unreachable(error)) => Err(error),
                Err(Refusal::Misfits(misfits)) => Ok(Err(misfits)),
            },
        )?;
        found.map_err(|misfits| {
            let first = misfits.into_iter().next();
            let (what, remedy) = first
                .map(|misfit| (misfit.what, misfit.remedy))
                .unwrap_or_default();
            Trouble::Misfit { what, remedy }
        })
    }

    /// Hands over all records of the topic where what is selected stands, and what they are.
    pub fn letters(
        &self,
        selection: &Selection,
        progress: &mut Progress<'_>,
        take: &mut TakeLetter<'_>,
    ) -> Result<(), Trouble> {
        let stretches = self.stretches(selection)?;
        progress(Passed::Total(length(&stretches)));
        let mut reader = self.reader()?;
        for stretch in stretches {
            let partition = stretch.partition.partition;
            let goes_on = each(&mut reader, stretch, progress, &mut |record| {
                let read = match Letter::read(partition, record) {
                    Some(letter) if self.owner.owns(&letter) => Read::Ours(letter),
                    Some(letter) => Read::Others(letter),
                    None => Read::NoLetter(Place {
                        partition,
                        offset: record.offset(),
                    }),
                };
                take(record, read)
            })?;
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    fn stretches(&self, selection: &Selection) -> Result<Vec<Stretch>, Trouble> {
        let named = selection.places.iter().map(|place| place.partition);
        if let Some(partition) = named
            .chain(selection.partition)
            .find(|partition| !(0..self.partitions).contains(partition))
        {
            let (topic, count) = (&self.topic, self.partitions);
            let what = format!("{topic} has no partition {partition}; it has {count}, counted from 0");
            return Err(Trouble::Usage(what));
        }
        let mut stretches = Vec::new();
        for number in 0..self.partitions {
            let range = selection.range(number);
            if range.is_empty() {
                continue;
            }
            let partition = self.partition(number);
            let bounds = insist("ask for the bounds of the dead letters", || {
                self.admin.bounds(&partition, ANSWER)
            })?;
            let (from, to) = (range.start.max(bounds.start), range.end.min(bounds.end));
            if from < to {
                stretches.push(Stretch {
                    index: 0,
                    partition,
                    from,
                    to,
                });
            }
        }
        Ok(stretches)
    }

    /// The numbers of the letters' partitions.
    pub fn partitions(&self) -> std::ops::Range<i32> {
        0..self.partitions
    }

    /// One of the letters' partitions.
    pub fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(&self.topic),
            partition: number,
        }
    }

    /// A reader of whatever topic.
    pub fn reader(&self) -> Result<Reader, Trouble> {
        Ok(Reader::open(&self.plan, &self.client_id)?)
    }
}

/// Hands over the records of a stretch, until there is enough of it. False: there was enough.
pub fn each(
    reader: &mut Reader,
    stretch: Stretch,
    progress: &mut Progress<'_>,
    take: &mut TakeRecord<'_>,
) -> Result<bool, Trouble> {
    let mut each = Each {
        take,
        progress,
        goes_on: true,
    };
    reader.read(vec![stretch], &mut each)?;
    Ok(each.goes_on)
}

struct Each<'a, 'p, 't> {
    take: &'a mut TakeRecord<'t>,
    progress: &'a mut Progress<'p>,
    goes_on: bool,
}

impl<R: Record> Handler<R> for Each<'_, '_, '_> {
    type Trouble = Trouble;

    fn records(&mut self, _: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        for record in records {
            if (self.take)(record)?.is_break() {
                self.goes_on = false;
                break;
            }
        }
        Ok(self.goes_on)
    }

    /// What was deleted meanwhile is nobody's letter any more.
    fn gap(&mut self, _: &Stretch, _: i64, _: i64) {}

    fn progress(&mut self, offsets: u64) {
        (self.progress)(Passed::Offsets(offsets));
    }
}
