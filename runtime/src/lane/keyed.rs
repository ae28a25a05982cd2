//! Keyed state in a lane: what a batch changes becomes part of the transaction when it is decided,
//! is written into the changelogs with the offsets, and is stored when it has committed.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use crate::kafka::{Consumer, Produce, Producer, ProducerFactory, TopicPartition, TransactionError};
use crate::restore::{NotRestored, Restores};
use crate::stage::{GuestFactory, Outcome};
use crate::state::local::{Folder, LocalError, Position};
use crate::state::restore::{Back, Measure, Tickets, made_again};
use crate::state::session::Session;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;
use super::partitions::{Partitions, Standing, origin};
use super::work::Turn;

/// How often the local copies are told how far they are. What was written since is read again after a
/// restart.
const MEASURE_INTERVAL: Duration = Duration::from_secs(30);

/// How long the offset is asked for that state is ahead of.
const COMMITTED_WAIT: Duration = Duration::from_secs(2);

/// The state of a lane's partitions, and where it comes back from.
#[derive(Debug)]
pub struct States {
    session: Rc<Session>,
    folder: Folder,
    tickets: Tickets,
    restores: Box<dyn Restores<Back, Measure>>,
    measured: HashMap<TopicPartition, Instant>,
    measure_interval: Duration,
    /// How far changelogs reach, of partitions that have not committed since that was asked.
    unproven: HashMap<TopicPartition, Vec<Position>>,
}

/// State that came back, and is ahead of where its partition starts.
pub(super) struct Ahead {
    pub id: TopicPartition,
    pub next: i64,
}

impl States {
    pub fn new(
        session: Rc<Session>,
        folder: Folder,
        tickets: Tickets,
        restores: Box<dyn Restores<Back, Measure>>,
    ) -> Self {
        Self {
            session,
            folder,
            tickets,
            restores,
            unproven: HashMap::new(),
            measured: HashMap::new(),
            measure_interval: MEASURE_INTERVAL,
        }
    }

    /// Tells the local copies how far they are after every commit.
    #[cfg(test)]
    #[must_use]
    pub fn measuring_always(mut self) -> Self {
        self.measure_interval = Duration::ZERO;
        self
    }

    pub(super) fn restore(&mut self, id: &TopicPartition, topic_id: &Arc<str>) {
        self.session.forget(id);
        self.unproven.remove(id);
        let ticket = self.folder.assigned(id);
        self.tickets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), ticket);
        self.restores.begin(id, topic_id);
    }

    pub(super) fn forget(&mut self, id: &TopicPartition) {
        self.session.forget(id);
        self.restores.forget(id);
        self.measured.remove(id);
        self.unproven.remove(id);
    }

    /// Partitions whose state is whole, and those where it cannot be right.
    pub(super) fn restored<R: Record>(
        &mut self,
        partitions: &Partitions<R>,
    ) -> Result<(Vec<TopicPartition>, Vec<Ahead>), Interrupt> {
        let (mut back, mut ahead) = (Vec::new(), Vec::new());
        for restored in self.restores.finished().map_err(NotRestored::Gone)? {
            let id = restored.partition;
            match restored.whole.map_err(Interrupt::Pipeline)? {
                Back::Whole(whole) => {
                    let start = partitions
                        .get(&id)
                        .map_or(i64::MAX, |partition| partition.committed);
                    if let Some(mark) = whole.mark.as_ref().filter(|mark| mark.next > start) {
                        ahead.push(Ahead { id, next: mark.next });
                        continue;
                    }
                    self.session.own(id.clone(), restored.topic_id, whole);
                    self.measured.insert(id.clone(), Instant::now());
                    back.push(id);
                }
                Back::Reached(positions) if self.session.is_of(&id, &positions) => {
                    self.unproven.insert(id, positions);
                }
                Back::Reached(_) => return Err(Interrupt::Pipeline(made_again(&id))),
            }
        }
        Ok((back, ahead))
    }

    /// A copy that fails is built anew at the next start: who has it open cannot mend it.
    fn interrupt(&self, error: &LocalError) -> Interrupt {
        match error {
            LocalError::Failed(_) => {
                self.folder.condemn();
                Interrupt::Pipeline(error.to_string())
            }
            LocalError::NotOwner => Interrupt::Lane(error.to_string()),
        }
    }

    /// The transaction committed, with the records of this partition before `next`.
    fn committed(&mut self, id: &TopicPartition, next: i64, now: Instant) -> Result<(), LocalError> {
        self.session.committed(id, next)?;
        if let Some(positions) = self.unproven.remove(id) {
            self.session.reached(id, &positions)?;
        }
        self.measure(id, now);
        Ok(())
    }

    /// Records with these timestamps are decided.
    pub(super) fn advance(&self, id: &TopicPartition, timestamps_ms: impl Iterator<Item = i64>) {
        self.session.advance(id, timestamps_ms);
    }

    /// Asks now and then how far the changelogs of this partition reach. The answer is taken between two
    /// transactions, when nothing that this lane has written waits for its outcome; and it counts only
    /// when the next has committed, which proves that nobody else owned the partition when it was asked.
    /// So all that lies before it is stored.
    fn measure(&mut self, id: &TopicPartition, now: Instant) {
        let due = |last: &Instant| now.duration_since(*last) >= self.measure_interval;
        if self.measured.get(id).is_some_and(due) {
            self.measured.insert(id.clone(), now);
            self.restores.errand(id, Measure);
        }
    }
}

