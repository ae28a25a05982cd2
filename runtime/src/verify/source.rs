//! Whose a record of an output topic is, by its headers.
//!
//! Invariant: what does not name this cluster, this pipeline and a topic id of its input is
//! [`Foreign`], and never judged.

use std::collections::HashMap;
use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::kafka::{Header, TopicPartition};
use crate::lane::dead_letter::TRUNCATED;
use crate::lane::provenance::{HEADER, Source};
use crate::plan::HeaderStyle;
use crate::stage::FailureKind;

use super::digest::Digests;

/// A record of an output topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Output(Output),
    Letter(Letter),
    Foreign(Foreign),
}

/// Which input it says it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Index of the input partition.
    pub input: usize,
    pub offset: i64,
    /// From 1 to `parts`. A dead letter has neither.
    pub part: u32,
    pub parts: u32,
}

impl Claim {
    pub fn name(&self) -> String {
        if self.parts == 0 {
            "its dead letter".to_owned()
        } else {
            format!("part {} of {}", self.part, self.parts)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub claim: Claim,
    pub digest: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    pub claim: Claim,
    /// `None` if it does not tell, or a kind that is not known.
    pub kind: Option<FailureKind>,
    /// Written by a module that is not among those that recompute.
    pub is_of_another_module: bool,
    /// `None`: it holds nothing of its record.
    pub digest: Option<u64>,
}

/// A record that the proof is not about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    Untraced,
    Unreadable,
    OtherCluster,
    OtherPipeline,
    OtherTopic,
}

/// Tells them apart.
#[derive(Debug)]
pub struct Sources {
    cluster_id: Arc<str>,
    pipeline: Arc<str>,
    /// Index of the input partition, by topic id and partition; and by name, for dead
    /// letters that tell no id.
    by_id: HashMap<Arc<str>, HashMap<i32, usize>>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
    modules: Vec<Arc<str>>,
    digests: Digests,
}

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    pub outputs: bool,
    /// The style of the dead letters that go there too.
    pub letters: Option<HeaderStyle>,
}

impl Sources {
    /// `inputs`: each partition with its topic's id. `modules`: the digests of those that
    /// recompute.
    pub fn new<'a>(
        cluster_id: Arc<str>,
        pipeline: Arc<str>,
        inputs: impl Iterator<Item = (&'a TopicPartition, &'a Arc<str>)>,
        modules: Vec<Arc<str>>,
        digests: Digests,
    ) -> Self {
        let mut by_id: HashMap<Arc<str>, HashMap<i32, usize>> = HashMap::new();
        let mut by_name = by_id.clone();
        for (index, (id, topic_id)) in inputs.enumerate() {
            let (of_id, of_name) = (by_id.entry(topic_id.clone()), by_name.entry(id.topic.clone()));
            of_id.or_default().insert(id.partition, index);
            of_name.or_default().insert(id.partition, index);
        }
        Self {
            cluster_id,
            pipeline,
            by_id,
            by_name,
            modules,
            digests,
        }
    }

    /// Looks at a record of a topic that is used like this.
    pub fn look<R: Record>(&self, record: &R, topic: Use) -> Seen {
        let source = || topic.outputs.then(|| last(record, HEADER)).flatten();
        let Some(style) = topic.letters else {
            return self.output(record, source());
        };
        let letter = names(style).offset;
        let letter = last(record, letter);
        match (source(), letter) {
            (None, None) => Seen::Foreign(Foreign::Untraced),
            (Some(source), None) => self.output(record, Some(source)),
            // What a dead letter inherits from its record stands before what it says of it.
            (Some(source), Some(letter)) if source.0 > letter.0 => self.output(record, Some(source)),
            (_, Some(_)) => self.letter(record, style),
        }
    }

    fn output<R: Record>(&self, record: &R, source: Option<(usize, Option<&[u8]>)>) -> Seen {
        let Some((_, value)) = source else {
            return Seen::Foreign(Foreign::Untraced);
        };
        let Ok(source) = Source::parse(value.unwrap_or_default()) else {
            return Seen::Foreign(Foreign::Unreadable);
        };
        if source.cluster_id != *self.cluster_id {
            return Seen::Foreign(Foreign::OtherCluster);
        }
        if source.pipeline != *self.pipeline {
            return Seen::Foreign(Foreign::OtherPipeline);
        }
        let Some(input) = find(&self.by_id, &source.topic_id, source.partition) else {
            return Seen::Foreign(Foreign::OtherTopic);
        };
        Seen::Output(Output {
            claim: Claim {
                input,
                offset: source.offset,
                part: source.part,
                parts: source.parts,
            },
            digest: self.digests.of_record(record, record.header_count()),
        })
    }

    fn letter<R: Record>(&self, record: &R, style: HeaderStyle) -> Seen {
        let names = names(style);
        let text = |name: &str| {
            last(record, name)
                .and_then(|(_, value)| value)
                .and_then(|value| std::str::from_utf8(value).ok())
        };
        let pipeline = names.pipeline.map(text);
        if pipeline.is_some_and(|pipeline| pipeline != Some(&self.pipeline)) {
            return Seen::Foreign(Foreign::OtherPipeline);
        }
        let number = |name: &str| {
            let (_, value) = last(record, name)?;
            integer(style, value?)
        };
        let (Some(partition), Some(offset)) = (number(names.partition), number(names.offset)) else {
            return Seen::Foreign(Foreign::Unreadable);
        };
        let partition = i32::try_from(partition).unwrap_or(-1);
        let input = match names.topic_id.and_then(text).filter(|id| !id.is_empty()) {
            Some(id) => find(&self.by_id, id, partition),
            None => text(names.topic).and_then(|name| find(&self.by_name, name, partition)),
        };
        let Some(input) = input else {
            return Seen::Foreign(Foreign::OtherTopic);
        };
        let kind = text(names.kind).map(|kind| kind.strip_prefix("strait.").unwrap_or(kind));
        let module = names.module.and_then(text).filter(|module| !module.is_empty());
        let is_truncated = last(record, "strait-error-truncated").is_some_and(|(at, value)| {
            // Of this letter, and not of one that it repeats.
            at + 1 == record.header_count() && value == TRUNCATED.1
        });
        let own = record.header_count().saturating_sub(names.count);
        Seen::Letter(Letter {
            claim: Claim {
                input,
                offset,
                part: 0,
                parts: 0,
            },
            kind: kind.and_then(kind_of),
            is_of_another_module: module
                .is_some_and(|module| self.modules.iter().all(|known| **known != *module)),
            digest: (!is_truncated).then(|| self.digests.of_record(record, own)),
        })
    }
}

