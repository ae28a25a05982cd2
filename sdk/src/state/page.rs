//! Pages of a store: entries one behind the other, read in place.

/// The next entry of a page: key, value, and where the one behind it begins. `None` at the end;
/// an error if the bytes are no page.
pub(crate) fn entry(page: &[u8], at: usize) -> Result<Option<Entry<'_>>, Broken> {
    let rest = page.get(at..).ok_or(Broken)?;
    if rest.is_empty() {
        return Ok(None);
    }
    let (key_len, rest) = rest.split_first_chunk::<4>().ok_or(Broken)?;
    let (value_len, rest) = rest.split_first_chunk::<4>().ok_or(Broken)?;
    let (key, rest) = rest.split_at_checked(len(*key_len)).ok_or(Broken)?;
    let (value, rest) = rest.split_at_checked(len(*value_len)).ok_or(Broken)?;
    Ok(Some(Entry {
        key,
        value,
        next: page.len() - rest.len(),
    }))
}

/// One entry of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) next: usize,
}

/// The runtime handed over what is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

fn len(bytes: [u8; 4]) -> usize {
    u32::from_le_bytes(bytes) as usize
}

/// Writes one entry more, as the runtime does.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn push(page: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        page.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    page.extend_from_slice(key);
    page.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_follow_each_other() {
        let mut page = Vec::new();
        push(&mut page, b"a", b"one");
        push(&mut page, b"bb", b"");
        let first = entry(&page, 0).unwrap().unwrap();
        assert_eq!((first.key, first.value), (&b"a"[..], &b"one"[..]));
        let second = entry(&page, first.next).unwrap().unwrap();
        assert_eq!((second.key, second.value), (&b"bb"[..], &b""[..]));
        assert_eq!(entry(&page, second.next), Ok(None));
        for len in 1..page.len() {
            let cut = entry(&page[..len], 0).and_then(|first| match first {
                Some(first) => entry(&page[..len], first.next),
                None => Ok(None),
            });
            assert!(cut == Err(Broken) || len == first.next, "{len}");
        }
        assert_eq!(entry(&page, page.len() + 1), Err(Broken));
    }
}
