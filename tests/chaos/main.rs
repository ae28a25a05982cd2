//! The suite that tries to break exactly-once: see `docs/proof.md`.
//!
//! By itself it runs the short selection, with the other tests; `cargo xtask chaos` runs
//! all. Scenarios run one after the other, each with the cluster to itself.

mod access;
mod bounces;
mod clients;
mod clocks;
mod codes;
mod duplicates;
mod group;
mod late;
mod network;
mod nodes;
mod poison;
mod records;
mod soak;
mod state;
mod storage;
mod topics;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use strait_tests::binary;
use strait_tests::chaos::session::Session;
use strait_tests::chaos::{Scenario, Selection, Verdict, table};

/// Every scenario, in the order in which they run: that of their numbers, but for the soak.
fn scenarios() -> Vec<Scenario> {
    let mut all = [
        clients::SCENARIOS,
        codes::SCENARIOS,
        late::SCENARIOS,
        network::SCENARIOS,
        nodes::SCENARIOS,
        storage::SCENARIOS,
        group::SCENARIOS,
        topics::SCENARIOS,
        access::SCENARIOS,
        poison::SCENARIOS,
        records::SCENARIOS,
        bounces::SCENARIOS,
        clocks::SCENARIOS,
        duplicates::SCENARIOS,
        state::SCENARIOS,
        soak::SCENARIOS,
    ]
    .concat();
    all.sort_by_key(|scenario| match scenario.number {
        0 => u8::MAX,
        // It takes as long as many others.
        soak::NUMBER => u8::MAX - 1,
        number => number,
    });
    all
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut seed =
        setting("STRAIT_CHAOS_SEED")?.unwrap_or_else(|| SmallRng::from_os_rng().random_range(1..1_000_000));
    let minutes = setting("STRAIT_CHAOS_MINUTES")?;
    let until = Instant::now() + Duration::from_secs(minutes.unwrap_or(0) * 60);
    let session = Arc::new(Session::default());
    // As far as it has come, for whoever does not want to wait for the end.
    let table = binary::kept_folder("chaos")?.join("table.md");
    let mut failed = false;
    loop {
        failed |= round(&arguments, &session, seed, &table).has_failed();
        seed += 1;
        if Instant::now() >= until || arguments.list {
            break;
        }
    }
    let outcomes = session.outcomes();
    if !outcomes.is_empty() {
        say(&table::render(&outcomes));
    } else if minutes.is_some() && !arguments.list {
        bail!(
            "no scenario has {:?} in its name",
            arguments.filter.unwrap_or_default()
        );
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs what the arguments select once.
fn round(
    arguments: &Arguments,
    session: &Arc<Session>,
    seed: u64,
    table: &Path,
) -> libtest_mimic::Conclusion {
    let trial = |scenario: Scenario| {
        let session = Arc::clone(session);
        let file = table.to_owned();
        let is_long = scenario.selection == Selection::Long;
        Trial::test(scenario.name, move || {
            let outcome = session.run(scenario, seed);
            fs::write(&file, table::render(&session.outcomes()))?;
            match outcome.verdict {
                Verdict::Passed => Ok(()),
                Verdict::Failed(reason) => Err(Failed::from(format!("{reason}\nrepeat with --seed {seed}"))),
                Verdict::NotRun(reason) => Err(Failed::from(format!("not run: {reason}"))),
            }
        })
        .with_ignored_flag(is_long)
    };
    libtest_mimic::run(arguments, scenarios().into_iter().map(trial).collect())
}

fn setting(name: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .with_context(|| format!("{name} is {text:?}: write a whole number"))
}

#[allow(clippy::print_stdout, reason = "the table is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
