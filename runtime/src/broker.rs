//! A real Apache Kafka for development and tests: one node or three, on this machine.
//!
//! Kafka in `KRaft` mode, each node broker and controller at once, listening on the
//! loopback interface only. It is found as `KAFKA_HOME`, else as an image if a Docker
//! daemon answers, else Maven resolves the pinned jars and Java runs them.
//!
//! What holds:
//! - when [`Broker::start`] returns, the nodes answered a metadata request as members of
//!   this very cluster;
//! - no node outlives this process: dropping a [`Broker`] ends them, and when nothing is
//!   dropped (a static, SIGKILL) a small guard process does it;
//! - a temporary data folder goes with the broker, a given one is kept, and a broker
//!   started on it again has the same cluster id and data;
//! - a node that was killed or stopped comes back at its old address.
//!
//! Nodes are counted from 0 here; Kafka's `node.id` is one more.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

mod docker;
mod error;
mod guard;
mod java;
mod maven;
mod node;
mod ports;
mod properties;
mod ready;
mod source;
mod start;
mod tools;

pub use error::BrokerError;

use guard::Guard;
use node::{Folder, Process, Send};
use properties::{Layout, NodePorts};
use source::Source;

/// The Kafka that is run.
pub const VERSION: &str = "4.3.1";

const READY_WITHIN: Duration = Duration::from_mins(2);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What kind of broker is wanted.
pub struct BrokerSettings<'a> {
    /// 1, or 3 with everything replicated three times and two in-sync replicas needed.
    pub nodes: usize,
    /// Kept, and used again by the next start; `None` means a temporary folder.
    pub data: Option<PathBuf>,
    /// Lines of `server.properties`; they win over what is set here.
    pub properties: Vec<(String, String)>,
    pub jit: Jit,
    /// Addresses, one a node, of what stands in front of the nodes, such as proxies: clients
    /// that come that way are told to connect there. None, or as many as there are nodes.
    pub advertised: Vec<SocketAddr>,
    /// Told, in a few words, what takes long.
    pub progress: &'a mut dyn FnMut(&str),
}

impl<'a> BrokerSettings<'a> {
    /// One node, temporary data, quick to start.
    pub fn new(progress: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            nodes: 1,
            data: None,
            properties: Vec::new(),
            jit: Jit::FastStart,
            advertised: Vec::new(),
            progress,
        }
    }
}

/// What the Java virtual machine is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jit {
    /// Little CPU and memory at the start, slower once warm: development and tests.
    #[default]
    FastStart,
    /// As a server runs it: benchmarks.
    Throughput,
}

/// A running Kafka, ended by `drop`.
#[derive(Debug)]
pub struct Broker {
    source: Source,
    jit: Jit,
    cluster_id: String,
    layout: Layout,
    nodes: Vec<Node>,
    /// Names containers apart from those of other brokers.
    tag: String,
    guard: Guard,
    folder: DataFolder,
}

#[derive(Debug)]
struct Node {
    folder: Folder,
    process: Option<Process>,
}

#[derive(Debug)]
enum DataFolder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl DataFolder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Broker {
    fn spawn(&mut self, index: usize) -> Result<(), BrokerError> {
        let ports = self.layout.nodes.get(index).copied();
        let nodes = self.nodes.len();
        let (Some(node), Some(ports)) = (self.nodes.get_mut(index), ports) else {
            return Err(BrokerError::NoSuchNode { index, nodes });
        };
        let share_network = nodes > 1 || ports.behind.is_some();
        let name = format!("{}-{index}", self.tag);
        let container = docker::Container {
            name: &name,
            folder: &node.folder.0,
            ports,
            share_network,
        };
        let command = self.source.serve(&container, self.jit);
        let container = matches!(self.source, Source::Docker).then_some(name);
        node.process = Some(Process::spawn(command, &node.folder.log(), container)?);
        self.tell_guard()
    }

    fn tell_guard(&mut self) -> Result<(), BrokerError> {
        self.guard.list(
            self.nodes
                .iter()
                .filter_map(|n| n.process.as_ref())
                .map(Process::target),
        )
    }

    /// `blamed` is the node whose log is shown when nobody answers.
    fn wait_ready(
        &mut self,
        blamed: usize,
        bootstrap: &str,
        nodes: std::ops::Range<usize>,
    ) -> Result<(), BrokerError> {
        let cluster_id = self.cluster_id.clone();
        let ids = nodes
            .clone()
            .filter_map(|index| i32::try_from(index + 1).ok())
            .collect();
        let expected = ready::Expected {
            bootstrap,
            cluster_id: &cluster_id,
            ids,
        };
        let answer = ready::wait(&expected, READY_WITHIN, || self.check_alive(nodes.clone()))?;
        answer.map_err(|reason| {
            let log = self.log_path(blamed).unwrap_or_default();
            let tail = node::tail(&log);
            BrokerError::Silent {
                waited_s: READY_WITHIN.as_secs(),
                reason,
                node: blamed,
                log,
                tail,
            }
        })
    }

