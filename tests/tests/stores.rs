//! Message ids in stores that others share: Redis, PostgreSQL, MariaDB.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;
use strait_tests::server::{Kind, PASSWORD, Server};
use strait_tests::strait::Strait;
use strait_tests::wait;

const PATIENCE: Duration = Duration::from_secs(30);

fn messages(prefix: &str, count: i32, partition: impl Fn(i32) -> i32) -> Vec<Message> {
    let message = |n| Message::new(format!("{prefix}-{n}"), "value").to_partition(partition(n));
    (0..count).map(message).collect()
}

fn fixture(kind: Kind, about: &str) -> Result<(Fixture, Server)> {
    let mut fixture = Fixture::new(&format!("{}-{about}", kind.name()), 3, "identity")?;
    let server = Server::start(kind, fixture.verifier())?;
    // The password is not in the file.
    let url = server.url_with("${env:STORE_PASSWORD}");
    fixture.dedup(&json!({ "id": "key", "store": server.store(&url), "window": "1h" }))?;
    fixture.set("lanes", json!(2))?;
    fixture.set_session(Duration::from_secs(3))?;
    Ok((fixture, server))
}

fn start(fixture: &Fixture) -> Result<Strait> {
    start_command(fixture, fixture.command(Build::Plain, "run")?)
}

fn start_command(fixture: &Fixture, mut command: Command) -> Result<Strait> {
    command.env("STORE_PASSWORD", PASSWORD);
    let mut strait = fixture.start_command(command)?;
    strait.wait_ready()?;
    Ok(strait)
}

/// In other partitions, so that two lanes, and two processes, meet the same ids.
fn whatever_dies(kind: Kind) -> Result<()> {
    let (mut fixture, _server) = fixture(kind, "kill")?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 20 }))?;
    let first = messages("m", 600, |n| n % 3);
    let again = messages("m", 600, |n| (n + 1) % 3);
    let mut one = start_command(&fixture, fixture.command_that_dies("after-send-offsets:4")?)?;
    let mut other = start(&fixture)?;
    fixture.send(&first)?;
    fixture.send(&again)?;
    one.wait_end(PATIENCE)?;
    fixture.send(&again)?;
    fixture.wait_worked_off(&mut other)?;
    let mut later = start(&fixture)?;
    fixture.send(&first)?;
    fixture.wait_worked_off(&mut later)?;
    fixture.check_each_key_once(600)
}

#[test]
fn redis_knows_ids_whatever_dies() -> Result<()> {
    whatever_dies(Kind::Redis)
}

#[test]
fn postgres_knows_ids_whatever_dies() -> Result<()> {
    whatever_dies(Kind::Postgres)
}

#[test]
fn mariadb_knows_ids_whatever_dies() -> Result<()> {
    whatever_dies(Kind::MariaDb)
}

/// The password comes from the environment, and so does who is to be trusted.
fn over_tls(kind: Kind) -> Result<()> {
    let mut fixture = Fixture::new(&format!("{}-tls", kind.name()), 3, "identity")?;
    let server = Server::start_with_tls(kind, fixture.verifier())?;
    let url = server.url_with("${env:STORE_PASSWORD}");
    fixture.dedup(&json!({ "id": "key", "store": server.store(&url) }))?;
    fixture.send(&messages("m", 100, |n| n % 3))?;
    let mut command = fixture.command(Build::Plain, "run")?;
    command.env("STORE_PASSWORD", PASSWORD);
    let mut strait = fixture.start_command(command)?;
    // Nobody vouches for it.
    wait::until_true("the reason in /readyz", PATIENCE, || {
        Ok(strait
            .get("/readyz")
            .is_ok_and(|(_, body)| body.contains("does not answer")))
    })?;
    ensure!(fixture.read("out")?.is_empty());
    strait.kill()?;
    let mut command = fixture.command(Build::Plain, "run")?;
    command.env("SSL_CERT_FILE", server.authority().context("a server with TLS")?);
    let mut strait = start_command(&fixture, command)?;
    fixture.send(&messages("m", 100, |n| (n + 1) % 3))?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_each_key_once(100)
}

#[test]
fn redis_may_speak_tls() -> Result<()> {
    over_tls(Kind::Redis)
}

#[test]
fn postgres_may_speak_tls() -> Result<()> {
    over_tls(Kind::Postgres)
}

