//! What is done to each record.

use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    Identity,
    /// Keeps a tenth, by a search in the bytes.
    Filter,
    /// Parses, drops a fifth, changes, serialises.
    Json,
    /// To three topics.
    FanOut,
    /// A running balance per key.
    State,
    /// Identity behind the stage `dedup`.
    Dedup(Dedup),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Dedup {
    /// Counts repeats, with the store `changelog`.
    Observe,
    Memory,
    Changelog,
    /// `store` as in the pipeline's file.
    Server {
        name: &'static str,
        store: Value,
    },
}

impl Work {
    /// As the loop and the peer call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Filter => "filter",
            Self::Json => "json",
            Self::FanOut => "fan-out",
            Self::State => "state",
            Self::Dedup(Dedup::Observe) => "dedup: changelog, observe",
            Self::Dedup(Dedup::Memory) => "dedup: memory",
            Self::Dedup(Dedup::Changelog) => "dedup: changelog",
            Self::Dedup(Dedup::Server { name, .. }) => name,
        }
    }

    /// The transform's name, as `strait build` calls the module.
    pub fn module(&self) -> &'static str {
        match self {
            Self::Identity | Self::Dedup(_) => "identity",
            Self::Filter => "filter_bytes",
            Self::Json => "priced",
            Self::FanOut => "fan_out",
            Self::State => "balance",
        }
    }

    pub fn settings(&self) -> Value {
        match self {
            Self::Filter => json!({ "contains": r#"7,"user""# }),
            Self::State => json!({ "overdraft": 0 }),
            _ => Value::Null,
        }
    }

    pub fn dedup(&self) -> Option<&Dedup> {
        match self {
            Self::Dedup(dedup) => Some(dedup),
            _ => None,
        }
    }

    pub fn outputs(&self) -> usize {
        if *self == Self::FanOut { 3 } else { 1 }
    }
}
