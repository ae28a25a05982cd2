//! Where outputs and offsets become final.
#![allow(unsafe_code, reason = "the cheapest calls are C's")]

use rdkafka::bindings as rd;

use crate::Delivery;
use crate::lane::Lane;
use crate::raw::{check, check_code};

pub const TIMEOUT_MS: i32 = 60_000;

impl Lane {
    pub fn begin(&mut self) -> anyhow::Result<()> {
        if self.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        // SAFETY: live producer.
        check("begin", unsafe { rd::rd_kafka_begin_transaction(self.producer) })
    }

    /// Offsets follow the outputs, in the transaction or after they are acknowledged.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        // SAFETY: live clients; list and metadata are freed after their use.
        unsafe {
            check_code("flush", rd::rd_kafka_flush(self.producer, TIMEOUT_MS))?;
            let list = rd::rd_kafka_topic_partition_list_new(i32::try_from(self.next.len())?);
            for (partition, offset) in self.next.drain(..) {
                let element = rd::rd_kafka_topic_partition_list_add(list, self.input.as_ptr(), partition);
                (*element).offset = offset;
            }
            let committed = match self.delivery {
                Delivery::AtLeastOnce => check_code("commit", rd::rd_kafka_commit(self.consumer, list, 0)),
                Delivery::ExactlyOnce => self.transact(list),
            };
            rd::rd_kafka_topic_partition_list_destroy(list);
            committed
        }
    }

    /// # Safety
    /// The list is live.
    unsafe fn transact(&self, list: *mut rd::rd_kafka_topic_partition_list_t) -> anyhow::Result<()> {
        // SAFETY: live clients and list; metadata is freed after its use.
        unsafe {
            let member = rd::rd_kafka_consumer_group_metadata(self.consumer);
            let sent = rd::rd_kafka_send_offsets_to_transaction(self.producer, list, member, TIMEOUT_MS);
            rd::rd_kafka_consumer_group_metadata_destroy(member);
            check("send offsets", sent)?;
            check(
                "commit",
                rd::rd_kafka_commit_transaction(self.producer, TIMEOUT_MS),
            )
        }
    }
}
