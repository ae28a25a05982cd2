//! Processes that die: killed at any moment, told to stop, frozen.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;
use strait_tests::chaos::load::DRAIN_LIMIT;
use strait_tests::chaos::{Load, Run, Scenario, Selection};
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 1,
        name: "process_killed_in_transaction",
        expects: "nothing lost or doubled; the next process goes on within the session timeout and 2 s",
        selection: Selection::Short,
        sabotage: None,
        run: killed_in_transaction,
    },
    Scenario {
        number: 2,
        name: "process_told_to_stop",
        expects: "the transaction is decided, the group is left, exit 0 within 10 s",
        selection: Selection::Short,
        sabotage: None,
        run: told_to_stop,
    },
    Scenario {
        number: 0,
        name: "sees_offsets_outside_transaction",
        expects: "killed in mid-transaction, a build that commits offsets by the consumer loses records",
        selection: Selection::Short,
        sabotage: Some("offsets-outside-transaction"),
        run: killed_in_transaction,
    },
];

const KILLS: usize = 8;

fn killed_in_transaction(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    for _ in 0..KILLS {
        // Any moment of a transaction is as good as another.
        std::thread::sleep(Duration::from_millis(run.random.random_range(0..700)));
        let mark = load.mark()?;
        let evidence = kill_in_transaction(&mut load, 0)?;
        run.fault("SIGKILL of the only process", evidence);
        load.restart(0)?;
        load.await_progress(run, &mark, Duration::from_secs(30))?;
    }
    load.settle(run)
}

/// Kills a process while the coordinator knows of an open transaction of its.
pub fn kill_in_transaction(load: &mut Load, process: usize) -> Result<String> {
    let prefix = format!("{}.", load.fixture.name());
    let open = |load: &Load| -> Result<Option<String>> {
        let known = load.fixture.verifier().transactions(&prefix)?;
        Ok(known
            .into_iter()
            .find(|known| known.state == "Ongoing")
            .map(|known| known.id))
    };
    wait::until("an open transaction", Duration::from_secs(20), || open(load))?;
    load.process(process)?.kill()?;
    let left = open(load)?.map_or_else(
        || "no transaction stayed open".to_owned(),
        |id| format!("the coordinator lists {id} as Ongoing afterwards"),
    );
    Ok(format!("the process is gone by signal 9; {left}"))
}

const STOPS: usize = 5;

fn told_to_stop(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 2)?;
    for _ in 0..STOPS {
        let process = run.random.random_range(0..load.processes());
        let mark = load.mark()?;
        let code = load.process(process)?.terminate(DRAIN_LIMIT)?;
        ensure!(code == 0, "SIGTERM ended it with {code}");
        run.fault(format!("SIGTERM to process {process}"), "exit code 0");
        load.await_progress(run, &mark, Duration::from_secs(10))?;
        load.restart(process)?;
        load.process(process)?.wait_ready()?;
    }
    load.settle(run)
}
