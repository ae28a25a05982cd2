//! The guard against late copies of a transaction's requests (KIP-890).
//!
//! librdkafka speaks the classic protocol, in which one producer epoch serves many
//! transactions. A request that timed out, or whose connection broke, may still sit
//! in a broker's socket and act on the *next* transaction of that epoch: end it too
//! early, or bring back older offsets. So after any such request the producer must
//! be replaced before it begins again: the new one's epoch fences every straggler.
//!
//! Invariant: every response of the client passes through [`Guard::observe`], on the
//! client's own threads; hence atomics only, nothing that waits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::codes;

/// The requests that change a transaction, by their key in Kafka's protocol.
const WATCHED: [(i16, &str); 6] = [
    (0, "Produce"),
    (22, "InitProducerId"),
    (24, "AddPartitionsToTxn"),
    (25, "AddOffsetsToTxn"),
    (26, "EndTxn"),
    (28, "TxnOffsetCommit"),
];

/// Remembers whether a request of the transaction protocol went unanswered.
#[derive(Debug, Default)]
pub struct Guard {
    count: AtomicU32,
    /// The latest: broker, index into [`WATCHED`], whether it timed out; packed.
    last: AtomicU64,
}

impl Guard {
    /// Called for each response, and for each request that gets none.
    pub fn observe(&self, api_key: i16, code: i32, broker: i32) {
        // The client's own codes are below zero. A request that ended in one may have reached
        // its broker, whatever the client lost it to: its patience, the connection, the broker's
        // place in the metadata. Except where it was never sent, or this client is going away.
        let harmless = [
            codes::LOCAL_TIMED_OUT_QUEUE,
            codes::LOCAL_PURGE_QUEUE,
            codes::LOCAL_OUTDATED,
            codes::LOCAL_DESTROY,
        ];
        if code >= 0 || harmless.contains(&code) {
            return;
        }
        let Some(index) = WATCHED.iter().position(|(key, _)| *key == api_key) else {
            return;
        };
        let timed_out = u64::from(code == codes::LOCAL_TIMED_OUT);
        let packed = u64::from(broker.cast_unsigned()) << 32 | (index as u64) << 1 | timed_out;
        self.last.store(packed, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Why the producer must be replaced before its next transaction.
    pub fn suspicion(&self) -> Option<String> {
        let count = self.count.load(Ordering::Acquire);
        if count == 0 {
            return None;
        }
        let last = self.last.load(Ordering::Relaxed);
        let broker = u32::try_from(last >> 32).unwrap_or_default().cast_signed();
        let index = usize::try_from(last >> 1 & 0x7fff_ffff).unwrap_or_default();
        let request = WATCHED.get(index).map_or("a request", |(_, name)| *name);
        let what = if last & 1 == 1 {
            "timed out"
        } else {
            "was given up"
        };
        Some(format!(
            "{request} to broker {broker} {what} ({count} such so far)"
        ))
    }

    /// Forgets what was seen. For a producer that has just got a new epoch: whatever
    /// preceded it is fenced.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kafka's protocol numbers them.
    const REQUESTS: [(i16, &str); 6] = [
        (0, "Produce"),
        (22, "InitProducerId"),
        (24, "AddPartitionsToTxn"),
        (25, "AddOffsetsToTxn"),
        (26, "EndTxn"),
        (28, "TxnOffsetCommit"),
    ];

    #[test]
    fn each_request_of_a_transaction_raises_suspicion() {
        for (key, name) in REQUESTS {
            for code in [codes::LOCAL_TIMED_OUT, codes::LOCAL_TRANSPORT] {
                let guard = Guard::default();
                assert_eq!(guard.suspicion(), None);
                guard.observe(key, code, 3);
                let why = guard.suspicion().unwrap();
                assert!(why.contains(name) && why.contains("broker 3"), "{why}");
                guard.reset();
                assert_eq!(guard.suspicion(), None);
            }
        }
    }

    #[test]
    fn answers_and_other_requests_do_not() {
        let guard = Guard::default();
        for (key, _) in REQUESTS {
            guard.observe(key, codes::NO_ERROR, 1);
            guard.observe(key, codes::NOT_COORDINATOR, 1);
        }
        for key in [1, 3, 8, 9, 10, 11, 12] {
            guard.observe(key, codes::LOCAL_TIMED_OUT, 1);
            guard.observe(key, codes::LOCAL_TRANSPORT, -1);
        }
        assert_eq!(guard.suspicion(), None);
    }
}
