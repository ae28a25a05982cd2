//! The stage `dedup` as its author writes it.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DedupMode, OnMissingId, OnStoreError, StoreName};
use crate::config::units::Span;

/// Drops records whose message id was seen before.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Dedup {
    /// Where the id of a record is: `key`, `header:NAME`, `json:/POINTER` or `value` (its hash).
    #[schemars(required, extend("x-strait" = "message-id", "examples" = ["header:message-id"]))]
    pub id: Option<String>,
    /// How long an id is remembered.
    pub window: Span,
    /// Where ids are remembered.
    pub store: StoreChoice,
    /// Drop repeated records, or only count them.
    pub mode: DedupMode,
    /// What becomes of a record without an id.
    pub on_missing_id: OnMissingId,
    /// What to do when the store does not answer.
    pub on_store_error: OnStoreError,
    /// Shares the claims with other pipelines under this name.
    pub scope: Option<String>,
}

impl Default for Dedup {
    fn default() -> Self {
        Self {
            id: None,
            window: Span(Duration::from_hours(24)),
            store: StoreChoice::Name(StoreName::Changelog),
            mode: DedupMode::default(),
            on_missing_id: OnMissingId::default(),
            on_store_error: OnStoreError::default(),
            scope: None,
        }
    }
}

/// A store by name, or a map with its settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum StoreChoice {
    Name(StoreName),
    Map(StoreMap),
}

/// One of `changelog`, `memory`, `redis` and `sql`, with its settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct StoreMap {
    pub changelog: Option<ChangelogStore>,
    pub memory: Option<MemoryStore>,
    pub redis: Option<RedisStore>,
    pub sql: Option<SqlStore>,
}

/// In a topic, in the transaction of the records: exact, for ids that arrive in one partition.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct ChangelogStore {
    /// How many ids a process may hold. With more, the pipeline stops.
    pub ids: NonZeroUsize,
}

impl Default for ChangelogStore {
    fn default() -> Self {
        Self {
            ids: NonZeroUsize::MIN.saturating_add(9_999_999),
        }
    }
}

/// In this process; lost on restart.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct MemoryStore {
    /// How many ids are kept.
    pub ids: NonZeroUsize,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            ids: NonZeroUsize::MIN.saturating_add(9999),
        }
    }
}

/// Shared by all partitions, as durable as that Redis.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct RedisStore {
    #[schemars(required, length(min = 1))]
    pub url: Option<String>,
    /// Put before every id.
    pub prefix: String,
}

/// A table in an SQL database, shared by all partitions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct SqlStore {
    #[schemars(required, length(min = 1))]
    pub url: Option<String>,
}
