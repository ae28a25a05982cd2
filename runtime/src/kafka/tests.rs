//! Consumer and producer against librdkafka's mock cluster, in this process, which
//! knows no markers and no isolation and so proves error paths only; and in `real`
//! against a Kafka of its own, for what needs them.

mod consume;
mod errors;
mod hangs;
mod real;
pub(crate) mod support;
