//! The id of a message: what its author put into the record to tell it from all others.

use std::fmt;

use sha2::{Digest, Sha256};
use strait_sdk::batch::Record;

use super::pointer::Pointer;

/// A message id, hashed with its scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId([u8; 16]);

impl MessageId {
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a record has its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdSource {
    Key,
    /// The first header of that name.
    Header(String),
    /// A string or a number in a JSON value.
    Json(Pointer),
    /// All of the value.
    Value,
}

impl IdSource {
    /// `key`, `header:NAME`, `json:/POINTER` or `value`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "key" => return Some(Self::Key),
            "value" => return Some(Self::Value),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("header:") {
            return (!name.is_empty()).then(|| Self::Header(name.to_owned()));
        }
        Pointer::parse(text.strip_prefix("json:")?).map(Self::Json)
    }
}

/// Reads the ids of records.
#[derive(Debug, Clone)]
pub struct IdReader {
    source: IdSource,
    /// The hash of the scope, to which the id is added.
    scoped: Sha256,
}

impl IdReader {
    /// `scope` tells claims apart that must not meet: cluster, pipeline and definition of the
    /// id, or the name under which pipelines share them.
    pub fn new(source: IdSource, scope: &[&str]) -> Self {
        let mut scoped = Sha256::new();
        for part in scope {
            scoped.update((part.len() as u64).to_le_bytes());
            scoped.update(part);
        }
        Self { source, scoped }
    }

    /// `None`: the record has none. An empty id is none either.
    pub fn id_of<R: Record>(&self, record: &R) -> Option<MessageId> {
        match &self.source {
            IdSource::Key => self.hash(record.key()?),
            IdSource::Value => self.hash(record.value()?),
            IdSource::Json(pointer) => self.hash(pointer.text_in(record.value()?)?.as_bytes()),
            IdSource::Header(name) => {
                let headers = (0..record.header_count()).filter_map(|index| record.header(index));
                let (_, value) = headers
                    .into_iter()
                    .find(|(header, _)| *header == name.as_bytes())?;
                self.hash(value?)
            }
        }
    }

    fn hash(&self, id: &[u8]) -> Option<MessageId> {
        if id.is_empty() {
            return None;
        }
        let mut hash = self.scoped.clone();
        hash.update(id);
        hash.finalize()
            .first_chunk()
            .map(|bytes: &[u8; 16]| MessageId(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::testing::Rec;

    fn reader(source: &str) -> IdReader {
        IdReader::new(IdSource::parse(source).unwrap(), &["cluster", "pipeline", source])
    }

    #[test]
    fn an_id_is_what_its_source_says() {
        let record = Rec::new(0, br#"{"meta": {"id": "a-1"}, "n": 7}"#);
        let other = Rec::new(1, br#"{"n": 7, "meta": {"id": "a-1", "more": 1}}"#);
        let by_id = reader("json:/meta/id");
        assert!(by_id.id_of(&record).is_some());
        assert_eq!(by_id.id_of(&record), by_id.id_of(&other));
        assert_ne!(by_id.id_of(&record), reader("json:/n").id_of(&record));
        let by_value = reader("value");
        assert_ne!(by_value.id_of(&record), by_value.id_of(&other));
    }

    #[test]
    fn scopes_do_not_meet() {
        let record = Rec::new(0, b"x");
        let of = |scope: &[&str]| IdReader::new(IdSource::Value, scope).id_of(&record).unwrap();
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }

    #[test]
    fn nothing_is_no_id() {
        assert_eq!(reader("value").id_of(&Rec::new(0, b"")), None);
        assert_eq!(reader("header:id").id_of(&Rec::new(0, b"x")), None);
        assert_eq!(reader("json:/id").id_of(&Rec::new(0, br#"{"id": ""}"#)), None);
        assert_eq!(reader("json:/id").id_of(&Rec::new(0, b"no json")), None);
    }

    #[test]
    fn sources_are_read_as_they_are_written() {
        assert_eq!(
            IdSource::parse("header:a:b"),
            Some(IdSource::Header("a:b".into()))
        );
        for wrong in ["header:", "json:id", "body", "Key"] {
            assert_eq!(IdSource::parse(wrong), None, "{wrong}");
        }
    }
}