#[test]
fn mariadb_may_speak_tls() -> Result<()> {
    over_tls(Kind::MariaDb)
}

/// The store dies, and stands still, while records come. Nobody starts the pipeline again.
fn while_it_is_away(kind: Kind) -> Result<()> {
    let (fixture, mut server) = fixture(kind, "away")?;
    let mut strait = start(&fixture)?;
    fixture.send(&messages("a", 100, |n| n % 3))?;
    fixture.wait_worked_off(&mut strait)?;
    server.kill()?;
    fixture.send(&messages("b", 100, |n| n % 3))?;
    wait::until_true("the reason in /readyz", PATIENCE, || {
        let (status, body) = strait.get("/readyz")?;
        Ok(status == 503 && body.contains("does not answer"))
    })?;
    ensure!(
        strait.metric("strait_dedup_store_errors_total", &[("pipeline", fixture.name())])? > Some(0.0),
        "nobody counted it"
    );
    fixture.check_each_key_once(100)?;
    server.start_again()?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_each_key_once(200)?;
    server.freeze()?;
    fixture.send(&messages("c", 100, |n| n % 3))?;
    fixture.send(&messages("b", 100, |n| n % 3))?;
    wait::until_true("a standstill", PATIENCE, || Ok(strait.get("/readyz")?.0 == 503))?;
    server.thaw()?;
    fixture.wait_worked_off(&mut strait)?;
    wait::until_true("ready again", PATIENCE, || Ok(strait.get("/readyz")?.0 == 200))?;
    fixture.check_each_key_once(300)
}

#[test]
fn redis_may_go_away_and_come_back() -> Result<()> {
    while_it_is_away(Kind::Redis)
}

#[test]
fn postgres_may_go_away_and_come_back() -> Result<()> {
    while_it_is_away(Kind::Postgres)
}

#[test]
fn mariadb_may_go_away_and_come_back() -> Result<()> {
    while_it_is_away(Kind::MariaDb)
}

/// What the store forgets passes again, and nothing is lost.
#[test]
fn a_store_that_was_emptied_lets_repeats_pass_and_loses_nothing() -> Result<()> {
    for kind in Kind::ALL {
        let (fixture, server) = fixture(kind, "emptied")?;
        let mut strait = start(&fixture)?;
        let input = messages("m", 50, |n| n % 3);
        fixture.send(&input)?;
        fixture.wait_worked_off(&mut strait)?;
        server.empty()?;
        fixture.send(&input)?;
        fixture.wait_worked_off(&mut strait)?;
        ensure!(fixture.read("out")?.len() == 100, "{kind:?}");
    }
    Ok(())
}

/// It answers, and takes nothing.
fn while_it_is_full(kind: Kind) -> Result<()> {
    let (fixture, server) = fixture(kind, "full")?;
    let mut strait = start(&fixture)?;
    fixture.send(&messages("a", 100, |n| n % 3))?;
    fixture.wait_worked_off(&mut strait)?;
    let (full, free): (&[&str], &[&str]) = match kind {
        Kind::Redis => (&["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]),
        Kind::Postgres => (
            &[
                "ALTER SYSTEM SET default_transaction_read_only = on",
                "SELECT pg_reload_conf()",
            ],
            &[
                "ALTER SYSTEM SET default_transaction_read_only = off",
                "SELECT pg_reload_conf()",
            ],
        ),
        Kind::MariaDb => (&["SET GLOBAL read_only = 1"], &["SET GLOBAL read_only = 0"]),
    };
    full.iter().try_for_each(|words| server.ask(words))?;
    fixture.send(&messages("b", 100, |n| n % 3))?;
    fixture.send(&messages("b", 100, |n| (n + 1) % 3))?;
    wait::until_true("the reason in /readyz", PATIENCE, || {
        let (status, body) = strait.get("/readyz")?;
        Ok(status == 503 && body.contains("does not answer"))
    })?;
    fixture.check_each_key_once(100)?;
    free.iter().try_for_each(|words| server.ask(words))?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_each_key_once(200)
}

#[test]
fn redis_may_be_full() -> Result<()> {
    while_it_is_full(Kind::Redis)
}

#[test]
fn postgres_may_be_full() -> Result<()> {
    while_it_is_full(Kind::Postgres)
}

#[test]
fn mariadb_may_be_full() -> Result<()> {
    while_it_is_full(Kind::MariaDb)
}
