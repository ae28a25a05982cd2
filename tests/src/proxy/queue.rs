//! What one direction of a connection has read and not yet delivered, bounded in
//! bytes: when it is full, nothing more is read, and the sender feels it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::framer::Piece;

/// Per direction and connection. One frame more may be under way on either side of it.
const LIMIT_BYTES: usize = 4 << 20;
const LIMIT_PIECES: usize = 4096;

/// A piece on its way; its bytes count as held until it is dropped.
pub struct Item {
    pub piece: Piece,
    pub arrived: Instant,
    _held: Held,
    _room: OwnedSemaphorePermit,
}

struct Held {
    bytes: usize,
    sum: Arc<AtomicUsize>,
}

impl Held {
    fn new(bytes: usize, sum: &Arc<AtomicUsize>) -> Self {
        sum.fetch_add(bytes, Ordering::Relaxed);
        Self {
            bytes,
            sum: Arc::clone(sum),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub struct Entrance {
    items: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
}

/// A queue that counts what it contains into `held`.
pub fn queue(held: &Arc<AtomicUsize>) -> (Entrance, mpsc::Receiver<Item>) {
    let (items, exit) = mpsc::channel(LIMIT_PIECES);
    let entrance = Entrance {
        items,
        room: Arc::new(Semaphore::new(LIMIT_BYTES)),
        held: Arc::clone(held),
    };
    (entrance, exit)
}

impl Entrance {
    /// Waits for room. `false`: nobody takes anything out any more.
    pub async fn put(&self, piece: Piece, arrived: Instant) -> bool {
        let bytes = piece.bytes().len();
        let wanted = u32::try_from(bytes.min(LIMIT_BYTES)).unwrap_or(u32::MAX);
        let held = Held::new(bytes, &self.held);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(wanted).await else {
            return false;
        };
        let item = Item {
            piece,
            arrived,
            _held: held,
            _room: room,
        };
        self.items.send(item).await.is_ok()
    }
}
