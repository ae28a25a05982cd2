//! Absent records and others with the same message id, where claims count in all partitions.
//!
//! Which of several records with one id was first is decided by a store, when they are read:
//! nobody can tell afterwards. What can be told is that one of them must have come through. So
//! absent ones are looked up once more when all outputs were seen: first their ids, then all
//! records with one of these, without running a stage.
//!
//! The inputs are read on to their ends for that: one that the group has not committed may
//! have claimed an id before one that it has. As many are looked up at once as the budget
//! takes; with more the inputs are read again.

use strait_sdk::batch::Record;

use crate::dedup::claim::Claim;
use crate::inquiry::{ANSWER, GIVE_UP, Handler, Stretch, insist, length, read};
use crate::kafka::Consumer;
use crate::stage::GuestFactory;

use super::account::{Input, Stand, Twin};
use super::{Proof, Trouble};

/// A record of which nothing stands.
struct Absent {
    input: usize,
    offset: i64,
    /// `None`: it is gone by now.
    claim: Option<Claim>,
    twin: Twin,
}

/// Judges all that is absent.
pub(super) fn judge<F: GuestFactory, C: Consumer>(
    proof: &mut Proof<'_, F>,
    consumer: &mut C,
) -> Result<(), Trouble> {
    proof.account.close();
    let most = (proof.memory_bytes / size_of::<Absent>()).max(1);
    let mut from = (0, i64::MIN);
    loop {
        let absent = proof.account.absent(from, most);
        let Some((input, offset)) = absent.last().copied() else {
            return Ok(());
        };
        from = (input, offset + 1);
        for absent in look_up(proof, consumer, absent)? {
            proof
                .account
                .judge_absent(absent.input, absent.offset, absent.twin);
        }
    }
}

fn look_up<F: GuestFactory, C: Consumer>(
    proof: &mut Proof<'_, F>,
    consumer: &mut C,
    absent: Vec<(usize, i64)>,
) -> Result<Vec<Absent>, Trouble> {
    let absent = absent.into_iter().map(|(input, offset)| Absent {
        input,
        offset,
        claim: None,
        twin: Twin::None,
    });
    let absent: Vec<Absent> = absent.collect();
    let stretches = where_they_stand(proof, &absent);
    proof.announce(length(&stretches));
    let mut ids = Ids { absent, proof };
    read(consumer, stretches, GIVE_UP, &mut ids)?;
    let Ids { mut absent, proof } = ids;
    absent.sort_by_key(|absent| absent.claim.as_ref().map(|claim| claim.id));
    let stretches = all_that_is_there(proof, consumer)?;
    proof.announce(length(&stretches));
    let mut twins = Twins {
        absent,
        proof,
        has_gap: false,
    };
    read(consumer, stretches, GIVE_UP, &mut twins)?;
    Ok(twins.end())
}

/// From the first to the last of each input. They are in order.
fn where_they_stand<F: GuestFactory>(proof: &Proof<'_, F>, absent: &[Absent]) -> Vec<Stretch> {
    let of_one = absent.chunk_by(|one, other| one.input == other.input);
    let stretch = |absent: &[Absent]| {
        let (first, last) = (absent.first()?, absent.last()?);
        let input = proof.account.inputs().get(first.input)?;
        Some(Stretch {
            index: first.input,
            partition: input.facts.id.clone(),
            from: first.offset,
            to: last.offset + 1,
        })
    };
    of_one.filter_map(stretch).collect()
}

/// In scope, and behind it.
fn all_that_is_there<F: GuestFactory, C: Consumer>(
    proof: &Proof<'_, F>,
    consumer: &C,
) -> Result<Vec<Stretch>, Trouble> {
    let inputs = proof.account.inputs().iter().enumerate();
    let stretch = |(index, input): (usize, &Input)| {
        let partition = input.facts.id.clone();
        let bounds = insist(&format!("ask for the end of {partition}"), || {
            consumer.bounds(&partition, ANSWER)
        })?;
        Ok(Stretch {
            index,
            from: input.start().max(input.facts.log_start),
            to: bounds.end.max(input.end()),
            partition,
        })
    };
    inputs.map(stretch).collect()
}

/// Reads the ids of absent records.
struct Ids<'p, 'a, F: GuestFactory> {
    absent: Vec<Absent>,
    proof: &'p mut Proof<'a, F>,
}

impl<F: GuestFactory, R: Record> Handler<R> for Ids<'_, '_, F> {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        for record in records {
            let place = (stretch.index, record.offset());
            let found = self
                .absent
                .binary_search_by_key(&place, |absent| (absent.input, absent.offset));
            if let Some(absent) = found.ok().and_then(|at| self.absent.get_mut(at)) {
                absent.claim = self.proof.recompute.claim(&stretch.partition, record);
            }
        }
        Ok(true)
    }

    fn gap(&mut self, _: &Stretch, _: i64, _: i64) {}

    fn progress(&mut self, offsets: u64) {
        self.proof.passed(offsets);
    }
}

/// Looks for other records with their ids.
struct Twins<'p, 'a, F: GuestFactory> {
    /// By id.
    absent: Vec<Absent>,
    proof: &'p mut Proof<'a, F>,
    /// Something was deleted before it could be read.
    has_gap: bool,
}

impl<F: GuestFactory> Twins<'_, '_, F> {
    fn look<R: Record>(&mut self, stretch: &Stretch, record: &R) {
        let Some(claim) = self.proof.recompute.claim(&stretch.partition, record) else {
            return;
        };
        let id_of = |absent: &Absent| absent.claim.as_ref().map(|claim| claim.id);
        let first = self
            .absent
            .partition_point(|absent| id_of(absent) < Some(claim.id));
        let with_id = self.absent.iter_mut().skip(first);
        let twin = match self.proof.account.stand(stretch.index, record.offset()) {
            Stand::Open => Twin::Open,
            Stand::Through => Twin::Through,
            Stand::Absent => return,
        };
        for absent in with_id.take_while(|absent| id_of(absent) == Some(claim.id)) {
            // One that was put back is no repeat of what it was.
            let is_itself = absent
                .claim
                .as_ref()
                .is_some_and(|own| own.coordinate == claim.coordinate);
            if !is_itself {
                absent.twin = absent.twin.max(twin);
            }
        }
    }

    fn end(mut self) -> Vec<Absent> {
        for absent in &mut self.absent {
            if self.has_gap || absent.claim.is_none() {
                absent.twin = absent.twin.max(Twin::Open);
            }
        }
        self.absent
    }
}

impl<F: GuestFactory, R: Record> Handler<R> for Twins<'_, '_, F> {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        for record in records {
            self.look(stretch, record);
        }
        Ok(true)
    }

    fn gap(&mut self, _: &Stretch, _: i64, _: i64) {
        self.has_gap = true;
    }

    fn progress(&mut self, offsets: u64) {
        self.proof.passed(offsets);
    }
}
