//! From settings to a broker that answers.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::error::Doing as _;
use super::guard::Guard;
use super::node::Folder;
use super::properties::Layout;
use super::source::Source;
use super::{Broker, BrokerError, BrokerSettings, DataFolder, Jit, Node, VERSION, node, ports, properties};

const PORT_TRIES: usize = 5;

impl Broker {
    /// Starts a broker and waits until it answers.
    pub fn start(settings: BrokerSettings<'_>) -> Result<Self, BrokerError> {
        let BrokerSettings {
            nodes,
            data,
            properties,
            jit,
            advertised,
            progress,
        } = settings;
        if nodes != 1 && nodes != 3 {
            return Err(BrokerError::NodeCount(nodes));
        }
        if !advertised.is_empty() && advertised.len() != nodes {
            return Err(BrokerError::AdvertisedCount {
                nodes,
                advertised: advertised.len(),
            });
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let source = Source::find(progress)?;
            record_archive(&source, progress);
            let since = Instant::now();
            progress(&format!(
                "starting Apache Kafka {VERSION} with {} ({nodes} node(s))",
                source.name()
            ));
            match Self::start_once(source, nodes, data.clone(), &properties, jit, &advertised) {
                Ok(broker) => {
                    let took_s = since.elapsed().as_secs_f64();
                    progress(&format!(
                        "Apache Kafka answers at {} after {took_s:.1} s",
                        broker.bootstrap()
                    ));
                    return Ok(broker);
                }
                Err(error) if error.is_port_taken() && tries < PORT_TRIES => {
                    progress("another process took a port in between; trying others");
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn start_once(
        source: Source,
        count: usize,
        data: Option<PathBuf>,
        properties: &[(String, String)],
        jit: Jit,
        advertised: &[SocketAddr],
    ) -> Result<Self, BrokerError> {
        let folder = data_folder(data)?;
        let cluster_id = cluster_id(folder.path(), count)?;
        let layout = Layout::new(&ports::pick(count * properties::PORTS_PER_NODE)?, advertised);
        let temporary = matches!(folder, DataFolder::Temporary(_)).then(|| folder.path());
        let guard = Guard::start(kill_command(&source), temporary)?;
        let nodes = (1..=count)
            .map(|id| Node {
                folder: Folder(folder.path().join(format!("node-{id}"))),
                process: None,
            })
            .collect();
        let tag = format!("strait-kafka-{}-{}", std::process::id(), &random_text(6));
        let mut broker = Self {
            source,
            jit,
            cluster_id,
            layout,
            nodes,
            tag,
            guard,
            folder,
        };
        let started = broker.bring_up(properties);
        if let (Err(error), DataFolder::Temporary(folder)) = (&started, &mut broker.folder)
            && !error.is_port_taken()
        {
            // The error names the log in it.
            folder.disable_cleanup(true);
            broker.guard.keep_folder()?;
        }
        started.map(|()| broker)
    }

    fn bring_up(&mut self, properties: &[(String, String)]) -> Result<(), BrokerError> {
        let bind = match self.source {
            Source::Docker if self.nodes.len() == 1 => "0.0.0.0",
            _ => "127.0.0.1",
        };
        for (index, node) in self.nodes.iter().enumerate() {
            let data = node.folder.data().display().to_string();
            node.folder
                .write(&properties::server(&self.layout, index, bind, &data, properties))?;
        }
        self.format()?;
        for index in 0..self.nodes.len() {
            self.spawn(index)?;
        }
        let bootstrap = self.bootstrap();
        self.wait_ready(0, &bootstrap, 0..self.nodes.len())
    }

    /// All nodes at once: each takes half a second of a Java start.
    fn format(&self) -> Result<(), BrokerError> {
        let mut running = Vec::new();
        for (index, node) in self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| !n.folder.is_formatted())
        {
            let mut command = self.source.format(&node.folder.0, &self.cluster_id);
            let log = node.folder.log();
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            running.push((index, log, child.doing(|| "starting the storage tool".into())?));
        }
        for (node, log, child) in running {
            let output = child
                .wait_with_output()
                .doing(|| "waiting for the storage tool".into())?;
            let said = [output.stdout, output.stderr].concat();
            std::fs::write(&log, &said).doing(|| format!("writing {}", log.display()))?;
            if !output.status.success() {
                let tail = node::tail(&log);
                return Err(BrokerError::Format { node, log, tail });
            }
        }
        Ok(())
    }
}

/// Makes the class archive, once for each Java: a start then takes half the time and CPU.
/// Without it all works as well, only slower, so nothing here is an error.
fn record_archive(source: &Source, progress: &mut dyn FnMut(&str)) {
    let Some(archive) = source.missing_archive() else {
        return;
    };
    let Ok(lock) = File::create(archive.with_extension("lock")) else {
        return;
    };
    if lock.try_lock().is_err() || archive.exists() {
        return;
    }
    progress("recording a class archive that makes later starts quicker (once)");
    let partial = archive.with_extension("partial");
    let Some(recording) = source.recording(partial.clone()) else {
        return;
    };
    let recorded = Broker::start_once(recording, 1, None, &[], Jit::FastStart, &[])
        .and_then(|mut broker| broker.stop(0))
        .and_then(|()| std::fs::rename(&partial, archive).doing(|| "keeping the class archive".into()));
    if let Err(error) = recorded {
        tracing::debug!(%error, "no class archive");
        // So that the next start does not try again.
        let _tried = File::create(archive);
    }
}

fn kill_command(source: &Source) -> &'static [&'static str] {
    match source {
        Source::Java(_) => &["kill", "-KILL"],
        Source::Docker => &["docker", "kill"],
    }
}

fn data_folder(data: Option<PathBuf>) -> Result<DataFolder, BrokerError> {
    let Some(path) = data else {
        let folder = tempfile::Builder::new().prefix("strait-kafka-").tempdir();
        return folder
            .map(DataFolder::Temporary)
            .doing(|| "creating a temporary folder".into());
    };
    std::fs::create_dir_all(&path).doing(|| format!("creating {}", path.display()))?;
    // Kafka resolves relative paths against its own working directory.
    let path = path
        .canonicalize()
        .doing(|| format!("resolving {}", path.display()))?;
    Ok(DataFolder::Kept(path))
}

/// The id that the folder has, else a new one, which is written down.
fn cluster_id(folder: &Path, nodes: usize) -> Result<String, BrokerError> {
    let file = folder.join("cluster");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let mut words = text.split_whitespace();
        if let (Some(id), Some(Ok(found))) = (words.next(), words.next().map(str::parse)) {
            return if found == nodes {
                Ok(id.into())
            } else {
                Err(BrokerError::OtherNodeCount {
                    data: folder.to_owned(),
                    found,
                    wanted: nodes,
                })
            };
        }
    }
    // 16 bytes in base64, as Kafka wants it: 21 free characters, and one whose low bits are zero.
    let id = format!("{}A", random_text(21));
    std::fs::write(&file, format!("{id} {nodes}\n")).doing(|| format!("writing {}", file.display()))?;
    Ok(id)
}

fn random_text(length: usize) -> String {
    SmallRng::from_os_rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_cluster_id_and_its_number_of_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let id = cluster_id(folder.path(), 3).unwrap();
        assert_eq!(id.len(), 22);
        assert_eq!(cluster_id(folder.path(), 3).unwrap(), id);
        let error = cluster_id(folder.path(), 1).unwrap_err();
        assert!(
            matches!(
                error,
                BrokerError::OtherNodeCount {
                    found: 3,
                    wanted: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn two_nodes_are_refused() {
        let mut quiet = |_: &str| {};
        let settings = BrokerSettings {
            nodes: 2,
            ..BrokerSettings::new(&mut quiet)
        };
        assert!(matches!(Broker::start(settings), Err(BrokerError::NodeCount(2))));
    }
}
