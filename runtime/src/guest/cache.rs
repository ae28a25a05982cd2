//! Compiled code on disk, so that a start does not compile again.
//!
//! wasmtime keys an entry by the module's digest, the compiler's version and every setting
//! that shapes code, but takes what it reads for machine code that it wrote itself: an entry
//! that rotted would run. So each entry has its digest beside it (`sums`), and what does
//! not agree with it is removed before wasmtime sees it.
//!
//! Invariants: a cache that is damaged, full, or not ours costs a compilation and a line in
//! the log, never the load. Entries together stay below [`BYTES_MAX`].

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::warn;
use wasmtime::CacheConfig;

/// Size at which the oldest entries go.
const BYTES_MAX: u64 = 256 << 20;

/// What takes longer to write than this was given up.
const UNFINISHED_AGE_MAX: Duration = Duration::from_mins(1);

/// An open cache directory.
pub(super) struct CodeCache {
    pub(super) wasmtime: wasmtime::Cache,
    folders: Folders,
}

struct Folders {
    /// wasmtime's own: `modules/<compiler and version>/<key>`.
    code: PathBuf,
    /// One file for each entry, of the same name.
    sums: PathBuf,
}

impl CodeCache {
    /// `None` if there can be no cache here; the log says why.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        match Self::try_open(folder) {
            Ok(cache) => Some(cache),
            Err(error) => {
                let folder = folder.display();
                warn!(%folder, error, "compiled modules are not cached; check the cache directory");
                None
            }
        }
    }

    fn try_open(folder: &Path) -> Result<Self, String> {
        let root = std::path::absolute(folder)
            .map_err(|e| e.to_string())?
            .join("compiled");
        let folders = Folders {
            code: root.join("code"),
            sums: root.join("sums"),
        };
        create(&folders, &root).map_err(|e| e.to_string())?;
        folders.remove_damaged().map_err(|e| e.to_string())?;
        let mut config = CacheConfig::new();
        config
            .with_directory(&folders.code)
            .with_files_total_size_soft_limit(BYTES_MAX)
            // Compressing an entry again would change its digest, and saves nothing worth it.
            .with_optimized_compression_usage_counter_threshold(u64::MAX);
        let wasmtime = wasmtime::Cache::new(config).map_err(|e| format!("{e:#}"))?;
        Ok(Self { wasmtime, folders })
    }

    /// To be called after a load: notes the digests of entries that are new.
    pub(super) fn note_new(&self) {
        if let Err(error) = self.folders.note_new() {
            warn!(%error, "a compiled module is not cached; check the cache directory");
        }
    }

    /// Loads that found their code here.
    pub(super) fn hits(&self) -> usize {
        self.wasmtime.cache_hits()
    }
}

/// Others must not be able to write here: what lies here is run.
fn create(folders: &Folders, root: &Path) -> io::Result<()> {
    for folder in [root, &folders.code, &folders.sums] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::metadata(folder)?;
        if found.permissions().mode() & 0o022 != 0 || found.uid() != rustix::process::geteuid().as_raw() {
            let message = format!("{} can be written by others", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}

impl Folders {
    fn remove_damaged(&self) -> io::Result<()> {
        self.remove_unfinished()?;
        for entry in self.entries()? {
            let agrees = match (digest(&entry), fs::read_to_string(self.sum_of(&entry))) {
                (Ok(found), Ok(expected)) => found == expected,
                _ => false,
            };
            if !agrees {
                // Another process may have removed it, or be about to note it; both are well.
                remove(&entry)?;
                remove(&self.sum_of(&entry))?;
            }
        }
        self.remove_orphans()
    }

    /// A process that was killed while it wrote an entry leaves a file that keeps all others
    /// from writing that entry.
    fn remove_unfinished(&self) -> io::Result<()> {
        for file in self.files()? {
            let unfinished = file
                .extension()
                .is_some_and(|e| e.as_encoded_bytes().starts_with(b"wip-"));
            let age = fs::metadata(&file)
                .and_then(|found| found.modified())
                .map(|at| at.elapsed());
            if unfinished && matches!(age, Ok(Ok(age)) if age > UNFINISHED_AGE_MAX) {
                remove(&file)?;
            }
        }
        Ok(())
    }

    fn remove_orphans(&self) -> io::Result<()> {
        let entries = self.entries()?;
        for sum in fs::read_dir(&self.sums)? {
            let sum = sum?;
            if !entries
                .iter()
                .any(|entry| entry.file_name() == Some(&sum.file_name()))
            {
                remove(&sum.path())?;
            }
        }
        Ok(())
    }

    fn note_new(&self) -> io::Result<()> {
        for entry in self.entries()? {
            let sum = self.sum_of(&entry);
            if !sum.exists() {
                let written = tempfile::NamedTempFile::new_in(&self.sums)?;
                fs::write(written.path(), digest(&entry)?)?;
                written.persist(&sum).map_err(|e| e.error)?;
            }
        }
        Ok(())
    }

    fn sum_of(&self, entry: &Path) -> PathBuf {
        self.sums.join(entry.file_name().unwrap_or_default())
    }

    /// Files of code. wasmtime's own notes beside them have an extension.
    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self
            .files()?
            .into_iter()
            .filter(|file| file.extension().is_none())
            .collect())
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for compiler in list(&self.code.join("modules"))? {
            if compiler.is_dir() {
                found.extend(list(&compiler)?);
            }
        }
        Ok(found)
    }
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn digest(file: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut fs::File::open(file)?, &mut digest)?;
    Ok(format!("{:x}", digest.finalize()))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
