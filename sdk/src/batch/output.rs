//! The host reads an output batch in place.
//!
//! [`OutputView::parse`] walks everything once, so that the entries can then be read as often
//! as needed without a check that can fail. A guest cannot make the host do more work than it
//! sent bytes: the fields of all entries together are no longer than the heap.

use super::wire::{
    EMIT, ENTRY_LEN, HeaderList, INHERIT_HEADERS, INHERIT_KEY, INHERIT_VALUE, NO_PARTITION,
    OUTPUT_HEADER_LEN, OUTPUT_MAGIC, REJECT, RETRY, Reader, STATE_DELETE, STATE_PUT, Span, UNSET, check_mark,
    section, wide,
};
use super::{LEN_MAX, Malformed, REASON_LEN_MAX};

/// What the entries of an output batch may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records of the input batch.
    pub records: u32,
    /// Outputs that were handed over with `configure`.
    pub outputs: u16,
    /// State stores that were handed over with `configure`.
    pub stores: u16,
}

/// A validated output batch.
#[derive(Debug, Clone, Copy)]
pub struct OutputView<'a> {
    rows: &'a [u8],
    row_len: usize,
    heap: &'a [u8],
}

/// One thing that the guest says about a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    Emit(Emit<'a>),
    /// The record has failed for good. It has no other entry.
    Reject {
        origin: u32,
        reason: &'a str,
    },
    /// The record is to be tried again. It has no other entry, and no other record follows.
    Retry {
        origin: u32,
        reason: &'a str,
    },
    State(StateOp<'a>),
}

/// A record to produce.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Emit<'a> {
    /// The input record that it comes from.
    pub origin: u32,
    /// Place of its output among those handed over with `configure`.
    pub output: u16,
    pub key: Field<'a>,
    pub value: Field<'a>,
    pub headers: Headers<'a>,
    /// `None`: as the pipeline says. Never negative.
    pub timestamp_ms: Option<i64>,
    /// `None`: as the pipeline says. Never negative.
    pub partition: Option<i32>,
}

/// A key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// That of the input record, which the host has.
    Inherit,
    Null,
    Bytes(&'a [u8]),
}

/// The headers of a record to produce.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Headers<'a> {
    /// Those of the input record, which the host has.
    Inherit,
    List(HeaderList<'a>),
}

/// A change of keyed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateOp<'a> {
    /// The input record that it belongs to.
    pub origin: u32,
    /// Place of the store among those handed over with `configure`.
    pub store: u16,
    pub key: &'a [u8],
    /// `None` deletes.
    pub value: Option<&'a [u8]>,
    /// How long it lasts; `None`: as the store says. Never negative.
    pub ttl_ms: Option<i64>,
}

impl Entry<'_> {
    /// The input record that it belongs to.
    pub fn origin(&self) -> u32 {
        match *self {
            Entry::Reject { origin, .. } | Entry::Retry { origin, .. } => origin,
            Entry::Emit(ref emit) => emit.origin,
            Entry::State(ref op) => op.origin,
        }
    }

    /// Bytes of the heap that it takes.
    fn heap_len(&self, headers_len: usize) -> usize {
        let field = |field: &Field<'_>| {
            if let Field::Bytes(bytes) = field {
                bytes.len()
            } else {
                0
            }
        };
        match self {
            Self::Emit(emit) => field(&emit.key)
                .saturating_add(field(&emit.value))
                .saturating_add(headers_len),
            Self::Reject { reason, .. } | Self::Retry { reason, .. } => reason.len(),
            Self::State(op) => op.key.len().saturating_add(op.value.map_or(0, <[u8]>::len)),
        }
    }
}

impl<'a> OutputView<'a> {
    /// Checks all of a batch that a guest returned.
    pub fn parse(bytes: &'a [u8], limits: Limits) -> Result<Self, Malformed> {
        let view = Self::open(bytes)?;
        let mut order = Order::default();
        let mut unclaimed = view.heap.len();
        for (index, row) in (0..).zip(view.rows.chunks_exact(view.row_len)) {
            let bad = |what| Malformed::entry(index, what);
            let (entry, headers_len) = read_entry(row, view.heap).map_err(bad)?;
            check_limits(&entry, limits).map_err(bad)?;
            order.follow(&entry).map_err(bad)?;
            unclaimed = unclaimed.checked_sub(entry.heap_len(headers_len)).ok_or(bad(
                "entries share bytes: all fields together are longer than the heap",
            ))?;
        }
        Ok(view)
    }

