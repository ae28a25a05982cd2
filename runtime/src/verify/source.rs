//! Whose a record of an output topic is, by its headers.
//!
//! Invariant: what does not name this cluster, this pipeline and a topic id of its input is
//! [`Foreign`], and never judged.

use std::collections::HashMap;
use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::kafka::{Header, TopicPartition};
use crate::lane::dead_letter::told::Told;
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
        let source = topic.outputs.then(|| last(record, HEADER)).flatten();
        let letter = topic.letters.and_then(|style| {
            let told = Told::read(record);
            told.filter(|told| told.style == style)
        });
        match (source, letter) {
            // What a dead letter inherits from its record stands before what it says of it.
            (_, Some(told)) => self.letter(&told, record),
            (source, None) => self.output(record, source),
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

    fn letter(&self, told: &Told, record: &impl Record) -> Seen {
        if told
            .pipeline
            .as_ref()
            .is_some_and(|pipeline| **pipeline != *self.pipeline)
        {
            return Seen::Foreign(Foreign::OtherPipeline);
        }
        let input = match &told.topic_id {
            Some(id) => find(&self.by_id, id, told.partition),
            None => find(&self.by_name, &told.topic, told.partition),
        };
        let Some(input) = input else {
            return Seen::Foreign(Foreign::OtherTopic);
        };
        let module = told.module_sha256.as_ref();
        Seen::Letter(Letter {
            claim: Claim {
                input,
                offset: told.offset,
                part: 0,
                parts: 0,
            },
            kind: told.kind,
            is_of_another_module: module
                .is_some_and(|module| self.modules.iter().all(|known| **known != **module)),
            digest: (!told.is_truncated).then(|| self.digests.of_record(record, told.own_headers)),
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

#[cfg(test)]
mod tests;
