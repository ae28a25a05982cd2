//! Strait moves records from Kafka topics, through WebAssembly transforms, into
//! Kafka topics, exactly once.
//!
//! The binary is a thin shell around this library. `ARCHITECTURE.md` has the map.

pub mod broker;
pub mod cli;
pub mod config;
pub mod dedup;
pub mod dev;
pub mod dlq;
pub mod fault;
pub mod guest;
pub mod health;
pub mod http;
pub mod inquiry;
pub mod kafka;
pub mod lane;
pub mod offsets;
pub mod pipeline;
pub mod plan;
pub mod restore;
pub mod stage;
pub mod state;
pub mod telemetry;
pub mod verify;
