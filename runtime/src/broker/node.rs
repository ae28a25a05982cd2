//! One node's process: start it, signal it, know when it has ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

use rustix::process::{Pid, Signal, kill_process};

use super::error::Doing as _;
use super::{BrokerError, docker};

const LOOK_EVERY: Duration = Duration::from_millis(20);
const TAIL_LINES: usize = 30;
const TAIL_BYTES_MAX: u64 = 256 * 1024;

/// A running (or just ended, not yet reaped) node.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its container's name, if Docker runs it.
    container: Option<String>,
    /// What the guard kills: the container, else the process id.
    target: String,
}

/// What can be sent to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    Kill,
    Terminate,
    Pause,
    Resume,
}

impl Send {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Pause => "STOP",
            Self::Resume => "CONT",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Terminate => Signal::TERM,
            Self::Pause => Signal::STOP,
            Self::Resume => Signal::CONT,
        }
    }
}

impl Process {
    /// Runs `command` in a process group of its own, so that Ctrl-C at a terminal
    /// reaches Strait alone, which drains while the broker still answers.
    pub fn spawn(mut command: Command, log: &Path, container: Option<String>) -> Result<Self, BrokerError> {
        let (out, err) = log_files(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .doing(|| format!("starting {}", command.get_program().display()))?;
        let target = container.clone().unwrap_or_else(|| child.id().to_string());
        Ok(Self {
            child,
            container,
            target,
        })
    }

    pub fn target(&self) -> &str {
        &self.target
    }

    pub fn pid(&self) -> Result<u32, BrokerError> {
        match &self.container {
            Some(name) => docker::pid(name).doing(|| format!("asking docker about {name}")),
            None => Ok(self.child.id()),
        }
    }

    /// A child that has not been reaped keeps its id, so the signal cannot hit a stranger.
    pub fn send(&self, what: Send) -> Result<(), BrokerError> {
        let sent = match &self.container {
            Some(name) => docker::signal(name, what.name()),
            None => Pid::from_raw(self.child.id().cast_signed())
                .ok_or(rustix::io::Errno::SRCH)
                .and_then(|pid| kill_process(pid, what.signal()))
                .map_err(std::io::Error::from),
        };
        sent.map_err(|source| BrokerError::Signal {
            signal: what.name(),
            pid: self.child.id(),
            source,
        })
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, BrokerError> {
        self.child
            .try_wait()
            .doing(|| "waiting for a node of the broker".into())
    }

    /// Ends it with SIGTERM, and with SIGKILL if that takes longer than `bound`.
    pub fn stop(&mut self, bound: Duration) -> Result<(), BrokerError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        self.send(Send::Resume)?;
        self.send(Send::Terminate)?;
        let since = Instant::now();
        while since.elapsed() < bound {
            if self.ended()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<(), BrokerError> {
        if self.ended()?.is_none() {
            self.send(Send::Kill)?;
            self.child
                .wait()
                .doing(|| "waiting for a killed node of the broker".into())?;
        }
        Ok(())
    }
}

fn log_files(log: &Path) -> Result<(File, File), BrokerError> {
    let what = || format!("opening {}", log.display());
    let out = File::options().create(true).append(true).open(log).doing(what)?;
    let err = out.try_clone().doing(what)?;
    Ok((out, err))
}

/// The end of a log, for messages.
pub fn tail(log: &Path) -> String {
    last_lines(&read_end(log), TAIL_LINES)
}

/// Whether a log says that a port was taken.
pub fn port_was_taken(log: &Path) -> bool {
    let text = read_end(log).to_ascii_lowercase();
    text.contains("address already in use") || text.contains("port is already allocated")
}

fn read_end(log: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("(the log could not be read: {error})"),
    }
}

/// The last `count` lines of a text, indented.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines.iter().skip(lines.len().saturating_sub(count));
    kept.map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Where things lie in a node's folder.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn log(&self) -> PathBuf {
        self.0.join("kafka.log")
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn is_formatted(&self) -> bool {
        self.data().join("meta.properties").exists()
    }

    /// Writes what a node reads at its start.
    pub fn write(&self, server_properties: &str) -> Result<(), BrokerError> {
        let what = || format!("writing to {}", self.0.display());
        fs::create_dir_all(&self.0).doing(what)?;
        fs::write(self.0.join("server.properties"), server_properties).doing(what)?;
        fs::write(
            self.0.join("log4j2.properties"),
            include_str!("log4j2.properties"),
        )
        .doing(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_keeps_the_end() {
        assert_eq!(last_lines("a\nb\nc", 2), "    b\n    c");
        assert_eq!(last_lines("a", 2), "    a");
    }

    #[test]
    fn a_process_is_paused_resumed_and_killed_by_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut node = Process::spawn(command, &folder.path().join("log"), None).unwrap();
        node.send(Send::Pause).unwrap();
        node.send(Send::Resume).unwrap();
        assert!(node.ended().unwrap().is_none());
        node.kill().unwrap();
        assert!(node.ended().unwrap().is_some());
        node.stop(Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_process_deaf_to_sigterm_is_killed_when_the_bound_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"]);
        let mut node = Process::spawn(command, &log, None).unwrap();
        while !read_end(&log).contains("deaf") {
            std::thread::yield_now();
        }
        node.stop(Duration::from_millis(100)).unwrap();
        assert!(node.ended().unwrap().is_some());
    }

    #[test]
    fn a_taken_port_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, "ERROR bind failed: Address already in use\n").unwrap();
        assert!(port_was_taken(&log));
        fs::write(&log, "ERROR out of disk\n").unwrap();
        assert!(!port_was_taken(&log));
    }
}
