//! From a document to a [`Pipeline`]: the checks that look at several keys at once.
//!
//! All of them run, whatever the others found, on what could be read.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::document::{self, Document};
use super::finding::{Code, Finding};
use super::fit::Fit;
use super::layers::Places;
use super::place::KeyPath;
use super::topics::{self, Written};
use super::{dedup, kafka, module, state};
use crate::plan::{
    BatchLimits, Commit, Delivery, FailureLimit, HeaderStyle, Input, InternalTopics, Limits, OnError, OnGap,
    Output, PartitionBy, Pipeline, PipelineName, Provenance, Retry, Start, Then, TimestampFrom, WasmStage,
};

/// The pipeline that a document describes, unless something is missing. It may run
/// only if no finding is an error.
pub fn pipeline(
    document: &Document,
    places: &Places,
    environment: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Option<Pipeline> {
    let kafka = document.kafka.clone().unwrap_or_default();
    let (cluster, timeouts) = kafka::cluster(&kafka, places, findings);
    let name = document
        .name
        .as_deref()
        .and_then(|name| PipelineName::new(name).ok());
    let outputs = outputs(document, places, findings);
    let on_error = on_error(document, places, findings);
    let input = document.input.as_ref().and_then(|input| {
        let topics = topics::input(input, places, findings)?;
        topics::keep_apart(
            &topics,
            name.as_ref(),
            &written(&outputs, &on_error),
            places,
            findings,
        );
        Some(Input {
            topics,
            start: start(input.start),
            on_gap: on_gap(input.on_gap),
        })
    });
    let delivery = delivery(document.delivery);
    let dedup = dedup::dedup(document, places, findings);
    let inputs = input.as_ref().map(|input| &input.topics);
    let stores = state::stores(document, name.as_ref(), inputs, places, findings);
    let stages = stages(document, places, environment, findings);
    let commit = commit(&document.commit);
    Fit {
        timeouts: &timeouts,
        stages: &stages,
        commit: &commit,
        on_error: &on_error,
        delivery,
        places,
    }
    .check(findings);
    Some(Pipeline {
        name: name?,
        source: places.file().to_owned(),
        cluster,
        input: input?,
        dedup,
        stages: stages.into_iter().map(|(_, stage)| stage).collect(),
        stores,
        outputs: outputs.into_iter().map(|(_, output)| output).collect(),
        on_error,
        delivery,
        lanes: document.lanes.unwrap_or_else(cores),
        commit,
        provenance: match document.provenance {
            document::Provenance::None => Provenance::None,
            document::Provenance::Headers => Provenance::Headers,
        },
        internal_topics: internal_topics(&document.internal_topics),
        timeouts,
    })
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn start(start: document::Start) -> Start {
    match start {
        document::Start::Earliest => Start::Earliest,
        document::Start::Latest => Start::Latest,
    }
}

fn on_gap(on_gap: document::OnGap) -> OnGap {
    match on_gap {
        document::OnGap::Stop => OnGap::Stop,
        document::OnGap::Earliest => OnGap::Earliest,
        document::OnGap::Latest => OnGap::Latest,
    }
}

fn delivery(delivery: document::Delivery) -> Delivery {
    match delivery {
        document::Delivery::ExactlyOnce => Delivery::ExactlyOnce,
        document::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
        document::Delivery::AtMostOnce => Delivery::AtMostOnce,
    }
}

fn commit(commit: &document::Commit) -> Commit {
    Commit {
        interval: commit.interval.0,
        idle: commit.idle.0,
        records: commit.records,
        bytes: bytes(commit.bytes.0),
    }
}

/// A size is never zero (see `units`).
fn bytes(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN)
}

fn internal_topics(choice: &document::InternalTopicsChoice) -> InternalTopics {
    let (mode, replication) = match choice {
        document::InternalTopicsChoice::Mode(mode) => (*mode, None),
        document::InternalTopicsChoice::Map(map) => (map.mode, map.replication),
    };
    InternalTopics {
        create: mode == document::InternalTopics::Create,
        replication: replication.map(i32::from),
    }
}

/// `default` first, the others by name; each with its key.
fn outputs(document: &Document, places: &Places, findings: &mut Vec<Finding>) -> Vec<(KeyPath, Output)> {
    let Some(choices) = &document.outputs else {
        return Vec::new();
    };
    let path = KeyPath::of("outputs");
    let several = document
        .stages
        .as_ref()
        .is_some_and(|stages| stages.iter().filter(|stage| stage.wasm.is_some()).count() > 1);
    let default = choices.contains_key("default") || places.written(&path.join("default"));
    if !default && choices.len() == 1 && !several {
        let what = "there is one output and it is not `default`, which `emit` writes to";
        let remedy = "call it `default`; only a transform that writes to several named outputs needs none";
        findings.push(places.error(Code::OutputDefault, &path, what, remedy));
    }
    let read = choices.iter().filter_map(|(name, choice)| {
        let path = path.join(name);
        match choice {
            document::OutputChoice::Topic(topic) => {
                Some((path, output(name, &topic.0, &document::Output::default())))
            }
            document::OutputChoice::Map(map) => {
                let topic = map.topic.as_ref()?;
                Some((path.join("topic"), output(name, &topic.0, map)))
            }
        }
    });
    let mut outputs: Vec<_> = read.collect();
    outputs.sort_by_key(|(_, output)| output.name != "default");
    outputs
}

fn output(name: &str, topic: &str, map: &document::Output) -> Output {
    Output {
        name: name.to_owned(),
        topic: topic.to_owned(),
        partition: match map.partition {
            document::PartitionBy::Key => PartitionBy::Key,
            document::PartitionBy::Input => PartitionBy::Input,
            document::PartitionBy::Explicit => PartitionBy::Explicit,
        },
        timestamp: match map.timestamp {
            document::TimestampFrom::Input => TimestampFrom::Input,
            document::TimestampFrom::Now => TimestampFrom::Now,
        },
        compression: map.compression.map(|codec| {
            match codec {
                document::Compression::None => "none",
                document::Compression::Gzip => "gzip",
                document::Compression::Snappy => "snappy",
                document::Compression::Lz4 => "lz4",
                document::Compression::Zstd => "zstd",
            }
            .to_owned()
        }),
    }
}

fn on_error(document: &Document, places: &Places, findings: &mut Vec<Finding>) -> OnError {
    let document::OnError {
        retry,
        then,
        dead_letter,
        header_style,
        limit,
    } = &document.on_error;
    let path = KeyPath::of("on_error.dead_letter");
    if dead_letter.is_some() && !matches!(then, document::Then::DeadLetter) {
        let what = "a topic is named, and nothing is written there: `then` is not `dead_letter`";
        let finding = places.error(
            Code::DeadLetterUnused,
            &path,
            what,
            "write `then: dead_letter` beside it",
        );
        findings.push(finding.warning());
    }
    let then = match (then, dead_letter) {
        (document::Then::Skip, _) => Then::Skip,
        (document::Then::DeadLetter, Some(topic)) => Then::DeadLetter {
            topic: topic.0.clone(),
            style: self::header_style(*header_style),
        },
        (document::Then::DeadLetter, None) => {
            if !places.written(&path) {
                let what = "`then: dead_letter` needs a topic, and `dead_letter` names none";
                let remedy = "write `dead_letter: TOPIC` beside it";
                findings.push(places.error(
                    Code::DeadLetterMissing,
                    &KeyPath::of("on_error.then"),
                    what,
                    remedy,
                ));
            }
            Then::Stop
        }
        (document::Then::Stop, _) => Then::Stop,
    };
    let limit = match limit {
        document::LimitChoice::Off(_) => None,
        document::LimitChoice::Limit(limit) => Some(FailureLimit {
            rate: limit.rate.0,
            over: limit.over.0,
            at_least: limit.at_least,
        }),
    };
    let retry = Retry {
        attempts: retry.attempts,
        initial: retry.initial.0,
        max: retry.max.0,
        factor: retry.factor,
    };
    OnError { retry, then, limit }
}

fn header_style(style: document::HeaderStyle) -> HeaderStyle {
    match style {
        document::HeaderStyle::Strait => HeaderStyle::Strait,
        document::HeaderStyle::Streams => HeaderStyle::Streams,
        document::HeaderStyle::Spring => HeaderStyle::Spring,
        document::HeaderStyle::Connect => HeaderStyle::Connect,
    }
}

fn written(outputs: &[(KeyPath, Output)], on_error: &OnError) -> Vec<Written> {
    let outputs = outputs.iter().map(|(path, output)| {
        let (topic, path) = (output.topic.clone(), path.clone());
        Written {
            topic,
            path,
            role: "output topic".to_owned(),
        }
    });
    let dead_letter = match &on_error.then {
        Then::DeadLetter { topic, .. } => {
            let (topic, path) = (topic.clone(), KeyPath::of("on_error.dead_letter"));
            Some(Written {
                topic,
                path,
                role: "dead letter topic".to_owned(),
            })
        }
        Then::Stop | Then::Skip => None,
    };
    outputs.chain(dead_letter).collect()
}

pub(super) fn stage_path(index: usize) -> KeyPath {
    KeyPath::of("stages").join(index)
}

/// The wasm stages, each with its key. One whose module cannot be found is left out.
fn stages(
    document: &Document,
    places: &Places,
    environment: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Vec<(KeyPath, WasmStage)> {
    let stages = document.stages.iter().flatten().enumerate();
    let wasm =
        stages.filter_map(|(index, stage)| Some((stage_path(index).join("wasm"), stage.wasm.as_ref()?)));
    let mut read: Vec<(KeyPath, WasmStage)> = Vec::new();
    for (count, (path, wasm)) in wasm.enumerate() {
        let name: Arc<str> = if count == 0 {
            "wasm".into()
        } else {
            format!("wasm-{}", count + 1).into()
        };
        if let Some(stage) = stage(name, &path, wasm, places, environment, findings) {
            read.push((path, stage));
        }
    }
    read
}

fn stage(
    name: Arc<str>,
    path: &KeyPath,
    wasm: &document::Wasm,
    places: &Places,
    environment: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Option<WasmStage> {
    let folder = places.file().parent().unwrap_or(Path::new(""));
    let module = match module::resolve(wasm.module.as_deref()?, folder, environment) {
        Ok(module) => module,
        Err(problem) => {
            findings.push(places.error(problem.code, &path.join("module"), problem.what, problem.remedy));
            return None;
        }
    };
    let sha256 = wasm.sha256.as_ref().map(|digest| digest.to_ascii_lowercase());
    if let Some(digest) = &sha256
        && module.artifact().is_file()
        && let Err(problem) = module::pinned(module.artifact(), digest)
    {
        findings.push(places.error(problem.code, &path.join("sha256"), problem.what, problem.remedy));
    }
    let limits = Limits {
        memory_bytes: wasm.limits.memory.0,
        batch_deadline: wasm.limits.batch_deadline.0.map(|span| -> Duration { span.0 }),
        output_bytes: wasm.limits.output_bytes.0,
    };
    let batch = BatchLimits {
        records: wasm.batch.records,
        bytes: bytes(wasm.batch.bytes.0),
    };
    Some(WasmStage {
        name,
        module,
        sha256,
        settings: wasm.settings.clone().into(),
        limits,
        batch,
    })
}
