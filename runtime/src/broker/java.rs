//! Running Kafka's classes with a Java of this machine.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::{BrokerError, Jit};

const JAVA_MIN: u32 = 17;

/// A Java and the jars it runs.
#[derive(Debug)]
pub struct Jars {
    pub java: Java,
    /// The class path, sorted, so that a class archive made once fits each later run.
    pub files: Vec<PathBuf>,
    pub archive: Archive,
}

/// A `java` that is new enough.
#[derive(Debug, Clone)]
pub struct Java {
    path: PathBuf,
    /// What `java -version` says.
    version: String,
}

/// Classes already parsed, which halves the time to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    None,
    /// Used if it is there. An empty file means that this Java could not make one.
    Use(PathBuf),
    /// Written when the process ends in good order.
    Record(PathBuf),
}

impl Java {
    /// A name that is another for each build of Java, since archives fit just one.
    pub fn archive_name(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.version.as_bytes()).into();
        let [a, b, c, d, ..] = digest;
        format!("java-{:08x}.jsa", u32::from_be_bytes([a, b, c, d]))
    }
}

impl Jars {
    fn class_path(&self) -> OsString {
        let mut path = OsString::new();
        for jar in &self.files {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(jar);
        }
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.java.path);
        let flag = |name: &str, archive: &Path| {
            let mut flag = OsString::from(name);
            flag.push(archive);
            flag
        };
        match &self.archive {
            // One that does not fit is passed over; without these flags, with a word about it.
            Archive::Use(path) if path.metadata().is_ok_and(|file| file.len() > 0) => command
                .arg(flag("-XX:SharedArchiveFile=", path))
                .args(["-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]),
            Archive::Record(path) => command.arg(flag("-XX:ArchiveClassesAtExit=", path)),
            Archive::None | Archive::Use(_) => &mut command,
        };
        command.arg("-cp").arg(self.class_path());
        command
    }
}

/// The jars of a folder, sorted; none if there is no such folder.
pub fn jars_in(folder: &Path) -> Result<Vec<PathBuf>, BrokerError> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut jars = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|source| BrokerError::Io {
                what: format!("reading {}", folder.display()),
                source,
            })?
            .path();
        if path.extension() == Some(OsStr::new("jar")) {
            jars.push(path);
        }
    }
    jars.sort();
    Ok(jars)
}

/// `JAVA_HOME`'s java, else the one on the path, if it is new enough.
pub fn find() -> Result<Java, BrokerError> {
    let java = match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let output = Command::new(&java).arg("-version").stdin(Stdio::null()).output();
    let output = output.map_err(|_absent| BrokerError::NoJava)?;
    if !output.status.success() {
        return Err(BrokerError::NoJava);
    }
    let version = String::from_utf8_lossy(&output.stderr).into_owned();
    match major_version(&version) {
        Some(found) if found < JAVA_MIN => Err(BrokerError::OldJava {
            java: java.display().to_string(),
            found,
        }),
        // A version line in words unknown to us is given a try.
        _ => Ok(Java { path: java, version }),
    }
}

/// From `openjdk version "17.0.15" 2025-04-15`; Java 8 calls itself 1.8.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        major => Some(major),
    }
}

/// A node whose folder holds `server.properties` and `log4j2.properties`.
pub fn server(jars: &Jars, folder: &Path, jit: Jit) -> Command {
    let mut command = jars.command();
    match jit {
        // Without the second compiler a start takes a quarter less time and half the CPU.
        Jit::FastStart => command.args(["-XX:TieredStopAtLevel=1", "-Xmx512m"]),
        Jit::Throughput => command.args(["-Xms1g", "-Xmx1g"]),
    };
    command
        .arg(define(
            "log4j2.configurationFile",
            &folder.join("log4j2.properties"),
        ))
        .arg("-Djava.awt.headless=true")
        .arg("kafka.Kafka")
        .arg(folder.join("server.properties"));
    command
}

/// A class that works for a moment and ends.
pub fn tool(jars: &Jars, class: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = jars.command();
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g"])
        .arg(class)
        .args(args);
    command
}

fn define(key: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(format!("-D{key}="));
    flag.push(path);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_old_and_new() {
        assert_eq!(major_version("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(major_version("java version \"1.8.0_392\""), Some(8));
        assert_eq!(major_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major_version("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(major_version("no version here"), None);
    }
}