fn find(topics: &HashMap<Arc<str>, HashMap<i32, usize>>, topic: &str, partition: i32) -> Option<usize> {
    topics.get(topic)?.get(&partition).copied()
}

/// Index and value of the last header of a name: the one that counts.
fn last<'r, R: Record>(record: &'r R, name: &str) -> Option<(usize, Option<&'r [u8]>)> {
    (0..record.header_count()).rev().find_map(|index| {
        let (found, value): Header<'r> = record.header(index)?;
        (found == name.as_bytes()).then_some((index, value))
    })
}

fn integer(style: HeaderStyle, value: &[u8]) -> Option<i64> {
    if style == HeaderStyle::Spring {
        let short = || value.try_into().map(i32::from_be_bytes).map(i64::from);
        return value.try_into().map(i64::from_be_bytes).or_else(|_| short()).ok();
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn kind_of(text: &str) -> Option<FailureKind> {
    use FailureKind::{Deadline, Memory, MissingId, Output, Reject, Retry, TooLarge, Trap};
    [Reject, Retry, Trap, Deadline, Memory, Output, TooLarge, MissingId]
        .into_iter()
        .find(|kind| kind.as_str() == text)
}

/// The headers of a style that tell what is asked here.
struct Names {
    /// How many headers a dead letter adds to those of its record.
    count: usize,
    topic: &'static str,
    topic_id: Option<&'static str>,
    partition: &'static str,
    offset: &'static str,
    kind: &'static str,
    pipeline: Option<&'static str>,
    module: Option<&'static str>,
}

const fn names(style: HeaderStyle) -> Names {
    match style {
        HeaderStyle::Strait => Names {
            count: 11,
            topic: "strait-error-topic",
            topic_id: Some("strait-error-topic-id"),
            partition: "strait-error-partition",
            offset: "strait-error-offset",
            kind: "strait-error-kind",
            pipeline: Some("strait-error-pipeline"),
            module: Some("strait-error-module"),
        },
        HeaderStyle::Streams => Names {
            count: 5,
            topic: "__streams.errors.topic",
            topic_id: None,
            partition: "__streams.errors.partition",
            offset: "__streams.errors.offset",
            kind: "__streams.errors.exception",
            pipeline: None,
            module: None,
        },
        HeaderStyle::Spring => Names {
            count: 7,
            topic: "kafka_dlt-original-topic",
            topic_id: None,
            partition: "kafka_dlt-original-partition",
            offset: "kafka_dlt-original-offset",
            kind: "kafka_dlt-exception-fqcn",
            pipeline: Some("kafka_dlt-original-consumer-group"),
            module: None,
        },
        HeaderStyle::Connect => Names {
            count: 9,
            topic: "__connect.errors.topic",
            topic_id: None,
            partition: "__connect.errors.partition",
            offset: "__connect.errors.offset",
            kind: "__connect.errors.exception.class.name",
            pipeline: Some("__connect.errors.connector.name"),
            module: None,
        },
    }
}

#[cfg(test)]
mod tests;