    /// Opens a batch that [`OutputView::parse`] has accepted before, without walking it again.
    /// Bytes that it would have refused give fewer entries, or others; never a panic.
    pub fn reopen(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::open(bytes)
    }

    fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        const SHORT: Malformed = Malformed::batch("it is shorter than its header");
        if bytes.len() > LEN_MAX {
            return Err(Malformed::batch("it is longer than a batch may be"));
        }
        let (header, body) = bytes.split_first_chunk::<OUTPUT_HEADER_LEN>().ok_or(SHORT)?;
        check_mark(header, OUTPUT_MAGIC)?;
        Self::read(header, body, bytes.len()).ok_or(SHORT)?
    }

    fn read(header: &[u8; OUTPUT_HEADER_LEN], body: &'a [u8], len: usize) -> Option<Result<Self, Malformed>> {
        let mut r = Reader(header);
        let (_magic, _version) = (r.u32()?, r.u16()?);
        let header_len = usize::from(r.u16()?);
        let total_len = wide(r.u32()?);
        let entry_count = r.u32()?;
        let row_len = usize::from(r.u16()?);
        let _reserved = r.u16()?;
        let entries_offset = r.u32()?;
        let heap_offset = r.u32()?;
        let heap_len = r.u32()?;
        let flags = r.u32()?;
        let bad = |what| Some(Err(Malformed::batch(what)));
        if flags != 0 {
            return bad("its flags ask for what this version does not know");
        }
        if header_len < OUTPUT_HEADER_LEN || row_len < ENTRY_LEN {
            return bad("header or rows are shorter than version 1 has them");
        }
        if total_len != len {
            return bad("its length is not the one that it states");
        }
        let skipped = OUTPUT_HEADER_LEN;
        let table_len = wide(entry_count).checked_mul(row_len);
        let rows = section(
            body,
            skipped,
            entries_offset,
            table_len,
            "the entry table does not fit",
        );
        let heap = section(
            body,
            skipped,
            heap_offset,
            Some(wide(heap_len)),
            "the heap does not fit",
        );
        Some(rows.and_then(|rows| {
            Ok(Self {
                rows,
                row_len,
                heap: heap?,
            })
        }))
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.rows.len() / self.row_len.max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All entries, in the order of their origins.
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            rows: self.rows.chunks_exact(self.row_len.max(1)),
            heap: self.heap,
        }
    }

    /// The entry at `index`.
    pub fn entry(&self, index: usize) -> Option<Entry<'a>> {
        let start = index.checked_mul(self.row_len)?;
        let row = self.rows.get(start..start.checked_add(self.row_len)?)?;
        read_entry(row, self.heap).ok().map(|(entry, _)| entry)
    }
}

