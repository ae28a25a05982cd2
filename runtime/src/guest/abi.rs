//! The canonical lowering of the world `strait:transform@1.0.0`, as names and as bytes.
//!
//! Invariant: whatever a guest hands over as pointer and length is looked up with checked
//! arithmetic in its own memory; nothing else in the host reads guest memory otherwise.

use std::borrow::Cow;
use std::ops::Range;

use tracing::Level;

pub(super) const MEMORY: &str = "memory";
pub(super) const REALLOC: &str = "cabi_realloc";
/// Run once before anything else, where a toolchain emits it.
pub(super) const INITIALIZE: &str = "_initialize";
pub(super) const DESCRIBE: &str = "strait:transform/guest@1.0.0#describe";
pub(super) const CONFIGURE: &str = "strait:transform/guest@1.0.0#configure";
pub(super) const PROCESS: &str = "strait:transform/guest@1.0.0#process";
pub(super) const POST_PROCESS: &str = "cabi_post_strait:transform/guest@1.0.0#process";

pub(super) const HOST_MODULE: &str = "strait:transform/host@1.0.0";
pub(super) const HOST_LOG: &str = "log";
pub(super) const HOST_STATE_GET: &str = "state-get";
pub(super) const HOST_STATE_SCAN: &str = "state-scan";

/// A `result<list<u8>, string>` (or `result<_, string>`) where the guest returned it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Returned {
    Ok(Range<usize>),
    Err(Range<usize>),
}

/// `{ u8 tag; u32 pointer @4; u32 length @8 }` at `at`. A success without a payload has
/// undefined bytes there, hence `payload`. `None`: not a result, or not in this memory.
pub(super) fn returned(memory: &[u8], at: i32, payload: bool) -> Option<Returned> {
    let area = slice(memory, at, 12)?;
    match (area.first()?, payload) {
        (0, true) => Some(Returned::Ok(pair(memory, area.get(4..)?)?)),
        (0, false) => Some(Returned::Ok(0..0)),
        (1, _) => Some(Returned::Err(pair(memory, area.get(4..)?)?)),
        _ => None,
    }
}

/// `{ u32 pointer; u32 length }` at `at`: a list that was returned.
pub(super) fn list(memory: &[u8], at: i32) -> Option<Range<usize>> {
    pair(memory, slice(memory, at, 8)?)
}

fn pair(memory: &[u8], area: &[u8]) -> Option<Range<usize>> {
    let (pointer, rest) = area.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let range = range(i32::from_le_bytes(*pointer), i32::from_le_bytes(*length))?;
    memory.get(range.clone()).map(|_| range)
}

/// Writes `{ u32 pointer; u32 length }` to `at`. `None`: not in this memory.
pub(super) fn write_list(memory: &mut [u8], at: i32, (pointer, length): (i32, i32)) -> Option<()> {
    let area = memory.get_mut(range(at, 8)?)?;
    let (first, second) = area.split_first_chunk_mut::<4>()?;
    *first = pointer.to_le_bytes();
    *second.first_chunk_mut::<4>()? = length.to_le_bytes();
    Some(())
}

/// Writes an `option<list<u8>>`: `{ u8 tag; u32 pointer @4; u32 length @8 }`.
pub(super) fn write_option(memory: &mut [u8], at: i32, list: Option<(i32, i32)>) -> Option<()> {
    let tag = memory.get_mut(range(at, 12)?)?.first_mut()?;
    *tag = u8::from(list.is_some());
    match list {
        Some(list) => write_list(memory, at.wrapping_add(4), list),
        None => Some(()),
    }
}

/// Guest integers are unsigned, whatever their type says.
pub(super) fn range(pointer: i32, length: i32) -> Option<Range<usize>> {
    let start = usize::try_from(pointer.cast_unsigned()).ok()?;
    let end = start.checked_add(usize::try_from(length.cast_unsigned()).ok()?)?;
    Some(start..end)
}

pub(super) fn slice(memory: &[u8], pointer: i32, length: i32) -> Option<&[u8]> {
    memory.get(range(pointer, length)?)
}

/// A guest's text, cut at `bytes_max` and forgiven what is not UTF-8.
pub(super) fn text(bytes: &[u8], bytes_max: usize) -> Cow<'_, str> {
    match bytes.get(..bytes_max) {
        Some(head) if head.len() < bytes.len() => {
            Cow::Owned(String::from_utf8_lossy(head).into_owned() + "…")
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

/// The world's log levels; what it does not define is taken for the most severe.
pub(super) fn log_level(level: i32) -> Level {
    match level {
        0 => Level::TRACE,
        1 => Level::DEBUG,
        2 => Level::INFO,
        3 => Level::WARN,
        _ => Level::ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(tag: u8, pointer: u32, length: u32) -> Vec<u8> {
        let mut memory = vec![0; 64];
        memory[8] = tag;
        memory[12..16].copy_from_slice(&pointer.to_le_bytes());
        memory[16..20].copy_from_slice(&length.to_le_bytes());
        memory
    }

    #[test]
    fn a_result_inside_the_memory_is_found() {
        assert_eq!(returned(&memory(0, 32, 32), 8, true), Some(Returned::Ok(32..64)));
        assert_eq!(returned(&memory(1, 32, 1), 8, true), Some(Returned::Err(32..33)));
        assert_eq!(returned(&memory(0, 32, 0), 8, true), Some(Returned::Ok(32..32)));
    }

    #[test]
    fn a_success_without_payload_does_not_look_at_undefined_bytes() {
        assert_eq!(
            returned(&memory(0, u32::MAX, u32::MAX), 8, false),
            Some(Returned::Ok(0..0))
        );
        assert_eq!(returned(&memory(1, u32::MAX, 1), 8, false), None);
    }

    #[test]
    fn nothing_outside_the_memory_is_believed() {
        for (tag, pointer, length) in [
            (0, 32, 33),
            (0, u32::MAX, u32::MAX),
            (1, 65, 0),
            (0, 0, u32::MAX),
            (2, 32, 1),
        ] {
            assert_eq!(
                returned(&memory(tag, pointer, length), 8, true),
                None,
                "{tag} {pointer} {length}"
            );
        }
        for at in [53, 64, -1, i32::MIN] {
            assert_eq!(returned(&memory(0, 0, 0), at, true), None, "{at}");
            assert_eq!(list(&memory(0, 0, 0), at.max(57)), None, "{at}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(text(b"abc", 3), "abc");
        assert_eq!(text(b"abcd", 3), "abc…");
        assert_eq!(text(&[b'a', 0xff], 9), "a\u{fffd}");
    }
}
