//! Black-box tests: the real binary against a real Kafka.

mod delivery;
mod exactly_once;
mod harness;
mod hostile;
mod identity;
mod operate;
mod records;
mod starts;
mod verify;
