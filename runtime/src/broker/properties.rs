//! `server.properties` of each node. Pure: text from values.

use std::fmt::Write as _;

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
}

impl Layout {
    /// `ports` holds two for each node.
    pub fn new(ports: &[u16]) -> Self {
        let pair = |pair: &[u16]| match pair {
            [clients, controller] => Some(NodePorts {
                clients: *clients,
                controller: *controller,
            }),
            _ => None,
        };
        Self {
            nodes: ports.chunks(2).filter_map(pair).collect(),
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
    });
    let replicas = layout.nodes.len();
    let in_sync = if replicas >= 3 { 2 } else { 1 };
    let mut all: Vec<(&str, String)> = vec![
        ("process.roles", "broker,controller".into()),
        ("node.id", (index + 1).to_string()),
        (
            "listeners",
            format!(
                "PLAINTEXT://{bind}:{},CONTROLLER://{bind}:{}",
                ports.clients, ports.controller
            ),
        ),
        (
            "advertised.listeners",
            format!("PLAINTEXT://127.0.0.1:{}", ports.clients),
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
        let layout = Layout::new(&[1001, 1002]);
        assert_eq!(layout.bootstrap(), "127.0.0.1:1001");
        let text = server(&layout, 0, "127.0.0.1", "/d", &[]);
        has(&text, "transaction.state.log.replication.factor=1");
        has(&text, "transaction.state.log.min.isr=1");
        has(&text, "controller.quorum.voters=1@127.0.0.1:1002");
        has(&text, "auto.create.topics.enable=false");
    }

    #[test]
    fn three_nodes_replicate_three_times_and_need_two() {
        let layout = Layout::new(&[1, 2, 3, 4, 5, 6]);
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
    fn what_the_caller_sets_wins() {
        let layout = Layout::new(&[1, 2]);
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
