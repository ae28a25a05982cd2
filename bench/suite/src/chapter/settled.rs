//! The second half of a long run, when everybody's code is compiled.

use anyhow::Result;

use super::{NATIVE, STRAIT, STREAMS, STREAMS_TUNED, Scope, bars, better, find, verdict};
use crate::figures::Figures;
use crate::lab::Wanted;
use crate::report::{Bound, Cell, Chapter, Table};
use crate::run::Task;
use crate::series::Series;
use crate::work::Work;

const RECORDS: u64 = 6_000_000;

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let wanted = Wanted::plain(RECORDS);
    let input = scope.input(wanted)?;
    let contenders = scope.with_other(vec![STRAIT, NATIVE, STREAMS, STREAMS_TUNED]);
    let mut all = Vec::new();
    let mut verdicts = Vec::new();
    let mut pictures = Vec::new();
    for work in [Work::Identity, Work::Json] {
        let tasks: Vec<Task> = contenders
            .iter()
            .map(|contender| Task::new(contender.clone(), work.clone()))
            .collect();
        let series = scope.rounds(&input, &tasks)?;
        let of = |contender| find(scope, &series, &contender, &work);
        let (name, ours) = (work.name(), of(STRAIT));
        let cpu = |run: &Figures| run.settled_client_us;
        // Where more is better, the better of two costs less time.
        let pace = better(of(STREAMS), of(STREAMS_TUNED), |run| {
            1.0 / run.settled_records_per_s
        });
        let thrift = better(of(STREAMS), of(STREAMS_TUNED), cpu);
        let least = if work == Work::Identity { 2.0 } else { 2.5 };
        verdicts.extend(verdict(
            'D',
            &format!("client CPU / Kafka Streams', {name}, settled"),
            (ours, thrift),
            cpu,
            Bound::AtMost(0.45),
        ));
        verdicts.extend(verdict(
            'E',
            &format!("throughput / Kafka Streams', {name}, settled"),
            (ours, pace),
            |run| run.settled_records_per_s,
            Bound::AtLeast(least),
        ));
        // From the first record on it would be about who joins its group how: the loop waits until all
        // its threads have their partitions, Strait begins with what it has.
        verdicts.extend(verdict(
            'F',
            &format!("throughput / the loop's, {name}, settled"),
            (ours, of(NATIVE)),
            |run| run.settled_records_per_s,
            Bound::AtLeast(0.95),
        ));
        pictures.push(bars(
            &format!("settled-{name}"),
            &format!("records/s, {name}, second half of {} records", input.records),
            &series,
            |run| run.settled_records_per_s,
        ));
        all.extend(series);
    }
    scope.drop_input(wanted)?;
    Ok(Chapter {
        name: "settled",
        title: "The same, settled",
        method: format!(
            "The second half of {} records, by when just-in-time compilers have done their work.",
            input.records
        ),
        tables: vec![table(&all)],
        bars: pictures,
        verdicts,
        series: all,
        steady: Vec::new(),
    })
}

fn table(series: &[Series]) -> Table {
    let row = |series: &Series| {
        let cell = |of: fn(&Figures) -> f64, digits| Cell::Spread {
            spread: series.spread(of),
            digits,
        };
        let cells = vec![
            cell(|run| run.settled_client_us, 2),
            cell(|run| run.settled_records_per_s, 0),
            cell(|run| run.peak_mib, 0),
        ];
        (series.label.clone(), cells)
    };
    Table {
        columns: ["", "client CPU µs a record", "records/s", "peak memory MiB"]
            .map(str::to_owned)
            .to_vec(),
        rows: series.iter().map(row).collect(),
    }
}
