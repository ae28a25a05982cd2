//! The one Kafka that the tests of a process share, and the verifier beside it.
//!
//! Both start with the first test that asks and live until the process ends; they
//! stand in a static, which is never dropped, so each ends by itself when the
//! process is gone.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, ensure};
use strait::broker::{Broker, BrokerSettings};

use crate::verifier::Verifier;

/// Timeouts as a test has patience for; everything else as a user gets it.
const PROPERTIES: [(&str, &str); 3] = [
    ("group.min.session.timeout.ms", "1000"),
    // A transaction that timed out is aborted soon after, not up to 10 s later.
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "1000",
    ),
    ("message.max.bytes", "4194304"),
];

/// A running Kafka.
pub struct Cluster {
    /// Held so that it lives on.
    _broker: Broker,
    bootstrap: String,
    verifier: Verifier,
}

impl Cluster {
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// The shared cluster; the first call starts it.
pub fn cluster() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let started = CLUSTER.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    started.as_ref().map_err(|reason| anyhow!("{reason}"))
}

fn start() -> Result<Cluster> {
    let mut said = Vec::new();
    let mut progress = |line: &str| said.push(line.to_owned());
    let properties = PROPERTIES
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let settings = BrokerSettings {
        properties: properties.collect(),
        ..BrokerSettings::new(&mut progress)
    };
    let broker = Broker::start(settings).map_err(|error| anyhow!("{error}; before that: {said:?}"))?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("verifier")
        .join("Verifier.java");
    let command = broker.tool(&source.to_string_lossy(), [""; 0]);
    ensure!(
        command.get_program() != "docker",
        "the tests ask Kafka's Java clients, which need Java 17 here: set STRAIT_KAFKA=maven"
    );
    let verifier = Verifier::start(command)?;
    Ok(Cluster {
        bootstrap: broker.bootstrap(),
        _broker: broker,
        verifier,
    })
}
