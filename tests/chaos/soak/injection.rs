//! Aborts and new producers, in step with the commits, until there were enough of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use strait_tests::cluster::Cluster;
use strait_tests::fixture::Fixture;
use strait_tests::proxy::{Action, Api, Counts, Trap, Wire};

/// `ILLEGAL_GENERATION`: the transaction is aborted.
pub const REFUSED_OFFSETS: i16 = 22;
/// `INVALID_TXN_STATE`: the producer is lost.
const LOST: i16 = 48;

/// What a producer is replaced for, in turn: its request went unanswered, or was refused for good.
const REASONS: [(Api, Action); 7] = [
    (Api::END_TXN, Action::CutBeforeReply),
    (Api::END_TXN, Action::Answer(LOST)),
    (Api::PRODUCE, Action::CutBeforeReply),
    (Api::ADD_PARTITIONS_TO_TXN, Action::Answer(LOST)),
    (Api::ADD_OFFSETS_TO_TXN, Action::CutBeforeReply),
    (Api::TXN_OFFSET_COMMIT, Action::CutBeforeReply),
    (Api::ADD_PARTITIONS_TO_TXN, Action::CutBeforeReply),
];
/// A new producer takes a moment: so many lanes may get one at the same time.
const RELOADERS: u64 = 2;
/// So many requests pass between two that are caught: a lane that fails again and again would
/// rest longer and longer.
const SPARED: usize = 4;
/// Nothing that is waited for takes longer, unless the process is stuck.
const STUCK: Duration = Duration::from_mins(2);

/// How much of each.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub commits: u64,
    pub aborts: u64,
    pub reloads: u64,
}

impl Goal {
    pub fn scaled(self, percent: u64) -> Self {
        let part = |of: u64| (of * percent).div_ceil(100);
        Self {
            commits: part(self.commits),
            aborts: part(self.aborts),
            reloads: part(self.reloads),
        }
    }

    fn reached(&self, seen: &Counts) -> bool {
        seen.committed >= self.commits && seen.aborted >= self.aborts && epochs(seen) >= self.reloads
    }
}

/// Of a pipeline whose lanes have their first producers.
pub struct Injection {
    wire: Arc<Wire>,
    prefix: String,
    goal: Goal,
    before: Counts,
    failed: AtomicBool,
}

impl Injection {
    pub fn new(cluster: &Cluster, fixture: &Fixture, goal: Goal) -> Self {
        let (wire, prefix) = (Arc::clone(cluster.wire()), format!("{}.", fixture.name()));
        Self {
            before: wire.counts_of(&prefix),
            wire,
            prefix,
            goal,
            failed: AtomicBool::new(false),
        }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn commits_before(&self) -> u64 {
        self.before.committed
    }

    /// What the wire has counted since the beginning.
    pub fn seen(&self) -> Counts {
        self.wire.counts_of(&self.prefix).since(&self.before)
    }

    /// Ends when the goal is reached.
    pub fn run(&self) -> Result<()> {
        thread::scope(|scope| {
            let aborter =
                scope.spawn(|| self.keep_step(self.goal.aborts, |seen| seen.aborted, |_| self.abort()));
            let reloader = |turn| {
                scope.spawn(move || {
                    self.keep_step(self.goal.reloads, epochs, |round| {
                        self.reload(RELOADERS * round + turn)
                    })
                })
            };
            let reloaders: Vec<_> = (0..RELOADERS).map(reloader).collect();
            let ended = reloaders.into_iter().chain([aborter]).map(|thread| {
                let ended = thread.join().map_err(|_| anyhow!("an injecting thread panicked"));
                ended.and_then(|result| result)
            });
            ended.collect()
        })
    }

    /// Strikes whenever there were too few for the commits that there were. What has not shown
    /// yet counts as well, until the commits are done.
    fn keep_step(
        &self,
        whole: u64,
        count: impl Fn(&Counts) -> u64,
        mut strike: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut struck = 0;
        loop {
            let seen = self.seen();
            if self.goal.reached(&seen) || self.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let due = (whole * seen.committed / self.goal.commits).min(whole);
            let shown = count(&seen);
            let pending = seen.committed < self.goal.commits && struck >= due;
            let ended = if shown < due && !pending {
                struck += 1;
                strike(struck)
            } else {
                self.await_commit(&seen)
            };
            ended.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
        }
    }

    fn await_commit(&self, seen: &Counts) -> Result<()> {
        let more = |now: &Counts| now.since(&self.before).committed > seen.committed;
        self.wire.wait(&self.prefix, "one more commit", STUCK, more)?;
        Ok(())
    }

    fn abort(&self) -> Result<()> {
        let trap = Trap::new(
            Api::TXN_OFFSET_COMMIT,
            &self.prefix,
            Action::Answer(REFUSED_OFFSETS),
        );
        self.wire.trap(trap.skip(SPARED)).wait(STUCK)?;
        Ok(())
    }

    fn reload(&self, round: u64) -> Result<()> {
        let round = usize::try_from(round)?;
        let reason = REASONS.get(round % REASONS.len());
        let (api, action) = reason.copied().unwrap_or((Api::END_TXN, Action::CutBeforeReply));
        let mut trap = Trap::new(api, &self.prefix, action);
        if api == Api::END_TXN {
            trap = trap.commits();
        }
        let caught = self.wire.trap(trap.skip(SPARED)).wait(STUCK)?;
        let owner = &caught.request().owner;
        let before = epochs(&self.wire.counts_of(owner));
        let what = format!("a new epoch after {caught:?}");
        self.wire.wait(owner, &what, STUCK, |now| epochs(now) > before)?;
        Ok(())
    }
}

/// How many producers got an epoch.
fn epochs(counts: &Counts) -> u64 {
    counts.code(Api::INIT_PRODUCER_ID, 0)
}
