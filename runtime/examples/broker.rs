//! A local Kafka for as long as standard input stays open:
//! `cargo run -p strait --example broker -- [NODES] [DATA]`.
//!
//! Lines read are Kafka's tools with their arguments (`kafka-topics --list`), or
//! `kill`, `stop`, `start`, `pause` and `resume` with a node.

use std::io::Write as _;

use strait::broker::{Broker, BrokerSettings};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let nodes = args.next().map_or(Ok(1), |text| text.parse())?;
    let data = args.next().map(Into::into);
    let mut progress = |line: &str| {
        let _closed = writeln!(std::io::stderr(), "{line}");
    };
    let mut broker = Broker::start(BrokerSettings {
        nodes,
        data,
        ..BrokerSettings::new(&mut progress)
    })?;
    writeln!(std::io::stdout(), "{}", broker.bootstrap())?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["kill", node] => broker.kill(node.parse()?)?,
            ["stop", node] => broker.stop(node.parse()?)?,
            ["start", node] => broker.start_node(node.parse()?)?,
            ["pause", node] => broker.pause(node.parse()?)?,
            ["resume", node] => broker.resume(node.parse()?)?,
            [tool, args @ ..] => {
                let status = broker.tool(tool, args).status()?;
                writeln!(std::io::stdout(), "{tool}: {status}")?;
            }
        }
        writeln!(std::io::stdout(), "ok")?;
    }
    Ok(())
}
