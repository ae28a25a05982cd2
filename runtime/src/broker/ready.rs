//! Waiting until a broker answers, as itself and with all its nodes.
//!
//! An open port proves little: another process's broker may have taken it. What counts
//! is a metadata answer that carries our cluster's id and lists the nodes we wait for.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;

use super::BrokerError;

const ASK: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(50);

/// A client that keeps quiet: refused connections are what we wait through.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Quiet {}

/// What must be seen.
#[derive(Debug)]
pub struct Expected<'a> {
    pub bootstrap: &'a str,
    pub cluster_id: &'a str,
    /// Node ids that the answer must list.
    pub ids: Vec<i32>,
}

/// Returns once the answer is as expected; else the reason seen last, when `bound` is
/// over. `alive` is asked between the tries and ends the wait by an error.
pub fn wait(
    expected: &Expected<'_>,
    bound: Duration,
    mut alive: impl FnMut() -> Result<(), BrokerError>,
) -> Result<Result<(), String>, BrokerError> {
    let client: BaseConsumer<Quiet> = ClientConfig::new()
        .set("bootstrap.servers", expected.bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100")
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create_with_context(Quiet)?;
    let since = Instant::now();
    loop {
        alive()?;
        let reason = match look(&client, expected) {
            Ok(()) => return Ok(Ok(())),
            Err(reason) => reason,
        };
        if since.elapsed() > bound {
            return Ok(Err(reason));
        }
        std::thread::sleep(PAUSE);
    }
}

fn look(client: &BaseConsumer<Quiet>, expected: &Expected<'_>) -> Result<(), String> {
    let metadata = client
        .fetch_metadata(None, ASK)
        .map_err(|error| error.to_string())?;
    match client.client().fetch_cluster_id(ASK) {
        Some(id) if id == expected.cluster_id => {}
        Some(id) => {
            return Err(format!(
                "another broker, of cluster {id}, answers at this address"
            ));
        }
        None => return Err("the answer carries no cluster id".into()),
    }
    let listed: Vec<i32> = metadata
        .brokers()
        .iter()
        .map(rdkafka::metadata::MetadataBroker::id)
        .collect();
    match expected.ids.iter().find(|id| !listed.contains(id)) {
        Some(missing) => Err(format!(
            "node {missing} has not joined; those that have: {listed:?}"
        )),
        None => Ok(()),
    }
}
