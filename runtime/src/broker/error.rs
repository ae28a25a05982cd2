//! What can go wrong with a broker of our own, each with what to do about it.

use std::path::PathBuf;

/// Why a broker could not be found, started or steered.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("a broker has 1 or 3 nodes, not {0}")]
    NodeCount(usize),
    #[error("{advertised} advertised addresses for {nodes} node(s): give one for each, or none")]
    AdvertisedCount { nodes: usize, advertised: usize },
    #[error("the broker has no node {index}: they count from 0 to {}", nodes.saturating_sub(1))]
    NoSuchNode { index: usize, nodes: usize },
    #[error("node {0} of the broker is not running: start it with start_node")]
    NotRunning(usize),
    #[error("node {0} of the broker is running already")]
    Running(usize),
    #[error(
        "{} holds a broker of {found} node(s), but {wanted} are asked for: \
         ask for {found}, or name another data folder", data.display()
    )]
    OtherNodeCount {
        data: PathBuf,
        found: usize,
        wanted: usize,
    },
    #[error(
        "KAFKA_HOME is {}, which holds no libs/kafka-clients-*.jar: point it to an unpacked \
         Kafka distribution, or unset it", home.display()
    )]
    NotAKafkaHome { home: PathBuf },
    #[error(
        "STRAIT_KAFKA is {0:?}, but it may be `home` (KAFKA_HOME), `docker` or `maven` only; \
         unset it to let Strait choose"
    )]
    UnknownSource(String),
    #[error(
        "no Java: a local Kafka needs a Java 17 runtime. Install one (Debian, Ubuntu: \
         apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), or set JAVA_HOME, \
         or start Docker, or give --bootstrap with the address of a broker"
    )]
    NoJava,
    #[error("{java} is Java {found}, but Kafka needs 17 or later: install one, or set JAVA_HOME to it")]
    OldJava { java: String, found: u32 },
    #[error(
        "no Maven: it resolves Kafka's jars. Install it (Debian, Ubuntu: apt-get install maven; \
         macOS: brew install maven), or set KAFKA_HOME to an unpacked Kafka 4.3 distribution, \
         or start Docker, or give --bootstrap with the address of a broker"
    )]
    NoMaven,
    #[error(
        "Maven could not resolve Kafka's jars. If this machine reaches the network through a proxy or a \
         mirror, name it in ~/.m2/settings.xml; or set KAFKA_HOME. Maven's last lines:\n{tail}"
    )]
    Maven { tail: String },
    #[error("docker could not run {image}; its last lines:\n{tail}")]
    Docker { image: &'static str, tail: String },
    #[error("no run of free ports was found below the ephemeral range; close some servers and try again")]
    NoPorts,
    #[error("formatting the storage of node {node} failed; its log is {}, last lines:\n{tail}", log.display())]
    Format { node: usize, log: PathBuf, tail: String },
    #[error("node {node} of the broker ended while starting; its log is {}, last lines:\n{tail}", log.display())]
    Ended {
        node: usize,
        log: PathBuf,
        tail: String,
        port_taken: bool,
    },
    #[error(
        "the broker answered no request within {waited_s} s ({reason}); the log of node {node} is {}, \
         last lines:\n{tail}", log.display()
    )]
    Silent {
        waited_s: u64,
        reason: String,
        node: usize,
        log: PathBuf,
        tail: String,
    },
    #[error("the Kafka client could not be made: {0}")]
    Client(#[from] rdkafka::error::KafkaError),
    #[error("signal {signal} to process {pid} failed: {source}")]
    Signal {
        signal: &'static str,
        pid: u32,
        source: std::io::Error,
    },
}

impl BrokerError {
    /// Whether another process took a port between our look and the broker's bind.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { port_taken: true, .. })
    }
}

/// Adds to an I/O error what was being done.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, BrokerError>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, BrokerError> {
        self.map_err(|source| BrokerError::Io { what: what(), source })
    }
}
