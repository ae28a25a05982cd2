//! Records as fast as they go, from the first one on: identity and JSON.

use anyhow::Result;

use super::{NATIVE, STRAIT, STREAMS, STREAMS_TUNED, Scope, bars, better, find, table, verdict};
use crate::contender::{Contender, Delivery};
use crate::figures::Spread;
use crate::lab::Wanted;
use crate::report::{Bound, Chapter, Verdict};
use crate::run::Task;
use crate::series::Series;
use crate::work::Work;

const RECORDS: u64 = 2_000_000;

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let input = scope.input(Wanted::plain(RECORDS))?;
    let plain = Delivery::AtLeastOnce;
    let contenders = scope.with_other(vec![
        STRAIT,
        NATIVE,
        STREAMS,
        STREAMS_TUNED,
        Contender::Strait(plain),
        Contender::Native(plain),
        Contender::Streams {
            delivery: plain,
            tuned: false,
        },
    ]);
    let mut all = Vec::new();
    let mut verdicts = Vec::new();
    let mut pictures = Vec::new();
    for work in [Work::Identity, Work::Json] {
        let tasks: Vec<Task> = contenders
            .iter()
            .map(|contender| Task::new(contender.clone(), work.clone()))
            .collect();
        let series = scope.rounds(&input, &tasks)?;
        verdicts.extend(judge(scope, &series, &work));
        let name = work.name();
        pictures.push(bars(
            &format!("cpu-{name}"),
            &format!("client CPU µs a record, {name}, from the first record"),
            &series,
            |run| run.client_us,
        ));
        pictures.push(bars(
            &format!("rate-{name}"),
            &format!("records/s, {name}"),
            &series,
            |run| run.records_per_s,
        ));
        all.extend(series);
    }
    Ok(Chapter {
        name: "throughput",
        title: "Throughput and cost, from the first record",
        method: format!(
            "{} records of about 200 bytes in 6 partitions, worked off by two lanes (threads); the CPU is that of \
             the whole process, its start and end included. What each has written was read back and is the same.",
            input.records
        ),
        tables: vec![table(&all)],
        bars: pictures,
        verdicts,
        series: all,
        steady: Vec::new(),
    })
}

fn judge(scope: &Scope, series: &[Series], work: &Work) -> Vec<Verdict> {
    let of = |contender| find(scope, series, &contender, work);
    let (ours, native) = (of(STRAIT), of(NATIVE));
    let streams = better(of(STREAMS), of(STREAMS_TUNED), |run| run.client_us);
    let name = work.name();
    let beside = if *work == Work::Identity {
        ('A', Bound::AtMost(1.10))
    } else {
        ('B', Bound::AtMost(1.30))
    };
    let mut verdicts: Vec<Verdict> = [
        verdict(
            beside.0,
            &format!("client CPU / the loop's, {name}"),
            (ours, native),
            |run| run.client_us,
            beside.1,
        ),
        verdict(
            'C',
            &format!("client CPU / Kafka Streams', {name}, from the first record"),
            (ours, streams),
            |run| run.client_us,
            Bound::AtMost(0.25),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    verdicts.extend(memory(ours, native, name));
    verdicts
}

/// In the same runs.
fn memory(ours: Option<&Series>, native: Option<&Series>, name: &str) -> Option<Verdict> {
    let (ours, native) = (
        ours?.values(|run| run.peak_mib),
        native?.values(|run| run.peak_mib),
    );
    Some(Verdict {
        target: 'H',
        what: format!("peak memory above the loop's, {name}"),
        measured: Spread::of(ours.iter().zip(&native).map(|(ours, native)| ours - native))?,
        bound: Bound::AtMost(40.0),
        unit: " MiB",
    })
}
