//! The offsets of a pipeline's group: shown, and set elsewhere.
//!
//! A reset is more than its offsets: what stands beside them speaks of the same records, and has to
//! go with them.
//!
//! | beside the offsets | what becomes of it |
//! | --- | --- |
//! | the mark of where the group began, by which `verify` goes | moves back with an offset that is set before it |
//! | claims in a store that others share | those of records that are passed over are dropped, or kept, as asked |
//! | keyed state | is deleted, or kept and told where counting goes on |
//!
//! Invariants:
//! - nothing is written while the group has members or offsets that are not stable, and the broker
//!   refuses offsets for a group with members by itself;
//! - each step can be done again: a reset that died is finished by the same command. Until the
//!   offsets are set nothing is changed that a pipeline which starts then could be misled by.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `goal` | where to: what was asked for |
//! | `plan` | which partition moves from where to where, and what must be chosen for that |
//! | `group` | the group, its input and its marks, as the cluster tells of them |
//! | `claims`, `state` | what goes with the offsets |
//! | `write` | a transaction of records of Strait's own |
//! | `reset` | the steps, in their order |

mod claims;
pub mod goal;
pub mod group;
pub mod plan;
pub mod reset;
mod state;
mod trouble;
mod write;

pub use trouble::Trouble;
