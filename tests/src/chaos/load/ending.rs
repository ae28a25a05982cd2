//! How every load ends: worked off, drained, judged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{DRAIN_LIMIT, Load};
use crate::chaos::{NotRun, OnWire, Run, Violation};
use crate::oracle;
use crate::proxy::Api;
use crate::wait;

/// How long all that came in may take to be worked off once no more comes.
const WORKED_OFF_WITHIN: Duration = Duration::from_mins(2);

impl Load {
    /// The end of every scenario: no more input, all of it worked off, every process drained,
    /// everything judged. What is lost or doubled outweighs whatever else went wrong.
    pub fn settle(mut self, run: &mut Run) -> Result<()> {
        self.close(run)
    }

    /// The same, and more that must hold then.
    pub fn settle_and(mut self, run: &mut Run, check: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.close(run)?;
        check(&self)
    }

    fn close(&mut self, run: &mut Run) -> Result<()> {
        let trouble = self.finish();
        let judged = self.judge(run);
        match (trouble, judged) {
            (Err(trouble), Err(error)) if error.downcast_ref::<Violation>().is_some() => {
                Err(error.context(format!("and before that: {trouble:#}")))
            }
            (Ok(()), judged) => judged,
            (trouble, _) => trouble,
        }
    }

    /// What is left undecided would look like a loss to the judge: so whatever goes wrong
    /// before, its end is waited for.
    pub fn finish(&mut self) -> Result<()> {
        let read_along = self.check_readers();
        let worked_off = self.stop_input().and_then(|()| self.wait_worked_off());
        let drained = self.drain();
        let stable = oracle::wait_stable(&self.fixture, &self.book.topics);
        worked_off.and(drained).and(stable).and(read_along)?;
        self.fixture.committed_to_end(&self.fixture.topic("in"))
    }

    /// While records are still written, the reader of the main output must have read some: one
    /// that reads only at the end is no second opinion.
    fn check_readers(&self) -> Result<()> {
        let Some(main) = self
            .stream
            .topics
            .first()
            .filter(|main| self.followed.contains(main))
        else {
            return Ok(());
        };
        let topic = self.fixture.topic(main);
        let stable = self.fixture.verifier().ends(&topic)?;
        let has_records = stable.iter().any(|ends| ends.last_stable > ends.start);
        if has_records && self.fixture.verifier().followed_so_far(&topic)? == 0 {
            let reason = format!("the concurrent reader of {main} has read nothing yet");
            return Err(NotRun(reason).into());
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let mut drained = Ok(());
        for process in &mut self.processes {
            if process.is_running()? {
                let code = process.terminate(DRAIN_LIMIT)?;
                drained = drained.and_then(|()| {
                    ensure!(code == 0, "SIGTERM ended a process with {code}");
                    Ok(())
                });
            }
        }
        drained
    }

    /// Waits until the group has committed the end of every partition.
    pub fn wait_worked_off(&mut self) -> Result<()> {
        let topic = self.fixture.topic("in");
        wait::until(
            "the committed offsets at the end of the input",
            WORKED_OFF_WITHIN,
            || {
                let mut running = false;
                for process in &mut self.processes {
                    running |= process.is_running()?;
                }
                if !running {
                    return Ok(Some(false));
                }
                self.fixture.committed_to_end(&topic)?;
                Ok(Some(true))
            },
        )?
        .then_some(())
        .context("every process has ended before the input was worked off")
    }

    /// Compares what stands in the topics. Nothing may run any more.
    pub fn judge(&mut self, run: &mut Run) -> Result<()> {
        let mut concurrent = BTreeMap::new();
        for topic in self.followed.drain(..) {
            let rows = self.fixture.verifier().followed(&self.fixture.topic(topic))?;
            concurrent.insert(topic, rows);
        }
        let findings = oracle::judge(&self.fixture, &self.book, &concurrent)?;
        let passed = self.fixture.cluster().wire().counts_of(&self.fixture.ids());
        // Whose they are is not known, for they could not be read.
        let undecoded = self.fixture.cluster().wire().counts().undecoded - self.undecoded_before;
        ensure!(
            undecoded == 0,
            "{undecoded} frames of transactions could not be read"
        );
        let inits = passed.code(Api::INIT_PRODUCER_ID, 0);
        let tally = &mut run.tally;
        tally.wire = (!self.fixture.cluster().proxies().is_empty()).then_some(OnWire {
            commits: passed.committed,
            aborts: passed.aborted,
            reloads: inits.saturating_sub(self.lanes_started),
        });
        tally.records += findings.input;
        for (_, account) in &findings.accounts {
            tally.lost += account.missing.len();
            tally.doubled += account.doubled.len();
            tally.foreign += account.unexplained.len();
            tally.disordered += account.disordered.len();
            tally.spoilt += account.spoilt.len();
        }
        if let Some(complaint) = findings.complaint() {
            return Err(Violation(complaint).into());
        }
        if u64::try_from(findings.input)? != self.sent {
            bail!("{} of {} records stand in the input", findings.input, self.sent);
        }
        Ok(())
    }
}
