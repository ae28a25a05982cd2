//! The guest reads an input batch in place.
//!
//! Opening a batch checks its header, its tables and the first topic; each record is checked
//! when it is reached, so that a batch is walked once.

use super::Malformed;
use super::wire::{
    HeaderList, INPUT_HEADER_LEN, INPUT_MAGIC, NULL, RECORD_LEN, Reader, Span, TOPIC_LEN, UNSET, check_mark,
    section, wide,
};

/// An input batch.
#[derive(Debug, Clone, Copy)]
pub struct InputView<'a> {
    records: &'a [u8],
    record_len: usize,
    record_count: u32,
    topics: &'a [u8],
    topic_len: usize,
    first_topic: &'a str,
    heap: &'a [u8],
    now_ms: i64,
}

/// One record of an input batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordView<'a> {
    /// Its place in the batch, which outputs name as their origin.
    pub index: u32,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; -1 if the record has none.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: HeaderList<'a>,
    /// How often it was tried before.
    pub attempt: u32,
    /// How far the partition had come in time; `None` where the pipeline keeps no state.
    pub stream_time_ms: Option<i64>,
}

/// Where the guest notes the record that it is at, for the host to read after a trap.
#[derive(Debug)]
pub struct Progress<'a>(&'a mut [u8; 4]);

impl Progress<'_> {
    /// Notes that the work on record `index` begins.
    #[inline]
    pub fn at(&mut self, index: u32) {
        *self.0 = index.to_le_bytes();
        // A trap reads memory behind the optimiser's back, so the store must not be put off.
        std::hint::black_box(&mut *self.0);
    }
}

struct Header {
    own_len: u16,
    total_len: usize,
    record_count: u32,
    record_len: usize,
    topic_len: usize,
    topic_count: u32,
    records_offset: u32,
    heap_offset: u32,
    now_ms: i64,
    progress: u32,
}

impl Header {
    fn parse(bytes: &[u8; INPUT_HEADER_LEN]) -> Result<Self, Malformed> {
        check_mark(bytes, INPUT_MAGIC)?;
        let (header, flags) = Self::read(bytes).ok_or(SHORT)?;
        if flags != 0 {
            return Err(Malformed::batch(
                "its flags ask for what this version does not know",
            ));
        }
        if usize::from(header.own_len) < INPUT_HEADER_LEN {
            return Err(Malformed::batch("the header is shorter than version 1 has it"));
        }
        if header.record_len < RECORD_LEN || header.topic_len < TOPIC_LEN {
            return Err(Malformed::batch(
                "the rows of a table are shorter than version 1 has them",
            ));
        }
        Ok(header)
    }

    fn read(bytes: &[u8; INPUT_HEADER_LEN]) -> Option<(Self, u32)> {
        let mut r = Reader(bytes);
        let (_magic, _version) = (r.u32()?, r.u16()?);
        let own_len = r.u16()?;
        let total_len = wide(r.u32()?);
        let record_count = r.u32()?;
        let record_len = usize::from(r.u16()?);
        let topic_len = usize::from(r.u16()?);
        let topic_count = r.u32()?;
        let records_offset = r.u32()?;
        let heap_offset = r.u32()?;
        let now_ms = r.i64()?;
        let progress = r.u32()?;
        let flags = r.u32()?;
        let header = Self {
            own_len,
            total_len,
            record_count,
            record_len,
            topic_len,
            topic_count,
            records_offset,
            heap_offset,
            now_ms,
            progress,
        };
        Some((header, flags))
    }
}

/// The record that the guest was at when it ended, as the guest says: a hint, never proof.
/// `None` if it had not begun, or the bytes are no input batch any more.
pub fn progress(bytes: &[u8]) -> Option<usize> {
    let header = Header::parse(bytes.first_chunk()?).ok()?;
    (header.progress != NULL && header.progress < header.record_count).then_some(wide(header.progress))
}

const SHORT: Malformed = Malformed::batch("it is shorter than its header");

