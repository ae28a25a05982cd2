//! What it costs to know each id.

use std::sync::Arc;

use anyhow::{Context, Result};
use strait_tests::server::{Kind, Server};
use strait_tests::verifier::Verifier;

use super::{STRAIT, Scope, bars, table};
use crate::figures::Spread;
use crate::lab::Wanted;
use crate::report::{Bound, Chapter, Verdict};
use crate::run::Task;
use crate::series::Series;
use crate::work::{Dedup, Work};

const RECORDS: u64 = 2_000_000;
/// Where each batch is a question to a server, far fewer take as long.
const RECORDS_ASKED: u64 = 500_000;

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let wanted = |records| Wanted {
        ids: true,
        ..Wanted::plain(records)
    };
    let (many, fewer) = (scope.input(wanted(RECORDS))?, scope.input(wanted(RECORDS_ASKED))?);
    let own = [
        Work::Identity,
        Work::Dedup(Dedup::Observe),
        Work::Dedup(Dedup::Memory),
        Work::Dedup(Dedup::Changelog),
    ];
    let tasks = own.map(|work| Task::new(STRAIT, work));
    let own = scope.rounds(&many, &tasks)?;
    let servers = Servers::start(scope)?;
    let mut tasks = vec![Task::new(STRAIT, Work::Identity)];
    tasks.extend(servers.works().map(|work| Task::new(STRAIT, work)));
    let asked = scope.rounds(&fewer, &tasks)?;
    scope.drop_input(wanted(RECORDS))?;
    scope.drop_input(wanted(RECORDS_ASKED))?;
    let tables = vec![table(&own), table(&asked)];
    let pictures = vec![
        bars("dedup", "client CPU µs a record", &own, |run| run.client_us),
        bars("dedup-servers", "client CPU µs a record", &asked, |run| {
            run.client_us
        }),
    ];
    Ok(Chapter {
        name: "dedup",
        title: "Dedup",
        method: format!(
            "Identity, exactly once, behind `dedup` by a header, with {} ids of which none repeats; with servers {} \
             ids. Redis writes each claim to disk (appendfsync always), PostgreSQL does not wait for its disk, MariaDB \
             does.",
            many.records, fewer.records
        ),
        verdicts: extra(&own).into_iter().collect(),
        tables,
        bars: pictures,
        series: own.into_iter().chain(asked).collect(),
        steady: Vec::new(),
    })
}

/// What the store `changelog` adds.
fn extra(series: &[Series]) -> Option<Verdict> {
    let (plain, changelog) = (series.first()?, series.last()?);
    let plain = plain.values(|run| run.client_us);
    let changelog = changelog.values(|run| run.client_us);
    let more = changelog.iter().zip(&plain).map(|(with, without)| with - without);
    Some(Verdict {
        target: 'K',
        what: "dedup, changelog: more client CPU a record".to_owned(),
        measured: Spread::of(more)?,
        bound: Bound::AtMost(0.5),
        unit: " µs",
    })
}

struct Servers(Vec<Server>);

impl Servers {
    fn start(scope: &Scope) -> Result<Self> {
        let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/verifier/Verifier.java");
        let guard = Verifier::start(scope.lab.broker().tool(judge, [""; 0]));
        let guard = Arc::new(guard.context("start what ends the servers with us")?);
        let servers = Kind::ALL.into_iter().map(|kind| Server::start(kind, &guard));
        Ok(Self(servers.collect::<Result<_>>()?))
    }

    fn works(&self) -> impl Iterator<Item = Work> + '_ {
        let names = ["dedup: redis", "dedup: sql, PostgreSQL", "dedup: sql, MariaDB"];
        self.0.iter().zip(names).map(|(server, name)| {
            Work::Dedup(Dedup::Server {
                name,
                store: server.store(&server.url()),
            })
        })
    }
}
