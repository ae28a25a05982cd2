//! Hosts transforms: everything that touches wasmtime.
//!
//! A transform is a core WebAssembly module that exports the canonical lowering of the world
//! `strait:transform@1.0.0`. The host writes a batch straight into the guest's memory, makes
//! one call, and reads the result where the guest left it.
//!
//! Invariants:
//! - whatever a guest does ends as a value ([`GuestFault`], [`CallError`]): never as a panic
//!   of the host, never as a call that does not return (but for trusted modules, which
//!   are compiled without deadline checks);
//! - a guest has its memory, its batch, its state and `log`. There are no files, clocks or sockets, so
//!   the same batch gives the same result again;
//! - guest memory is a cache: an instance that failed is dropped, and its slot in the pool
//!   is clean for the next one.
//!
//! Guest code runs on the caller's stack and takes up to 512 KiB of it.

mod abi;
mod cache;
mod clock;
mod contract;
mod engine;
mod fault;
mod host;
mod instance;
mod limits;
mod load_error;
mod module;
mod state;

#[cfg(test)]
mod tests;

pub use engine::{Engine, EngineSettings};
pub use fault::{CallError, FaultKind, GuestFault};
pub use instance::{Input, Instance, Processed};
pub use load_error::{LoadError, LoadProblem};
pub use module::Module;
pub use state::{NoPage, StateAccess};
