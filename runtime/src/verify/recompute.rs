//! What must become of input records: the real stages, run once more, with nobody waiting.
//!
//! Batches are cut as a lane cuts them. A record that asks for another attempt gets it at
//! once; records among which one hit a deadline run alone. What depends on the moment
//! (attempts, deadlines, memory, sizes that a broker takes) is marked so: another run may have
//! decided otherwise. So is a record that `dedup` may have dropped: what it repeats may lie in
//! another partition, or before the range. Keyed state would be worked out here too, from the
//! first record on.

use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::dedup::message_id::IdReader;
use crate::guest::GuestFault;
use crate::kafka::TopicPartition;
use crate::lane::outgoing::{Capacity, Screen};
use crate::plan::{DedupMode, OnMissingId, Pipeline, Then};
use crate::stage::{Allowance, Emission, FailureKind, GuestFactory, Outcome, Stages, Stopped, cut};

use super::digest::Digests;
use super::window::{Fate, Part, Why, depends_on_the_moment};

/// What must become of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    pub offset: i64,
    pub fate: Fate,
    pub why: Why,
    pub parts: &'a [Part],
}

/// The stages, and what their results turn into.
pub struct Recompute<F: GuestFactory> {
    plan: Arc<Pipeline>,
    stages: Stages<F>,
    capacities: Vec<Capacity>,
    /// Index of the topic of each output, and of the dead letters.
    topics: Vec<u16>,
    digests: Digests,
    /// Of the pipeline's `dedup`.
    ids: Option<IdReader>,
    /// What the last batch emits, with the record that it belongs to.
    emitted: Vec<(usize, Part)>,
}

/// What a record's message id, or the want of one, means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    NoMatter,
    /// Another record may have the same.
    MayRepeat,
    /// It has none, and fails for it.
    Refused,
    /// It has none, and the group cannot have passed it.
    Stops,
}

/// A place in a batch, and what is known of it.
#[derive(Clone, Copy, Default)]
struct Course {
    /// How often the next record was tried.
    tried: u32,
    /// So many records run alone.
    alone: usize,
}

impl<F: GuestFactory + Clone> Recompute<F> {
    /// `capacities` and `topics` in the order of [`Pipeline::produced_topics`].
    pub fn new(
        plan: Arc<Pipeline>,
        modules: &[F],
        capacities: Vec<Capacity>,
        topics: Vec<u16>,
        digests: Digests,
    ) -> Result<Self, GuestFault> {
        Ok(Self {
            stages: Stages::new(&plan, modules, None)?,
            ids: plan
                .dedup
                .as_ref()
                .map(|dedup| IdReader::new(dedup.id.clone(), &[])),
            plan,
            capacities,
            topics,
            digests,
            emitted: Vec::new(),
        })
    }
}