impl<'a> InputView<'a> {
    /// Opens a batch.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = bytes.split_first_chunk().ok_or(SHORT)?;
        Self::open(&Header::parse(header)?, body, bytes.len())
    }

    /// Opens a batch whose host wants to know how far the guest came.
    pub fn parse_with_progress(bytes: &'a mut [u8]) -> Result<(Self, Progress<'a>), Malformed> {
        let len = bytes.len();
        let (header, body) = bytes.split_first_chunk_mut::<INPUT_HEADER_LEN>().ok_or(SHORT)?;
        let view = Self::open(&Header::parse(header)?, body, len)?;
        let (_, from_progress) = header.split_at_mut_checked(PROGRESS_OFFSET).ok_or(SHORT)?;
        let progress = from_progress.first_chunk_mut().ok_or(SHORT)?;
        Ok((view, Progress(progress)))
    }

    fn open(header: &Header, body: &'a [u8], len: usize) -> Result<Self, Malformed> {
        const SKIPPED: usize = INPUT_HEADER_LEN;
        if header.total_len != len {
            return Err(Malformed::batch("its length is not the one that it states"));
        }
        let Header {
            record_len,
            topic_len,
            ..
        } = *header;
        let topics_len = wide(header.topic_count).checked_mul(topic_len);
        let topics_offset = u32::from(header.own_len);
        let topics = section(
            body,
            SKIPPED,
            topics_offset,
            topics_len,
            "the topic table does not fit",
        )?;
        let records_len = wide(header.record_count).checked_mul(record_len);
        let records = section(
            body,
            SKIPPED,
            header.records_offset,
            records_len,
            "the record table does not fit",
        )?;
        let heap_len = len.checked_sub(wide(header.heap_offset));
        let heap = section(
            body,
            SKIPPED,
            header.heap_offset,
            heap_len,
            "the heap does not fit",
        )?;
        let mut view = Self {
            records,
            record_len,
            record_count: header.record_count,
            topics,
            topic_len,
            first_topic: "",
            heap,
            now_ms: header.now_ms,
        };
        if header.topic_count > 0 {
            view.first_topic = view.lookup_topic(0)?;
        }
        Ok(view)
    }

    /// How many records it holds.
    pub fn len(&self) -> u32 {
        self.record_count
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The time that the guest takes for now, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// All records, in order.
    pub fn records(self) -> impl Iterator<Item = Result<RecordView<'a>, Malformed>> + use<'a> {
        (0..self.record_count).map(move |index| self.record(index))
    }

    /// The record at `index`, with everything of it checked.
    #[inline]
    pub fn record(&self, index: u32) -> Result<RecordView<'a>, Malformed> {
        let bad = |what| Malformed::entry(index, what);
        let row = wide(index)
            .checked_mul(self.record_len)
            .and_then(|start| self.records.get(start..));
        let row = row
            .and_then(<[u8]>::first_chunk::<RECORD_LEN>)
            .ok_or(bad("it is past the last record"))?;
        let row = Row::read(row).ok_or(bad("its row is cut off"))?;
        let key = row.key.nullable_of(self.heap).map_err(bad)?;
        let value = row.value.nullable_of(self.heap).map_err(bad)?;
        let (headers, _) = HeaderList::parse(self.heap, row.headers.offset, row.headers.len).map_err(bad)?;
        let topic = match row.topic {
            0 if !self.topics.is_empty() => self.first_topic,
            other => self.lookup_topic(other)?,
        };
        let Row {
            partition,
            offset,
            timestamp_ms,
            attempt,
            stream_time_ms,
            ..
        } = row;
        Ok(RecordView {
            index,
            topic,
            partition,
            offset,
            timestamp_ms,
            key,
            value,
            headers,
            attempt,
            stream_time_ms: (stream_time_ms != UNSET).then_some(stream_time_ms),
        })
    }

    fn lookup_topic(&self, index: u32) -> Result<&'a str, Malformed> {
        let row = wide(index)
            .checked_mul(self.topic_len)
            .and_then(|start| self.topics.get(start..));
        let name = row.and_then(|row| Reader(row).span()?.of(self.heap));
        let name = name.ok_or(Malformed::batch("a topic's name lies outside of the batch"))?;
        std::str::from_utf8(name).map_err(|_| Malformed::batch("a topic's name is not UTF-8"))
    }
}

struct Row {
    offset: i64,
    timestamp_ms: i64,
    key: Span,
    value: Span,
    headers: Span,
    topic: u32,
    partition: i32,
    attempt: u32,
    _reserved: u32,
    stream_time_ms: i64,
}

impl Row {
    #[inline]
    fn read(row: &[u8; RECORD_LEN]) -> Option<Self> {
        let mut r = Reader(row);
        Some(Self {
            offset: r.i64()?,
            timestamp_ms: r.i64()?,
            key: r.span()?,
            value: r.span()?,
            headers: r.span()?,
            topic: r.u32()?,
            partition: r.i32()?,
            attempt: r.u32()?,
            _reserved: r.u32()?,
            stream_time_ms: r.i64()?,
        })
    }
}

/// Where the header keeps [`Progress`].
const PROGRESS_OFFSET: usize = 40;
