//! What the stages said of a record, its message id and the policy on failures, made into what
//! must stand in the outputs.

use std::convert::Infallible;
use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::kafka::TopicPartition;
use crate::lane::outgoing::{Capacity, Screen};
use crate::plan::{Pipeline, Then};
use crate::stage::{Emission, FailureKind, GuestFactory, Outcome, Stages};
use crate::verify::digest::Digests;
use crate::verify::window::{Fate, Part, Why, depends_on_the_moment};

use super::repeats::{Id, Repeats};
use super::{Expected, Take};

/// What the stages said of a record.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    Emitted(&'a [Part]),
    Failed(FailureKind),
    /// This, at another attempt: yet another may have come to something else.
    Retried(Result<&'a [Part], FailureKind>),
    /// They did not see it.
    Nothing,
}

pub struct Fates {
    plan: Arc<Pipeline>,
    capacities: Vec<Capacity>,
    /// Index of the topic of each output, and of the dead letters.
    topics: Vec<u16>,
    digests: Digests,
    repeats: Option<Repeats>,
    /// What the last batch emits, with the record that it belongs to.
    emitted: Vec<(usize, Part)>,
}

impl Fates {
    pub fn new(
        plan: Arc<Pipeline>,
        capacities: Vec<Capacity>,
        topics: Vec<u16>,
        digests: Digests,
        repeats: Option<Repeats>,
    ) -> Self {
        Self {
            repeats,
            plan,
            capacities,
            topics,
            digests,
            emitted: Vec::new(),
        }
    }

    /// Hands over what was decided. `retried`: the first of them was tried before. False if
    /// nobody wants more.
    pub fn batch<F: GuestFactory, R: Record>(
        &mut self,
        stages: &mut Stages<F>,
        id: &TopicPartition,
        batch: &[R],
        retried: bool,
        outcome: &mut Outcome,
        take: &mut Take<'_>,
    ) -> bool {
        let mut emitted = std::mem::take(&mut self.emitted);
        self.collect(stages, id, batch, outcome, &mut emitted);
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
            let said = match failure.map(|failure| failure.kind) {
                failure if retried && index == 0 => Said::Retried(failure.map_or(Ok(&parts), Err)),
                Some(kind) => Said::Failed(kind),
                None => Said::Emitted(&parts),
            };
            wanted = self.hand_over(id, record, said, take);
            if !wanted {
                break;
            }
        }
        self.emitted = emitted;
        wanted
    }

    /// What leaves, after what is too large has become a failure.
    fn collect<F: GuestFactory, R: Record>(
        &self,
        stages: &mut Stages<F>,
        id: &TopicPartition,
        batch: &[R],
        outcome: &mut Outcome,
        emitted: &mut Vec<(usize, Part)>,
    ) {
        let screen = Screen::new(&self.plan, &self.capacities, id);
        stages.screen(outcome, batch, screen.bytes_max(), &mut |emission| {
            screen.check(emission)
        });
        emitted.clear();
        let visited: Result<(), Infallible> = stages.emissions(outcome, batch, &mut |emission| {
            emitted.push((emission.origin, self.part(emission)));
            Ok(())
        });
        debug_assert_eq!(visited, Ok(()));
    }

    /// Hands over the next record of a partition. False if nobody wants it.
    pub fn hand_over<R: Record>(
        &mut self,
        id: &TopicPartition,
        record: &R,
        said: Said<'_>,
        take: &mut Take<'_>,
    ) -> bool {
        let repeats = self.repeats.as_mut();
        let known = repeats.map_or(Id::NoMatter, |repeats| repeats.judge(id, record));
        let (fate, why) = self.fate(known, said);
        let letter;
        let parts = match (fate, said) {
            (Fate::Letter, _) => {
                letter = [self.letter(record)];
                letter.as_slice()
            }
            (Fate::Outputs, Said::Emitted(parts) | Said::Retried(Ok(parts))) => parts,
            _ => &[],
        };
        let wanted = take(&Expected {
            offset: record.offset(),
            fate,
            why,
            parts,
        });
        // What nobody wants comes again, and must find what it found.
        if wanted && let Some(repeats) = &mut self.repeats {
            repeats.count(id);
        }
        wanted
    }

    pub fn repeats(&self) -> Option<&Repeats> {
        self.repeats.as_ref()
    }

    pub fn repeats_mut(&mut self) -> Option<&mut Repeats> {
        self.repeats.as_mut()
    }

    fn fate(&self, id: Id, said: Said<'_>) -> (Fate, Why) {
        let why = |plain| match id {
            Id::MayRepeat => Why::Identified,
            Id::Shared => Why::Shared,
            _ => plain,
        };
        match (id, said) {
            (Id::Repeats, _) => (Fate::Skipped, Why::Repeat),
            (Id::Stops, _) => (Fate::Unknown, Why::Stopped),
            (Id::Refused, _) => self.failed(Why::Failure(FailureKind::MissingId)),
            (_, Said::Nothing) => (Fate::Unknown, Why::Stateful),
            (_, Said::Retried(Ok(_))) => (Fate::Outputs, Why::Retried),
            (_, Said::Retried(Err(_))) => self.failed(Why::Retried),
            (_, Said::Emitted(_)) => (Fate::Outputs, why(Why::Plain)),
            (_, Said::Failed(kind)) if depends_on_the_moment(kind) => self.failed(Why::Failure(kind)),
            (_, Said::Failed(kind)) => self.failed(why(Why::Failure(kind))),
        }
    }

    /// A record that fails for good, by the policy.
    fn failed(&self, why: Why) -> (Fate, Why) {
        match self.plan.on_error.then {
            Then::Stop => (Fate::Unknown, Why::Stopped),
            Then::Skip => (Fate::Skipped, why),
            Then::DeadLetter { .. } => (Fate::Letter, why),
        }
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
