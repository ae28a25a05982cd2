//! Runs a transform natively: in `cargo test`, without a broker and without WebAssembly.
//!
//! ```
//! # use strait_sdk::prelude::*;
//! # struct Shout;
//! # impl Transform for Shout {
//! #     type Settings = ();
//! #     fn new((): ()) -> Result<Self> { Ok(Self) }
//! #     fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
//! #         let text = std::str::from_utf8(record.value().unwrap_or_default())?;
//! #         if text.is_empty() { return Ok(()); }
//! #         out.emit(record.with_value(text.to_uppercase()))
//! #     }
//! # }
//! use strait_sdk::testing::{Sample, Tester};
//!
//! let mut shout = Tester::<Shout>::new(()).unwrap();
//! let ran = shout.run([Sample::value("hello").key("k"), Sample::value(""), Sample::value(b"\xFF")]).unwrap();
//!
//! let out = ran.to("default");
//! assert_eq!(out.len(), 1);
//! assert_eq!(out[0].text(), "HELLO");
//! assert_eq!(out[0].key.as_deref(), Some(b"k".as_slice()));
//! assert_eq!(ran.filtered(), [1]);
//! assert_eq!(ran.rejects()[0].record, 2);
//! ```
//!
//! The records go through the same batch format as in production, so what passes here does
//! not fail there for its form. Stores of keyed state lie in memory, and go by the same
//! rules and the same [`StreamTime`](crate::StreamTime) as the runtime's.

pub(crate) mod host;
pub(crate) mod partition;
mod ran;
mod sample;
mod stored;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod whole;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Transform;
use crate::batch::{self, Entry, Limits, OutputView};
use crate::guest::Guest;
use crate::log::native::capture;
use crate::output::DEFAULT;
use crate::state::Declared;

use partition::Partition;
pub use ran::{Emitted, Failed, Logged, Ran};
pub use sample::Sample;
pub use stored::Stored;

/// A transform under test. It keeps what it remembers from one [`Tester::run`] to the next.
pub struct Tester<T> {
    guest: Guest<T>,
    outputs: Vec<String>,
    stores: Vec<Declared>,
    /// What the runtime would keep, by topic and partition.
    partitions: BTreeMap<(String, i32), Partition>,
    attempts: u32,
    batch_records: usize,
    now_ms: i64,
}