    fn check_alive(&mut self, nodes: std::ops::Range<usize>) -> Result<(), BrokerError> {
        for (index, node) in self
            .nodes
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| nodes.contains(index))
        {
            let ended = match node.process.as_mut() {
                Some(process) => process.ended()?.is_some(),
                None => true,
            };
            if ended {
                let log = node.folder.log();
                let (tail, port_taken) = (node::tail(&log), node::port_was_taken(&log));
                return Err(BrokerError::Ended {
                    node: index,
                    log,
                    tail,
                    port_taken,
                });
            }
        }
        Ok(())
    }

    /// For `bootstrap.servers`: the addresses of all nodes.
    pub fn bootstrap(&self) -> String {
        self.layout.bootstrap()
    }

    /// Where the node listens for its own clients.
    pub fn address(&self, index: usize) -> Result<SocketAddr, BrokerError> {
        self.ports(index).map(|ports| loopback(ports.clients))
    }

    /// Where the node listens for what stands in front of it; `None` if nothing does.
    pub fn address_behind(&self, index: usize) -> Result<Option<SocketAddr>, BrokerError> {
        self.ports(index)
            .map(|ports| ports.behind.map(|behind| loopback(behind.port)))
    }

    fn ports(&self, index: usize) -> Result<NodePorts, BrokerError> {
        let nodes = self.nodes.len();
        let ports = self.layout.nodes.get(index).copied();
        ports.ok_or(BrokerError::NoSuchNode { index, nodes })
    }

    /// How many nodes it has, running or not.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Where its data and logs lie.
    pub fn data_path(&self) -> &Path {
        self.folder.path()
    }

    /// What a node wrote to its log.
    pub fn log_path(&self, index: usize) -> Result<PathBuf, BrokerError> {
        self.node(index).map(|node| node.folder.log())
    }

    /// The process id of a running node.
    pub fn pid(&self, index: usize) -> Result<u32, BrokerError> {
        self.running(index)?.pid()
    }

    /// SIGKILL: the node is gone when this returns.
    pub fn kill(&mut self, index: usize) -> Result<(), BrokerError> {
        self.end(index, Process::kill)
    }

    /// SIGTERM: the node hands over what it leads, and is gone when this returns.
    pub fn stop(&mut self, index: usize) -> Result<(), BrokerError> {
        self.end(index, |process| process.stop(STOP_WITHIN))
    }

    fn end(
        &mut self,
        index: usize,
        how: impl FnOnce(&mut Process) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let nodes = self.nodes.len();
        let node = self
            .nodes
            .get_mut(index)
            .ok_or(BrokerError::NoSuchNode { index, nodes })?;
        how(node.process.as_mut().ok_or(BrokerError::NotRunning(index))?)?;
        node.process = None;
        self.tell_guard()
    }

    /// SIGSTOP: the node keeps its connections and answers nothing.
    pub fn pause(&self, index: usize) -> Result<(), BrokerError> {
        self.running(index)?.send(Send::Pause)
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) -> Result<(), BrokerError> {
        self.running(index)?.send(Send::Resume)
    }

    /// Starts a node that was killed or stopped, at its old address and with its data,
    /// and waits until it answers.
    pub fn start_node(&mut self, index: usize) -> Result<(), BrokerError> {
        if self.node(index)?.process.is_some() {
            return Err(BrokerError::Running(index));
        }
        self.spawn(index)?;
        let own = self
            .layout
            .nodes
            .get(index)
            .map(|ports| format!("127.0.0.1:{}", ports.clients));
        self.wait_ready(index, &own.unwrap_or_default(), index..index + 1)
    }

    /// One of Kafka's own command line tools against this broker, by the name of its
    /// script (`kafka-console-consumer`, `kafka-transactions`) or its class;
    /// `--bootstrap-server` is filled in.
    pub fn tool<A: Into<OsString>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Command {
        let own = ["--bootstrap-server".into(), OsString::from(self.bootstrap())];
        let live = self
            .nodes
            .iter()
            .position(|node| node.process.is_some())
            .unwrap_or(0);
        let args = own.into_iter().chain(args.into_iter().map(Into::into));
        self.source.tool(name, args, &format!("{}-{live}", self.tag))
    }

    fn node(&self, index: usize) -> Result<&Node, BrokerError> {
        self.nodes.get(index).ok_or(BrokerError::NoSuchNode {
            index,
            nodes: self.nodes.len(),
        })
    }

    fn running(&self, index: usize) -> Result<&Process, BrokerError> {
        self.node(index)?
            .process
            .as_ref()
            .ok_or(BrokerError::NotRunning(index))
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Drop for Broker {
    /// Data that is kept deserves an orderly end; the rest is killed.
    fn drop(&mut self) {
        let orderly = matches!(self.folder, DataFolder::Kept(_));
        if orderly {
            // All at once first: three nodes that go down one after the other wait for each other.
            for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
                let _gone_already = process
                    .send(Send::Resume)
                    .and_then(|()| process.send(Send::Terminate));
            }
        }
        for node in &mut self.nodes {
            let Some(process) = node.process.as_mut() else {
                continue;
            };
            match if orderly {
                process.stop(STOP_WITHIN)
            } else {
                process.kill()
            } {
                Ok(()) => node.process = None,
                Err(error) => tracing::warn!(%error, "a node of the local broker may still run"),
            }
        }
        if let Err(error) = self.tell_guard() {
            tracing::warn!(%error, "the guard of the local broker does not listen");
        }
    }
}
