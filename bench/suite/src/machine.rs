//! What it was measured on.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::Serialize;
use strait::broker;

#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub system: String,
    pub java: String,
    pub kafka: &'static str,
    pub librdkafka: String,
    pub revision: String,
}

impl Machine {
    pub fn look() -> Self {
        let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".to_owned());
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib: u64 = memory
            .split(' ')
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or_default();
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib >> 20,
            system: said("uname", &["-sr"]),
            java: said("java", &["--version"]),
            kafka: broker::VERSION,
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            revision: said("git", &["describe", "--always", "--dirty"]),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Revision {}; {}, {} cores, {} GiB, {}; Kafka {} (one node, replication 1, on the same machine), \
             librdkafka {}, {}.",
            self.revision,
            self.cpu,
            self.cores,
            self.memory_gib,
            self.system,
            self.kafka,
            self.librdkafka,
            self.java
        )
    }
}

/// The first line of what a program says.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
