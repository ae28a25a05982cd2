//! Time series on top of the `prometheus` crate, and when they vanish.
//!
//! Invariants: a series is exported exactly as long as its [`Series`] lives; a [`Family`]
//! holds at most [`SERIES_MAX`] of them; looking up a series that exists allocates nothing.
//!
//! The crate's own vectors (`IntCounterVec` and so on) are not used: they find a series by a
//! hash of its label values run together, so topic `a1` partition 2 and topic `a` partition
//! 12 would share one counter. Each series here is a metric with constant labels, which the
//! registry tells apart properly.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};
use tracing::{error, warn};

use super::catalogue::{Definition, Kind};
use crate::kafka::TopicPartition;

/// Series of one family. Beyond it, counts are folded into one series labelled [`OTHER`] and
/// gauges are left out: a scrape must stay readable whatever a topic pattern matches.
pub const SERIES_MAX: usize = 10_000;

/// What labels say of the series beyond [`SERIES_MAX`].
pub const OTHER: &str = "other";

/// A kind of metric that the registry can hold.
pub trait Instrument: Collector + Clone + 'static {
    /// Whether several series may be counted in one.
    const FOLDS: bool;

    fn create(definition: &Definition, options: Opts) -> prometheus::Result<Self>;
}

impl Instrument for IntCounter {
    const FOLDS: bool = true;

