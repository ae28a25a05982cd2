//! A running Kafka, the judge beside it, and the proxies in front of it.
//!
//! The `strait` processes under test reach the nodes by way of the proxies, if there
//! are any; the judge, the senders of input and the nodes among themselves do not. So a
//! fault of the network hits what is tested, and nothing else.
//!
//! Most tests share one small cluster. It stands in a static, which is never dropped,
//! and ends by itself when the process is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use strait::broker::{Broker, BrokerSettings};

use crate::proxy::{Listener, Proxy, Wire};
use crate::verifier::Verifier;
use crate::wait;

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

/// How long a cluster may take to be whole again after a fault.
const WHOLE_WITHIN: Duration = Duration::from_mins(2);

/// What kind of cluster.
#[derive(Debug, Clone, Default)]
pub struct Kind {
    /// 1 or 3.
    pub nodes: usize,
    /// Puts a proxy in front of each node.
    pub proxies: bool,
    /// Lines of `server.properties` beside those that every cluster here has.
    pub properties: Vec<(String, String)>,
    /// Where its data lies; `None`: in a folder that goes with it.
    pub data: Option<PathBuf>,
}

/// A running Kafka.
pub struct Cluster {
    /// First, so that they end before what they stand in front of.
    proxies: Vec<Proxy>,
    wire: Arc<Wire>,
    broker: Mutex<Broker>,
    bootstrap: String,
    front: String,
    verifier: Arc<Verifier>,
}

impl Cluster {
    /// The one that the tests of a process share; the first call starts it.
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: OnceLock<Result<Arc<Cluster>, String>> = OnceLock::new();
        let kind = Kind {
            nodes: 1,
            ..Kind::default()
        };
        let started = SHARED.get_or_init(|| {
            Self::start(kind)
                .map(Arc::new)
                .map_err(|error| format!("{error:#}"))
        });
        started.clone().map_err(|reason| anyhow!("{reason}"))
    }

    /// Starts one.
    pub fn start(kind: Kind) -> Result<Self> {
        let mut said = Vec::new();
        let mut progress = |line: &str| said.push(line.to_owned());
        let own = PROPERTIES
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let listeners = if kind.proxies { kind.nodes } else { 0 };
        let listeners = (0..listeners)
            .map(|_| Listener::bind())
            .collect::<Result<Vec<_>>>()?;
        let settings = BrokerSettings {
            nodes: kind.nodes,
            data: kind.data,
            properties: own.chain(kind.properties).collect(),
            advertised: listeners.iter().map(Listener::address).collect(),
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
        let wire = Wire::new();
        let proxies = put_in_front(&broker, listeners, &wire)?;
        let fronts: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let bootstrap = broker.bootstrap();
        Ok(Self {
            front: if fronts.is_empty() {
                bootstrap.clone()
            } else {
                fronts.join(",")
            },
            proxies,
            wire,
            bootstrap,
            verifier: Arc::new(Verifier::start(command)?),
            broker: Mutex::new(broker),
        })
    }

    /// The nodes themselves.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What processes under test are given: the proxies, if there are any.
    pub fn front(&self) -> &str {
        &self.front
    }

    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// What stands in front of a node, counted from 0.
    pub fn proxy(&self, node: usize) -> Result<&Proxy> {
        let proxy = self.proxies.get(node);
        proxy.with_context(|| format!("there is no proxy in front of node {node}"))
    }

    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// What passes through the proxies.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// The nodes, to kill, stop, pause and start them.
    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines in the logs of the nodes that hold all of these words.
    pub fn logged(&self, words: &[&str]) -> Result<Vec<String>> {
        let broker = self.broker();
        let mut lines = Vec::new();
        for node in 0..broker.nodes() {
            let log = fs::read(broker.log_path(node)?)?;
            let log = String::from_utf8_lossy(&log);
            let matching = log
                .lines()
                .filter(|line| words.iter().all(|word| line.contains(word)));
            lines.extend(matching.map(str::to_owned));
        }
        Ok(lines)
    }

    /// Undoes every fault: everything passes, all nodes run, all replicas are in sync.
    pub fn mend(&self) -> Result<()> {
        self.proxies.iter().for_each(Proxy::heal);
        let mut broker = self.broker();
        for node in 0..broker.nodes() {
            if broker.pid(node).is_ok() {
                broker.resume(node)?;
            } else {
                broker.start_node(node)?;
            }
        }
        drop(broker);
        self.wait_whole()
    }

    /// Waits until every node runs and every replica is in sync.
    pub fn wait_whole(&self) -> Result<()> {
        let whole = || -> Result<bool> { Ok(self.verifier.lagging_replicas()? == 0) };
        wait::until_true("all replicas in sync", WHOLE_WITHIN, whole).context("the cluster is not whole")
    }
}

fn put_in_front(broker: &Broker, listeners: Vec<Listener>, wire: &Arc<Wire>) -> Result<Vec<Proxy>> {
    let start = |(node, listener)| {
        let behind = broker
            .address_behind(node)?
            .context("a listener behind the proxy")?;
        Proxy::start(listener, behind, Arc::clone(wire))
    };
    listeners.into_iter().enumerate().map(start).collect()
}
