//! Where a Kafka comes from: `KAFKA_HOME`, else Docker if a daemon answers, else Maven
//! and Java. `STRAIT_KAFKA` (`home`, `docker` or `maven`) takes the choice away.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::java::{self, Archive, Jars};
use super::{BrokerError, Jit, docker, maven, tools};

/// A Kafka that can be run.
#[derive(Debug)]
pub enum Source {
    Java(Jars),
    Docker,
}

impl Source {
    /// Looks in the order of the module's description.
    pub fn find(progress: &mut dyn FnMut(&str)) -> Result<Self, BrokerError> {
        let home = std::env::var_os("KAFKA_HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from);
        match (std::env::var("STRAIT_KAFKA").ok().as_deref(), home) {
            (None | Some("" | "home"), Some(home)) => Ok(Self::Java(distribution(&home)?)),
            (Some("home"), None) => Err(BrokerError::NotAKafkaHome { home: PathBuf::new() }),
            (Some("docker"), _) => docker::pull(progress).map(|()| Self::Docker),
            (None | Some(""), None) => Self::docker_or_maven(progress),
            (Some("maven"), _) => Ok(Self::Java(maven::jars(progress)?)),
            (Some(other), _) => Err(BrokerError::UnknownSource(other.into())),
        }
    }

    /// A daemon that answers but cannot get the image is no reason to give up.
    fn docker_or_maven(progress: &mut dyn FnMut(&str)) -> Result<Self, BrokerError> {
        if docker::answers() {
            match docker::pull(progress) {
                Ok(()) => return Ok(Self::Docker),
                Err(failed) => progress(&format!("{failed}\ntrying Maven and Java instead")),
            }
        }
        Ok(Self::Java(maven::jars(progress)?))
    }

    /// The class archive that this source would use, if nobody has made it yet.
    pub fn missing_archive(&self) -> Option<&Path> {
        match self {
            Self::Java(Jars {
                archive: Archive::Use(path),
                ..
            }) if !path.exists() => Some(path),
            Self::Java(_) | Self::Docker => None,
        }
    }

    /// The same Java and jars, but its processes write `archive`.
    pub fn recording(&self, archive: PathBuf) -> Option<Self> {
        match self {
            Self::Java(jars) => Some(Self::Java(Jars {
                java: jars.java.clone(),
                files: jars.files.clone(),
                archive: Archive::Record(archive),
            })),
            Self::Docker => None,
        }
    }

    /// For messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Java(_) => "Java",
            Self::Docker => "Docker",
        }
    }

    /// The command that writes the metadata that an empty data folder needs.
    pub fn format(&self, folder: &Path, cluster_id: &str) -> Command {
        let properties = folder.join("server.properties");
        let args: [&OsStr; 5] = [
            "format".as_ref(),
            "-t".as_ref(),
            cluster_id.as_ref(),
            "-c".as_ref(),
            properties.as_os_str(),
        ];
        match self {
            Self::Java(jars) => java::tool(jars, "kafka.tools.StorageTool", args),
            Self::Docker => docker::format(folder, args),
        }
    }

    /// The command that runs a node until it is told to end.
    pub fn serve(&self, node: &docker::Container<'_>, jit: Jit) -> Command {
        match self {
            Self::Java(jars) => java::server(jars, node.folder, jit),
            Self::Docker => docker::server(node, jit),
        }
    }

    /// A command line tool; `container` is a running node, which Docker runs it in.
    pub fn tool(&self, name: &str, args: impl IntoIterator<Item = OsString>, container: &str) -> Command {
        match self {
            Self::Java(jars) => java::tool(jars, tools::class_of(name), args),
            Self::Docker => docker::tool(container, name, args),
        }
    }
}

fn distribution(home: &Path) -> Result<Jars, BrokerError> {
    let files = java::jars_in(&home.join("libs"))?;
    let is_client = |jar: &PathBuf| {
        jar.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.starts_with("kafka-clients-"))
    };
    if files.iter().any(is_client) {
        Ok(Jars {
            java: java::find()?,
            files,
            archive: Archive::None,
        })
    } else {
        Err(BrokerError::NotAKafkaHome {
            home: home.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_kafka_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = distribution(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(error.contains("KAFKA_HOME"), "{error}");
    }
}
