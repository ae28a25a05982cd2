//! Blows that many scenarios strike, and what shows that they hit.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng as _;

use super::load::PROGRESS_WITHIN;
use super::{Load, Run};
use crate::proxy::Api;
use crate::wait;

/// What passes in a transaction.
pub const OF_A_TRANSACTION: [Api; 5] = [
    Api::ADD_PARTITIONS_TO_TXN,
    Api::PRODUCE,
    Api::ADD_OFFSETS_TO_TXN,
    Api::TXN_OFFSET_COMMIT,
    Api::END_TXN,
];

/// Kills a process while the coordinator knows of an open transaction of its own.
pub fn kill_in_transaction(load: &mut Load, process: usize) -> Result<Killed> {
    let ids = load.ids_of(process);
    load.fixture.wait_open_transaction_of(&ids)?;
    load.process(process)?.kill()?;
    Ok(Killed {
        at: Instant::now(),
        open: load.fixture.open_transaction_of(&ids)?,
    })
}

/// What a kill left behind.
pub struct Killed {
    pub at: Instant,
    /// The transaction that nobody had decided; `None`: what was on its way decided it.
    pub open: Option<String>,
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process is gone by signal 9; ")?;
        match &self.open {
            Some(id) => write!(f, "the coordinator lists {id} as Ongoing afterwards"),
            None => f.write_str("no transaction stayed open"),
        }
    }
}

impl From<Killed> for String {
    fn from(killed: Killed) -> Self {
        killed.to_string()
    }
}

/// Kills the only process so many times, at moments left to chance; gives how often that
/// left a transaction open.
pub fn kill_often(run: &mut Run, load: &mut Load, times: usize) -> Result<usize> {
    kill_often_within(run, load, times, PROGRESS_WITHIN)
}

/// The same, where the next process has to move every partition within the limit.
pub fn kill_often_within(run: &mut Run, load: &mut Load, times: usize, limit: Duration) -> Result<usize> {
    let mut met = 0;
    for _ in 0..times {
        thread::sleep(Duration::from_millis(run.random.random_range(0..700)));
        let killed = kill_in_transaction(load, 0)?;
        met += usize::from(killed.open.is_some());
        let mark = load.mark_since(killed.at)?;
        run.fault("SIGKILL of the only process", killed);
        load.restart(0)?;
        load.await_progress(run, &mark, limit)?;
        // Once more: what was on its way when it died may have been the first.
        load.mark()?.passed(&load.fixture, PROGRESS_WITHIN)?;
    }
    Ok(met)
}

/// What the kernel says of a process that was stopped.
pub fn standing_still(pid: u32) -> Result<String> {
    let state = || -> Result<Option<String>> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("State:"));
        Ok(line.filter(|line| line.contains('T')).map(str::to_owned))
    };
    let state = wait::until("the process stands still", Duration::from_secs(5), state)?;
    Ok(format!("process {pid} is in {}", state.replace('\t', " ")))
}
