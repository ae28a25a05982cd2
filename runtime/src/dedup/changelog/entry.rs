//! Claims of one transaction and partition, as one record of the changelog.
//!
//! ```text
//! key    the id of the input topic, as text: one that is made again begins anew
//! value  version (1 byte), stream time in ms + 1 or 0, then for each claim:
//!        id (16 bytes), offset, timestamp in ms
//! ```
//!
//! Numbers are LEB128, claims' offsets and timestamps zigzag differences to the one before.

use crate::dedup::message_id::MessageId;

const VERSION: u8 = 1;

/// Claims in one record: half a megabyte at the most.
pub const CLAIMS_MAX: usize = 10_000;

/// A claim: the id, and where and when the record stands that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub id: MessageId,
    pub offset: i64,
    pub timestamp_ms: i64,
}

/// What stands in a changelog and is no record of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of the changelog cannot be read: something else has written there, or a later version")]
pub struct Unreadable;

/// Writes at most [`CLAIMS_MAX`] claims.
pub fn write<'e>(reached_ms: Option<i64>, claims: impl ExactSizeIterator<Item = &'e Entry>) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 + claims.len() * 20);
    value.push(VERSION);
    // No time before 1970 is worth keeping.
    let reached = reached_ms.and_then(|ms| u64::try_from(ms).ok());
    put(&mut value, reached.map_or(0, |ms| ms.saturating_add(1)));
    let (mut offset, mut timestamp_ms) = (0, 0);
    for claim in claims.take(CLAIMS_MAX) {
        value.extend_from_slice(claim.id.as_bytes());
        put(&mut value, zigzag(claim.offset.wrapping_sub(offset)));
        put(&mut value, zigzag(claim.timestamp_ms.wrapping_sub(timestamp_ms)));
        (offset, timestamp_ms) = (claim.offset, claim.timestamp_ms);
    }
    value
}

/// Hands over what `write` wrote: the stream time first.
pub fn read(value: &[u8], mut take: impl FnMut(Entry)) -> Result<Option<i64>, Unreadable> {
    let (version, mut rest) = value.split_first().ok_or(Unreadable)?;
    if *version != VERSION {
        return Err(Unreadable);
    }
    let reached = get(&mut rest)?;
    let (mut offset, mut timestamp_ms) = (0_i64, 0_i64);
    while !rest.is_empty() {
        let (id, after) = rest.split_first_chunk::<16>().ok_or(Unreadable)?;
        rest = after;
        offset = offset.wrapping_add(unzigzag(get(&mut rest)?));
        timestamp_ms = timestamp_ms.wrapping_add(unzigzag(get(&mut rest)?));
        take(Entry {
            id: MessageId::from_bytes(*id),
            offset,
            timestamp_ms,
        });
    }
    Ok(reached.checked_sub(1).and_then(|ms| i64::try_from(ms).ok()))
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn get(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Unreadable)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable)
}

const fn zigzag(number: i64) -> u64 {
    (number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            reached_ms in prop::option::of(0..i64::MAX),
            claims in prop::collection::vec((any::<[u8; 16]>(), any::<i64>(), any::<i64>()), 0..50),
        ) {
            let claims: Vec<Entry> = claims
                .into_iter()
                .map(|(id, offset, timestamp_ms)| Entry { id: MessageId::from_bytes(id), offset, timestamp_ms })
                .collect();
            let mut read_back = Vec::new();
            let reached = read(&write(reached_ms, claims.iter()), |claim| read_back.push(claim)).unwrap();
            prop_assert_eq!(reached, reached_ms);
            prop_assert_eq!(read_back, claims);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            read(&bytes, |_| {}).ok();
        }
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_refused() {
        let claim = Entry {
            id: MessageId::from_bytes([7; 16]),
            offset: 1 << 40,
            timestamp_ms: 1_700_000_000_000,
        };
        let value = write(None, [claim].iter());
        for end in 0..value.len() {
            // Without any claim it is whole.
            assert_eq!(read(&value[..end], |_| {}).is_ok(), end == 2, "{end}");
        }
        assert_eq!(read(&[2, 0], |_| {}), Err(Unreadable));
        assert!(value.len() <= 30, "{}", value.len());
    }
}
