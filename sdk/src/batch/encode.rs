//! The host writes an input batch.
//!
//! Two passes: [`encoded_len`] asks for the memory, [`encode`] fills all of it. Nothing is
//! allocated here, and each byte of a record is copied once.

use super::wire::{
    HEADER_ITEM_LEN, INPUT_HEADER_LEN, INPUT_MAGIC, NULL, RECORD_LEN, Span, TOPIC_LEN, UNSET, Writer, narrow,
};
use super::{Input, LEN_MAX, Record, TooLarge, VERSION};

/// How many bytes [`encode`] fills.
pub fn encoded_len<R: Record>(input: &Input<'_, R>) -> Result<usize, TooLarge> {
    let tables = heap_offset(input.records.len()).saturating_add(input.topic.len());
    let needed_bytes = input
        .records
        .iter()
        .fold(tables, |sum, record| sum.saturating_add(heap_len(record)));
    if needed_bytes > LEN_MAX {
        return Err(TooLarge {
            needed_bytes,
            room_bytes: LEN_MAX,
        });
    }
    Ok(needed_bytes)
}

/// Writes the batch. `into` is exactly as long as [`encoded_len`] says.
pub fn encode<R: Record>(input: &Input<'_, R>, into: &mut [u8]) -> Result<(), TooLarge> {
    let room_bytes = into.len();
    match fill(input, into) {
        Some(()) if room_bytes <= LEN_MAX => Ok(()),
        _ => Err(TooLarge {
            needed_bytes: encoded_len(input)?,
            room_bytes,
        }),
    }
}

/// Bytes of header and tables; the heap follows.
fn heap_offset(records: usize) -> usize {
    records
        .saturating_mul(RECORD_LEN)
        .saturating_add(INPUT_HEADER_LEN + TOPIC_LEN)
}

#[inline]
fn heap_len<R: Record>(record: &R) -> usize {
    let mut len = record.key().map_or(0, <[u8]>::len);
    len = len.saturating_add(record.value().map_or(0, <[u8]>::len));
    for index in 0..record.header_count() {
        let (name, value) = record.header(index).unwrap_or_default();
        len = len
            .saturating_add(HEADER_ITEM_LEN + name.len())
            .saturating_add(value.map_or(0, <[u8]>::len));
    }
    len
}

/// `None` if `into` has another length than the batch.
fn fill<R: Record>(input: &Input<'_, R>, into: &mut [u8]) -> Option<()> {
    let total_len = into.len();
    let heap_offset = heap_offset(input.records.len());
    let (tables, heap) = into.split_at_mut_checked(heap_offset)?;
    let (header, tables) = tables.split_first_chunk_mut::<INPUT_HEADER_LEN>()?;
    let (topic, records) = tables.split_first_chunk_mut::<TOPIC_LEN>()?;
    let (records, _) = records.as_chunks_mut::<RECORD_LEN>();

    Writer(header)
        .put(INPUT_MAGIC)
        .u16(VERSION)
        .width(INPUT_HEADER_LEN)
        .u32(narrow(total_len))
        .u32(narrow(input.records.len()))
        .width(RECORD_LEN)
        .width(TOPIC_LEN)
        .u32(1) // topics
        .u32(narrow(INPUT_HEADER_LEN + TOPIC_LEN))
        .u32(narrow(heap_offset))
        .i64(input.now_ms)
        .u32(NULL) // progress: not begun
        .u32(0) // flags
        .put([0; 16]);

    let mut heap = Heap {
        rest: heap,
        written: 0,
    };
    Writer(topic).span(heap.put(input.topic.as_bytes())?);
    let mut stream_times_ms = input.stream_times_ms.iter();
    for (row, record) in records.iter_mut().zip(input.records) {
        let key = heap.put_nullable(record.key())?;
        let value = heap.put_nullable(record.value())?;
        let headers = heap.put_headers(record)?;
        Writer(row)
            .i64(record.offset())
            .i64(record.timestamp_ms())
            .span(key)
            .span(value)
            .span(headers)
            .u32(0) // topic
            .i32(input.partition)
            .u32(record.attempt())
            .u32(0)
            .i64(stream_times_ms.next().copied().unwrap_or(UNSET));
    }
    heap.rest.is_empty().then_some(())
}

/// The room for keys, values and headers, filled from the front.
struct Heap<'a> {
    rest: &'a mut [u8],
    written: usize,
}

impl<'a> Heap<'a> {
    #[inline]
    fn reserve(&mut self, len: usize) -> Option<(Span, &'a mut [u8])> {
        let span = Span {
            offset: narrow(self.written),
            len: narrow(len),
        };
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(len)?;
        self.rest = rest;
        self.written += len;
        Some((span, taken))
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Option<Span> {
        let (span, room) = self.reserve(bytes.len())?;
        room.copy_from_slice(bytes);
        Some(span)
    }

    #[inline]
    fn put_nullable(&mut self, bytes: Option<&[u8]>) -> Option<Span> {
        match bytes {
            Some(bytes) => self.put(bytes),
            None => Some(Span::NULL),
        }
    }

    /// Where the items lie, and how many they are.
    #[inline]
    fn put_headers<R: Record>(&mut self, record: &R) -> Option<Span> {
        let count = record.header_count();
        if count == 0 {
            return Some(Span::EMPTY);
        }
        let (Span { offset, .. }, items) = self.reserve(count.checked_mul(HEADER_ITEM_LEN)?)?;
        for (index, item) in items.as_chunks_mut::<HEADER_ITEM_LEN>().0.iter_mut().enumerate() {
            let (name, value) = record.header(index)?;
            let name = self.put(name)?;
            let value = self.put_nullable(value)?;
            Writer(item).span(name).span(value);
        }
        Some(Span {
            offset,
            len: narrow(count),
        })
    }
}
