//! How a transaction commits: flush, send offsets with fresh group metadata, commit.
//!
//! Everything that can go wrong here leaves as [`Interrupt::Transaction`], and
//! `recovery` decides what follows. Only an error of the commit call itself leaves
//! the outcome unknown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fault::{self, Point, Sabotage};
use crate::kafka::settings::MAX_MESSAGE_BYTES_DEFAULT;
use crate::kafka::{
    Consumer, Flaw, GroupMember, KafkaError, Position, Produce, Producer, ProducerFactory, TransactionError,
};
use crate::plan::Delivery;
use crate::stage::GuestFactory;
use crate::telemetry::metrics::{TransactionOutcome, TransactionPhase};

use super::Lane;
use super::condemned::{self, Condemned};
use super::control::Interrupt;
use super::directory::Directory;
use super::open::Open;
use super::partitions::{Standing, tag_and_offset};
use super::starts::{GROUP_KEY, GroupMark, PartitionMark, partition_key};
use super::state::LaneState;

/// How long the flush before the offsets waits by itself.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// The bound where somebody waits for us: a revoke, a drain.
pub const BOUNDED: Duration = Duration::from_secs(5);

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    pub(super) fn producer(&mut self) -> Result<&mut F::Producer, Interrupt> {
        self.producer
            .as_mut()
            .ok_or_else(|| Interrupt::Lane("the producer is gone".to_owned()))
    }

    /// Begins a transaction unless one is open. Never with a producer under suspicion.
    pub(super) fn begin(&mut self) -> Result<&mut Open, Interrupt> {
        if self.open.is_none() {
            if self.suspicion().is_some() {
                return Err(Interrupt::Suspicion);
            }
            self.producer()?.begin()?;
            let now = Instant::now();
            self.report.transaction_open(Some(now));
            let generation = self.consumer.member().map(|member| member.generation());
            let topics = self.plan.produced_topics().len();
            self.open = Some(Open::new(now, self.epoch, generation, topics));
            fault::pass(Point::AfterBegin);
        }
        self.open
            .as_mut()
            .ok_or_else(|| Interrupt::Lane("no transaction is open".to_owned()))
    }

    /// Commits what the open transaction holds, or offsets alone if only positions moved.
    pub(super) fn end_transaction(&mut self, limit: Duration) -> Result<(), Interrupt> {
        let positions: Vec<Position> = self
            .partitions
            .iter()
            .filter(|p| p.is_dirty())
            .map(super::partitions::Partition::position)
            .collect();
        if positions.is_empty() && self.open.is_none() {
            return Ok(());
        }
        let began = self.begin()?.began;
        self.report.state(LaneState::Committing)?;
        let started = Instant::now();
        self.report
            .phase(TransactionPhase::Process, started.duration_since(began));
        let hurry = self.control.hurry();
        // One end for all steps: who waits for a drain waits for all of them.
        let deadline = || hurry.brought_forward(started + limit, started);
        if self.plan.delivery == Delivery::ExactlyOnce {
            self.write_marks(deadline())?;
            self.write_claims(deadline())?;
            self.write_state(deadline())?;
        }
        fault::pass_or_abort(Point::BeforeFlush)?;
        self.flush(deadline())?;
        fault::pass_or_abort(Point::AfterFlush)?;
        match self.plan.delivery {
            Delivery::ExactlyOnce => self.commit_exactly_once(&positions, deadline)?,
            Delivery::AtLeastOnce => self.commit_after_outputs(&positions, deadline())?,
            Delivery::AtMostOnce => self.commit_starts(deadline())?,
        }
        fault::pass(Point::AfterCommit);
        self.after_commit(started)?;
        self.report.state(LaneState::Running)
    }

    fn commit_exactly_once(
        &mut self,
        positions: &[Position],
        deadline: impl Fn() -> Instant,
    ) -> Result<(), Interrupt> {
        if fault::has(Sabotage::OffsetsOutsideTransaction) {
            self.commit_outside_transaction()?;
        } else if !positions.is_empty() {
            self.confirm_inputs(positions)?;
            self.confirm_changelogs()?;
            self.send_offsets(positions, deadline())?;
            fault::pass_or_abort(Point::AfterSendOffsets)?;
        }
        self.commit_transaction(deadline())
    }

    /// A sabotage: commits what is decided while its outputs are still undecided, which a
    /// crash then loses.
    pub(super) fn commit_outside_transaction(&mut self) -> Result<(), Interrupt> {
        let dirty = self.partitions.iter().filter(|p| p.is_dirty());
        let positions: Vec<Position> = dirty.map(super::partitions::Partition::position).collect();
        self.consumer
            .commit(&positions)
            .map_err(|error| Interrupt::Lane(error.to_string()))
    }

    /// At least once: offsets follow the outputs, outside any transaction.
    fn commit_after_outputs(&mut self, positions: &[Position], deadline: Instant) -> Result<(), Interrupt> {
        if !positions.is_empty() {
            self.confirm_inputs(positions)?;
            self.consumer
                .commit(positions)
                .map_err(TransactionError::Abortable)?;
        }
        self.write_marks(deadline)?;
        self.flush(deadline)?;
        self.commit_transaction(deadline)
    }

    /// At most once: records were promised when they were polled; what is left is where
    /// new partitions start.
    fn commit_starts(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        let moved = self.partitions.iter().filter(|p| match p.standing {
            Standing::Resolving => false,
            Standing::Starting => true,
            // Over control records, which nobody polls and so nobody promised.
            Standing::Steady => p.next > p.promised.max(p.committed),
        });
        let positions: Vec<Position> = moved.map(super::partitions::Partition::position).collect();
        if !positions.is_empty() {
            self.confirm_inputs(&positions)?;
            self.consumer
                .commit(&positions)
                .map_err(TransactionError::Abortable)?;
        }
        self.write_marks(deadline)?;
        self.flush(deadline)
    }

    /// Waits for the acknowledgements. Under exactly once not for long: a transaction that can
    /// only be aborted sends nothing more, and the calls that follow say so at once; the
    /// commit flushes again.
    fn flush(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        let started = Instant::now();
        let transactional = self.plan.delivery == Delivery::ExactlyOnce;
        let until = if transactional {
            deadline.min(started + FLUSH_MAX)
        } else {
            deadline
        };
        match self.producer()?.flush(until) {
            Err(TransactionError::NoVerdict(_)) if transactional && until < deadline => {}
            other => other?,
        }
        self.report.phase(TransactionPhase::Flush, started.elapsed());
        self.collect_refused();
        // A refused record makes the transaction worthless.
        let refused = self.refused.first().map(|delivery| delivery.error.clone());
        refused.map_or(Ok(()), |error| Err(TransactionError::Abortable(error).into()))
    }

    pub(super) fn collect_refused(&mut self) {
        if let Some(producer) = &mut self.producer {
            self.refused.extend(producer.failed_deliveries());
        }
    }

    /// Remembers which records the broker found something wrong with: they are run again in
    /// transactions of their own, until the one that it is about stands alone. That one has failed. To be
    /// called when the producer has told of all of them, which an abort waits for. Gives why the
    /// first record was refused, if one was.
    pub(super) fn note_refused_records(
        &mut self,
        open: Option<&Open>,
    ) -> Result<Option<KafkaError>, Interrupt> {
        self.collect_refused();
        let refused = std::mem::take(&mut self.refused);
        let why = refused.first().map(|delivery| delivery.error.clone());
        let mut blamed = BTreeMap::new();
        let mut too_large = None;
        for delivery in refused {
            match delivery.flaw {
                Some(flaw) if delivery.origin != Produce::OWN => {
                    blamed.insert(tag_and_offset(delivery.origin), (flaw, delivery));
                }
                Some(Flaw::TooLarge) => too_large = Some(delivery.error),
                _ => {}
            }
        }
        if let Some(why) = too_large.filter(|_| blamed.is_empty()) {
            return Err(Interrupt::Pipeline(format!(
                "the broker refuses what the pipeline keeps for itself ({why}): give that topic a max.message.bytes of \
                 {MAX_MESSAGE_BYTES_DEFAULT} or more, and start it again"
            )));
        }
        let alone = open.is_some_and(|open| open.tried == 1);
        for partition in self.partitions.iter() {
            let own = || blamed.range((partition.tag, i64::MIN)..=(partition.tag, i64::MAX));
            let (Some(((_, low), (flaw, delivery))), Some(((_, high), _))) =
                (own().next(), own().next_back())
            else {
                continue;
            };
            if alone {
                let condemned = self.condemned.entry(partition.id.clone());
                let condemned = condemned.or_insert_with(|| Condemned::new(*low));
                if condemned.offset != *low {
                    *condemned = Condemned::new(*low);
                }
                let is_letter = self.plan.dead_letter_index() == Some(delivery.topic);
                if !condemned.refused(*flaw, &delivery.error, is_letter) {
                    return Err(Interrupt::Pipeline(format!(
                        "{} offset {low}: the broker refuses its dead letter too ({}); {}",
                        partition.id,
                        delivery.error,
                        condemned::remedy(*flaw)
                    )));
                }
            }
            self.suspects.suspect(&partition.id, *low..high + 1, None);
        }
        Ok(why)
    }

    fn send_offsets(&mut self, positions: &[Position], deadline: Instant) -> Result<(), Interrupt> {
        let started = Instant::now();
        let member = self.membership()?;
        self.producer()?.send_offsets(positions, &member, deadline)?;
        self.report
            .phase(TransactionPhase::SendOffsets, started.elapsed());
        Ok(())
    }

    /// Group metadata, fetched now and never kept. Without a member id a commit would not
    /// be fenced at all, so the transaction is aborted instead.
    fn membership(&mut self) -> Result<C::Member, Interrupt> {
        let gone = |message| TransactionError::Abortable(KafkaError::own("NOT_A_MEMBER", message, false));
        if self.consumer.assignment_lost() && !fault::has(Sabotage::StaleMember) {
            return Err(gone("the group has taken the assignment away").into());
        }
        let member = self
            .consumer
            .member()
            .ok_or_else(|| gone("this consumer is not a member of the group"))?;
        self.report.generation(member.generation());
        Ok(member)
    }

    fn commit_transaction(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        let started = Instant::now();
        self.producer()?
            .commit(deadline)
            .map_err(|error| Interrupt::Transaction {
                error,
                in_commit: true,
            })?;
        self.report.phase(TransactionPhase::Commit, started.elapsed());
        Ok(())
    }

    /// The transaction is committed: count it, and make its positions the committed ones.
    pub(super) fn after_commit(&mut self, started: Instant) -> Result<(), Interrupt> {
        let now = Instant::now();
        self.policy.committed(now, now.duration_since(started));
        self.last_offsets = now;
        self.backoff.reset();
        self.fenced_in_a_row = 0;
        // What was decided before the store went away says nothing of it.
        if self.store_away.failures() == 0 {
            self.report.degraded(None);
        }
        if let Some(open) = self.open.take() {
            self.report.committed(&self.plan, &open, self.partitions.iter());
        }
        self.report.transaction(TransactionOutcome::Committed);
        self.report.transaction_open(None);
        if self
            .partitions
            .iter()
            .any(|p| p.mark_due && p.standing != Standing::Resolving)
        {
            self.directory.forget_marks();
        }
        self.claims_committed();
        let stored = self.state_committed();
        for partition in self.partitions.iter_mut() {
            if partition.is_dirty() {
                partition.committed();
                self.report.lag(partition);
            }
        }
        // Not before: of what is refused, something was left out already.
        self.condemned.retain(|id, condemned| {
            let partition = self.partitions.get(id);
            partition.is_none_or(|partition| condemned.offset >= partition.committed)
        });
        stored
    }

    /// Writes the starting marks that are due into the control topic.
    fn write_marks(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        if !self
            .partitions
            .iter()
            .any(|p| p.mark_due && p.standing != Standing::Resolving)
        {
            return Ok(());
        }
        let marks = self.due_marks()?;
        let topic = self.plan.control_topic_index();
        let producer = self.producer()?;
        for (key, value) in &marks {
            let record = Produce::own(topic, key.as_bytes(), Some(value.as_bytes()));
            producer
                .produce(&record, deadline)
                .map_err(super::writes::produce_interrupt)?;
        }
        Ok(())
    }

    /// Another process may have marked the group since the marks were read: "no" is asked anew.
    fn group_is_marked(&self) -> Result<bool, KafkaError> {
        Ok(self.directory.known_marks()?.group().is_some() || self.directory.marks()?.group().is_some())
    }

    fn due_marks(&mut self) -> Result<Vec<(String, String)>, Interrupt> {
        let group_is_marked = self.group_is_marked().map_err(TransactionError::Abortable)?;
        let mut marks = Vec::new();
        for partition in self
            .partitions
            .iter()
            .filter(|p| p.mark_due && p.standing != Standing::Resolving)
        {
            let mark = PartitionMark {
                topic: partition.id.topic.to_string(),
                offset: partition.committed,
            };
            marks.push((
                partition_key(&partition.topic_id, partition.id.partition),
                json(&mark)?,
            ));
        }
        if !group_is_marked {
            let topics = self.directory.input().map_err(TransactionError::Abortable)?;
            marks.push((GROUP_KEY.to_owned(), json(&GroupMark { topics })?));
        }
        Ok(marks)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Interrupt> {
    serde_json::to_string(value).map_err(|error| Interrupt::Lane(format!("cannot write a mark: {error}")))
}
