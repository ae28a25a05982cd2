//! `server.properties` of each node. Pure: text from values.

use std::fmt::Write as _;
use std::net::SocketAddr;

pub const PORTS_PER_NODE: usize = 3;

/// Where the nodes of one cluster listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub nodes: Vec<NodePorts>,
}

/// Ports of one node, all on the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    pub clients: u16,
    pub controller: u16,
    pub behind: Option<Behind>,
}

/// A second listener, for clients that come by way of something that stands in front of
/// the node, such as a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Where the node listens for what comes that way.
    pub port: u16,
    /// What the node tells those clients to connect to.
    pub advertised: SocketAddr,
}

impl Layout {
    /// `ports` holds [`PORTS_PER_NODE`] for each node; `advertised` has an address for each
    /// node that something stands in front of.
    pub fn new(ports: &[u16], advertised: &[SocketAddr]) -> Self {
        let mut advertised = advertised.iter();
        let mut node = |ports: &[u16]| match ports {
            [clients, controller, behind] => Some(NodePorts {
                clients: *clients,
                controller: *controller,
                behind: advertised.next().map(|address| Behind {
                    port: *behind,
                    advertised: *address,
                }),
            }),
            _ => None,
        };
        Self {
            nodes: ports.chunks(PORTS_PER_NODE).filter_map(&mut node).collect(),
        }
    }

    /// What clients are given as `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self
            .nodes
            .iter()
            .map(|n| format!("127.0.0.1:{}", n.clients))
            .collect();
        addresses.join(",")
    }

    fn voters(&self) -> String {
        let voter = |(i, n): (usize, &NodePorts)| format!("{}@127.0.0.1:{}", i + 1, n.controller);
        self.nodes
            .iter()
            .enumerate()
            .map(voter)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// The text of `server.properties` for the node at `index`. `bind` is the address
/// the sockets listen on; `extra` wins over what is set here.
pub fn server(
    layout: &Layout,
    index: usize,
    bind: &str,
    log_dir: &str,
    extra: &[(String, String)],
) -> String {
    let ports = layout.nodes.get(index).copied().unwrap_or(NodePorts {
        clients: 0,
        controller: 0,
        behind: None,
    });
    let (listen_behind, advertise_behind) = ports.behind.map_or_else(Default::default, |behind| {
        (
            format!(",BEHIND://{bind}:{}", behind.port),
            format!(",BEHIND://{}", behind.advertised),
        )
    });
    let replicas = layout.nodes.len();
    let in_sync = if replicas >= 3 { 2 } else { 1 };
    let mut all: Vec<(&str, String)> = vec![
        ("process.roles", "broker,controller".into()),
        ("node.id", (index + 1).to_string()),
        (
            "listeners",
            format!(
                "PLAINTEXT://{bind}:{},CONTROLLER://{bind}:{}{listen_behind}",
                ports.clients, ports.controller
            ),
        ),
        (
            "advertised.listeners",
            format!("PLAINTEXT://127.0.0.1:{}{advertise_behind}", ports.clients),
        ),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BEHIND:PLAINTEXT".into(),
        ),
        ("controller.listener.names", "CONTROLLER".into()),
        ("inter.broker.listener.name", "PLAINTEXT".into()),
        ("controller.quorum.voters", layout.voters()),
        ("log.dirs", log_dir.into()),
        ("auto.create.topics.enable", "false".into()),
        ("default.replication.factor", replicas.to_string()),
        ("min.insync.replicas", in_sync.to_string()),
        // Few partitions: each one is a folder and a coordinator to load at the first use.
        ("offsets.topic.num.partitions", "5".into()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("transaction.state.log.num.partitions", "5".into()),
        ("transaction.state.log.replication.factor", replicas.to_string()),
        ("transaction.state.log.min.isr", in_sync.to_string()),
        // A group of one machine has nobody to wait for.
        ("group.initial.rebalance.delay.ms", "0".into()),
        // Records may be dated long ago, by a sample or a test, and are wanted all the same.
        ("log.retention.ms", "-1".into()),
        // The default of 128 MiB would take a third of the small heap.
        ("log.cleaner.dedupe.buffer.size", "8388608".into()),
    ];
    all.retain(|(key, _)| !extra.iter().any(|(other, _)| other == key));
    let mut text = String::new();
    let own = all.iter().map(|(k, v)| (*k, v.as_str()));
    for (key, value) in own.chain(extra.iter().map(|(k, v)| (k.as_str(), v.as_str()))) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{key}={}", value.replace('\\', "\\\\"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no {line:?} in:\n{text}");
    }

    #[test]
    fn one_node_replicates_once() {
        let layout = Layout::new(&[1001, 1002, 1003], &[]);
        assert_eq!(layout.bootstrap(), "127.0.0.1:1001");
        let text = server(&layout, 0, "127.0.0.1", "/d", &[]);
        has(&text, "transaction.state.log.replication.factor=1");
        has(&text, "transaction.state.log.min.isr=1");
        has(&text, "controller.quorum.voters=1@127.0.0.1:1002");
        has(&text, "auto.create.topics.enable=false");
    }

    #[test]
    fn three_nodes_replicate_three_times_and_need_two() {
        let layout = Layout::new(&[1, 2, 11, 3, 4, 12, 5, 6, 13], &[]);
        assert_eq!(layout.bootstrap(), "127.0.0.1:1,127.0.0.1:3,127.0.0.1:5");
        let text = server(&layout, 2, "127.0.0.1", "/d", &[]);
        has(&text, "node.id=3");
        has(
            &text,
            "listeners=PLAINTEXT://127.0.0.1:5,CONTROLLER://127.0.0.1:6",
        );
        has(
            &text,
            "controller.quorum.voters=1@127.0.0.1:2,2@127.0.0.1:4,3@127.0.0.1:6",
        );
        has(&text, "min.insync.replicas=2");
        has(&text, "offsets.topic.replication.factor=3");
    }

    #[test]
    fn clients_behind_a_proxy_are_told_its_address() {
        let front: SocketAddr = "127.0.0.1:9000".parse().unwrap();
        let text = server(&Layout::new(&[1, 2, 3], &[front]), 0, "127.0.0.1", "/d", &[]);
        has(
            &text,
            "listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2,BEHIND://127.0.0.1:3",
        );
        has(
            &text,
            "advertised.listeners=PLAINTEXT://127.0.0.1:1,BEHIND://127.0.0.1:9000",
        );
    }

    #[test]
    fn what_the_caller_sets_wins() {
        let layout = Layout::new(&[1, 2, 3], &[]);
        let text = server(
            &layout,
            0,
            "127.0.0.1",
            "/d",
            &[("min.insync.replicas".into(), "7".into())],
        );
        has(&text, "min.insync.replicas=7");
        assert_eq!(text.matches("min.insync.replicas").count(), 1);
    }
}
