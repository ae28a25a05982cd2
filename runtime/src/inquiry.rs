//! Looking at a cluster from outside, for commands that run beside a pipeline or without it.
//!
//! Invariants: nothing here is a member of a group, commits or writes; what may be answered later
//! is asked again, for [`GIVE_UP`] at most.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `reading` | stretches of partitions, read to their ends |
//! | `bound` | places in logs, as the command line names them |
//! | `trouble` | why the cluster did not answer, and what to do |

pub mod bound;
mod reading;
#[cfg(test)]
pub mod testing;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kafka::admin::{Admin, TopicDescription};
use crate::kafka::consumer::LibrdConsumer;
use crate::kafka::settings::ConsumerSettings;
use crate::kafka::{Consumer, KafkaError, codes, control_topic};
use crate::plan::Pipeline;

pub use reading::{Handler, Passed, Progress, Stretch, length, read};
pub use trouble::Trouble;

/// One question to the cluster.
pub const ANSWER: Duration = Duration::from_secs(10);
/// The same to the leader of a partition, which may be another one by then.
pub const LEADER: Duration = Duration::from_secs(3);
/// Nothing may come for so long, and no answer.
pub const GIVE_UP: Duration = Duration::from_mins(1);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);
/// A consumer is left behind if it does not end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Asks again what may be answered later, until it has taken too long.
pub fn insist<T>(doing: &str, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, Trouble> {
    let until = Instant::now() + GIVE_UP;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if (error.retriable || codes::is_transient(error.code)) && Instant::now() < until => {
                std::thread::sleep(AGAIN);
            }
            Err(error) => return Err(Trouble::of(doing, error)),
        }
    }
}

/// What the cluster knows of a topic; `None`: there is none.
pub fn topic(admin: &Admin, doing: &str, name: &str) -> Result<Option<TopicDescription>, Trouble> {
    insist(doing, || match admin.describe_topic(name, ANSWER) {
        Ok(described) => Ok(Some(described)),
        Err(error) if error.code == codes::UNKNOWN_TOPIC_OR_PART => Ok(None),
        Err(error) => Err(error),
    })
}

/// What lanes have left in the control topic, the latest of each key. Nothing if there is no such topic.
pub fn marks(plan: &Pipeline, client_id: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Trouble> {
    let topic = plan.name.control_topic();
    insist("read the control topic", || {
        match control_topic::read(&plan.cluster, client_id, &topic, ANSWER) {
            Err(error) if error.code == codes::UNKNOWN_TOPIC_OR_PART => Ok(BTreeMap::new()),
            other => other,
        }
    })
}

/// A consumer that is in no group. It ends when this is dropped, and is there until then.
pub struct Reader(Option<LibrdConsumer>);

impl Reader {
    pub fn open(plan: &Pipeline, client_id: &str) -> Result<Self, Trouble> {
        let settings = ConsumerSettings {
            cluster: plan.cluster.clone(),
            group: plan.name.to_string(),
            client_id: client_id.to_owned(),
            timeouts: plan.timeouts,
        };
        let consumer = LibrdConsumer::open(&settings).map_err(Trouble::opening)?;
        Ok(Self(Some(consumer)))
    }

    /// Does something with it.
    pub fn with<E>(&mut self, work: impl FnOnce(&mut LibrdConsumer) -> Result<(), E>) -> Result<(), E> {
        self.0.as_mut().map_or(Ok(()), work)
    }

    /// Reads all of these stretches.
    pub fn read<H>(&mut self, stretches: Vec<Stretch>, handler: &mut H) -> Result<(), H::Trouble>
    where
        H: Handler<<LibrdConsumer as Consumer>::Record>,
    {
        self.with(|consumer| read(consumer, stretches, GIVE_UP, handler))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(consumer) = self.0.take() {
            consumer.close(FAREWELL);
        }
    }
}
