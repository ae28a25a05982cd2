//! Who this process is, to the transaction coordinator.
//!
//! A transactional id is `<pipeline>.<instance>.<lane>`. The instance is the one that was
//! given, else `<machine id>-<slot>` with the lowest slot that no other process of this
//! machine holds.
//!
//! Invariants: at no time do two processes that share a data folder hold the same instance for
//! the same pipeline, since each holds a file lock for as long as it lives, and the system
//! frees the lock at once however the process ends; an instance has no dot, so that no two
//! triples make the same id; every file is replaced as a whole or not at all.
//!
//! ```text
//! machine-id                          random, written once
//! slots/0.lock  slots/0.ids           a slot, and the ids last used in it
//! instances/NAME/PIPELINE.lock .ids   the same for an instance that was given
//! ```
//!
//! Why ids are recorded: an id that is no longer used (fewer lanes) may have left a
//! transaction open, which holds up readers until it times out. Initialising the id once ends
//! it at once.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use tracing::warn;

use crate::plan::PipelineName;

/// More processes on one machine than this are a mistake.
const SLOTS_MAX: usize = 1_000;

/// Ids that one slot may record; pipelines times lanes stay far below it.
const IDS_MAX: usize = 10_000;

const INSTANCE_LENGTH_MAX: usize = 64;

/// `IDS_MAX` of the longest possible ids.
const IDS_FILE_BYTES_MAX: u64 = 4 << 20;

/// Why this process does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "instance {0:?} is not usable: give 1 to {INSTANCE_LENGTH_MAX} characters out of a-z, A-Z, 0-9, '_' \
         and '-' (no dot: a dot separates the parts of a transactional id)"
    )]
    InvalidInstance(String),
    #[error(
        "another process on this machine runs pipeline {pipeline} as instance {instance:?}: stop it, or give \
         this process another --instance, or none"
    )]
    InstanceInUse {
        instance: String,
        pipeline: PipelineName,
    },
    #[error("{SLOTS_MAX} processes use the data folder {0}: give this one another --data-dir")]
    NoFreeSlot(PathBuf),
    #[error("{0} does not hold a machine id: delete the file, and a new one is made")]
    InvalidMachineId(PathBuf),
    #[error(
        "{0} transactional ids are more than the {IDS_MAX} that one process can keep track of: run fewer lanes"
    )]
    TooManyIds(usize),
    #[error("cannot {action} {path}: {cause}; --data-dir must name a folder that this user may write")]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
}

/// An id that this instance used before and may have left with an open transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleId {
    /// Tells the caller which cluster to ask, if it still runs that pipeline.
    pub pipeline: PipelineName,
    pub transactional_id: String,
}

/// The instance of this process, its own until this is dropped.
#[derive(Debug)]
pub struct Identity {
    instance: String,
    claims: Vec<Claim>,
}

/// A lock that is held, and where the ids that it guards are recorded.
#[derive(Debug)]
struct Claim {
    lock: File,
    ids: PathBuf,
    /// Ids of this pipeline only; `None`: of all.
    pipeline: Option<PipelineName>,
}

impl Identity {
    /// Takes the given instance for these pipelines, or else the lowest free slot.
    pub fn claim(
        data_dir: &Path,
        instance: Option<&str>,
        pipelines: &[PipelineName],
    ) -> Result<Self, IdentityError> {
        match instance {
            Some(instance) => Self::claim_instance(data_dir, instance, pipelines),
            None => Self::claim_slot(data_dir),
        }
    }