/// So that `unwrap_err` does for a transform that has no `Debug`.
impl<T> fmt::Debug for Tester<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tester")
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl<T: Transform> Tester<T> {
    /// With these settings. The error is what the runtime would say of them.
    pub fn new(settings: T::Settings) -> Result<Self, String> {
        let transform = T::new(settings).map_err(|error| error.to_string())?;
        Ok(Self::with(Guest::new(
            transform,
            vec![DEFAULT.to_owned()],
            vec![],
        )))
    }

    /// With settings as a pipeline gives them, here as JSON: `{"minimum": 20}`.
    pub fn from_json(settings: &str) -> Result<Self, String> {
        let settings: Value = serde_json::from_str(settings).map_err(|error| error.to_string())?;
        let config = json!({ "settings": settings, "outputs": [DEFAULT], "stores": [] });
        Guest::configure(config.to_string().as_bytes()).map(Self::with)
    }

    fn with(guest: Guest<T>) -> Self {
        Self {
            guest,
            outputs: vec![DEFAULT.to_owned()],
            stores: Vec::new(),
            partitions: BTreeMap::new(),
            attempts: 0,
            batch_records: usize::MAX,
            now_ms: 0,
        }
    }

    /// The outputs that the pipeline has; `default` alone unless told.
    #[must_use]
    pub fn outputs<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.outputs = names.into_iter().map(Into::into).collect();
        self.guest.set_outputs(self.outputs.clone());
        self
    }

    /// Stores of keyed state that the pipeline declares, whose entries stay until they are deleted; none
    /// unless told.
    #[must_use]
    pub fn stores<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        names
            .into_iter()
            .fold(self, |tester, name| tester.declare(name.into(), None))
    }

    /// One store more, whose entries last so long unless the transform says otherwise.
    #[must_use]
    pub fn store_with_ttl(self, name: impl Into<String>, ttl: Duration) -> Self {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.declare(name.into(), Some(ttl_ms))
    }

    fn declare(mut self, name: String, ttl_ms: Option<i64>) -> Self {
        self.stores.push(Declared { name, ttl_ms });
        self.guest.set_stores(self.stores.clone());
        self
    }

    /// The most records that the transform is handed at once; as many as there are, unless told.
    #[must_use]
    pub fn batch_records(mut self, records: usize) -> Self {
        self.batch_records = records.max(1);
        self
    }

    /// The same between runs.
    #[cfg(test)]
    pub(crate) fn set_batch_records(&mut self, records: usize) {
        self.batch_records = records.max(1);
    }

    /// The same stores under a fresh instance, as after an aborted transaction: what the transform
    /// remembers in itself is gone.
    pub fn restart(&mut self, settings: T::Settings) -> Result<(), String> {
        let transform = T::new(settings).map_err(|error| error.to_string())?;
        self.guest = Guest::new(transform, self.outputs.clone(), self.stores.clone());
        Ok(())
    }

    /// How often a record that asks for it is tried again before it has failed; 0 unless told.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// What [`Output::now_ms`](crate::Output::now_ms) says; 0 unless told.
    #[must_use]
    pub fn now_ms(mut self, now_ms: i64) -> Self {
        self.now_ms = now_ms;
        self
    }

    /// Runs records as the runtime does: one batch for each stretch of records of one partition,
    /// and after a retry again from that record on. An error would stop the pipeline.
    pub fn run(&mut self, samples: impl IntoIterator<Item = Sample>) -> Result<Ran, String> {
        let mut samples: Vec<Sample> = samples.into_iter().collect();
        for (index, sample) in samples.iter_mut().enumerate() {
            sample.settle(index);
            if !self.stores.is_empty() {
                let stream_time_ms = self
                    .partition(sample)
                    .observe(batch::Record::timestamp_ms(sample));
                sample.set_stream_time(stream_time_ms);
            }
        }
        let mut ran = Ran::new(samples.len(), self.outputs.clone());
        let mut next = 0;
        while let Some(first) = samples.get(next) {
            let same = |sample: &&Sample| sample.place() == first.place();
            let len = samples.iter().skip(next).take_while(same).count();
            let len = len.min(self.batch_records);
            next = self.run_batch(&mut samples, next, len, &mut ran)?;
        }
        Ok(ran)
    }

    /// Runs one batch; says where the next one begins.
    fn run_batch(
        &mut self,
        samples: &mut [Sample],
        start: usize,
        len: usize,
        ran: &mut Ran,
    ) -> Result<usize, String> {
        let answer = self.call(samples.get(start..start + len).unwrap_or_default(), &mut ran.logs)?;
        let limits = Limits {
            records: u32::try_from(len).unwrap_or(u32::MAX),
            outputs: u16::try_from(self.outputs.len()).unwrap_or(u16::MAX),
            stores: u16::try_from(self.stores.len()).unwrap_or(u16::MAX),
        };
        let view = OutputView::parse(&answer, limits).map_err(|error| error.to_string())?;
        for entry in view.entries() {
            let record = start + entry.origin() as usize;
            match entry {
                Entry::Emit(emit) => ran.add(record, samples.get(record), &emit),
                Entry::Reject { reason, .. } => ran.rejected(record, reason),
                Entry::Retry { reason, .. } => {
                    let attempt = samples.get_mut(record).map_or(0, Sample::tried);
                    ran.retried(record, reason, attempt > self.attempts);
                    return Ok(if attempt > self.attempts {
                        record + 1
                    } else {
                        record
                    });
                }
                Entry::State(op) => self.write(samples.get(record), &op),
            }
        }
        Ok(start + len)
    }

    fn call(&mut self, samples: &[Sample], logs: &mut Vec<Logged>) -> Result<Vec<u8>, String> {
        let (topic, partition) = samples.first().map_or(("", 0), Sample::place);
        let input = batch::Input {
            topic,
            partition,
            now_ms: self.now_ms,
            records: samples,
            stream_times_ms: &samples.iter().map(Sample::stream_time_ms).collect::<Vec<_>>(),
        };
        let mut bytes = vec![0; batch::encoded_len(&input).map_err(|error| error.to_string())?];
        batch::encode(&input, &mut bytes).map_err(|error| error.to_string())?;
        let mut state = samples.first().map(|first| std::mem::take(self.partition(first)));
        let (answer, logged) = capture(|| {
            let (answer, served) = host::serve(state.take().unwrap_or_default(), || {
                self.guest.process(&mut bytes)
            });
            state = Some(served);
            answer
        });
        if let (Some(first), Some(state)) = (samples.first(), state) {
            *self.partition(first) = state;
        }
        logs.extend(
            logged
                .into_iter()
                .map(|(level, message)| Logged { level, message }),
        );
        answer.map_err(|failure| failure.message().to_owned())
    }
}
