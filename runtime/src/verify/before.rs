//! What stands before the range that is to be proven: claims on message ids count there too.
//!
//! Only where claims belong to a partition, since then they end by the time of its records. As
//! far back as they matter, and as the log goes, the ids are read and nothing else.

use strait_sdk::batch::Record;

use crate::inquiry::{GIVE_UP, Handler, Stretch, length, read};
use crate::kafka::{Consumer, TopicPartition};
use crate::stage::GuestFactory;

use super::account::Input;
use super::recompute::Unseen;
use super::{Proof, Trouble};

/// The first offset of a partition whose record is not older than a time; `None` if all are.
pub type OffsetAt<'t> = dyn FnMut(&TopicPartition, i64) -> Result<Option<i64>, Trouble> + 't;

/// Reads them.
pub(super) fn look_back<F: GuestFactory, C: Consumer>(
    proof: &mut Proof<'_, F>,
    consumer: &mut C,
    offset_at: &mut OffsetAt<'_>,
) -> Result<(), Trouble> {
    let Some(reach_ms) = proof.recompute.claims_reach_ms() else {
        return Ok(());
    };
    let inputs = proof.account.inputs().iter().enumerate();
    let cut = inputs.filter(|(_, input)| begins_too_late(input));
    let scopes: Vec<Stretch> = cut.map(|(index, input)| scope(index, input)).collect();
    let mut times = FirstTimes(vec![None; proof.account.inputs().len()]);
    read(consumer, scopes, GIVE_UP, &mut times)?;
    let mut stretches = Vec::new();
    for (index, first_ms) in times.0.into_iter().enumerate() {
        let (Some(first_ms), Some(input)) = (first_ms, proof.account.inputs().get(index)) else {
            continue;
        };
        let back_to_ms = first_ms.saturating_sub(reach_ms);
        let id = &input.facts.id;
        let floor = floor(input);
        // What is not positive means something else to a broker.
        let from = if back_to_ms > 0 {
            offset_at(id, back_to_ms)?.unwrap_or(i64::MAX)
        } else {
            floor
        };
        let unseen = match from {
            from if from > floor => Unseen::Before(back_to_ms),
            _ if floor <= input.facts.began => Unseen::Nothing,
            _ => Unseen::Earlier,
        };
        proof.recompute.begin(id, unseen);
        stretches.push(Stretch {
            from: from.clamp(floor, input.start()),
            to: input.start(),
            ..scope(index, input)
        });
    }
    proof.announce(length(&stretches));
    read(consumer, stretches, GIVE_UP, &mut Before(proof))
}

/// There are records before its range that have claimed ids, and can be read.
fn begins_too_late(input: &Input) -> bool {
    !input.facts.is_compacted && floor(input) < input.start() && input.start() < input.end()
}

/// The first offset that the group has read and that is still there.
fn floor(input: &Input) -> i64 {
    input.facts.began.max(input.facts.log_start)
}

fn scope(index: usize, input: &Input) -> Stretch {
    Stretch {
        index,
        partition: input.facts.id.clone(),
        from: input.start(),
        to: input.end(),
    }
}

/// Timestamps of the first records.
struct FirstTimes(Vec<Option<i64>>);

impl<R: Record> Handler<R> for FirstTimes {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        if let Some(first) = self.0.get_mut(stretch.index) {
            *first = records.first().map(Record::timestamp_ms);
        }
        Ok(false)
    }

    fn gap(&mut self, _: &Stretch, _: i64, _: i64) {}
}

/// Reads the ids.
struct Before<'p, 'a, F: GuestFactory>(&'p mut Proof<'a, F>);

impl<F: GuestFactory, R: Record> Handler<R> for Before<'_, '_, F> {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        for record in records {
            self.0.recompute.look_back(&stretch.partition, record);
        }
        Ok(true)
    }

    fn gap(&mut self, stretch: &Stretch, _: i64, _: i64) {
        self.0.recompute.lose_sight(&stretch.partition);
    }

    fn progress(&mut self, offsets: u64) {
        self.0.passed(offsets);
    }
}
