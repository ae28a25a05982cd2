//! What the outside sees of a running process: metrics, and logs.
//!
//! Invariants: every metric is declared once, in [`catalogue`], and documented in
//! `docs/metrics.md`; no label takes more than [`series::SERIES_MAX`] values; a record's
//! content is never logged unless the operator asked for it.

pub mod catalogue;
pub mod failures;
pub mod logs;
pub mod metrics;
pub mod series;
