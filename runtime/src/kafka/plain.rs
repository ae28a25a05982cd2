//! The producer of the modes that are not exactly once: idempotent, without
//! transactions.
//!
//! Invariants: begin, send offsets and commit send nothing, so whoever uses it commits
//! offsets through the consumer, after a flush that refused nothing; an abort drops
//! what is queued and waits for what is in flight, so that nothing of before comes
//! after it.

use std::time::Instant;

use super::consumer::LibrdMember;
use super::producer::Core;
use super::settings::ProducerSettings;
use super::{FailedDelivery, Position, Produce, ProduceError, Producer, ProducerFactory, TransactionError};

/// Opens plain producers.
#[derive(Debug, Clone)]
pub struct PlainProducerFactory {
    settings: ProducerSettings,
}

impl PlainProducerFactory {
    pub fn new(settings: ProducerSettings) -> Self {
        Self { settings }
    }
}

impl ProducerFactory for PlainProducerFactory {
    type Producer = PlainProducer;

    fn open(&self, _deadline: Instant) -> Result<PlainProducer, TransactionError> {
        Core::open(&self.settings, None)
            .map(|core| PlainProducer { core })
            .map_err(|cause| TransactionError::Fatal { fenced: false, cause })
    }
}

/// An idempotent producer over librdkafka.
#[derive(Debug)]
pub struct PlainProducer {
    core: Core,
}

impl Producer for PlainProducer {
    type Member = LibrdMember;

    fn begin(&mut self) -> Result<(), TransactionError> {
        // Those of a batch before, if nobody asked for them.
        drop(self.core.take_refused());
        Ok(())
    }

    fn produce(&mut self, record: &Produce<'_>, deadline: Instant) -> Result<(), ProduceError> {
        self.core.produce(record, deadline)
    }

    fn flush(&mut self, deadline: Instant) -> Result<(), TransactionError> {
        self.core.flush(deadline)
    }

    fn send_offsets(
        &mut self,
        _positions: &[Position],
        _member: &LibrdMember,
        _deadline: Instant,
    ) -> Result<(), TransactionError> {
        Ok(())
    }

    fn commit(&mut self, _deadline: Instant) -> Result<(), TransactionError> {
        Ok(())
    }

    fn abort(&mut self, deadline: Instant) -> Result<(), TransactionError> {
        if let Err(cause) = self.core.client().purge_queue() {
            return Err(TransactionError::Fatal { fenced: false, cause });
        }
        self.core.flush(deadline)
    }

    /// A late copy of a request can only repeat records, which these modes allow.
    fn suspicion(&self) -> Option<String> {
        None
    }

    fn failed_deliveries(&mut self) -> Vec<FailedDelivery> {
        self.core.take_refused()
    }

    fn discard(self) {
        drop(self);
    }
}
