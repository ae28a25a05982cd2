//! The questions that are asked, each a chapter of the report.

mod dedup;
mod latency;
mod partitions;
mod pipelines;
mod restore;
mod settled;
mod sizes;
mod starts;
mod throughput;
mod works;

use anyhow::Result;

use crate::contender::{Contender, Delivery};
use crate::figures::{Figures, Spread};
use crate::lab::{Lab, Wanted};
use crate::report::{Bars, Bound, Cell, Chapter, Table, Verdict};
use crate::run::{Input, Task};
use crate::series::{self, Series};
use crate::steady::{self, Span, Steady, Stream};
use crate::work::Work;

/// Measures one.
pub type Measure = fn(&mut Scope) -> Result<Chapter>;

/// In this order.
pub const CHAPTERS: [(&str, Measure); 10] = [
    ("throughput", throughput::measure),
    ("settled", settled::measure),
    ("latency", latency::measure),
    ("dedup", dedup::measure),
    ("works", works::measure),
    ("sizes", sizes::measure),
    ("partitions", partitions::measure),
    ("pipelines", pipelines::measure),
    ("starts", starts::measure),
    ("restore", restore::measure),
];

const STRAIT: Contender = Contender::Strait(Delivery::ExactlyOnce);
const OTHER: Contender = Contender::Other(Delivery::ExactlyOnce);
const NATIVE: Contender = Contender::Native(Delivery::ExactlyOnce);
const STREAMS: Contender = streams(false);
const STREAMS_TUNED: Contender = streams(true);

const fn streams(tuned: bool) -> Contender {
    Contender::Streams {
        delivery: Delivery::ExactlyOnce,
        tuned,
    }
}

/// A young broker is several times slower than one that has run for a while.
const WARM_UP_RECORDS: u64 = 2_000_000;
const WARM_UPS: usize = 5;

/// What chapters are measured with.
pub struct Scope {
    pub lab: Lab,
    pub rounds: usize,
    /// Of the records that a chapter would take.
    pub share: f64,
    /// Of a run at a steady rate.
    pub span: Span,
    pub progress: Box<dyn FnMut(&str)>,
}

impl Scope {
    /// Also has each module compiled, so that a run finds it in the cache.
    pub fn warm_up(&mut self) -> Result<()> {
        let input = self.input(Wanted::plain(WARM_UP_RECORDS))?;
        let count = if self.share < 1.0 { 1 } else { WARM_UPS };
        let tasks = [Task::new(NATIVE, Work::Identity)];
        self.run(&input, &tasks, count)?;
        for work in [Work::Identity, Work::Json] {
            self.run(&input, &[Task::new(STRAIT, work)], 1)?;
        }
        Ok(())
    }

    /// Records as asked for, or as many of them as there is time for.
    pub fn input(&mut self, wanted: Wanted) -> Result<Input> {
        let wanted = self.fewer(wanted);
        (self.progress)(&format!("{} records", wanted.records));
        self.lab.input(wanted)
    }

    pub fn drop_input(&mut self, wanted: Wanted) -> Result<()> {
        self.lab.drop_input(self.fewer(wanted))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a few million"
    )]
    fn fewer(&self, wanted: Wanted) -> Wanted {
        Wanted {
            records: (wanted.records as f64 * self.share) as u64,
            ..wanted
        }
    }

    pub fn run(&mut self, input: &Input, tasks: &[Task], rounds: usize) -> Result<Vec<Series>> {
        series::rounds(&mut self.lab, input, tasks, rounds, &mut *self.progress)
    }

    pub fn rounds(&mut self, input: &Input, tasks: &[Task]) -> Result<Vec<Series>> {
        self.run(input, tasks, self.rounds)
    }

    pub fn steady(&mut self, tasks: &[(String, Task, Stream)]) -> Result<Vec<Series<Steady>>> {
        steady::rounds(&self.lab, tasks, (self.rounds, self.span), &mut *self.progress)
    }

    /// The revision to compare with, if there is one, right behind Strait.
    pub fn with_other(&self, mut contenders: Vec<Contender>) -> Vec<Contender> {
        if self.lab.programs.other.is_some() {
            contenders.insert(1, OTHER);
        }
        contenders
    }
}

/// One row for each series.
fn table(series: &[Series]) -> Table {
    let columns = [
        "",
        "client CPU µs a record",
        "broker CPU µs",
        "records/s",
        "MB/s",
        "peak memory MiB",
        "transaction markers",
    ];
    let row = |series: &Series| {
        let cell = |of: fn(&Figures) -> f64, digits| Cell::Spread {
            spread: series.spread(of),
            digits,
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let markers: fn(&Figures) -> f64 = |run| run.markers as f64;
        let cells = vec![
            cell(|run| run.client_us, 2),
            cell(|run| run.broker_us, 2),
            cell(|run| run.records_per_s, 0),
            cell(|run| run.mb_per_s, 0),
            cell(|run| run.peak_mib, 0),
            cell(markers, 0),
        ];
        (series.label.clone(), cells)
    };
    Table {
        columns: columns.map(str::to_owned).to_vec(),
        rows: series.iter().map(row).collect(),
    }
}

/// One bar for each series.
fn bars<R>(name: &str, title: &str, series: &[Series<R>], of: fn(&R) -> f64) -> Bars {
    let rows = series
        .iter()
        .filter_map(|series| Some((series.label.clone(), series.spread(of)?)));
    Bars {
        name: name.to_owned(),
        title: title.to_owned(),
        rows: rows.collect(),
    }
}

/// The series of a contender at some work.
fn find<'s>(scope: &Scope, series: &'s [Series], contender: &Contender, work: &Work) -> Option<&'s Series> {
    let label = format!("{}, {}", contender.label(&scope.lab.programs), work.name());
    series.iter().find(|series| series.label == label)
}

/// How two series compare, round by round, against a target.
fn verdict<R>(
    target: char,
    what: &str,
    (ours, theirs): (Option<&Series<R>>, Option<&Series<R>>),
    of: fn(&R) -> f64,
    bound: Bound,
) -> Option<Verdict> {
    let measured = Spread::of_ratios(&ours?.values(of), &theirs?.values(of))?;
    Some(Verdict {
        target,
        what: what.to_owned(),
        measured,
        bound,
        unit: "",
    })
}

/// Of two rivals the one that costs less, by the median.
fn better<'s>(a: Option<&'s Series>, b: Option<&'s Series>, of: fn(&Figures) -> f64) -> Option<&'s Series> {
    let median = |series: &&Series| series.spread(of).map_or(f64::INFINITY, |spread| spread.median);
    a.into_iter()
        .chain(b)
        .min_by(|a, b| median(a).total_cmp(&median(b)))
}

/// One row for each series.
fn steady_table(all: &[Series<Steady>]) -> Table {
    let columns = [
        "",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "client CPU µs a record",
        "broker CPU µs",
        "peak memory MiB",
    ];
    let row = |series: &Series<Steady>| {
        let cell = |of, digits| Cell::Spread {
            spread: series.spread(of),
            digits,
        };
        let cells = vec![
            cell(|run: &Steady| run.p50_ms, 0),
            cell(|run: &Steady| run.p99_ms, 0),
            cell(|run: &Steady| run.p999_ms, 0),
            cell(|run: &Steady| run.client_us, 1),
            cell(|run: &Steady| run.broker_us, 1),
            cell(|run: &Steady| run.peak_mib, 0),
        ];
        (series.label.clone(), cells)
    };
    Table {
        columns: columns.map(str::to_owned).to_vec(),
        rows: all.iter().map(row).collect(),
    }
}
