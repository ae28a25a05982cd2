//! Black-box tests: the real binary against a real Kafka.

mod dedup;
mod delivery;
mod dlq;
mod harness;
mod hostile;
mod identity;
mod offsets;
mod offsets_killed;
mod operate;
mod pipelines;
mod reach;
mod records;
mod starts;
mod state;
mod state_hurt;
mod stores;
mod verify;
