//! The proxy between a toy node and toy clients: no Kafka is needed.

pub mod build;
mod flows;
mod node;
mod traps;
