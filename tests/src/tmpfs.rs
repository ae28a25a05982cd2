//! A small disk that can be full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const BALLAST: &str = "ballast";

/// A file system in memory, of a fixed size. Dropping it takes it away.
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts it on a folder, which is created. Needs the right to mount.
    pub fn mount(path: &Path, size_mib: u32) -> Result<Self> {
        fs::create_dir_all(path)?;
        let size = format!("size={size_mib}m");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what is left of it. Gives how many bytes that were.
    pub fn fill(&self) -> Result<u64> {
        let mut file = File::create(self.path.join(BALLAST))?;
        let mut size = 1 << 16;
        let mut taken: u64 = 0;
        while size > 0 {
            match file.write(&vec![1; size]) {
                Ok(written) => taken += u64::try_from(written)?,
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => bail!("fill {}: {error}", self.path.display()),
            }
        }
        Ok(taken)
    }

    /// Gives back what [`Tmpfs::fill`] took.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.path.join(BALLAST)).context("free the disk")
    }
}

impl Drop for Tmpfs {
    #[allow(clippy::print_stdout, reason = "libtest shows it only if the test fails")]
    fn drop(&mut self) {
        // Lazily: what still runs in it keeps it until it ends.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.path)) {
            println!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
