//! Running Kafka's image with a Docker daemon.
//!
//! A node is a `docker run` in the foreground: the client is our child and ends when
//! the container does; signals go to the container by its name. The node's folder is
//! mounted under its own path, so that all paths mean the same inside and outside.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::Doing as _;
use super::properties::NodePorts;
use super::{BrokerError, Jit, VERSION};

const IMAGE: &str = "apache/kafka:4.3.1";
const BIN: &str = "/opt/kafka/bin";

/// What runs in one container.
#[derive(Debug)]
pub struct Container<'a> {
    pub name: &'a str,
    pub folder: &'a Path,
    pub ports: NodePorts,
    /// Nodes of one cluster must reach each other at 127.0.0.1.
    pub share_network: bool,
}

/// Whether a daemon is there.
pub fn answers() -> bool {
    let mut version = Command::new("docker");
    version
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null());
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Gets the image, unless it is there.
pub fn pull(progress: &mut dyn FnMut(&str)) -> Result<(), BrokerError> {
    let mut inspect = Command::new("docker");
    inspect
        .args(["image", "inspect", IMAGE])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if inspect.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    progress(&format!("pulling the image of Apache Kafka {VERSION} (once)"));
    let output = Command::new("docker")
        .args(["pull", "--quiet", IMAGE])
        .stdin(Stdio::null())
        .output();
    let output = output.doing(|| "running docker".into())?;
    if output.status.success() {
        return Ok(());
    }
    let tail = super::node::last_lines(&String::from_utf8_lossy(&output.stderr), 5);
    Err(BrokerError::Docker { image: IMAGE, tail })
}

/// A container that is removed at its end, writes as this user and sees `folder`.
fn run(folder: &Path) -> Command {
    let mut mount = folder.as_os_str().to_owned();
    mount.push(":");
    mount.push(folder);
    let user = format!(
        "{}:{}",
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", "--user", &user, "--env", "LOG_DIR=/tmp/kafka-logs"])
        .arg("--volume")
        .arg(mount);
    command
}

/// See [`super::source::Source::format`].
pub fn format(folder: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = run(folder);
    command
        .arg("--entrypoint")
        .arg(format!("{BIN}/kafka-storage.sh"))
        .arg(IMAGE)
        .args(args);
    command
}

/// See [`super::source::Source::serve`].
pub fn server(node: &Container<'_>, jit: Jit) -> Command {
    let mut command = run(node.folder);
    command.args(["--name", node.name]);
    if node.share_network {
        command.args(["--network", "host"]);
    } else {
        let port = node.ports.clients;
        command.args(["--publish", &format!("127.0.0.1:{port}:{port}")]);
    }
    let heap = match jit {
        Jit::FastStart => "KAFKA_HEAP_OPTS=-Xmx512m -XX:TieredStopAtLevel=1",
        Jit::Throughput => "KAFKA_HEAP_OPTS=-Xms1g -Xmx1g",
    };
    let mut log4j = OsString::from("KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile=");
    log4j.push(node.folder.join("log4j2.properties"));
    command.args(["--env", heap]).arg("--env").arg(log4j);
    command
        .arg("--entrypoint")
        .arg(format!("{BIN}/kafka-server-start.sh"))
        .arg(IMAGE);
    command.arg(node.folder.join("server.properties"));
    command
}

/// Runs a script, or a class, in a container that runs a node.
pub fn tool(container: &str, name: &str, args: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Command::new("docker");
    command.args(["exec", "--interactive", container]);
    if name.contains('.') {
        command.arg(format!("{BIN}/kafka-run-class.sh")).arg(name);
    } else {
        command.arg(format!("{BIN}/{name}.sh"));
    }
    command.args(args);
    command
}

/// Sends a signal to what runs in a container.
pub fn signal(container: &str, signal: &str) -> std::io::Result<()> {
    let output = Command::new("docker")
        .args(["kill", "--signal", signal, container])
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

/// The id, on this machine, of what runs in a container.
pub fn pid(container: &str) -> std::io::Result<u32> {
    let output = Command::new("docker")
        .args(["inspect", "--format", "{{.State.Pid}}", container])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map_err(|_not_a_number| std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        command
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn one_node_publishes_its_port_and_three_share_the_network() {
        let ports = NodePorts {
            clients: 21000,
            controller: 21001,
            behind: None,
        };
        let mut node = Container {
            name: "n",
            folder: Path::new("/d"),
            ports,
            share_network: false,
        };
        let one = words(&server(&node, Jit::FastStart));
        assert!(one.contains(&"127.0.0.1:21000:21000".into()), "{one:?}");
        assert!(!one.contains(&"host".into()), "{one:?}");
        assert!(one.contains(&"/d:/d".into()), "{one:?}");
        node.share_network = true;
        let three = words(&server(&node, Jit::FastStart));
        assert!(three.contains(&"host".into()), "{three:?}");
    }

    #[test]
    fn tools_are_scripts_or_classes() {
        let script = words(&tool("c", "kafka-topics", ["--list".into()]));
        assert_eq!(
            script,
            [
                "exec",
                "--interactive",
                "c",
                "/opt/kafka/bin/kafka-topics.sh",
                "--list"
            ]
        );
        let class = words(&tool("c", "a.B", []));
        assert_eq!(
            class,
            [
                "exec",
                "--interactive",
                "c",
                "/opt/kafka/bin/kafka-run-class.sh",
                "a.B"
            ]
        );
    }
}
