//! What a Strait transform is written with.
//!
//! A transform takes the records of a Kafka topic and says what becomes of each: outputs,
//! nothing, a failure for good, or another try. It is compiled to WebAssembly, and the
//! runtime calls it a batch at a time inside a Kafka transaction.
//!
//! ```
//! use strait_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Settings { minimum: i64 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { id: String, amount: i64 }
//!
//! struct Orders { minimum: i64 }
//!
//! impl Transform for Orders {
//!     type Settings = Settings;
//!     fn new(settings: Settings) -> Result<Self> { Ok(Self { minimum: settings.minimum }) }
//!
//!     fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
//!         let order: Order = record.json()?;               // a malformed value rejects this record alone
//!         if order.amount < self.minimum { return Ok(()); } // filtered
//!         out.emit(record.with_json(&order)?)?;
//!         out.to("audit").emit(record.with_value(b"seen"))
//!     }
//! }
//!
//! strait_sdk::export!(Orders);
//! ```
//!
//! # Layout
//!
//! - [`Transform`], [`Record`], [`Output`], [`Outgoing`], [`Error`]: what a transform is made of.
//! - [`Store`], [`Typed`]: keyed state.
//! - [`event_time`]: windows and timers.
//! - [`testing`]: run it natively, without a broker and without WebAssembly.
//! - [`log`]: messages to the runtime's log.
//! - [`batch`]: the bytes that host and guest exchange; the runtime uses this module too.
//! - [`StreamTime`]: how far a partition has come in time; the runtime keeps it.
//! - `export!` and the functions behind it: the only unsafe code.
//!
//! The feature `json` (on by default) is what transforms need. Without it the crate is
//! [`batch`] and [`StreamTime`] alone and has no dependencies.

pub mod batch;
mod stream_time;

#[cfg(feature = "json")]
mod abi;
#[cfg(feature = "json")]
mod error;
#[cfg(feature = "json")]
pub mod event_time;
#[cfg(feature = "json")]
mod guest;
#[cfg(feature = "json")]
pub mod log;
#[cfg(feature = "json")]
mod outgoing;
#[cfg(feature = "json")]
mod output;
#[cfg(feature = "json")]
mod record;
#[cfg(feature = "json")]
mod state;
#[cfg(all(feature = "json", not(target_arch = "wasm32")))]
pub mod testing;
#[cfg(feature = "json")]
mod transform;

pub use crate::stream_time::StreamTime;
#[cfg(feature = "json")]
pub use crate::{
    error::{Error, Result},
    outgoing::{Data, Outgoing},
    output::{Named, Output},
    record::Record,
    state::{Scan, Store, Typed, TypedScan},
    transform::{Batch, Records, Transform},
};

/// What a transform's source begins with: `use strait_sdk::prelude::*;`.
#[cfg(feature = "json")]
pub mod prelude {
    pub use crate::{Error, Output, Record, Result, Transform, Typed};
    pub use serde::{Deserialize, Serialize};
}

/// For [`export!`] alone; no part of what this crate promises.
#[cfg(feature = "json")]
#[doc(hidden)]
pub mod __export {
    #[cfg(target_arch = "wasm32")]
    pub use crate::abi::{Address, Listed, Returned, configure, describe, process, realloc};
    pub use crate::guest::Guest;
}

/// Compiles what the guide shows.
#[cfg(all(doctest, feature = "json"))]
#[doc = include_str!("../../docs/sdk.md")]
mod guide {}
