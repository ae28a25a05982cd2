//! What is read out of Kafka's frames, by hand and only at the versions that
//! librdkafka 2.12 speaks.
//!
//! A frame of another version, or one that does not end where it should, is never
//! guessed at: it passes, and counts as undecoded.

mod bytes;
mod refusal;

use std::fmt;
use std::ops::RangeInclusive;

use bytes::Bytes;
pub use refusal::refusal;

/// An API key of Kafka's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api(pub i16);

impl Api {
    pub const PRODUCE: Self = Self(0);
    pub const FETCH: Self = Self(1);
    pub const METADATA: Self = Self(3);
    pub const OFFSET_FETCH: Self = Self(9);
    pub const FIND_COORDINATOR: Self = Self(10);
    pub const JOIN_GROUP: Self = Self(11);
    pub const HEARTBEAT: Self = Self(12);
    pub const SYNC_GROUP: Self = Self(14);
    pub const INIT_PRODUCER_ID: Self = Self(22);
    pub const ADD_PARTITIONS_TO_TXN: Self = Self(24);
    pub const ADD_OFFSETS_TO_TXN: Self = Self(25);
    pub const END_TXN: Self = Self(26);
    pub const TXN_OFFSET_COMMIT: Self = Self(28);

    /// The APIs whose bodies are read, with the versions known here.
    fn known(self) -> Option<Known> {
        let known = |versions, flexible| {
            Some(Known {
                versions,
                flexible_from: flexible,
            })
        };
        match self {
            Self::PRODUCE => known(3..=10, 9),
            Self::INIT_PRODUCER_ID => known(0..=4, 2),
            Self::ADD_PARTITIONS_TO_TXN | Self::ADD_OFFSETS_TO_TXN => known(0..=0, 3),
            Self::END_TXN => known(0..=1, 3),
            Self::TXN_OFFSET_COMMIT => known(0..=3, 3),
            _ => None,
        }
    }

    /// Whether frames of this API are looked into.
    pub fn is_watched(self) -> bool {
        self.known().is_some()
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::PRODUCE => "Produce",
            Self::FETCH => "Fetch",
            Self::METADATA => "Metadata",
            Self::OFFSET_FETCH => "OffsetFetch",
            Self::FIND_COORDINATOR => "FindCoordinator",
            Self::JOIN_GROUP => "JoinGroup",
            Self::HEARTBEAT => "Heartbeat",
            Self::SYNC_GROUP => "SyncGroup",
            Self::INIT_PRODUCER_ID => "InitProducerId",
            Self::ADD_PARTITIONS_TO_TXN => "AddPartitionsToTxn",
            Self::ADD_OFFSETS_TO_TXN => "AddOffsetsToTxn",
            Self::END_TXN => "EndTxn",
            Self::TXN_OFFSET_COMMIT => "TxnOffsetCommit",
            Self(key) => return write!(f, "api {key}"),
        };
        f.write_str(name)
    }
}

struct Known {
    versions: RangeInclusive<i16>,
    /// The first version with compact strings and tagged fields, from KIP-482.
    flexible_from: i16,
}

/// What a request says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub api: Api,
    pub version: i16,
    pub correlation: i32,
    /// The transactional id, or else the client id, or else nothing: by whom it was sent.
    pub owner: String,
    /// Of `EndTxn`: to commit, or to abort.
    pub committed: Option<bool>,
    /// Producer id and epoch of `EndTxn`.
    pub producer: Option<(i64, i16)>,
    /// `false`: a watched API at an unknown version, or malformed.
    pub decoded: bool,
}

impl Request {
    /// Reads a whole frame. `None`: not even a header.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(frame);
        bytes.i32()?;
        let api = Api(bytes.i16()?);
        let version = bytes.i16()?;
        let correlation = bytes.i32()?;
        let client_id = bytes.string()?;
        let mut request = Self {
            api,
            version,
            correlation,
            owner: client_id,
            committed: None,
            producer: None,
            decoded: true,
        };
        if let Some(known) = api.known() {
            request.decoded = request.read_body(bytes, &known).is_some();
        }
        Some(request)
    }

    fn read_body(&mut self, mut bytes: Bytes<'_>, known: &Known) -> Option<()> {
        if !known.versions.contains(&self.version) {
            return None;
        }
        let flexible = self.version >= known.flexible_from;
        if flexible {
            bytes.tags()?;
        }
        let transactional_id = bytes.any_string(flexible)?;
        if self.api == Api::END_TXN {
            let producer = (bytes.i64()?, bytes.i16()?);
            let committed = bytes.i8()? != 0;
            bytes.end()?;
            self.producer = Some(producer);
            self.committed = Some(committed);
        }
        if !transactional_id.is_empty() {
            self.owner = transactional_id;
        }
        Some(())
    }
}

/// All error codes in a whole reply to a request of that API and version, those of
/// success included. `None`: cannot be told.
pub fn reply_codes(api: Api, version: i16, frame: &[u8]) -> Option<Vec<i16>> {
    let known = api.known().filter(|known| known.versions.contains(&version))?;
    let flexible = version >= known.flexible_from;
    let mut bytes = Bytes(frame);
    bytes.i32()?; // size
    bytes.i32()?; // correlation id
    if flexible {
        bytes.tags()?;
    }
    let mut codes = Vec::new();
    match api {
        Api::PRODUCE => {
            bytes.each_partition(flexible, |bytes, _, _| {
                codes.push(bytes.i16()?);
                read_produced(bytes, version, flexible)
            })?;
            bytes.i32()?; // throttle time
        }
        Api::ADD_PARTITIONS_TO_TXN | Api::TXN_OFFSET_COMMIT => {
            bytes.i32()?; // throttle time
            bytes.each_partition(flexible, |bytes, _, _| {
                codes.push(bytes.i16()?);
                Some(())
            })?;
        }
        _ => {
            bytes.i32()?; // throttle time
            codes.push(bytes.i16()?);
            if api == Api::INIT_PRODUCER_ID {
                bytes.i64()?;
                bytes.i16()?;
            }
        }
    }
    if flexible {
        bytes.tags()?;
    }
    bytes.end()?;
    Some(codes)
}

/// What a Produce reply says of a partition behind the error code.
fn read_produced(bytes: &mut Bytes<'_>, version: i16, flexible: bool) -> Option<()> {
    bytes.i64()?; // base offset
    bytes.i64()?; // append time
    if version >= 5 {
        bytes.i64()?; // log start offset
    }
    if version >= 8 {
        for _ in 0..bytes.count(flexible)? {
            bytes.i32()?;
            bytes.any_string(flexible)?;
            bytes.tags_if(flexible)?;
        }
        bytes.any_string(flexible)?;
    }
    Some(())
}

#[cfg(test)]
mod tests;
