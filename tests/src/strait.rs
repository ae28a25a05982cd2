//! A running `strait` process, watched only from outside: its exit code, its HTTP
//! endpoints, its log, `/proc`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::verifier::Verifier;
use crate::wait;

const START_LIMIT: Duration = Duration::from_mins(1);
const LOG_LINES_SHOWN: usize = 40;

/// One process. Dropping it kills it, and shows the end of its log to whoever reads
/// the output of a failed test.
pub struct Strait {
    child: Child,
    exit: Option<ExitStatus>,
    http: SocketAddr,
    log: PathBuf,
    /// Kills it if nobody else does.
    guard: Arc<Verifier>,
}

impl Strait {
    /// Starts `command`, to which an HTTP address on a free port is added; what it
    /// prints goes to `log`.
    pub fn start(mut command: Command, log: &Path, guard: Arc<Verifier>) -> Result<Self> {
        let http = free_address()?;
        command.arg("--http").arg(http.to_string());
        let file = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let strait = Self {
            child,
            exit: None,
            http,
            log: log.to_owned(),
            guard,
        };
        strait.guard.guard(strait.pid())?;
        Ok(strait)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/readyz` says so.
    pub fn wait_ready(&mut self) -> Result<()> {
        let started = wait::until("ready", START_LIMIT, || {
            if let Some(status) = self.poll_exit()? {
                return Ok(Some(Err(status)));
            }
            let (status, body) = self.get("/readyz")?;
            ensure!(status == 200, "/readyz: {status} {body}");
            Ok(Some(Ok(())))
        });
        match started {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("it ended with {status} before it was ready: {}", self.log_end()),
            Err(error) => Err(error.context(self.log_end())),
        }
    }

    /// Status and body of a GET.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let request = ureq::get(format!("http://{}{path}", self.http))
            .config()
            .timeout_global(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .build();
        let mut response = request.call()?;
        let body = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), body))
    }

    /// The sum of the series of that name that carry these labels; `None` without one.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        let (status, body) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics: {status}");
        Ok(sum_of_series(&body, name, labels))
    }

    fn poll_exit(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait()?;
            if self.exit.is_some() {
                self.guard.unguard(self.pid())?;
            }
        }
        Ok(self.exit)
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.poll_exit()?.is_none())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.is_running()?, "it has ended: {}", self.log_end());
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.exit = Some(self.child.wait()?);
        self.guard.unguard(self.pid())
    }

    /// SIGSTOP: as a virtual machine that stands still.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM; gives the exit code, which must come within the limit.
    pub fn terminate(&mut self, limit: Duration) -> Result<i32> {
        self.signal(Signal::TERM)?;
        self.wait_exit(limit)
    }

    /// The exit code of a process that is to end by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<i32> {
        let status = self.wait_end(limit)?;
        status.code().with_context(|| format!("{status}"))
    }

    /// How a process ended that is to end by itself, be it by a signal.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait::until("the end of the process", limit, || self.poll_exit());
        ended.with_context(|| self.log_end())
    }

    /// User and system time so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, fields) = stat.rsplit_once(')').context("a stat line")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("a field")?.parse()?) };
        // Linux reports to user space in ticks of 10 ms on every architecture.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }

    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
        let mut shown = format!("end of the log of process {}:", self.pid());
        for line in lines.iter().skip(from) {
            let line: String = line.chars().take(600).collect();
            let written = write!(shown, "\n    {line}");
            debug_assert!(written.is_ok());
        }
        shown
    }
}

impl Drop for Strait {
    #[allow(clippy::print_stdout, reason = "libtest shows it only if the test fails")]
    fn drop(&mut self) {
        if self.is_running().unwrap_or(true) && self.kill().is_err() {
            println!("could not kill process {}", self.pid());
        }
        println!("{}", self.log_end());
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn sum_of_series(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
        let carries = |(label, value): &(&str, &str)| series_labels.contains(&format!("{label}=\"{value}\""));
        if series_name == name && labels.iter().all(carries) {
            sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().unwrap_or(f64::NAN));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::sum_of_series;

    #[test]
    fn series_are_found_by_name_and_labels() {
        let text = "# TYPE a_total counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\nb 5\n";
        assert_eq!(sum_of_series(text, "a_total", &[("x", "1")]), Some(7.0));
        assert_eq!(
            sum_of_series(text, "a_total", &[("y", "3"), ("x", "1")]),
            Some(4.0)
        );
        assert_eq!(sum_of_series(text, "b", &[]), Some(5.0));
        assert_eq!(sum_of_series(text, "a", &[]), None);
    }
}
