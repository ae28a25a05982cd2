//! The runtime's side of state, for the call that is under way on this thread.

#[cfg(test)]
pub(crate) mod watch;

use std::cell::RefCell;

use super::partition::Partition;

thread_local! {
    static SERVED: RefCell<Option<Partition>> = const { RefCell::new(None) };
}

pub(crate) fn get(store: u16, key: &[u8], time_ms: i64) -> Option<Vec<u8>> {
    #[cfg(test)]
    watch::got();
    SERVED.with_borrow(|served| {
        let value = served.as_ref()?.get(store, key, time_ms);
        value.map(<[u8]>::to_vec)
    })
}

pub(crate) fn scan(store: u16, prefix: &[u8], after: &[u8], time_ms: i64) -> Vec<u8> {
    let page = SERVED.with_borrow(|served| {
        let served = served.as_ref();
        served.map_or_else(Vec::new, |served| served.page(store, prefix, after, time_ms))
    });
    #[cfg(test)]
    let page = watch::scanned(page);
    page
}

/// Runs `work`, which finds this state, and hands the state back.
pub(crate) fn serve<R>(partition: Partition, work: impl FnOnce() -> R) -> (R, Partition) {
    let outer = SERVED.replace(Some(partition));
    let result = work();
    (result, SERVED.replace(outer).unwrap_or_default())
}
