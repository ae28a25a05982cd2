//! Positions that are not in the log any more: retention passed them, or the log was cut.

use crate::kafka::{Consumer, Producer, ProducerFactory, TopicPartition};
use crate::plan::OnGap;
use crate::stage::GuestFactory;

use super::Lane;
use super::assignment::BOUNDS_WAIT;
use super::control::Interrupt;
use super::directory::Directory;
use super::partitions::Standing;

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Judges positions that are not in the log (retention passed them, or the log was cut),
    /// once all that was polled before is decided and committed.
    pub(super) fn pass_gaps(&mut self) -> Result<(), Interrupt> {
        let gaps = self.partitions.iter().filter(|p| p.gap && p.backlog.is_empty());
        let gaps: Vec<TopicPartition> = gaps
            .filter(|p| p.standing != Standing::Resolving)
            .map(|p| p.id.clone())
            .collect();
        if gaps.is_empty() {
            return Ok(());
        }
        // And then at once: the other partitions would begin the next transaction.
        if self.open.is_some() {
            self.end_transaction(self.plan.timeouts.transaction)?;
        }
        gaps.iter().try_for_each(|id| self.pass_gap(id))
    }

    fn pass_gap(&mut self, id: &TopicPartition) -> Result<(), Interrupt> {
        let Some(next) = self.partitions.get(id).map(|p| p.next) else {
            return Ok(());
        };
        // A topic that was made again has offsets of its own, and no gap.
        if !self.is_same_topic(id)? {
            return Ok(()); // asked again in the next round
        }
        let bounds = self.consumer.bounds(id, BOUNDS_WAIT).map_err(|error| {
            Interrupt::Lane(format!("{id}: cannot ask for the bounds of its log: {error}"))
        })?;
        if (bounds.start..=bounds.end).contains(&next) {
            // Told of a position that has been left since, or by a leader that has changed.
            tracing::warn!(partition = %id, offset = next, "told of a gap where there is none: reading on");
            return self.go_on_at(id, next);
        }
        let offset = match self.plan.input.on_gap {
            OnGap::Stop => {
                return Err(Interrupt::Pipeline(format!(
                    "{id}: offset {next} is not in the log ({} to {}): records between were deleted unread, or the \
                     log was cut. Set input.on_gap to earliest or latest to go on without them",
                    bounds.start, bounds.end
                )));
            }
            OnGap::Earliest => bounds.start,
            OnGap::Latest => bounds.end,
        };
        if offset < next && self.state.is_some() {
            return Err(Interrupt::Pipeline(format!(
                "{id}: offset {next} is not in the log any more, which ends at {}, and the state has counted what stood \
                 before it: going on from {offset} would count records twice. strait offsets reset --to earliest \
                 begins without state (--state clear) or counts them twice (--state keep)",
                bounds.end
            )));
        }
        tracing::warn!(partition = %id, from = next, to = offset, "a gap in the log: going on behind it");
        self.go_on_at(id, offset)
    }

    fn go_on_at(&mut self, id: &TopicPartition, offset: i64) -> Result<(), Interrupt> {
        let Some(partition) = self.partitions.get_mut(id) else {
            return Ok(());
        };
        partition.next = offset;
        partition.gap = false;
        let position = partition.position();
        self.consumer
            .seek(&[position], BOUNDS_WAIT)
            .map_err(|error| Interrupt::Lane(format!("{id}: cannot move behind the gap: {error}")))
    }
}
