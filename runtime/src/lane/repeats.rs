//! Which records of a batch are repeats of others, and what if nobody can tell.

use std::time::Instant;

use crate::dedup::judge::Undecided;
use crate::fault::{self, Point};
use crate::kafka::{Consumer, Producer, ProducerFactory};
use crate::stage::GuestFactory;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;
use super::work::Turn;

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Judges the first records of the partition. `false`: the store of their ids is away, and the
    /// lane rests. The group is served meanwhile, what was decided before commits, and lag grows.
    ///
    /// Records that are not decided in this turn come again, and find their own claims.
    pub(super) fn judge(&mut self, turn: &mut Turn, count: usize) -> Result<bool, Interrupt> {
        let (Some(dedup), Some(partition)) = (&mut self.dedup, self.partitions.at(turn.slot)) else {
            return Ok(true);
        };
        let records = partition.backlog.front(count);
        let started = Instant::now();
        let judged = dedup.judge(&turn.id, &partition.topic_id, records, started);
        self.report.claimed(started.elapsed());
        self.report.ids_held(dedup.ids_held());
        match judged {
            Ok(judged) => {
                turn.judged = Some(judged);
                self.store_away.reset();
                fault::pass(Point::AfterClaim);
                Ok(true)
            }
            Err(Undecided::Full { ids_max }) => {
                Err(Interrupt::Pipeline(Undecided::Full { ids_max }.to_string()))
            }
            Err(Undecided::Away(away)) => {
                self.resting_until = Some(Instant::now() + self.store_away.fail());
                self.report.store_away(&away);
                Ok(false)
            }
        }
    }
}
