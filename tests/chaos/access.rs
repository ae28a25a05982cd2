//! Rights that are taken away from a running pipeline, and given back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::{Load, Run, Scenario, Selection};
use strait_tests::cluster::{Cluster, Kind};
use strait_tests::orders::{MINIMUM, ORDERS};
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 21,
        name: "acl_write_to_output_taken_away",
        expects: "not ready and nothing skipped while it lasts; it goes on by itself after the grant",
        selection: Selection::Long,
        sabotage: None,
        run: |run| taken_for_a_while(run, Right::Output),
    },
    Scenario {
        number: 21,
        name: "acl_read_of_group_taken_away",
        expects: "the same",
        selection: Selection::Long,
        sabotage: None,
        run: |run| taken_for_a_while(run, Right::Group),
    },
    Scenario {
        number: 21,
        name: "acl_transactional_id_taken_away",
        expects: "the pipeline fails with a reason that names the right, exit code 1; nothing is lost",
        selection: Selection::Long,
        sabotage: None,
        run: transactional_id,
    },
];

#[derive(Clone, Copy)]
enum Right {
    Output,
    Group,
}

/// Without it: long enough that any retry has begun.
const WITHOUT: Duration = Duration::from_secs(12);

/// On a node of its own, which asks for rights. A single one needs nobody's right to begin,
/// while several controllers would have to be told apart from their clients.
fn begin(run: &Run) -> Result<Load> {
    let property = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let properties = [
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("allow.everyone.if.no.acl.found", "true"),
    ];
    let cluster = Cluster::start(Kind {
        nodes: 1,
        properties: properties.map(property).to_vec(),
        ..Kind::default()
    })?;
    let mut load = Load::with(run, Arc::new(cluster), ORDERS)?;
    load.fixture
        .set_stage("settings", serde_json::json!({ "minimum": MINIMUM }))?;
    load.begin_with(1)?;
    Ok(load)
}

/// Takes a right away, and waits until the node has refused a request for the lack of it.
fn take(load: &Load, kind: &str, name: &str, operation: &str) -> Result<String> {
    load.fixture.verifier().deny(kind, name, operation)?;
    let resource = format!(":LITERAL:{name} ");
    wait::until("a refusal in the node's log", Duration::from_secs(30), || {
        let lines = load.fixture.cluster().logged(&[" is Denied ", &resource])?;
        Ok(lines.into_iter().next())
    })
}

fn taken_for_a_while(run: &mut Run, right: Right) -> Result<()> {
    let mut load = begin(run)?;
    let (kind, name, operation) = match right {
        Right::Output => ("topic", load.fixture.topic("out"), "write"),
        Right::Group => ("group", load.fixture.name().to_owned(), "read"),
    };
    let evidence = take(&load, kind, &name, operation)?;
    run.fault(
        format!("{operation} on the {kind} is taken away"),
        format!("by the node: {evidence}"),
    );
    std::thread::sleep(WITHOUT);
    wait::until_true(
        "a process that says it is not ready",
        Duration::from_secs(20),
        || {
            let (status, body) = load.process(0)?.get("/readyz")?;
            ensure!(
                status == 503 && body.contains("AUTHORIZATION"),
                "/readyz: {status} {body}"
            );
            Ok(true)
        },
    )?;
    ensure!(load.process(0)?.is_running()?, "the process has ended");
    load.fixture.verifier().grant(kind, &name)?;
    let granted = load.mark()?;
    load.await_progress(run, &granted, PROGRESS_WITHIN)?;
    load.settle(run)
}

fn transactional_id(run: &mut Run) -> Result<()> {
    let mut load = begin(run)?;
    let known = load.fixture.verifier().transactions(&load.fixture.ids())?;
    let id = &known.first().context("a transactional id")?.id;
    let evidence = take(&load, "transactional_id", id, "write")?;
    run.fault(
        "write on a transactional id is taken away",
        format!("by the node: {evidence}"),
    );
    let code = load.process(0)?.wait_exit(PROGRESS_WITHIN)?;
    let log = load.process(0)?.log();
    ensure!(code == 1, "it ended with {code}");
    let reason = log.lines().rev().find(|line| line.contains("failed"));
    let reason = reason.context("the log gives no reason")?;
    ensure!(
        reason.contains("TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
        "the reason does not name the right: {reason}"
    );
    load.fixture.verifier().grant("transactional_id", id)?;
    let mark = load.mark()?;
    load.restart(0)?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle(run)
}
