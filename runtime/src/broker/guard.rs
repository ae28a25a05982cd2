//! Leaves no process behind, even when this one is killed.
//!
//! A small shell reads the list of live nodes from a pipe whose other end this process
//! holds. When the pipe ends (an orderly drop, a static that is never dropped, or
//! SIGKILL), it kills what the last line lists and removes the folder it was given.
//! A process that has been reaped is taken off the list first, so no id is ever killed
//! that might have passed to somebody else.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::BrokerError;
use super::error::Doing as _;

const SCRIPT: &str = r#"
folder=$1; shift
list=
while read -r line; do
  case $line in keep) folder= ;; *) list=$line ;; esac
done
if [ -n "$list" ]; then "$@" $list >/dev/null 2>&1; fi
if [ -n "$folder" ]; then rm -rf -- "$folder" 2>/dev/null || { sleep 1; rm -rf -- "$folder"; }; fi
"#;

/// The pipe to the shell, and the shell.
#[derive(Debug)]
pub struct Guard {
    pipe: Option<ChildStdin>,
    shell: Child,
}

impl Guard {
    /// `kill` is the command that ends the nodes, which follow it as arguments;
    /// `folder` is removed at the end.
    pub fn start(kill: &[&str], folder: Option<&Path>) -> Result<Self, BrokerError> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "strait-kafka-guard"])
            .arg(folder.unwrap_or(Path::new("")))
            .args(kill)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the terminal's reach: Ctrl-C is for the process that started it.
            .process_group(0)
            .spawn()
            .doing(|| "starting the shell that guards the broker".into())?;
        Ok(Self {
            pipe: shell.stdin.take(),
            shell,
        })
    }

    /// Replaces the list of what is to be killed.
    pub fn list<'a>(&mut self, live: impl Iterator<Item = &'a str>) -> Result<(), BrokerError> {
        self.tell(&live.collect::<Vec<_>>().join(" "))
    }

    /// Leaves the folder where it is.
    pub fn keep_folder(&mut self) -> Result<(), BrokerError> {
        self.tell("keep")
    }

    fn tell(&mut self, line: &str) -> Result<(), BrokerError> {
        match self.pipe.as_mut() {
            Some(pipe) => writeln!(pipe, "{line}").doing(|| "telling the broker's guard what runs".into()),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It ends by itself now; waiting only reaps it.
        let _reaped = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_pipe_kills_what_is_listed_and_removes_the_folder() {
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::write(folder.join("file"), "x").unwrap();
        let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let mut guard = Guard::start(&["kill", "-KILL"], Some(&folder)).unwrap();
        let (first, second) = (other.id().to_string(), sleeper.id().to_string());
        guard.list([first.as_str(), second.as_str()].into_iter()).unwrap();
        guard.list([second.as_str()].into_iter()).unwrap();
        drop(guard);
        assert!(!sleeper.wait().unwrap().success());
        assert!(!folder.exists());
        assert!(
            other.try_wait().unwrap().is_none(),
            "what was taken off the list lives on"
        );
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_folder_can_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut guard = Guard::start(&["kill", "-KILL"], Some(folder.path())).unwrap();
        guard.list(std::iter::empty()).unwrap();
        guard.keep_folder().unwrap();
        drop(guard);
        assert!(folder.path().exists());
    }
}
