//! What runs a pipeline's lanes.
//!
//! A [`process::Process`] holds the identity and starts a [`supervisor`] for each pipeline.
//! A supervisor asks the cluster what it must know ([`preflight`]), loads the modules,
//! starts the lanes, each in a thread of its own, and starts one again that ended for a
//! reason that a fresh start mends. A pipeline that fails stops alone.

pub(crate) mod cluster;
pub mod identity;
mod lanes;
pub mod modules;
pub mod preflight;
pub mod process;
mod supervisor;
mod until_end;
