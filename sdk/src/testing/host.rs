//! The runtime's side of state, for the call that is under way on this thread.

use std::cell::RefCell;

use super::partition::Partition;

thread_local! {
    static SERVED: RefCell<Option<Partition>> = const { RefCell::new(None) };
}

#[cfg(test)]
thread_local! {
    static ASKED: std::cell::Cell<Asked> = const { std::cell::Cell::new(Asked { gets: 0, scans: 0 }) };
}

/// How often a transform left the sandbox.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) gets: u32,
    pub(crate) scans: u32,
}

/// Since this was asked for the last time.
#[cfg(test)]
pub(crate) fn asked() -> Asked {
    ASKED.take()
}

pub(crate) fn get(store: u16, key: &[u8], time_ms: i64) -> Option<Vec<u8>> {
    #[cfg(test)]
    ASKED.set(Asked {
        gets: ASKED.get().gets + 1,
        ..ASKED.get()
    });
    SERVED.with_borrow(|served| served.as_ref()?.get(store, key, time_ms).map(<[u8]>::to_vec))
}

pub(crate) fn scan(store: u16, prefix: &[u8], after: &[u8], time_ms: i64) -> Vec<u8> {
    #[cfg(test)]
    ASKED.set(Asked {
        scans: ASKED.get().scans + 1,
        ..ASKED.get()
    });
    SERVED.with_borrow(|served| {
        let served = served.as_ref();
        served.map_or_else(Vec::new, |served| served.page(store, prefix, after, time_ms))
    })
}

/// Runs `work`, which finds this state, and hands the state back.
pub(crate) fn serve<R>(partition: Partition, work: impl FnOnce() -> R) -> (R, Partition) {
    let outer = SERVED.replace(Some(partition));
    let result = work();
    (result, SERVED.replace(outer).unwrap_or_default())
}
