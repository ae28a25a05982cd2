//! What a batch passes through: the pipeline's wasm stages, one after the other.
//!
//! A record's fate is decided here and nowhere else: emitted, filtered, failed, or to be
//! tried again. Nothing here talks to Kafka, and nothing knows what runs behind a
//! [`Guest`], so the whole of it is tested without WebAssembly.
//!
//! How it fits together: [`Stages::run`] hands a batch to the first stage, collects what goes
//! to its output `default` as the input of the next, and so on; `wasm` is one stage,
//! `search` corners a record that makes its whole batch fault. [`Stages::emissions`] then
//! visits what leaves, merged over the stages.
//!
//! Invariants:
//!
//! - records are decided from the first on, without a gap: `0..decided`;
//! - a failed record emits nothing, whichever stage it failed in;
//! - a record that is left out ([`Sifted`]) is decided with the others, and shown to no stage;
//! - what a record emits is visited in one piece, records in their order;
//! - at most one result lies in the memory of an instance, since a guest may reuse the place
//!   of the one before: an older one is copied out before the next call. With one call per
//!   stage, which is the rule, nothing is copied.

mod chain;
mod emission;
mod failure;
mod outcome;
mod run;
mod search;
mod sifted;
mod visit;
mod wasm;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use chain::{Stages, output_names};
pub use emission::{Emission, cut, record_bytes};
pub use failure::{Failure, FailureKind, Refusal};
pub use outcome::{Allowance, Outcome, Stopped};
pub use sifted::Sifted;
pub use wasm::{Guest, GuestFactory};
