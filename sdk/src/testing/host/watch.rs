//! For the tests of this crate: how often a transform asks, and what it makes of wrong answers.

use std::cell::Cell;

/// What becomes of a page on its way.
type Spoil = fn(Vec<u8>) -> Vec<u8>;

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { gets: 0, scans: 0 }) };
    static SPOIL: Cell<Option<Spoil>> = const { Cell::new(None) };
}

/// How often a transform asked the runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) gets: u32,
    pub(crate) scans: u32,
}

/// Since this was called for the last time.
pub(crate) fn asked() -> Asked {
    ASKED.take()
}

/// Each page from here on is handed over like this.
pub(crate) fn spoil(how: Spoil) {
    SPOIL.set(Some(how));
}

pub(super) fn got() {
    let Asked { gets, scans } = ASKED.get();
    ASKED.set(Asked {
        gets: gets + 1,
        scans,
    });
}

pub(super) fn scanned(page: Vec<u8>) -> Vec<u8> {
    let Asked { gets, scans } = ASKED.get();
    ASKED.set(Asked {
        gets,
        scans: scans + 1,
    });
    match SPOIL.get() {
        Some(how) => how(page),
        None => page,
    }
}