/// Walks the entries of an [`OutputView`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rows: std::slice::ChunksExact<'a, u8>,
    heap: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        read_entry(self.rows.next()?, self.heap)
            .ok()
            .map(|(entry, _)| entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

/// The rules about which entry may follow which.
#[derive(Default)]
struct Order {
    origin: Option<u32>,
    /// The last entry was a reject or a retry.
    answered: bool,
    /// The last entry was a retry.
    ended: bool,
}

impl Order {
    #[inline]
    fn follow(&mut self, entry: &Entry<'_>) -> Result<(), &'static str> {
        let origin = entry.origin();
        let same = self.origin == Some(origin);
        let answers = matches!(entry, Entry::Reject { .. } | Entry::Retry { .. });
        if self.ended {
            return Err("it follows a retry, which ends the batch");
        }
        if self.origin.is_some_and(|last| origin < last) {
            return Err("its origin is before that of the entry before it");
        }
        if same && (answers || self.answered) {
            return Err("a rejected or retried record has another entry");
        }
        self.origin = Some(origin);
        self.answered = answers;
        self.ended = matches!(entry, Entry::Retry { .. });
        Ok(())
    }
}

#[inline]
fn check_limits(entry: &Entry<'_>, limits: Limits) -> Result<(), &'static str> {
    if entry.origin() >= limits.records {
        return Err("its origin is no record of the input batch");
    }
    match entry {
        Entry::Emit(emit) if emit.output >= limits.outputs => Err("its output does not exist"),
        Entry::State(op) if op.store >= limits.stores => Err("its store does not exist"),
        _ => Ok(()),
    }
}

/// The entry, and how many bytes of the heap its headers take.
#[inline]
fn read_entry<'a>(row: &[u8], heap: &'a [u8]) -> Result<(Entry<'a>, usize), &'static str> {
    let row = Row::read(row).ok_or("its row is cut off")?;
    let Row {
        origin,
        index,
        timestamp,
        ..
    } = row;
    match row.kind {
        EMIT => row.emit(heap),
        STATE_PUT | STATE_DELETE => {
            let key = row.key.nullable_of(heap)?.ok_or("its state key is null")?;
            let value = row.value.nullable_of(heap)?;
            if value.is_some() != (row.kind == STATE_PUT) {
                return Err("a put has a value, and a delete has none");
            }
            let ttl_ms = optional(timestamp, "its time to live is negative")?;
            Ok((
                Entry::State(StateOp {
                    origin,
                    store: index,
                    key,
                    value,
                    ttl_ms,
                }),
                0,
            ))
        }
        REJECT | RETRY => {
            let reason = row.value.nullable_of(heap)?.ok_or("its reason is null")?;
            if reason.len() > REASON_LEN_MAX {
                return Err("its reason is longer than 4096 bytes");
            }
            let reason = std::str::from_utf8(reason).map_err(|_| "its reason is not UTF-8")?;
            let reject = row.kind == REJECT;
            Ok((
                if reject {
                    Entry::Reject { origin, reason }
                } else {
                    Entry::Retry { origin, reason }
                },
                0,
            ))
        }
        _ => Err("its kind is none of version 1"),
    }
}

struct Row {
    origin: u32,
    index: u16,
    kind: u8,
    inherit: u8,
    timestamp: i64,
    key: Span,
    value: Span,
    headers: Span,
    partition: i32,
}

impl Row {
    #[inline]
    fn read(row: &[u8]) -> Option<Self> {
        let row: &[u8; ENTRY_LEN] = row.first_chunk()?;
        let mut r = Reader(row);
        Some(Self {
            origin: r.u32()?,
            index: r.u16()?,
            kind: r.u8()?,
            inherit: r.u8()?,
            timestamp: r.i64()?,
            key: r.span()?,
            value: r.span()?,
            headers: r.span()?,
            partition: r.i32()?,
        })
    }

    #[inline]
    fn emit<'a>(&self, heap: &'a [u8]) -> Result<(Entry<'a>, usize), &'static str> {
        let inherits = |bit| self.inherit & bit != 0;
        if self.inherit > INHERIT_KEY | INHERIT_VALUE | INHERIT_HEADERS {
            return Err("it inherits what version 1 does not know");
        }
        let field = |bit, span: Span| match span.nullable_of(heap) {
            _ if inherits(bit) => Ok(Field::Inherit),
            Ok(Some(bytes)) => Ok(Field::Bytes(bytes)),
            Ok(None) => Ok(Field::Null),
            Err(what) => Err(what),
        };
        let (headers, headers_len) = if inherits(INHERIT_HEADERS) {
            (Headers::Inherit, 0)
        } else {
            let (list, len) = HeaderList::parse(heap, self.headers.offset, self.headers.len)?;
            (Headers::List(list), len)
        };
        if self.partition < NO_PARTITION {
            return Err("its partition is negative");
        }
        let emit = Emit {
            origin: self.origin,
            output: self.index,
            key: field(INHERIT_KEY, self.key)?,
            value: field(INHERIT_VALUE, self.value)?,
            headers,
            timestamp_ms: optional(self.timestamp, "its timestamp is negative")?,
            partition: (self.partition != NO_PARTITION).then_some(self.partition),
        };
        Ok((Entry::Emit(emit), headers_len))
    }
}

#[inline]
fn optional(value: i64, negative: &'static str) -> Result<Option<i64>, &'static str> {
    match value {
        UNSET => Ok(None),
        value if value < 0 => Err(negative),
        value => Ok(Some(value)),
    }
}
