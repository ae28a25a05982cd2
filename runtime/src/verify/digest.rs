//! What a record says, in eight bytes: its key, its value and the headers that are not ours.
//!
//! Keyed anew in each run, so that nobody can prepare two records that look the same. Two
//! different records are taken for one with a chance of 2^-64.

use std::hash::{BuildHasher, Hasher, RandomState};

use strait_sdk::batch::Record;

use crate::kafka::Header;
use crate::lane::provenance;

/// Digests that can be compared with each other.
#[derive(Debug, Clone, Default)]
pub struct Digests(RandomState);

impl Digests {
    /// Of an output; the header that tells its source does not count.
    pub fn of<'h>(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) -> u64 {
        let mut hasher = self.0.build_hasher();
        bytes(&mut hasher, key);
        bytes(&mut hasher, value);
        for (name, value) in headers.filter(|(name, _)| *name != provenance::HEADER.as_bytes()) {
            bytes(&mut hasher, Some(name));
            bytes(&mut hasher, value);
        }
        hasher.finish()
    }

    /// Of a record as it is, with the first `headers` of its headers.
    pub fn of_record<R: Record>(&self, record: &R, headers: usize) -> u64 {
        let list = (0..headers).filter_map(|index| record.header(index));
        self.of(record.key(), record.value(), list)
    }
}

/// Null differs from nothing.
fn bytes(hasher: &mut impl Hasher, bytes: Option<&[u8]>) {
    match bytes {
        None => hasher.write_u64(u64::MAX),
        Some(bytes) => {
            hasher.write_u64(bytes.len() as u64);
            hasher.write(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_records_apart_and_leaves_out_the_source() {
        let digests = Digests::default();
        let none = std::iter::empty::<Header<'_>>;
        let plain = digests.of(Some(b"k"), Some(b"v"), none());
        for (key, value) in [
            (None, Some(b"v".as_slice())),
            (Some(b"".as_slice()), Some(b"v".as_slice())),
            (Some(b"k"), None),
            (Some(b"kv"), Some(b"")),
            (Some(b"k"), Some(b"w")),
        ] {
            assert_ne!(digests.of(key, value, none()), plain, "{key:?} {value:?}");
        }
        let of = |headers: &[Header<'_>]| digests.of(Some(b"k"), Some(b"v"), headers.iter().copied());
        assert_eq!(of(&[(b"strait-source", Some(b"1/a"))]), plain);
        assert_ne!(of(&[(b"h", None)]), plain);
        assert_ne!(of(&[(b"h", None)]), of(&[(b"h", Some(b""))]));
        assert_ne!(
            of(&[(b"a", None), (b"b", None)]),
            of(&[(b"b", None), (b"a", None)])
        );
    }
}
