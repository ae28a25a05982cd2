//! Widths, marks, and the few primitives that all reading and writing goes through.

use super::{Malformed, VERSION};

/// First bytes of an input batch.
pub const INPUT_MAGIC: [u8; 4] = *b"STRI";
/// First bytes of an output batch.
pub const OUTPUT_MAGIC: [u8; 4] = *b"STRO";
/// Header of an input batch.
pub const INPUT_HEADER_LEN: usize = 64;
/// Header of an output batch.
pub const OUTPUT_HEADER_LEN: usize = 40;
/// One row of the topic table.
pub const TOPIC_LEN: usize = 8;
/// One row of the record table.
pub const RECORD_LEN: usize = 64;
/// One row of the entry table.
pub const ENTRY_LEN: usize = 48;
/// One header of a record: where its name and its value lie.
pub const HEADER_ITEM_LEN: usize = 16;

/// A length that says null.
pub(super) const NULL: u32 = u32::MAX;
/// A timestamp, a stream time or a time to live that is not set.
pub(super) const UNSET: i64 = i64::MIN;
/// A partition that is not set.
pub(super) const NO_PARTITION: i32 = -1;

pub(super) const EMIT: u8 = 0;
pub(super) const REJECT: u8 = 1;
pub(super) const RETRY: u8 = 2;
pub(super) const STATE_PUT: u8 = 3;
pub(super) const STATE_DELETE: u8 = 4;

pub(super) const INHERIT_KEY: u8 = 1;
pub(super) const INHERIT_VALUE: u8 = 2;
pub(super) const INHERIT_HEADERS: u8 = 4;

/// What is wrong with a span that [`Span::of`] refuses.
pub(super) const OUTSIDE: &str = "a key, value, reason or header lies outside of the heap";

/// A length or an offset as the format holds it. What exceeds it cannot be part of a
/// batch, whose length is checked, so the value that stands in for it never matters.
pub(super) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NULL)
}

/// An offset, length or count from the format.
pub(super) const fn wide(n: u32) -> usize {
    n as usize
}

/// Where some bytes lie in the heap; a length of [`NULL`] is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) const NULL: Self = Self { offset: 0, len: NULL };
    pub(super) const EMPTY: Self = Self { offset: 0, len: 0 };

    /// The bytes, or `None` if they lie outside of the heap.
    #[inline]
    pub(super) fn of(self, heap: &[u8]) -> Option<&[u8]> {
        let start = wide(self.offset);
        heap.get(start..start.checked_add(wide(self.len))?)
    }

    /// The bytes or null, or what is wrong.
    #[inline]
    pub(super) fn nullable_of(self, heap: &[u8]) -> Result<Option<&[u8]>, &'static str> {
        if self.len == NULL {
            Ok(None)
        } else {
            self.of(heap).map(Some).ok_or(OUTSIDE)
        }
    }
}

/// Reads fields one after the other. Where the width of the slice is known, the
/// compiler drops the checks.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    #[inline]
    pub(super) fn span(&mut self) -> Option<Span> {
        Some(Span {
            offset: self.u32()?,
            len: self.u32()?,
        })
    }
}

/// Writes fields one after the other into a row of known width.
pub(super) struct Writer<'a>(pub(super) &'a mut [u8]);

impl Writer<'_> {
    /// Writes nothing once the row is full; rows are as wide as their fields, which the
    /// golden files pin.
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) -> &mut Self {
        let row = std::mem::take(&mut self.0);
        if let Some((head, rest)) = row.split_first_chunk_mut::<N>() {
            *head = bytes;
            self.0 = rest;
        }
        self
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.put(value.to_le_bytes())
    }

    /// The width of a header or a row.
    pub(super) fn width(&mut self, value: usize) -> &mut Self {
        self.u16(u16::try_from(value).unwrap_or(u16::MAX))
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.put(value.to_le_bytes())
    }

    #[inline]
    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.put(value.to_le_bytes())
    }

    #[inline]
    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.put(value.to_le_bytes())
    }

    #[inline]
    pub(super) fn span(&mut self, span: Span) -> &mut Self {
        self.u32(span.offset).u32(span.len)
    }
}

/// The headers of one record, in order, read in place.
#[derive(Clone, Copy)]
pub struct HeaderList<'a> {
    items: &'a [[u8; HEADER_ITEM_LEN]],
    heap: &'a [u8],
}

impl<'a> HeaderList<'a> {
    /// Checks every header. Also says how many bytes of the heap they take.
    #[inline]
    pub(super) fn parse(heap: &'a [u8], offset: u32, count: u32) -> Result<(Self, usize), &'static str> {
        if count == 0 {
            return Ok((Self { items: &[], heap }, 0));
        }
        let len = wide(count).checked_mul(HEADER_ITEM_LEN).ok_or(OUTSIDE)?;
        let start = wide(offset);
        let end = start.checked_add(len).ok_or(OUTSIDE)?;
        let (items, _) = heap.get(start..end).ok_or(OUTSIDE)?.as_chunks();
        let mut taken = len;
        for item in items {
            let (name, value) = read_item(item, heap).ok_or(OUTSIDE)?;
            taken = taken
                .saturating_add(name.len())
                .saturating_add(value.map_or(0, <[u8]>::len));
        }
        Ok((Self { items, heap }, taken))
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The header at `index`: name, and value or null.
    pub fn get(&self, index: usize) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        read_item(self.items.get(index)?, self.heap)
    }

    /// Name, and value or null, of each.
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter {
            items: self.items.iter(),
            heap: self.heap,
        }
    }
}

impl<'a> IntoIterator for &HeaderList<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for HeaderList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for HeaderList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Walks a [`HeaderList`].
#[derive(Debug, Clone)]
pub struct HeaderIter<'a> {
    items: std::slice::Iter<'a, [u8; HEADER_ITEM_LEN]>,
    heap: &'a [u8],
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        read_item(self.items.next()?, self.heap)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

#[inline]
fn read_item<'a>(item: &[u8; HEADER_ITEM_LEN], heap: &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut item = Reader(item);
    let name = item.span()?.of(heap)?;
    let value = item.span()?.nullable_of(heap).ok()?;
    Some((name, value))
}

/// The part of a batch that a table or the heap takes: `len` bytes at `offset` (both from the
/// start of the batch), of which `body` is what follows the first `skipped` bytes.
pub(super) fn section<'a>(
    body: &'a [u8],
    skipped: usize,
    offset: u32,
    len: Option<usize>,
    what: &'static str,
) -> Result<&'a [u8], Malformed> {
    let outside = Malformed::batch(what);
    let start = wide(offset).checked_sub(skipped).ok_or(outside)?;
    let end = start.checked_add(len.ok_or(outside)?).ok_or(outside)?;
    body.get(start..end).ok_or(outside)
}

/// Magic and version, with which every batch begins.
pub(super) fn check_mark(header: &[u8], magic: [u8; 4]) -> Result<(), Malformed> {
    let mut header = Reader(header);
    if header.take() != Some(magic) {
        return Err(Malformed::batch("it does not begin with the mark of a batch"));
    }
    if header.u16() != Some(VERSION) {
        return Err(Malformed::batch(
            "it has another version of the format; rebuild the transform",
        ));
    }
    Ok(())
}
