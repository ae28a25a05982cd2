//! An outcome that nobody told: what the group has committed is held against what the transaction
//! would have.

use std::time::{Duration, Instant};

use crate::fault::{self, Sabotage};
use crate::kafka::{Consumer, GroupMember, Producer, ProducerFactory, TopicPartition, TransactionError};
use crate::lane::Lane;
use crate::lane::control::Interrupt;
use crate::lane::directory::Directory;
use crate::lane::open::Open;
use crate::lane::partitions::Standing;
use crate::lane::resync::{Evidence, Resolution, resolve};
use crate::plan::Delivery;
use crate::stage::GuestFactory;
use crate::telemetry::metrics::TransactionOutcome;

use super::TRY;

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Asks what is committed, and judges the open transaction by it if its outcome is unknown.
    pub(super) fn resync(
        &mut self,
        open: Option<&Open>,
        error: &TransactionError,
        in_commit: bool,
    ) -> Result<(), Interrupt> {
        if in_commit && fault::has(Sabotage::GuessCommitted) {
            self.guess_committed();
            return Ok(());
        }
        let mut committed = self.ask_committed()?;
        if in_commit {
            self.report.transaction(TransactionOutcome::Ambiguous);
        }
        let mut outcome = TransactionOutcome::Aborted;
        // In the other modes offsets are not committed with the outputs, and prove nothing.
        if let Some(open) = open.filter(|_| self.plan.delivery == Delivery::ExactlyOnce)
            && self.is_unbroken(open)
        {
            let evidence = self.evidence(&committed);
            match resolve(&evidence) {
                Resolution::Committed if in_commit => {
                    outcome = TransactionOutcome::Committed;
                    self.report.committed(&self.plan, open, self.partitions.iter());
                    self.take_for_committed()?;
                }
                Resolution::NotCommitted => {}
                odd => {
                    self.refute(open, &odd, &evidence)?;
                    committed = self.ask_committed()?;
                }
            }
        }
        if open.is_some() {
            self.report.transaction(outcome);
        }
        if outcome == TransactionOutcome::Aborted {
            self.rest(error);
        }
        self.rewind(Some(&committed))
    }

    /// A sabotage: the commit is taken for a success, whatever became of it.
    fn guess_committed(&mut self) {
        for partition in self.partitions.iter_mut().filter(|p| p.is_dirty()) {
            partition.committed();
        }
    }

    /// Whether this lane has owned its partitions without a break since the transaction began.
    fn is_unbroken(&self, open: &Open) -> bool {
        open.epoch == self.epoch
            && !self.consumer.assignment_lost()
            && self.consumer.member().map(|member| member.generation()) == open.generation
    }

    /// What cannot be is an error, unless others have owned the partitions meanwhile. After
    /// a standstill the client may be the last to learn of that; a whole session without a
    /// loss proves that nobody has.
    fn refute(&mut self, open: &Open, odd: &Resolution, evidence: &[Evidence]) -> Result<(), Interrupt> {
        let until = Instant::now() + self.plan.timeouts.session;
        while self.is_unbroken(open) {
            if Instant::now() >= until {
                return Err(match odd {
                    Resolution::Contradiction(found) => contradiction(
                        "committed offset is neither its start nor its end",
                        std::slice::from_ref(found),
                    ),
                    _ => contradiction(
                        "it was never asked to commit, and its offsets are committed",
                        evidence,
                    ),
                });
            }
            self.serve_once(Duration::from_millis(200))?;
        }
        tracing::info!("others have owned the partitions meanwhile: going on from what they committed");
        Ok(())
    }

    fn evidence(&self, committed: &[(TopicPartition, Option<i64>)]) -> Vec<Evidence> {
        self.partitions
            .iter()
            .filter(|p| p.standing == Standing::Steady)
            .map(|p| Evidence {
                partition: p.id.clone(),
                start: p.committed,
                end: p.next,
                committed: committed
                    .iter()
                    .find(|(id, _)| *id == p.id)
                    .and_then(|(_, offset)| *offset),
            })
            .collect()
    }

    fn ask_committed(&mut self) -> Result<Vec<(TopicPartition, Option<i64>)>, Interrupt> {
        loop {
            // What is not resolved yet waits for somebody else's transaction, and nobody for it.
            let known = self
                .partitions
                .iter()
                .filter(|p| p.standing != Standing::Resolving);
            let ids: Vec<TopicPartition> = known.map(|p| p.id.clone()).collect();
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            match self.consumer.committed(&ids, TRY) {
                Ok(committed) => return Ok(committed),
                Err(error) => {
                    self.report
                        .degraded(Some(format!("waiting for the committed offsets: {error}")));
                    self.wait_out()?;
                }
            }
        }
    }

    /// The outcome was unknown, and is a commit.
    fn take_for_committed(&mut self) -> Result<(), Interrupt> {
        self.claims_committed();
        let stored = self.state_committed();
        for partition in self.partitions.iter_mut().filter(|p| p.is_dirty()) {
            partition.committed();
        }
        stored
    }
}

fn contradiction(what: &str, evidence: &[Evidence]) -> Interrupt {
    let list: Vec<String> = evidence
        .iter()
        .filter(|e| e.start != e.end)
        .map(|e| {
            format!(
                "{}: began at {}, would end at {}, committed {:?}",
                e.partition, e.start, e.end, e.committed
            )
        })
        .collect();
    Interrupt::Pipeline(format!(
        "a transaction's outcome contradicts itself ({what}): {}; nothing goes on from here until somebody has looked: \
         does anything else commit offsets for this group?",
        list.join("; ")
    ))
}
