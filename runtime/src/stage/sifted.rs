//! What of a batch does not reach the first stage.

use super::Failure;

/// Records that are left out of the stages, each with its reason. They are decided all the same.
#[derive(Debug, Default)]
pub struct Sifted {
    /// Places in the batch of the records that pass, ascending.
    pub passing: Vec<u32>,
    /// Places of those that emit nothing, and have not failed either.
    pub dropped: Vec<u32>,
    /// Those that failed before any stage, in record order.
    pub failures: Vec<Failure>,
}
