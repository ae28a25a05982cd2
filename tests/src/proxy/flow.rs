//! How one direction of a proxy behaves, and the gate at which every piece waits
//! for its turn.

use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What happens to bytes on their way. The order is always kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flow {
    Pass,
    /// Everything arrives so much later; what follows does not wait for what went before.
    Delay(Duration),
    /// What loss looks like through TCP: a chunk is lost with `chance` (0 to 1) and
    /// arrives `stall` later, and so does everything behind it.
    Lossy {
        delay: Duration,
        chance: f64,
        stall: Duration,
    },
    /// Nothing arrives, and the connection stays. What is held arrives when the flow
    /// changes, even if its sender is gone by then: so it is with a network.
    Hold,
}

/// One direction of one connection.
pub struct Gate {
    flow: watch::Receiver<Flow>,
    random: SmallRng,
}

/// The proxy is gone.
#[derive(Debug)]
pub struct Closed;

impl Gate {
    pub fn new(flow: watch::Receiver<Flow>, seed: u64) -> Self {
        Self {
            flow,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Waits while nothing may pass.
    pub async fn opened(&mut self) -> Result<(), Closed> {
        let open = self.flow.wait_for(|flow| *flow != Flow::Hold).await;
        open.map(drop).map_err(|_| Closed)
    }

    /// Waits until what arrived at that time may go on. Says whether it was lost on the
    /// way and had to be sent again.
    pub async fn pass(&mut self, arrived: Instant) -> Result<bool, Closed> {
        let mut lost = None;
        loop {
            let flow = *self.flow.borrow_and_update();
            let due = match flow {
                Flow::Pass => return Ok(false),
                Flow::Hold => {
                    self.flow.changed().await.map_err(|_| Closed)?;
                    continue;
                }
                Flow::Delay(delay) => arrived + delay,
                Flow::Lossy { delay, chance, stall } => {
                    let random = &mut self.random;
                    let is_lost = *lost.get_or_insert_with(|| random.random_bool(chance.clamp(0.0, 1.0)));
                    arrived + delay + if is_lost { stall } else { Duration::ZERO }
                }
            };
            select! {
                () = sleep_until(due) => {
                    return Ok(matches!(flow, Flow::Lossy { .. }) && lost == Some(true));
                }
                changed = self.flow.changed() => changed.map_err(|_| Closed)?,
            }
        }
    }
}
