//! Logs in memory, and a consumer of them that is in no group.

use std::collections::HashMap;
use std::time::Duration;

use strait_sdk::batch::Record;

use crate::kafka::{
    Bounds, Chunk, Consumer, GroupEvent, GroupMember, KafkaError, Polled, Position, TopicPartition,
};

pub type Pair = (Vec<u8>, Option<Vec<u8>>);

/// A record of any topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rec {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Pair>,
}

impl Record for Rec {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
    fn header_count(&self) -> usize {
        self.headers.len()
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let (name, value) = self.headers.get(index)?;
        Some((name, value.as_deref()))
    }
}

/// Committed records; every offset between them is a marker or was aborted.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub records: Vec<Rec>,
    pub start: i64,
    /// Retention comes here as soon as somebody reads.
    pub start_soon: i64,
    /// But not in the first of these readings.
    pub soon_after: usize,
    pub end: i64,
}

impl Log {
    /// Appends; every third is followed by a marker.
    pub fn append(&mut self, record: Rec) -> i64 {
        let offset = self.end;
        self.records.push(Rec { offset, ..record });
        self.end += if offset % 3 == 2 { 2 } else { 1 };
        offset
    }

    fn cut(&mut self, start: i64) {
        self.start = start;
        self.records.retain(|record| record.offset >= start);
    }
}

#[derive(Default)]
pub struct Reader {
    pub logs: HashMap<TopicPartition, Log>,
    positions: HashMap<TopicPartition, i64>,
    paused: Vec<TopicPartition>,
    readings: usize,
}

pub struct Nobody;

impl GroupMember for Nobody {
    fn generation(&self) -> i32 {
        0
    }
}

impl Consumer for Reader {
    type Record = Rec;
    type Member = Nobody;

    fn poll(&mut self, _: usize, _: Duration) -> Result<Polled<Rec>, KafkaError> {
        let mut polled = Polled {
            chunks: Vec::new(),
            events: Vec::new(),
        };
        for (partition, position) in &mut self.positions {
            if self.paused.contains(partition) {
                continue;
            }
            let log = self.logs.get_mut(partition).unwrap();
            if log.start_soon > log.start && self.readings > log.soon_after {
                log.cut(log.start_soon);
            }
            if *position < log.start {
                let partition = partition.clone();
                polled.events.push(GroupEvent::Gap { partition });
                continue;
            }
            let from = log.records.partition_point(|record| record.offset < *position);
            let records: Vec<Rec> = log.records[from..].iter().take(3).cloned().collect();
            *position = records.last().map_or(log.end, |last| last.offset + 1);
            if !records.is_empty() {
                polled.chunks.push(Chunk {
                    partition: partition.clone(),
                    records,
                });
            }
        }
        Ok(polled)
    }

    fn assign(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        assert!(self.paused.is_empty(), "a pause was left behind");
        self.readings += 1;
        let positions = positions.iter();
        self.positions = positions.map(|p| (p.partition.clone(), p.offset)).collect();
        Ok(())
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.paused.retain(|paused| !partitions.contains(paused));
        self.positions.clear();
        Ok(())
    }

    fn bounds(&self, partition: &TopicPartition, _: Duration) -> Result<Bounds, KafkaError> {
        let log = &self.logs[partition];
        Ok(Bounds {
            start: log.start,
            end: log.end,
        })
    }

    fn seek(&mut self, positions: &[Position], _: Duration) -> Result<(), KafkaError> {
        for position in positions {
            self.positions.insert(position.partition.clone(), position.offset);
        }
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.paused.extend_from_slice(partitions);
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.positions.get(partition).copied()
    }

    fn subscribe(&mut self, _: &[&str]) -> Result<(), KafkaError> {
        panic!("whoever asks from outside joins no group")
    }
    fn commit(&mut self, _: &[Position]) -> Result<(), KafkaError> {
        panic!("whoever asks from outside commits nothing")
    }
    fn assignment_lost(&self) -> bool {
        false
    }
    fn committed(
        &self,
        _: &[TopicPartition],
        _: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError> {
        Ok(Vec::new())
    }
    fn resume(&mut self, _: &[TopicPartition]) -> Result<(), KafkaError> {
        Ok(())
    }
    fn member(&self) -> Option<Nobody> {
        None
    }
    fn close(self, _: Duration) {}
}
