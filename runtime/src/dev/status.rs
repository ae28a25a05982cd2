//! One line a second: what the pipelines did, from the metrics that anybody may scrape.
//!
//! Pure: text in, text out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The 99th percentile is of the transactions of this long.
const WINDOW: Duration = Duration::from_secs(10);
const SNAPSHOTS_MAX: usize = 64;

/// Totals of all pipelines of the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    pub records_in: f64,
    pub records_out: f64,
    pub filtered: f64,
    pub dead_letters: f64,
    pub lag: f64,
    pub commits: f64,
    pub aborts: f64,
    /// End to end: upper bounds in seconds, with how many were at most that.
    pub end_to_end: Vec<(f64, f64)>,
}

impl Snapshot {
    /// From the text format of Prometheus.
    pub fn parse(metrics: &str) -> Self {
        let mut snapshot = Self::default();
        for (name, labels, value) in metrics.lines().filter_map(series) {
            match name {
                "strait_records_in_total" => snapshot.records_in += value,
                "strait_records_out_total" => snapshot.records_out += value,
                "strait_records_filtered_total" => snapshot.filtered += value,
                "strait_records_dead_lettered_total" => snapshot.dead_letters += value,
                "strait_consumer_lag_records" => snapshot.lag += value,
                "strait_transactions_total" => match label(labels, "outcome") {
                    Some("committed") => snapshot.commits += value,
                    Some("aborted") => snapshot.aborts += value,
                    _ => {}
                },
                "strait_end_to_end_seconds_bucket" => snapshot.add_bucket(labels, value),
                _ => {}
            }
        }
        snapshot.end_to_end.sort_by(|a, b| a.0.total_cmp(&b.0));
        snapshot
    }

    fn add_bucket(&mut self, labels: &str, count: f64) {
        let Some(bound) = label(labels, "le").and_then(|le| le.replace("+Inf", "inf").parse::<f64>().ok())
        else {
            return;
        };
        match self
            .end_to_end
            .iter_mut()
            .find(|(known, _)| known.total_cmp(&bound).is_eq())
        {
            Some((_, total)) => *total += count,
            None => self.end_to_end.push((bound, count)),
        }
    }
}

/// Name, labels and value of a line that is a sample.
fn series(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim_end().rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some((name, labels, value.parse().ok()?))
}

/// A label whose value needs no escapes, as all that are looked for here.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let value = pair
            .trim_end_matches('}')
            .strip_prefix(name)?
            .strip_prefix("=\"")?;
        value.strip_suffix('"')
    })
}

/// What is said at the end. Input records are not in it: their series end with the pipelines.
pub fn summary(fed: u64, snapshot: &Snapshot) -> String {
    // Exact up to 2^53 records.
    #[expect(clippy::cast_precision_loss, reason = "a count for people to read")]
    let fed = fed as f64;
    format!(
        "fed {}  out {}  filtered {}  dead letters {}  commits {}  aborts {}",
        count(fed),
        count(snapshot.records_out),
        count(snapshot.filtered),
        count(snapshot.dead_letters),
        count(snapshot.commits),
        count(snapshot.aborts),
    )
}

/// Snapshots of the last seconds, and the line that comes of them.
#[derive(Debug, Default)]
pub struct Status {
    /// Oldest first, at most `SNAPSHOTS_MAX`.
    recent: VecDeque<(Instant, Snapshot)>,
    /// Input records of partitions that this process no longer owns: their series are gone.
    records_in_gone: f64,
}

impl Status {
    /// The line after a further snapshot.
    pub fn line(&mut self, now: Instant, mut snapshot: Snapshot) -> String {
        snapshot.records_in += self.records_in_gone;
        if let Some((_, before)) = self.recent.back() {
            let gone = (before.records_in - snapshot.records_in).max(0.0);
            self.records_in_gone += gone;
            snapshot.records_in += gone;
        }
        let none = Snapshot::default();
        let (rate_in, rate_out) = match self.recent.back() {
            Some((then, before)) => {
                let seconds = now.saturating_duration_since(*then).as_secs_f64().max(0.001);
                let rate = |now: f64, before: f64| (now - before).max(0.0) / seconds;
                (
                    rate(snapshot.records_in, before.records_in),
                    rate(snapshot.records_out, before.records_out),
                )
            }
            None => (0.0, 0.0),
        };
        while self.recent.len() > 1 && self.recent.front().is_some_and(|(then, _)| now - *then > WINDOW)
            || self.recent.len() >= SNAPSHOTS_MAX
        {
            self.recent.pop_front();
        }
        let before = self.recent.front().map_or(&none, |(_, before)| before);
        let p99 = quantile(&snapshot.end_to_end, &before.end_to_end, 0.99);
        let line = format!(
            "in {} ({}/s)  out {} ({}/s)  lag {}  commits {}  aborts {}  filtered {}  dead letters {}  end-to-end p99 {}",
            count(snapshot.records_in),
            count(rate_in),
            count(snapshot.records_out),
            count(rate_out),
            count(snapshot.lag),
            count(snapshot.commits),
            count(snapshot.aborts),
            count(snapshot.filtered),
            count(snapshot.dead_letters),
            p99.map_or_else(|| "-".into(), milliseconds),
        );
        self.recent.push_back((now, snapshot));
        line
    }
}

