//! Deliberate faults, for the tests that prove that a fault would be seen. Compiled in by
//! the feature `fault-injection` only.

use std::sync::LazyLock;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;
use super::partitions::Partition;
use crate::kafka::{Consumer, Position, Producer, ProducerFactory};
use crate::stage::GuestFactory;

static FAULT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("STRAIT_FAULT").ok());

/// Commit offsets by the consumer, and not in the transaction.
pub fn offsets_outside_transaction() -> bool {
    FAULT.as_deref() == Some("offsets-outside-transaction")
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Commits what is decided while its outputs are still undecided, which a crash then
    /// loses. At the end of the transaction alone the gap would be too short to be met.
    pub(super) fn commit_outside_transaction(&mut self) -> Result<(), Interrupt> {
        let dirty = self.partitions.iter().filter(|partition| partition.is_dirty());
        let positions: Vec<Position> = dirty.map(Partition::position).collect();
        if !offsets_outside_transaction() || positions.is_empty() {
            return Ok(());
        }
        self.consumer
            .commit(&positions)
            .map_err(|error| Interrupt::Lane(error.to_string()))
    }
}
