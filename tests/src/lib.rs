//! The harness of the black-box tests: a real Kafka, the real `strait` binary,
//! and judges that share no code with it.
//!
//! What a test believes comes from Kafka's own Java clients ([`verifier`]), never
//! from ours: what stands in the topics, what the group committed, which
//! transactions are open. One broker and one verifier serve all tests of a
//! process; each test has topics and a pipeline of its own ([`fixture`]), so
//! tests run side by side.
//!
//! Nothing outlives the test process, however it ends: the broker has a guard of its
//! own, and the verifier kills every `strait` process when its input closes.

pub mod balances;
pub mod binary;
pub mod chaos;
pub mod cluster;
pub mod fixture;
pub mod ledger;
pub mod oracle;
pub mod orders;
pub mod produce;
pub mod proxy;
pub mod server;
pub mod strait;
pub mod stream;
pub mod tmpfs;
pub mod verifier;
pub mod wait;
