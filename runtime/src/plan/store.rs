//! What transforms remember.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// A named store of keyed state. Serialises as modules are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Store {
    pub name: String,
    /// How long an entry lasts in stream time, unless the transform says; `None`: for ever.
    #[serde(rename = "ttl_ms", serialize_with = "millis")]
    pub ttl: Option<Duration>,
}

#[expect(clippy::ref_option, reason = "as serde wants it")]
fn millis<S: Serializer>(ttl: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    millis.serialize(serializer)
}
