//! Records that were polled and are not decided yet, of one partition, in offset order.

use strait_sdk::batch::Record;

use crate::plan::BatchLimits;

/// A queue whose front is a contiguous slice, so that a batch is borrowed, not copied.
#[derive(Debug)]
pub struct Backlog<R> {
    records: Vec<R>,
    /// Records before it are decided. They are freed when they are as many as those that wait: with
    /// each of them goes a part of a fetched response, which lives as long as any of its records.
    head: usize,
    /// Of the records from `head` on.
    bytes: usize,
}

impl<R> Default for Backlog<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            head: 0,
            bytes: 0,
        }
    }
}

impl<R: Record> Backlog<R> {
    pub fn len(&self) -> usize {
        self.records.len() - self.head
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Key and value bytes of what waits.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what was polled, dropping what lies before `next`: a record that is decided
    /// already must never be decided twice, whatever the client hands out after a seek.
    pub fn extend(&mut self, records: Vec<R>, next: i64) {
        let from = self.end().unwrap_or(next);
        let before = self.records.len();
        if before == 0 && records.first().is_some_and(|r| r.offset() >= from) {
            self.records = records;
        } else {
            self.records
                .extend(records.into_iter().filter(|r| r.offset() >= from));
        }
        self.bytes += self.records.iter().skip(before).map(size).sum::<usize>();
    }

    /// The next batch: as many records from the front as the limits and `before` (an
    /// offset) allow; at least one unless `before` forbids it.
    pub fn batch(&self, limits: BatchLimits, before: Option<i64>) -> &[R] {
        let waiting = self.records.get(self.head..).unwrap_or_default();
        let mut bytes = 0_usize;
        let mut count = 0;
        for record in waiting.iter().take(limits.records.get()) {
            if before.is_some_and(|end| record.offset() >= end) {
                break;
            }
            bytes = bytes.saturating_add(size(record));
            if count > 0 && bytes > limits.bytes.get() {
                break;
            }
            count += 1;
        }
        waiting.get(..count).unwrap_or_default()
    }

    /// The first `count` records, or all if there are fewer.
    pub fn front(&self, count: usize) -> &[R] {
        let waiting = self.records.get(self.head..).unwrap_or_default();
        waiting.get(..count).unwrap_or(waiting)
    }

    /// Offset of the first record.
    pub fn start(&self) -> Option<i64> {
        self.offset_at(0)
    }

    /// Offset of the record at this place from the front.
    pub fn offset_at(&self, index: usize) -> Option<i64> {
        self.records.get(self.head + index).map(Record::offset)
    }

    /// The first `count` records are decided. Returns their bytes.
    pub fn advance(&mut self, count: usize) -> usize {
        let bytes = self.front(count).iter().map(size).sum();
        self.head = self.records.len().min(self.head + count);
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.head >= self.len() {
            self.records.drain(..self.head);
            self.head = 0;
        }
        bytes
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.head = 0;
        self.bytes = 0;
    }

    /// The offset behind its last record.
    pub fn end(&self) -> Option<i64> {
        self.records.last().map(|record| record.offset() + 1)
    }
}

/// Key and value; headers are few and small, and counting them costs a parse.
pub fn size<R: Record>(record: &R) -> usize {
    record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::lane::testing::Rec;

    fn offsets(records: &[Rec]) -> Vec<i64> {
        records.iter().map(Record::offset).collect()
    }

    fn recs(range: std::ops::Range<i64>) -> Vec<Rec> {
        range.map(|offset| Rec::new(offset, b"0123456789")).collect()
    }

    fn limits(records: usize, bytes: usize) -> BatchLimits {
        BatchLimits {
            records: NonZeroUsize::new(records).unwrap(),
            bytes: NonZeroUsize::new(bytes).unwrap(),
        }
    }

    fn unlimited() -> BatchLimits {
        BatchLimits {
            records: NonZeroUsize::MAX,
            bytes: NonZeroUsize::MAX,
        }
    }

    #[test]
    fn a_batch_keeps_to_records_bytes_and_boundary() {
        let mut backlog = Backlog::default();
        backlog.extend(recs(10..20), 10);
        assert_eq!(offsets(backlog.batch(limits(3, 1000), None)), [10, 11, 12]);
        assert_eq!(offsets(backlog.batch(limits(9, 25), None)), [10, 11]);
        assert_eq!(
            offsets(backlog.batch(limits(9, 1), None)),
            [10],
            "one record always fits"
        );
        assert_eq!(offsets(backlog.batch(unlimited(), Some(12))), [10, 11]);
        assert!(backlog.batch(unlimited(), Some(10)).is_empty());
    }

    #[test]
    fn what_is_decided_is_not_taken_again() {
        let mut backlog = Backlog::default();
        backlog.extend(recs(10..15), 12);
        assert_eq!(offsets(backlog.batch(unlimited(), None)), [12, 13, 14]);
        backlog.extend(recs(13..17), 12);
        assert_eq!(offsets(backlog.batch(unlimited(), None)), [12, 13, 14, 15, 16]);
        backlog.advance(4);
        assert_eq!(offsets(backlog.batch(unlimited(), None)), [16]);
        backlog.advance(1);
        assert!(backlog.is_empty());
        backlog.extend(recs(10..18), 17);
        assert_eq!(offsets(backlog.batch(unlimited(), None)), [17]);
    }

    #[test]
    fn what_is_decided_does_not_pile_up_where_more_always_comes() {
        let mut backlog = Backlog::default();
        backlog.extend(recs(0..10), 0);
        for round in 0..1000 {
            backlog.extend(recs(round * 5 + 10..round * 5 + 15), 0);
            backlog.advance(5);
            let start = round * 5 + 5;
            assert_eq!(offsets(backlog.front(2)), [start, start + 1]);
            assert_eq!((backlog.len(), backlog.bytes()), (10, 100));
            assert!(backlog.records.len() <= 20, "{} are held", backlog.records.len());
        }
    }
}