    fn create(_: &Definition, options: Opts) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl Instrument for IntGauge {
    const FOLDS: bool = false;

    fn create(_: &Definition, options: Opts) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl Instrument for Gauge {
    const FOLDS: bool = false;

    fn create(_: &Definition, options: Opts) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl Instrument for Histogram {
    const FOLDS: bool = true;

    fn create(definition: &Definition, options: Opts) -> prometheus::Result<Self> {
        let buckets = match definition.kind {
            Kind::Histogram(buckets) => buckets.to_vec(),
            Kind::Counter | Kind::Gauge => Vec::new(),
        };
        Self::with_opts(HistogramOpts {
            common_opts: options,
            buckets,
        })
    }
}

/// One time series. Dropping it removes it from the registry.
pub struct Series<M: Instrument> {
    registry: Registry,
    /// `None` if the registry refused it: nothing is worth stopping a lane for a metric.
    metric: Option<M>,
}

impl<M: Instrument> Series<M> {
    /// Registers it. `values` belong to the definition's labels, in their order.
    pub fn new(registry: &Registry, definition: &Definition, values: &[&str]) -> Self {
        let labels = definition.labels.iter().zip(values);
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = Opts::new(definition.name, definition.help).const_labels(labels.collect());
        let metric = M::create(definition, options).and_then(|metric| {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        });
        if let Err(refusal) = &metric {
            error!(metric = definition.name, ?values, error = %refusal, "a time series is missing");
        }
        Self {
            registry: registry.clone(),
            metric: metric.ok(),
        }
    }

    /// Does something with the metric.
    pub fn with(&self, change: impl FnOnce(&M)) {
        if let Some(metric) = &self.metric {
            change(metric);
        }
    }
}

impl<M: Instrument> Drop for Series<M> {
    fn drop(&mut self) {
        if let Some(metric) = self.metric.take()
            && let Err(refusal) = self.registry.unregister(Box::new(metric))
        {
            error!(error = %refusal, "a time series could not be removed");
        }
    }
}

/// What tells the series of a family apart, as label values.
pub trait Key {
    fn label_values(&self) -> Vec<String>;
}

impl Key for str {
    fn label_values(&self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Key for usize {
    fn label_values(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

impl Key for TopicPartition {
    fn label_values(&self) -> Vec<String> {
        vec![self.topic.to_string(), self.partition.to_string()]
    }
}

/// The series of one metric of one pipeline, by their other labels.
pub struct Family<K, M: Instrument> {
    registry: Registry,
    definition: &'static Definition,
    pipeline: String,
    series_max: usize,
    series: Mutex<Members<K, M>>,
}

struct Members<K, M: Instrument> {
    known: HashMap<K, Series<M>>,
    /// Stands in for all beyond the limit.
    other: Option<Series<M>>,
    warned: bool,
}

impl<K: Hash + Eq, M: Instrument> Family<K, M> {
    pub fn new(registry: &Registry, definition: &'static Definition, pipeline: &str) -> Self {
        let members = Members {
            known: HashMap::new(),
            other: None,
            warned: false,
        };
        Self {
            registry: registry.clone(),
            definition,
            pipeline: pipeline.to_owned(),
            series_max: SERIES_MAX,
            series: Mutex::new(members),
        }
    }

    /// Does something with the series of `key`, which is made if it does not exist.
    pub fn with<Q>(&self, key: &Q, change: impl FnOnce(&M))
    where
        Q: Key + Hash + Eq + ToOwned<Owned = K> + ?Sized,
        K: Borrow<Q>,
    {
        let mut members = self.lock();
        if let Some(series) = members.known.get(key) {
            series.with(change);
        } else if members.known.len() < self.series_max {
            let series = self.member(&key.label_values());
            series.with(change);
            members.known.insert(key.to_owned(), series);
        } else {
            self.fold(&mut members, key.label_values().len(), change);
        }
    }

    pub fn remove<Q>(&self, key: &Q)
    where
        Q: Hash + Eq + ?Sized,
        K: Borrow<Q>,
    {
        self.lock().known.remove(key);
    }

    pub fn clear(&self) {
        let mut members = self.lock();
        members.known.clear();
        members.other = None;
    }

    fn member(&self, values: &[String]) -> Series<M> {
        let values: Vec<&str> = std::iter::once(self.pipeline.as_str())
            .chain(values.iter().map(String::as_str))
            .collect();
        Series::new(&self.registry, self.definition, &values)
    }

    fn fold(&self, members: &mut Members<K, M>, labels: usize, change: impl FnOnce(&M)) {
        if !members.warned {
            members.warned = true;
            warn!(
                metric = self.definition.name,
                pipeline = self.pipeline,
                limit = self.series_max,
                "too many series: further ones are counted as `{OTHER}`, further gauges are left out"
            );
        }
        if M::FOLDS {
            let values = vec![OTHER.to_owned(); labels];
            members
                .other
                .get_or_insert_with(|| self.member(&values))
                .with(change);
        }
    }

    /// A poisoned lock guards nothing but counters: going on is right.
    fn lock(&self) -> MutexGuard<'_, Members<K, M>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::catalogue::{LAG_RECORDS, RECORDS_IN, RECORDS_OUT};

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }

    fn render(registry: &Registry) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    }

    #[test]
    fn labels_that_read_alike_when_run_together_stay_apart() {
        let registry = Registry::new();
        let family: Family<TopicPartition, IntCounter> = Family::new(&registry, &RECORDS_IN, "p");
        family.with(&partition("a1", 2), |counter| counter.inc_by(3));
        family.with(&partition("a", 12), |counter| counter.inc_by(5));
        let text = render(&registry);
        assert!(
            text.contains("{partition=\"2\",pipeline=\"p\",topic=\"a1\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("{partition=\"12\",pipeline=\"p\",topic=\"a\"} 5"),
            "{text}"
        );
    }

    #[test]
    fn beyond_the_limit_counts_fold_and_gauges_stay_away() {
        let registry = Registry::new();
        let mut counters: Family<TopicPartition, IntCounter> = Family::new(&registry, &RECORDS_IN, "p");
        let mut gauges: Family<TopicPartition, IntGauge> = Family::new(&registry, &LAG_RECORDS, "p");
        counters.series_max = 2;
        gauges.series_max = 2;
        for number in 0..5 {
            counters.with(&partition("t", number), |counter| counter.inc_by(10));
            gauges.with(&partition("t", number), |gauge| gauge.set(7));
        }
        let text = render(&registry);
        assert_eq!(text.matches("strait_records_in_total{").count(), 3, "{text}");
        assert!(
            text.contains("{partition=\"other\",pipeline=\"p\",topic=\"other\"} 30"),
            "{text}"
        );
        assert_eq!(text.matches("strait_consumer_lag_records{").count(), 2, "{text}");
    }

    #[test]
    fn a_removed_series_is_gone_and_may_come_back_from_zero() {
        let registry = Registry::new();
        let family: Family<String, IntCounter> = Family::new(&registry, &RECORDS_OUT, "p");
        family.with("t", IntCounter::inc);
        family.remove("t");
        assert!(!render(&registry).contains("topic"), "still there");
        family.with("t", IntCounter::inc);
        assert!(render(&registry).contains("topic=\"t\"} 1"));
        drop(family);
        assert_eq!(render(&registry), "");
    }
}
