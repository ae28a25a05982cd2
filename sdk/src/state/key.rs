//! Keys as they are stored: an author's, and those that the SDK has for itself.
//!
//! A key that begins with the byte 255 is stored with that byte twice. What begins with 255 and
//! another byte is thereby free for the SDK, no key of an author is forbidden, and the order of an
//! author's keys stays as it is.

use std::borrow::Cow;

const MARK: u8 = 0xFF;

/// Greater than all keys of the SDK's own, whose second byte is less than 254, and less than all
/// others that begin with a [`MARK`].
pub(crate) const PAST_OWN: [u8; 2] = [MARK, 0xFE];

/// What all keys of the SDK's own of one kind begin with.
pub(crate) const fn own(kind: u8) -> [u8; 2] {
    [MARK, kind]
}

/// An author's key (or the beginning of one) as it is stored.
pub(crate) fn stored(key: &[u8]) -> Cow<'_, [u8]> {
    if key.first() == Some(&MARK) {
        Cow::Owned([&[MARK], key].concat())
    } else {
        Cow::Borrowed(key)
    }
}

/// The author's key; `None` if it is the SDK's own.
pub(crate) fn shown(mut stored: Vec<u8>) -> Option<Vec<u8>> {
    match stored.as_slice() {
        [MARK, MARK, ..] => {
            stored.remove(0);
            Some(stored)
        }
        [MARK, ..] => None,
        _ => Some(stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_as_it_was_given_and_in_its_order() {
        let mut keys: Vec<&[u8]> = vec![b"a", &[255, 1], &[255], &[255, 255], &[0], &[254, 255]];
        keys.sort_unstable();
        let stored: Vec<_> = keys.iter().map(|key| stored(key)).collect();
        assert!(stored.is_sorted());
        let shown: Vec<_> = stored
            .iter()
            .map(|stored| shown(stored.to_vec()).unwrap())
            .collect();
        assert_eq!(shown, keys);
    }

    #[test]
    fn the_own_keys_of_the_sdk_are_not_shown() {
        for kind in 0..0xFE {
            let one = [&own(kind)[..], &[MARK; 9]].concat();
            assert!(one.as_slice() < &PAST_OWN && stored(&[MARK]).as_ref() > &PAST_OWN[..]);
            assert_eq!(shown(one), None);
        }
    }
}
