//! Many pipelines in one process.

use anyhow::Result;
use serde_json::json;

use super::{STRAIT, Scope, steady_table, verdict};
use crate::figures::Spread;
use crate::report::{Bound, Chapter, Verdict};
use crate::run::Task;
use crate::series::Series;
use crate::steady::{Steady, Stream};
use crate::work::Work;

const PER_SECOND: u64 = 10_000;
const MANY: usize = 50;

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let task = |pipelines| {
        let stream = Stream {
            per_second: PER_SECOND,
            partitions: 6,
            pipelines,
        };
        let mut task = Task::new(STRAIT, Work::Identity);
        task.lanes = 1;
        task.pipeline
            .insert("commit".to_owned(), json!({ "interval": "1s" }));
        (format!("Strait, {pipelines} pipelines"), task, stream)
    };
    let tasks = [task(1), task(MANY)];
    let all = scope.steady(&tasks)?;
    Ok(Chapter {
        name: "pipelines",
        title: "Many pipelines in one process",
        method: format!(
            "Identity, exactly once, one lane each, a commit a second, {PER_SECOND} records/s in all; each pipeline \
             has an input of its own with 6 partitions."
        ),
        tables: vec![steady_table(&all)],
        bars: Vec::new(),
        verdicts: judge(&all),
        series: Vec::new(),
        steady: all,
    })
}

fn judge(all: &[Series<Steady>]) -> Vec<Verdict> {
    let [one, many] = all else {
        return Vec::new();
    };
    let cpu = verdict(
        'J',
        &format!("client CPU of {MANY} pipelines / of one, the same load"),
        (Some(many), Some(one)),
        |run| run.client_us,
        Bound::AtMost(1.3),
    );
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let more = (MANY - 1) as f64;
    let (many, one) = (many.values(|run| run.peak_mib), one.values(|run| run.peak_mib));
    let memory = Spread::of(many.iter().zip(&one).map(|(many, one)| (many - one) / more));
    let memory = memory.map(|measured| Verdict {
        target: 'J',
        what: "memory of each further pipeline".to_owned(),
        measured,
        bound: Bound::AtMost(12.0),
        unit: " MiB",
    });
    cpu.into_iter().chain(memory).collect()
}