fn ahead_of_offset(id: &TopicPartition, next: i64, start: i64) -> String {
    format!(
        "{id}: the state has counted the records before offset {next} already, and the group's offset is {start}: going \
         on would count {} of them again. strait offsets reset sets it to {next}; or, where it stands, begins \
         without state (--state clear) or counts them twice (--state keep)",
        next - start
    )
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// A batch of so many records is about to run.
    pub(super) fn begin_state(&self, turn: &Turn, count: usize) -> Result<(), Interrupt> {
        if let (Some(state), Some(partition)) = (&self.state, self.partitions.at(turn.slot)) {
            let records = partition.backlog.front(count).iter();
            if !state.session.begin(&turn.id, records.map(Record::timestamp_ms)) {
                return Err(Interrupt::Lane(format!("the state of {} is not there", turn.id)));
            }
        }
        Ok(())
    }

    /// A record that failed behind a stage in which it changed the state (or when its outputs were
    /// looked at) must leave nothing behind; but the records after it have seen what it wrote. So what
    /// follows it is decided anew, and it stands alone when it fails. True if there is such a record.
    pub(super) fn keep_apart(&mut self, turn: &Turn, count: usize, outcome: &mut Outcome) -> bool {
        let (Some(state), Some(partition)) = (&self.state, self.partitions.at_mut(turn.slot)) else {
            return false;
        };
        let failed = outcome.failures.iter().map(|failure| failure.record);
        let Some(record) = state.session.first_touched(failed) else {
            return false;
        };
        if count > 1 {
            partition.apart = partition.backlog.offset_at(record);
            self.stages.stop_before(outcome, record);
        }
        true
    }

    /// What the decided records changed is part of the transaction.
    pub(super) fn settle_state(&mut self, turn: &Turn, outcome: &Outcome) {
        if let (Some(state), Some(open), Some(partition)) =
            (&self.state, &mut self.open, self.partitions.at(turn.slot))
        {
            let decided = partition.backlog.front(outcome.decided).iter();
            let decided: Vec<i64> = decided.map(Record::offset).collect();
            let failed = outcome.failures.iter().map(|failure| failure.record);
            open.bytes = open.bytes.saturating_add(state.session.settle(&decided, failed));
        }
    }

    /// Guests remember what they were shown. What nobody decided, and what a failed record wrote, they
    /// shall not.
    pub(super) fn forget_undone(&mut self, is_undone: bool) {
        if self.state.is_some() && is_undone {
            self.stages.reset();
        }
    }

    /// Why the local copy made the stages stop, if it did.
    pub(super) fn local_trouble(&self) -> Option<Interrupt> {
        let state = self.state.as_ref()?;
        let trouble = state.session.take_trouble()?;
        Some(state.interrupt(&trouble))
    }

    /// The state of a partition is ahead of where it starts here. Either others have owned it meanwhile, and
    /// committed; or somebody has set its offset back.
    pub(super) fn look_again(&mut self, ahead: &Ahead) -> Result<(), Interrupt> {
        let asked = self
            .consumer
            .committed(std::slice::from_ref(&ahead.id), COMMITTED_WAIT);
        let Some(partition) = self.partitions.get_mut(&ahead.id) else {
            return Ok(());
        };
        if let Ok(committed) = asked {
            // A group without an offset starts where this lane was told to.
            let committed = committed.first().and_then(|(_, offset)| *offset);
            let start = committed.unwrap_or(partition.committed);
            if start < ahead.next && !self.consumer.assignment_lost() {
                let why = ahead_of_offset(&ahead.id, ahead.next, start);
                return Err(Interrupt::Pipeline(why));
            }
        }
        partition.standing = Standing::Resolving;
        Ok(())
    }

    /// Writes the changes of the open transaction.
    pub(super) fn write_state(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        let (Some(state), Some(producer)) = (&self.state, &mut self.producer) else {
            return Ok(());
        };
        for partition in self
            .partitions
            .iter()
            .filter(|partition| partition.records_in > 0)
        {
            let writes = state.session.writes(&partition.id, partition.next);
            for writes in writes.map_err(|error| state.interrupt(&error))? {
                let Some(topic) = self.plan.state_topic_index(writes.store, &partition.id.topic) else {
                    continue;
                };
                for (key, value, by) in writes.records() {
                    let record = Produce {
                        partition: Some(partition.id.partition),
                        origin: by.map_or(Produce::OWN, |offset| origin(partition.tag, offset)),
                        ..Produce::own(topic, key, value)
                    };
                    producer
                        .produce(&record, deadline)
                        .map_err(super::writes::produce_interrupt)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the changelogs are still those that the state came from. One that was made again lacks what
    /// was there, so nothing is committed beside it. To be called right before offsets are committed;
    /// what goes unseen, and for how long, is said in [`inputs`](super::inputs).
    pub(super) fn confirm_changelogs(&self) -> Result<(), Interrupt> {
        let Some(state) = &self.state else { return Ok(()) };
        let produced = self.plan.produced_topics();
        let mut assigned = Vec::new();
        for partition in self
            .partitions
            .iter()
            .filter(|partition| partition.records_in > 0)
        {
            for (store, id) in state.session.changelog_ids(&partition.id).into_iter().enumerate() {
                let topic = self.plan.state_topic_index(store, &partition.id.topic);
                let topic = topic.and_then(|topic| produced.get(topic));
                // A broker that knows no topic ids cannot tell.
                if let Some(topic) = topic.filter(|_| !id.is_empty()) {
                    assigned.push((&**topic, id, &partition.id));
                }
            }
        }
        let mut topics: Vec<&str> = assigned.iter().map(|(topic, ..)| *topic).collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Ok(());
        }
        let told = self
            .directory
            .confirm(&topics)
            .map_err(TransactionError::Abortable)?;
        for (topic, told) in topics.iter().zip(told) {
            let other = assigned
                .iter()
                .find(|(name, id, _)| name == topic && **id != *told);
            if let Some((_, assigned, partition)) = other {
                self.told_again(topic, assigned, &told)?;
                return Err(Interrupt::Pipeline(made_again(partition)));
            }
        }
        Ok(())
    }

    /// The transaction committed, up to the next offset of each partition.
    pub(super) fn state_committed(&mut self) -> Result<(), Interrupt> {
        let Some(state) = &mut self.state else {
            return Ok(());
        };
        let now = Instant::now();
        let mut moved = self
            .partitions
            .iter()
            .filter(|partition| partition.records_in > 0);
        let stored = moved.try_for_each(|partition| state.committed(&partition.id, partition.next, now));
        stored.map_err(|error| state.interrupt(&error))
    }

    /// The transaction is gone.
    pub(super) fn state_aborted(&mut self) {
        let Some(state) = &self.state else { return };
        for partition in self.partitions.iter() {
            state.session.aborted(&partition.id);
        }
    }
}