impl<F: GuestFactory> Recompute<F> {
    /// Works out the fates of records of one partition, in their order, until `take` has
    /// enough. The error says why the module does not fit the pipeline.
    pub fn records<R: Record>(
        &mut self,
        id: &TopicPartition,
        records: &[R],
        take: &mut dyn FnMut(&Expected<'_>) -> bool,
    ) -> Result<(), String> {
        let Some(limits) = self.plan.stages.first().map(|stage| stage.batch) else {
            return Ok(());
        };
        let mut course = Course::default();
        let mut rest = records;
        while !rest.is_empty() {
            let count = if course.alone > 0 { 1 } else { cut(rest, &limits) };
            let (batch, _) = rest.split_at(count.min(rest.len()));
            let allowance = Allowance {
                guest_time_left: self.plan.timeouts.guest_time_max(),
                tried: course.tried,
                retries_max: self.plan.on_error.retry.attempts,
            };
            let mut outcome = self.stages.run(id, batch, allowance);
            let went_on = self.batch(id, batch, course, &mut outcome, take);
            let decided = outcome.decided;
            let stopped = outcome.stopped.take();
            self.stages.release(outcome);
            if !went_on {
                return Ok(());
            }
            let is_stuck =
                course.alone > 0 && decided == 0 && matches!(stopped, Some(Stopped::Suspects { .. }));
            course = Self::next(course, decided, stopped)?;
            if is_stuck {
                // Alone, and still not decided.
                let more = batch.first().is_none_or(|record| {
                    self.hand_over_failed(record, Why::Failure(FailureKind::Deadline), take)
                });
                if !more {
                    return Ok(());
                }
            }
            let done = if is_stuck { 1 } else { decided };
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    fn next(course: Course, decided: usize, stopped: Option<Stopped>) -> Result<Course, String> {
        let alone = course.alone.saturating_sub(decided.max(1));
        Ok(match stopped {
            None | Some(Stopped::OutOfTime) => Course { tried: 0, alone },
            Some(Stopped::Retry { .. }) => Course {
                tried: if decided == 0 { course.tried + 1 } else { 1 },
                alone: course.alone.saturating_sub(decided),
            },
            Some(Stopped::Suspects { range, .. }) => Course {
                tried: if decided == 0 { course.tried } else { 0 },
                alone: if course.alone > 0 {
                    alone
                } else {
                    range.len().max(1)
                },
            },
            Some(Stopped::Pipeline { reason }) => return Err(reason),
        })
    }

    /// Hands over what was decided. False if nobody wants more.
    fn batch<R: Record>(
        &mut self,
        id: &TopicPartition,
        batch: &[R],
        course: Course,
        outcome: &mut Outcome,
        take: &mut dyn FnMut(&Expected<'_>) -> bool,
    ) -> bool {
        let screen = Screen::new(&self.plan, &self.capacities, id);
        self.stages
            .screen(outcome, batch, screen.bytes_max(), &mut |emission| {
                screen.check(emission)
            });
        let mut emitted = std::mem::take(&mut self.emitted);
        emitted.clear();
        let visited: Result<(), std::convert::Infallible> =
            self.stages.emissions(outcome, batch, &mut |emission| {
                emitted.push((emission.origin, self.part(emission)));
                Ok(())
            });
        debug_assert_eq!(visited, Ok(()));
        let (mut rest, mut failures) = (emitted.as_slice(), outcome.failures.iter().peekable());
        let mut parts = Vec::new();
        let mut wanted = true;
        for (index, record) in batch.iter().enumerate().take(outcome.decided) {
            let own = rest.iter().take_while(|(origin, _)| *origin == index).count();
            let (mine, others) = rest.split_at(own);
            rest = others;
            parts.clear();
            parts.extend(mine.iter().map(|(_, part)| *part));
            let failure = failures.next_if(|failure| failure.record == index);
            let id = self.message_id(record);
            let why = match failure {
                _ if id == Id::Refused => Why::Failure(FailureKind::MissingId),
                // Another attempt may have come to something else, whatever it came to here.
                _ if index == 0 && course.tried > 0 => Why::Retried,
                Some(failure) if depends_on_the_moment(failure.kind) => Why::Failure(failure.kind),
                _ if id == Id::MayRepeat => Why::Identified,
                Some(failure) => Why::Failure(failure.kind),
                None => Why::Plain,
            };
            wanted = match failure {
                _ if id == Id::Stops => take(&Expected {
                    offset: record.offset(),
                    fate: Fate::Unknown,
                    why: Why::Stopped,
                    parts: &[],
                }),
                _ if id == Id::Refused => self.hand_over_failed(record, why, take),
                Some(_) => self.hand_over_failed(record, why, take),
                None => take(&Expected {
                    offset: record.offset(),
                    fate: Fate::Outputs,
                    why,
                    parts: &parts,
                }),
            };
            if !wanted {
                break;
            }
        }
        self.emitted = emitted;
        wanted
    }

    fn message_id<R: Record>(&self, record: &R) -> Id {
        let (Some(ids), Some(dedup)) = (&self.ids, &self.plan.dedup) else {
            return Id::NoMatter;
        };
        match (ids.id_of(record), dedup.on_missing_id) {
            (Some(_), _) if dedup.mode == DedupMode::Drop => Id::MayRepeat,
            (Some(_), _) | (None, OnMissingId::Pass) => Id::NoMatter,
            (None, OnMissingId::DeadLetter) => Id::Refused,
            (None, OnMissingId::Stop) => Id::Stops,
        }
    }

    /// A record that fails for good, by the policy.
    fn hand_over_failed<R: Record>(
        &self,
        record: &R,
        why: Why,
        take: &mut dyn FnMut(&Expected<'_>) -> bool,
    ) -> bool {
        let letter;
        let (fate, why, parts) = match self.plan.on_error.then {
            Then::Stop => (Fate::Unknown, Why::Stopped, [].as_slice()),
            Then::Skip => (Fate::Skipped, why, [].as_slice()),
            Then::DeadLetter { .. } => {
                letter = [self.letter(record)];
                (Fate::Letter, why, letter.as_slice())
            }
        };
        take(&Expected {
            offset: record.offset(),
            fate,
            why,
            parts,
        })
    }

    fn part(&self, emission: &Emission<'_>) -> Part {
        Part {
            topic: self.topics.get(emission.output.0).copied().unwrap_or_default(),
            digest: self
                .digests
                .of(emission.key, emission.value, emission.headers.iter().copied()),
        }
    }

    fn letter<R: Record>(&self, record: &R) -> Part {
        let index = self.plan.dead_letter_index();
        Part {
            topic: index
                .and_then(|index| self.topics.get(index))
                .copied()
                .unwrap_or_default(),
            digest: self.digests.of_record(record, record.header_count()),
        }
    }
}

#[cfg(test)]
mod tests;