    fn claim_instance(
        data_dir: &Path,
        instance: &str,
        pipelines: &[PipelineName],
    ) -> Result<Self, IdentityError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if instance.is_empty() || instance.len() > INSTANCE_LENGTH_MAX || !instance.chars().all(legal) {
            return Err(IdentityError::InvalidInstance(instance.to_owned()));
        }
        let folder = data_dir.join("instances").join(instance);
        create_folder(&folder)?;
        let claim = |pipeline: &PipelineName| {
            let in_use = || IdentityError::InstanceInUse {
                instance: instance.to_owned(),
                pipeline: pipeline.clone(),
            };
            Ok(Claim {
                lock: try_lock(&folder.join(format!("{pipeline}.lock")))?.ok_or_else(in_use)?,
                ids: folder.join(format!("{pipeline}.ids")),
                pipeline: Some(pipeline.clone()),
            })
        };
        let claims = pipelines
            .iter()
            .map(claim)
            .collect::<Result<_, IdentityError>>()?;
        Ok(Self {
            instance: instance.to_owned(),
            claims,
        })
    }

    fn claim_slot(data_dir: &Path) -> Result<Self, IdentityError> {
        let folder = data_dir.join("slots");
        create_folder(&folder)?;
        let machine_id = machine_id(&data_dir.join("machine-id"))?;
        for slot in 0..SLOTS_MAX {
            if let Some(lock) = try_lock(&folder.join(format!("{slot}.lock")))? {
                let ids = folder.join(format!("{slot}.ids"));
                let claim = Claim {
                    lock,
                    ids,
                    pipeline: None,
                };
                return Ok(Self {
                    instance: format!("{machine_id}-{slot}"),
                    claims: vec![claim],
                });
            }
        }
        Err(IdentityError::NoFreeSlot(data_dir.to_owned()))
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What the lane's producer calls itself.
    pub fn transactional_id(&self, pipeline: &PipelineName, lane: usize) -> String {
        format!("{pipeline}.{}.{lane}", self.instance)
    }

    /// Ids that were recorded and are not `in_use` now. Each is to be initialised once, and
    /// then [`Self::record`] forgets it.
    ///
    /// Of an instance that was given, only those of its pipelines of today: another process
    /// may run the others under the same name.
    pub fn stale_ids(&self, in_use: &[String]) -> Result<Vec<StaleId>, IdentityError> {
        let in_use: BTreeSet<&str> = in_use.iter().map(String::as_str).collect();
        let mut stale = BTreeSet::new();
        for claim in &self.claims {
            for recorded in read_ids(&claim.ids)? {
                match self.parse(&recorded) {
                    _ if in_use.contains(recorded.as_str()) => {}
                    // Initialising an id fences whoever uses it: never another's.
                    Some(pipeline) if claim.covers(&pipeline) => {
                        stale.insert(StaleId {
                            pipeline,
                            transactional_id: recorded,
                        });
                    }
                    _ => warn!(file = %claim.ids.display(), "ignoring a recorded id of another instance"),
                }
            }
        }
        Ok(stale.into_iter().collect())
    }

    /// Remembers the ids in use, in place of all recorded before. To be done before the first
    /// of them is used, so that a crash leaves none behind unrecorded.
    pub fn record(&self, in_use: &[String]) -> Result<(), IdentityError> {
        if in_use.len() > IDS_MAX {
            return Err(IdentityError::TooManyIds(in_use.len()));
        }
        for claim in &self.claims {
            let covered = |id: &&String| self.parse(id).is_some_and(|pipeline| claim.covers(&pipeline));
            let mut text = String::new();
            for id in in_use.iter().filter(covered) {
                text.push_str(id);
                text.push('\n');
            }
            write_atomically(&claim.ids, text.as_bytes())?;
        }
        Ok(())
    }

    /// The pipeline of an id of this instance.
    fn parse(&self, transactional_id: &str) -> Option<PipelineName> {
        let (rest, lane) = transactional_id.rsplit_once('.')?;
        let (pipeline, instance) = rest.rsplit_once('.')?;
        lane.parse::<usize>().ok()?;
        if instance == self.instance {
            PipelineName::new(pipeline).ok()
        } else {
            None
        }
    }
}

impl Claim {
    fn covers(&self, pipeline: &PipelineName) -> bool {
        self.pipeline.as_ref().is_none_or(|covered| covered == pipeline)
    }
}

impl Drop for Claim {
    /// Closing the file would do, were it not for a child process that is just being started
    /// and still has a copy of it: unlocking frees all copies.
    fn drop(&mut self) {
        if let Err(cause) = self.lock.unlock() {
            warn!(file = %self.ids.display(), error = %cause, "could not unlock");
        }
    }
}

/// The lock on a file, made if need be; `None` if another holds it. The file is never deleted:
/// a lock on a deleted file would be no lock.
fn try_lock(path: &Path) -> Result<Option<File>, IdentityError> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(cause)) => Err(failed("lock", path)(cause)),
    }
}

/// Reads the machine id, and writes it first where there is none. Of several processes that
/// write at once, one wins and all read the same.
fn machine_id(path: &Path) -> Result<String, IdentityError> {
    if !path.exists() {
        let random = OsRng
            .try_next_u64()
            .map_err(|cause| failed("make up", path)(io::Error::other(cause)))?;
        let temporary = write_temporary(path, format!("{random:016x}\n").as_bytes())?;
        match temporary.persist_noclobber(path) {
            Ok(_) => sync_folder(path)?,
            Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(failure) => return Err(failed("write", path)(failure.error)),
        }
    }
    let text = read_limited(path, 64)?;
    let id = text.trim_end();
    if id.len() == 16 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
        Ok(id.to_owned())
    } else {
        Err(IdentityError::InvalidMachineId(path.to_owned()))
    }
}

fn read_ids(path: &Path) -> Result<Vec<String>, IdentityError> {
    match read_limited(path, IDS_FILE_BYTES_MAX) {
        Ok(text) => Ok(text.lines().take(IDS_MAX).map(str::to_owned).collect()),
        Err(IdentityError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

fn read_limited(path: &Path, bytes_max: u64) -> Result<String, IdentityError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max).read_to_string(&mut text))
        .map_err(failed("read", path))?;
    Ok(text)
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let temporary = write_temporary(path, bytes)?;
    temporary
        .persist(path)
        .map_err(|failure| failed("write", path)(failure.error))?;
    sync_folder(path)
}

/// A file beside `path` that is on the disk with all its bytes, ready to be renamed.
fn write_temporary(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, IdentityError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        Ok(temporary)
    };
    write().map_err(failed("write", path))
}

/// A rename lasts once the folder is on the disk.
fn sync_folder(path: &Path) -> Result<(), IdentityError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("write", folder))
}

fn create_folder(folder: &Path) -> Result<(), IdentityError> {
    fs::create_dir_all(folder).map_err(failed("create", folder))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> IdentityError {
    move |cause| IdentityError::Io {
        action,
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests;
