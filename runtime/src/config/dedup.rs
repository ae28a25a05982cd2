//! The stage `dedup`: what it means, and what it needs of the rest of the file.

use std::sync::Arc;
use std::time::Duration;

use super::assemble::stage_path;
use super::document::{self, Document, StoreChoice, StoreName};
use super::finding::{Code, Finding};
use super::layers::Places;
use super::place::KeyPath;
use super::units::TOPIC_NAME_MAX;
use crate::dedup::message_id::IdSource;
use crate::plan::{
    ClaimStore, Dedup, DedupMode, OnMissingId, OnStoreError, PipelineName, RedisAddress, SqlAddress,
};

/// How long the store `memory` remembers, unless told: it forgets with the process anyway.
const MEMORY_WINDOW: Duration = Duration::from_hours(1);

/// The pipeline's dedup, if it has one that can run.
pub fn dedup(document: &Document, places: &Places, findings: &mut Vec<Finding>) -> Option<Arc<Dedup>> {
    let stages = document.stages.iter().flatten().enumerate();
    let mut found: Option<(KeyPath, &document::Dedup)> = None;
    let mut after_wasm = false;
    for (index, stage) in stages {
        if let Some(dedup) = &stage.dedup {
            let path = stage_path(index).join("dedup");
            let wrong = if found.is_some() {
                Some(("there is another `dedup` before it", "keep one"))
            } else if after_wasm {
                Some(("it comes behind a transform", "write it before all `wasm` stages"))
            } else {
                None
            };
            if let Some((what, remedy)) = wrong {
                findings.push(places.error(Code::DedupRule, &path, what, remedy));
            }
            found.get_or_insert((path, dedup));
        }
        after_wasm |= stage.wasm.is_some();
    }
    let (path, dedup) = found?;
    if !after_wasm {
        let what = "no stage calls a transform";
        let remedy = "write a `wasm` stage";
        findings.push(places.error(Code::KeyMissing, &KeyPath::of("stages"), what, remedy));
    }
    Rules {
        document,
        dedup,
        path: &path,
        places,
    }
    .check(findings);
    plan(dedup, &path, places, findings)
}

/// What it needs of the rest.
struct Rules<'a> {
    document: &'a Document,
    dedup: &'a document::Dedup,
    path: &'a KeyPath,
    places: &'a Places,
}

impl Rules<'_> {
    fn check(&self, findings: &mut Vec<Finding>) {
        let store = store_name(&self.dedup.store);
        let (lossy, exact) = match self.document.delivery {
            document::Delivery::ExactlyOnce => (false, true),
            document::Delivery::AtLeastOnce => (false, false),
            document::Delivery::AtMostOnce => (true, false),
        };
        let remedy = "write `delivery: exactly_once`, or remove it";
        if lossy {
            let what = "dedup under at_most_once would drop records that were never delivered";
            findings.push(self.places.error(Code::DeliveryRule, self.path, what, remedy));
        } else if store == "changelog" && !exact {
            let what = "the store `changelog` needs exactly_once".to_owned();
            findings.push(self.error(Code::DeliveryRule, "store", what, remedy));
        }
        let pattern = self
            .document
            .input
            .as_ref()
            .and_then(|input| input.pattern.as_ref());
        if store == "changelog" && pattern.is_some() {
            let what =
                "the store `changelog` has a topic for each input topic, and a pattern names none".to_owned();
            findings.push(self.error(
                Code::DedupRule,
                "store",
                what,
                "write `input.topics`, or use redis or sql",
            ));
        }
        if store == "changelog" {
            self.topic_names(findings);
        }
        if self.dedup.scope.is_some() && matches!(store, "memory" | "changelog") {
            let what = format!("the store `{store}` is not shared with other pipelines");
            findings.push(self.error(Code::DedupRule, "scope", what, "remove it, or use redis or sql"));
        }
        let dead_letters = matches!(self.document.on_error.then, document::Then::DeadLetter);
        if self.dedup.on_missing_id == document::OnMissingId::DeadLetter && !dead_letters {
            let what = "`dead_letter` needs a topic for dead letters".to_owned();
            let remedy = "write `on_error: { then: dead_letter, dead_letter: TOPIC }`";
            findings.push(self.error(Code::DeadLetterMissing, "on_missing_id", what, remedy));
        }
    }

    /// The changelog of an input topic carries its name.
    fn topic_names(&self, findings: &mut Vec<Finding>) {
        let name = self.document.name.as_deref();
        let Some(name) = name.and_then(|name| PipelineName::new(name).ok()) else {
            return;
        };
        let topics = self
            .document
            .input
            .iter()
            .filter_map(|input| input.topics.as_ref());
        for topic in topics.flatten() {
            let changelog = name.claims_topic(&topic.0);
            if changelog.len() > TOPIC_NAME_MAX {
                let what = format!(
                    "its topic for {} would have a name of {} characters, and Kafka takes {TOPIC_NAME_MAX}",
                    topic.0,
                    changelog.len()
                );
                let remedy = "give the pipeline a shorter name, or use redis or sql";
                findings.push(self.error(Code::DedupRule, "store", what, remedy));
            }
        }
    }

    fn error(&self, code: Code, key: &str, what: String, remedy: &str) -> Finding {
        self.places.error(code, &self.path.join(key), what, remedy)
    }
}