/// The quantile of what was added between two states of a histogram, interpolated within
/// its bucket; `None` if nothing was.
fn quantile(now: &[(f64, f64)], before: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let earlier = |bound: f64| {
        before
            .iter()
            .find(|(b, _)| b.total_cmp(&bound).is_eq())
            .map_or(0.0, |(_, c)| *c)
    };
    let added: Vec<(f64, f64)> = now
        .iter()
        .map(|(bound, total)| (*bound, total - earlier(*bound)))
        .collect();
    let all = added
        .last()
        .map(|(_, total)| *total)
        .filter(|total| *total > 0.0)?;
    let rank = quantile * all;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, total) in added {
        if total >= rank {
            // Beyond the last bound there is nothing to interpolate to.
            let share = if total > below {
                (rank - below) / (total - below)
            } else {
                1.0
            };
            return Some(if bound.is_finite() {
                low + (bound - low) * share
            } else {
                low
            });
        }
        (low, below) = (bound, total);
    }
    None
}

fn milliseconds(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

/// Whole, with a comma before each three digits.
fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
# TYPE strait_records_in_total counter
strait_records_in_total{partition="0",pipeline="orders",topic="orders"} 1000
strait_records_in_total{partition="1",pipeline="orders",topic="orders"} 500
strait_records_out_total{pipeline="orders",topic="orders.clean"} 1200
strait_transactions_total{outcome="committed",pipeline="orders"} 7
strait_transactions_total{outcome="aborted",pipeline="orders"} 2
strait_transactions_total{outcome="fenced",pipeline="orders"} 1
strait_records_dead_lettered_total{kind="reject",pipeline="orders"} 4
strait_records_dead_lettered_total{kind="trap",pipeline="orders"} 1
strait_consumer_lag_records{partition="0",pipeline="orders",topic="orders"} 11
strait_consumer_lag_records_other 5
strait_end_to_end_seconds_bucket{pipeline="orders",le="0.01"} 0
strait_end_to_end_seconds_bucket{pipeline="orders",le="0.02"} 90
strait_end_to_end_seconds_bucket{pipeline="orders",le="0.04"} 100
strait_end_to_end_seconds_bucket{pipeline="orders",le="+Inf"} 100
"#;

    #[test]
    fn totals_are_summed_over_partitions_and_kinds() {
        let snapshot = Snapshot::parse(METRICS);
        assert_eq!(
            (
                snapshot.records_in,
                snapshot.records_out,
                snapshot.commits,
                snapshot.aborts
            ),
            (1500.0, 1200.0, 7.0, 2.0)
        );
        assert_eq!((snapshot.dead_letters, snapshot.lag), (5.0, 11.0));
        assert_eq!(snapshot.end_to_end.len(), 4);
    }

    #[test]
    fn a_line_tells_the_totals_and_the_rates_of_the_last_second() {
        let begin = Instant::now();
        let mut status = Status::default();
        status.line(begin, Snapshot::default());
        let line = status.line(begin + Duration::from_secs(2), Snapshot::parse(METRICS));
        assert_eq!(
            line,
            "in 1,500 (750/s)  out 1,200 (600/s)  lag 11  commits 7  aborts 2  filtered 0  dead letters 5  \
             end-to-end p99 38 ms"
        );
    }

    #[test]
    fn the_percentile_is_of_the_last_seconds_only() {
        let old = [(0.1, 0.0), (1.0, 1000.0), (f64::INFINITY, 1000.0)];
        let new = [(0.1, 100.0), (1.0, 1100.0), (f64::INFINITY, 1100.0)];
        assert!(quantile(&new, &old, 0.99).unwrap() <= 0.1);
        assert!(quantile(&new, &[], 0.99).unwrap() > 0.9);
        assert_eq!(quantile(&old, &old, 0.99), None);
        let beyond = [(0.1, 0.0), (f64::INFINITY, 5.0)];
        assert_eq!(quantile(&beyond, &[], 0.99), Some(0.1));
    }

    #[test]
    fn partitions_that_leave_take_no_records_with_them() {
        let begin = Instant::now();
        let mut status = Status::default();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let with = |records_in| Snapshot {
            records_in,
            ..Snapshot::default()
        };
        status.line(begin, with(3000.0));
        assert!(status.line(after(1), with(2000.0)).starts_with("in 3,000 (0/s)"));
        assert!(
            status
                .line(after(2), with(2100.0))
                .starts_with("in 3,100 (100/s)")
        );
        assert!(status.line(after(3), with(0.0)).starts_with("in 3,100 (0/s)"));
    }

    #[test]
    fn counts_have_commas() {
        let shown: Vec<String> = [0.0, 999.0, 1000.0, 1_234_567.0].map(count).to_vec();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_names_are_those_of_the_catalogue() {
        let known = crate::telemetry::catalogue::ALL.iter().map(|metric| metric.name);
        let known: Vec<&str> = known.collect();
        for name in [
            "strait_records_in_total",
            "strait_records_out_total",
            "strait_records_filtered_total",
            "strait_records_dead_lettered_total",
            "strait_consumer_lag_records",
            "strait_transactions_total",
            "strait_end_to_end_seconds",
        ] {
            assert!(known.contains(&name), "{name}");
        }
    }
}
