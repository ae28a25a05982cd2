//! Other work: a filter, a fan-out, keyed state.

use anyhow::Result;

use super::{NATIVE, STRAIT, STREAMS, Scope, bars, table};
use crate::lab::Wanted;
use crate::report::Chapter;
use crate::run::Task;
use crate::work::Work;

const RECORDS: u64 = 1_000_000;

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let input = scope.input(Wanted::plain(RECORDS))?;
    let mut all = Vec::new();
    for work in [Work::Filter, Work::FanOut, Work::State] {
        let mut contenders = scope.with_other(vec![STRAIT, NATIVE, STREAMS]);
        // The loop keeps no state.
        contenders.retain(|contender| work != Work::State || *contender != NATIVE);
        let tasks: Vec<Task> = contenders
            .iter()
            .map(|contender| Task::new(contender.clone(), work.clone()))
            .collect();
        all.extend(scope.rounds(&input, &tasks)?);
    }
    let picture = bars("works", "client CPU µs a record", &all, |run| run.client_us);
    Ok(Chapter {
        name: "works",
        title: "Other work",
        method: format!(
            "{} records of about 200 bytes: a filter that keeps a tenth by a search in the bytes; a copy to each of \
             three topics; a running balance for each of 100,000 keys, which Kafka Streams keeps in RocksDB.",
            input.records
        ),
        tables: vec![table(&all)],
        bars: vec![picture],
        verdicts: Vec::new(),
        series: all,
        steady: Vec::new(),
    })
}
