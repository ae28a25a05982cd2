//! Scenarios: what a fault is, how one runs, and what counts as having passed.
//!
//! A scenario feeds a pipeline, hurts it while records move, and lets the
//! [`oracle`](crate::oracle) judge what stands in the topics. It passes only if
//! - it injected at least one fault, and has evidence of each that does not come from
//!   Strait: what the broker, the proxy or the operating system saw; without, it has
//!   *not run*;
//! - the account balances.
//!
//! A scenario with a sabotage runs a `strait` that was broken on purpose, and passes only
//! if the account shows the harm that such a mistake does: it proves that the suite can see.
//!
//! What is random in a scenario follows from its seed.

pub mod load;
pub mod progress;
pub mod role;
pub mod run;
pub mod session;
pub mod slope;
pub mod strike;
pub mod table;
pub mod vitals;

use std::fmt;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};

pub use load::Load;
pub use run::Run;

/// Something that a pipeline has to survive.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its number in `docs/proof.md`; 0 beyond that list.
    pub number: u8,
    pub name: &'static str,
    /// What must come of it.
    pub expects: &'static str,
    pub selection: Selection,
    pub sabotage: Option<Sabotage>,
    pub run: fn(&mut Run) -> Result<()>,
}

/// A mistake that was built into `strait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sabotage {
    /// As [`Build::Faulty`](crate::binary::Build::Faulty) knows it.
    pub name: &'static str,
    pub shows: Harm,
}

impl Sabotage {
    pub const fn losing(name: &'static str) -> Self {
        let shows = Harm::Lost;
        Self { name, shows }
    }

    pub const fn doubling(name: &'static str) -> Self {
        let shows = Harm::Doubled;
        Self { name, shows }
    }
}

/// What must be wrong with the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    Lost,
    Doubled,
}

/// When a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// With all other tests.
    Short,
    /// With the whole suite only.
    Long,
}

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    NotRun(String),
}

/// The account does not balance.
#[derive(Debug, Clone)]
pub struct Violation(pub String);

/// A fault could not be injected, or left no evidence.
#[derive(Debug, Clone)]
pub struct NotRun(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}
impl std::error::Error for NotRun {}

/// What the table shows of a scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub scenario: Scenario,
    pub seed: u64,
    pub verdict: Verdict,
    pub tally: Tally,
    pub faults: Vec<Fault>,
    pub took: Duration,
}

/// A fault, and what shows that it took place.
#[derive(Debug, Clone)]
pub struct Fault {
    pub what: String,
    pub evidence: String,
}

/// The figures of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// `None`: there were no proxies to count it.
    pub wire: Option<OnWire>,
    /// Records of the input.
    pub records: usize,
    pub lost: usize,
    pub doubled: usize,
    /// Outputs that no input explains.
    pub foreign: usize,
    pub disordered: usize,
    /// Outputs with another value than the transform makes.
    pub spoilt: usize,
    /// The longest time from a fault, or from its end if it was to last, until every input
    /// partition had moved on.
    pub progress: Option<Duration>,
}

/// What the proxies have counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnWire {
    /// Transactions that nodes ended so.
    pub commits: u64,
    pub aborts: u64,
    /// Producers that a coordinator gave an epoch, beyond one for each lane of each process.
    pub reloads: u64,
}

impl Tally {
    fn harm(&self, harm: Harm) -> usize {
        match harm {
            Harm::Lost => self.lost,
            Harm::Doubled => self.doubled,
        }
    }
}

impl Scenario {
    /// The verdict on how its function ended.
    pub fn judge(&self, ended: Result<(), Error>, faults: &[Fault], tally: &Tally) -> Verdict {
        let ended = match (ended, self.sabotage) {
            (Err(error), Some(Sabotage { name, shows })) if error.downcast_ref::<Violation>().is_some() => {
                let harm = tally.harm(shows);
                let other = || error.context(format!("{name} shows itself otherwise than as {shows:?}"));
                if harm > 0 { Ok(()) } else { Err(other()) }
            }
            (Ok(()), Some(Sabotage { name, .. })) => Err(anyhow!("nobody noticed the sabotage {name}")),
            (ended, _) => ended,
        };
        match ended {
            Err(error) => match error.downcast_ref::<NotRun>() {
                Some(reason) => Verdict::NotRun(reason.0.clone()),
                None => Verdict::Failed(format!("{error:#}")),
            },
            Ok(()) if faults.is_empty() => Verdict::NotRun("no fault has taken place".to_owned()),
            Ok(()) => Verdict::Passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(sabotage: Option<Sabotage>) -> Scenario {
        Scenario {
            number: 1,
            name: "n",
            expects: "e",
            selection: Selection::Short,
            sabotage,
            run: |_| Ok(()),
        }
    }

    fn fault() -> Fault {
        Fault {
            what: "kill".into(),
            evidence: "gone".into(),
        }
    }

    fn verdict(scenario: &Scenario, ended: Result<(), Error>, faults: &[Fault]) -> Verdict {
        scenario.judge(ended, faults, &Tally::default())
    }

    #[test]
    fn without_evidence_of_a_fault_nothing_has_passed() {
        let plain = scenario(None);
        assert!(matches!(verdict(&plain, Ok(()), &[]), Verdict::NotRun(_)));
        assert_eq!(verdict(&plain, Ok(()), &[fault()]), Verdict::Passed);
        let not_run = verdict(&plain, Err(NotRun("no mount".into()).into()), &[fault()]);
        assert_eq!(not_run, Verdict::NotRun("no mount".into()));
        let violation = Err(Violation("1 lost".into()).into());
        assert!(matches!(
            verdict(&plain, violation, &[fault()]),
            Verdict::Failed(_)
        ));
    }

    #[test]
    fn a_sabotage_passes_only_if_the_account_shows_its_harm() {
        let broken = scenario(Some(Sabotage::losing("s")));
        let of = |lost, doubled| Tally {
            lost,
            doubled,
            ..Tally::default()
        };
        let seen = || Err(Error::from(Violation("1 wrong".into())).context("settling"));
        assert_eq!(broken.judge(seen(), &[fault()], &of(1, 0)), Verdict::Passed);
        assert_eq!(broken.judge(seen(), &[fault()], &of(1, 5)), Verdict::Passed);
        assert!(matches!(broken.judge(seen(), &[], &of(1, 0)), Verdict::NotRun(_)));
        for tally in [of(0, 0), of(0, 1)] {
            let other = broken.judge(seen(), &[fault()], &tally);
            assert!(matches!(other, Verdict::Failed(_)), "{tally:?}");
        }
        let doubling = scenario(Some(Sabotage::doubling("s")));
        assert_eq!(doubling.judge(seen(), &[fault()], &of(0, 1)), Verdict::Passed);
        assert!(matches!(
            doubling.judge(seen(), &[fault()], &of(1, 0)),
            Verdict::Failed(_)
        ));
        assert!(matches!(
            broken.judge(Ok(()), &[fault()], &of(1, 0)),
            Verdict::Failed(_)
        ));
        assert!(matches!(
            broken.judge(Err(anyhow!("timeout")), &[fault()], &of(1, 0)),
            Verdict::Failed(_)
        ));
    }
}
