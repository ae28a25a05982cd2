//! Kafka's jars by Maven, once, into a cache that all processes of a user share.
//!
//! A lock file keeps parallel processes from resolving at once; the folder appears
//! under its name by one rename, so it is whole or not there. The name carries a digest
//! of the pom, so another pom makes another folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::error::Doing as _;
use super::java::{self, Archive, Jars};
use super::{BrokerError, VERSION};

const POM: &str = include_str!("kafka-pom.xml");

/// The jars, resolved first if this is the first time.
pub fn jars(progress: &mut dyn FnMut(&str)) -> Result<Jars, BrokerError> {
    let java = java::find()?;
    let cache = cache_folder()?;
    let folder = cache.join(folder_name(POM));
    fs::create_dir_all(&cache).doing(|| format!("creating {}", cache.display()))?;
    let lock_path = cache.join(".lock");
    let lock = File::create(&lock_path).doing(|| format!("creating {}", lock_path.display()))?;
    if lock.try_lock().is_err() {
        progress("another process resolves Kafka's jars; waiting for it");
        lock.lock().doing(|| format!("locking {}", lock_path.display()))?;
    }
    if !folder.exists() {
        progress(&format!(
            "resolving Apache Kafka {VERSION} with Maven (once; some 45 MB)"
        ));
        resolve(&cache, &folder)?;
    }
    let archive = Archive::Use(folder.join(java.archive_name()));
    Ok(Jars {
        java,
        files: java::jars_in(&folder)?,
        archive,
    })
}

/// `STRAIT_CACHE_DIR`, else `strait` in the user's cache folder; Kafka has `kafka` in it.
fn cache_folder() -> Result<PathBuf, BrokerError> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("STRAIT_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("strait")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/strait")))
        .ok_or_else(|| std::io::Error::other("neither STRAIT_CACHE_DIR nor XDG_CACHE_HOME nor HOME is set"))
        .doing(|| "finding a cache folder".into())?;
    Ok(base.join("kafka"))
}

fn folder_name(pom: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(pom.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    format!("{VERSION}-{:08x}", u32::from_be_bytes([a, b, c, d]))
}

fn resolve(cache: &Path, folder: &Path) -> Result<(), BrokerError> {
    let work = tempfile::Builder::new()
        .prefix(".resolving-")
        .tempdir_in(cache)
        .doing(|| format!("creating a folder in {}", cache.display()))?;
    let libs = work.path().join("libs");
    let pom = work.path().join("pom.xml");
    fs::write(&pom, POM).doing(|| format!("writing {}", pom.display()))?;
    let output = Command::new("mvn")
        .args([
            "--batch-mode",
            "--no-transfer-progress",
            "dependency:copy-dependencies",
        ])
        .args(["-DincludeScope=runtime", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", libs.display()))
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => return Err(BrokerError::NoMaven),
        other => other.doing(|| "running mvn".into())?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(BrokerError::Maven {
            tail: super::node::last_lines(&said, 15),
        });
    }
    fs::rename(&libs, folder).doing(|| format!("moving the jars to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_the_version_that_messages_name() {
        assert!(POM.contains(&format!("<kafka.version>{VERSION}</kafka.version>")));
    }

    #[test]
    fn another_pom_makes_another_folder() {
        assert_ne!(folder_name("a"), folder_name("b"));
        assert!(folder_name(POM).starts_with(VERSION));
    }
}
