//! Records that a transform fails at, under each policy, while processes die in the middle
//! of their transactions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::strike::kill_often;
use strait_tests::chaos::{Load, Run, Scenario, Selection, Violation};
use strait_tests::produce::Message;
use strait_tests::stream::{Due, Stream};
use strait_tests::verifier::Row;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 24,
        name: "poison_dead_lettered",
        expects: "each poison record is one dead letter, all others pass, whenever the process dies",
        selection: Selection::Short,
        sabotage: None,
        run: poison_dead_lettered,
    },
    Scenario {
        number: 24,
        name: "poison_skipped",
        expects: "nothing comes of poison records, all others pass, whenever the process dies",
        selection: Selection::Long,
        sabotage: None,
        run: poison_skipped,
    },
    Scenario {
        number: 24,
        name: "poison_stops",
        expects: "the pipeline stops before the record, and goes on there once its file says how",
        selection: Selection::Long,
        sabotage: None,
        run: poison_stops,
    },
];

const POISON: [&str; 5] = ["panic:told to", "loop", "bomb", "oversize", "reject:told to"];
/// About one a second.
const POISON_EVERY: u64 = 151;

fn with_poison(partition: i32, number: u64) -> Message {
    let kind = usize::try_from(number / POISON_EVERY).unwrap_or(0) % POISON.len();
    let value = match (number % POISON_EVERY, POISON.get(kind)) {
        (77, Some(poison)) => poison,
        _ => "pass",
    };
    Message::new(format!("{partition}-{number}"), value)
}

fn is_poison(row: &Row) -> bool {
    POISON.contains(&row.value_text().as_str())
}

const LETTERS: Stream = Stream {
    guest: "hostile",
    make: with_poison,
    per_second: 150,
    topics: &["out", "dlq"],
    fate: |row| {
        vec![if is_poison(row) {
            Due::Letter
        } else {
            Due::only("out")
        }]
    },
};

const SKIPS: Stream = Stream {
    topics: &["out"],
    fate: |row| {
        if is_poison(row) {
            Vec::new()
        } else {
            vec![Due::only("out")]
        }
    },
    ..LETTERS
};

fn poison_dead_lettered(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(LETTERS)?;
    load.fixture.set_stage("limits.batch_deadline", json!("500ms"))?;
    load.begin_with(1)?;
    kill_often(run, &mut load, 3)?;
    swallowed(run, &load, "dlq")?;
    load.settle(run)
}

fn poison_skipped(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(SKIPS)?;
    load.fixture.set_stage("limits.batch_deadline", json!("500ms"))?;
    load.fixture
        .set("on_error", json!({ "then": "skip", "limit": "none" }))?;
    load.begin_with(1)?;
    kill_often(run, &mut load, 4)?;
    swallowed(run, &load, "out")?;
    load.settle(run)
}

/// Every kind of poison was there.
fn swallowed(run: &mut Run, load: &Load, output: &str) -> Result<()> {
    let input = load.fixture.read("in")?;
    for poison in POISON {
        let count = input.iter().filter(|row| row.value_text() == poison).count();
        ensure!(count > 0, "no record says {poison}");
        run.fault(
            format!("records that say {poison}"),
            format!(
                "the judge reads {count} of them, and {} records of {output}",
                load.fixture.read(output)?.len()
            ),
        );
    }
    Ok(())
}

const HARMLESS: Stream = Stream {
    guest: "hostile",
    make: |partition, number| Message::new(format!("{partition}-{number}"), "pass"),
    per_second: 300,
    topics: &["out"],
    fate: |row| match row.value_text().as_str() {
        "panic:stop" => Vec::new(),
        "unknown-output" => vec![Due::only("extra")],
        _ => vec![Due::only("out")],
    },
};

fn poison_stops(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(HARMLESS)?;
    load.begin_with(1)?;
    kill_often(run, &mut load, 1)?;
    stops_at(run, &mut load, 2, "panic:stop")?;
    load.fixture
        .set("on_error", json!({ "then": "skip", "limit": "none" }))?;
    go_on(run, &mut load)?;
    kill_often(run, &mut load, 1)?;
    // What no policy covers: the pipeline itself is wrong.
    stops_at(run, &mut load, 4, "unknown-output")?;
    load.fixture.create_topic("extra", 1)?;
    let extra = load.fixture.topic("extra");
    load.fixture.set("outputs.no-such-output", json!(extra))?;
    load.book.topics.push("extra");
    go_on(run, &mut load)?;
    kill_often(run, &mut load, 1)?;
    load.settle(run)
}

/// A record ends the pipeline, and nothing behind it is decided.
fn stops_at(run: &mut Run, load: &mut Load, partition: i32, value: &str) -> Result<()> {
    load.fixture
        .send(&[Message::new(value, value).to_partition(partition)])?;
    load.count_sent(1);
    let code = load.process(0)?.wait_exit(Duration::from_secs(40))?;
    ensure!(code == 1, "it ended with {code}");
    let input = load.fixture.read("in")?;
    let poison = input
        .iter()
        .find(|row| row.value_text() == value)
        .context("the record in the input")?;
    let committed = load.mark()?.committed.get(&partition).copied().unwrap_or(0);
    if committed > poison.offset {
        return Err(Violation(format!("committed to {committed}, beyond {}", poison.offset)).into());
    }
    run.fault(
        format!("a record that says {value}, under the policy stop"),
        format!(
            "exit code 1; the group has committed {committed}, the record stands at {}",
            poison.offset
        ),
    );
    Ok(())
}

fn go_on(run: &mut Run, load: &mut Load) -> Result<()> {
    let mark = load.mark()?;
    load.restart(0)?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)
}
