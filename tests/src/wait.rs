//! Waiting for a condition, with a limit and a name for what did not come.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` until it gives a value. An error of the probe counts as "not yet"
/// and is reported if the limit passes.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        let answer = probe();
        match answer {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if started.elapsed() >= limit => bail!("{what}: not within {limit:?}"),
            Err(error) if started.elapsed() >= limit => {
                return Err(error).with_context(|| format!("{what}: not within {limit:?}"));
            }
            Ok(None) | Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Like [`until`], for a condition without a value.
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(probe()?.then_some(())))
}
