//! The reply of a node that refuses a request: well-formed, at the request's version,
//! with one error code everywhere. A node that refuses has done nothing.

use super::bytes::Bytes;
use super::{Api, Request};

/// What a reply says where there is nothing to say.
const NONE: i64 = -1;

/// The whole reply frame to a whole request frame. `None`: the request cannot be read, or
/// is of an API that nobody looks into.
pub fn refusal(request: &Request, frame: &[u8], code: i16) -> Option<Vec<u8>> {
    let (api, version) = (request.api, request.version);
    let known = api.known().filter(|known| known.versions.contains(&version))?;
    let flexible = version >= known.flexible_from;
    let mut reply = Reply {
        bytes: Vec::new(),
        flexible,
    };
    reply.put(&request.correlation.to_be_bytes());
    reply.tags();
    if api != Api::PRODUCE {
        reply.no_throttle();
    }
    match api {
        Api::PRODUCE | Api::ADD_PARTITIONS_TO_TXN | Api::TXN_OFFSET_COMMIT => {
            reply.topics(&topics(request, frame, flexible)?, |reply| {
                reply.put(&code.to_be_bytes());
                if api == Api::PRODUCE {
                    reply.not_produced(version);
                }
            })?;
        }
        _ => reply.put(&code.to_be_bytes()),
    }
    match api {
        Api::PRODUCE => reply.no_throttle(),
        Api::INIT_PRODUCER_ID => {
            reply.put(&NONE.to_be_bytes()); // producer id
            reply.put(&(-1_i16).to_be_bytes()); // its epoch
        }
        _ => {}
    }
    reply.tags();
    reply.frame()
}

type Topics = Vec<(String, Vec<i32>)>;

/// The partitions that a request speaks of, in its order.
fn topics(request: &Request, frame: &[u8], flexible: bool) -> Option<Topics> {
    let mut bytes = Bytes(frame);
    bytes.skip(4 + 2 + 2 + 4)?; // size, API, version, correlation id
    bytes.string()?; // client id
    bytes.tags_if(flexible)?;
    bytes.any_string(flexible)?; // transactional id
    match request.api {
        Api::PRODUCE => bytes.skip(2 + 4)?,               // acks, timeout
        Api::ADD_PARTITIONS_TO_TXN => bytes.skip(8 + 2)?, // producer id and epoch
        _ => {
            bytes.any_string(flexible)?; // group
            bytes.skip(8 + 2)?; // producer id and epoch
            if request.version >= 3 {
                bytes.i32()?; // generation
                bytes.any_string(flexible)?; // member
                bytes.any_string(flexible)?; // group instance
            }
        }
    }
    let mut topics = Topics::new();
    bytes.each_partition(flexible, |bytes, topic, partition| {
        match topics.last_mut() {
            Some((last, partitions)) if last == topic => partitions.push(partition),
            _ => topics.push((topic.to_owned(), vec![partition])),
        }
        match request.api {
            Api::PRODUCE => bytes.skip_bytes(flexible)?, // records
            Api::TXN_OFFSET_COMMIT => {
                bytes.i64()?; // offset
                if request.version >= 2 {
                    bytes.i32()?; // leader epoch
                }
                bytes.any_string(flexible)?; // metadata
            }
            _ => {}
        }
        Some(())
    })?;
    bytes.tags_if(flexible)?;
    bytes.end()?;
    Some(topics)
}

/// A reply in the making. The size is put in at the end.
struct Reply {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Reply {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// No tagged fields, where there could be some.
    fn tags(&mut self) {
        if self.flexible {
            self.put(&[0]);
        }
    }

    fn no_throttle(&mut self) {
        self.put(&0_i32.to_be_bytes());
    }

    fn varint(&mut self, mut value: usize) {
        while let Some(low) = u8::try_from(value & 0x7f).ok().filter(|_| value >= 0x80) {
            self.put(&[low | 0x80]);
            value >>= 7;
        }
        self.put(&[u8::try_from(value).unwrap_or_default()]);
    }

    fn count(&mut self, count: usize) -> Option<()> {
        if self.flexible {
            self.varint(count + 1);
        } else {
            self.put(&i32::try_from(count).ok()?.to_be_bytes());
        }
        Some(())
    }

    fn string(&mut self, text: &str) -> Option<()> {
        if self.flexible {
            self.varint(text.len() + 1);
        } else {
            self.put(&i16::try_from(text.len()).ok()?.to_be_bytes());
        }
        self.put(text.as_bytes());
        Some(())
    }

    fn null_string(&mut self) {
        if self.flexible {
            self.varint(0);
        } else {
            self.put(&(-1_i16).to_be_bytes());
        }
    }

    fn topics(&mut self, topics: &Topics, each: impl Fn(&mut Self)) -> Option<()> {
        self.count(topics.len())?;
        for (topic, partitions) in topics {
            self.string(topic)?;
            self.count(partitions.len())?;
            for partition in partitions {
                self.put(&partition.to_be_bytes());
                each(self);
                self.tags();
            }
            self.tags();
        }
        Some(())
    }

    /// What a Produce reply says of a partition behind the error code.
    fn not_produced(&mut self, version: i16) {
        self.put(&NONE.to_be_bytes()); // base offset
        self.put(&NONE.to_be_bytes()); // append time
        if version >= 5 {
            self.put(&NONE.to_be_bytes()); // log start offset
        }
        if version >= 8 {
            self.count(0); // errors of single records
            self.null_string(); // message
        }
    }

    fn frame(self) -> Option<Vec<u8>> {
        let size = i32::try_from(self.bytes.len()).ok()?;
        Some([&size.to_be_bytes(), self.bytes.as_slice()].concat())
    }
}

#[cfg(test)]
mod tests;