fn store_name(store: &StoreChoice) -> &'static str {
    let map = match store {
        StoreChoice::Name(StoreName::Changelog) => return "changelog",
        StoreChoice::Name(StoreName::Memory) => return "memory",
        StoreChoice::Map(map) => map,
    };
    let given = [
        ("redis", map.redis.is_some()),
        ("sql", map.sql.is_some()),
        ("memory", map.memory.is_some()),
    ];
    let named = given.iter().find(|(_, given)| *given);
    named.map_or("changelog", |(name, _)| name)
}

/// `None` for what cannot run, about which there is a finding.
fn plan(
    dedup: &document::Dedup,
    path: &KeyPath,
    places: &Places,
    findings: &mut Vec<Finding>,
) -> Option<Arc<Dedup>> {
    let store = store(&dedup.store, &path.join("store"), places, findings)?;
    let definition = dedup.id.as_deref()?;
    let window = match store {
        ClaimStore::Memory { .. } if !places.written(&path.join("window")) => MEMORY_WINDOW,
        _ => dedup.window.0,
    };
    Some(Arc::new(Dedup {
        id: IdSource::parse(definition)?,
        id_definition: definition.to_owned(),
        window,
        store,
        mode: match dedup.mode {
            document::DedupMode::Drop => DedupMode::Drop,
            document::DedupMode::Observe => DedupMode::Observe,
        },
        on_missing_id: match dedup.on_missing_id {
            document::OnMissingId::Pass => OnMissingId::Pass,
            document::OnMissingId::DeadLetter => OnMissingId::DeadLetter,
            document::OnMissingId::Stop => OnMissingId::Stop,
        },
        on_store_error: match dedup.on_store_error {
            document::OnStoreError::Stop => OnStoreError::Stop,
            document::OnStoreError::Pass => OnStoreError::Pass,
        },
        scope: dedup.scope.clone(),
    }))
}

fn store(
    choice: &StoreChoice,
    path: &KeyPath,
    places: &Places,
    findings: &mut Vec<Finding>,
) -> Option<ClaimStore> {
    let memory = |memory: &document::MemoryStore| ClaimStore::Memory { ids: memory.ids };
    let changelog = |changelog: &document::ChangelogStore| ClaimStore::Changelog { ids: changelog.ids };
    let map = match choice {
        StoreChoice::Name(StoreName::Memory) => return Some(memory(&document::MemoryStore::default())),
        StoreChoice::Name(StoreName::Changelog) => {
            return Some(changelog(&document::ChangelogStore::default()));
        }
        StoreChoice::Map(map) => map,
    };
    let mut refuse = |store: &str, what: String, remedy: &str| {
        let path = path.join(store).join("url");
        findings.push(places.error(
            Code::ValueFormat,
            &path,
            format!("this is no address: {what}"),
            remedy,
        ));
    };
    if let Some(redis) = &map.redis {
        let address = RedisAddress::parse(redis.url.as_deref()?)
            .map_err(|what| refuse("redis", what, "write redis://HOST:PORT, or rediss:// with TLS"))
            .ok()?;
        let prefix = redis.prefix.clone();
        return Some(ClaimStore::Redis { address, prefix });
    }
    if let Some(sql) = &map.sql {
        let address = SqlAddress::parse(sql.url.as_deref()?)
            .map_err(|what| refuse("sql", what, "write postgres://USER@HOST/DATABASE, or mysql://"))
            .ok()?;
        return Some(ClaimStore::Sql { address });
    }
    let memory = map.memory.as_ref().map(memory);
    memory.or_else(|| map.changelog.as_ref().map(changelog))
}
