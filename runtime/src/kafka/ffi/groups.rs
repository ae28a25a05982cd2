//! Who is in a group, and setting its offsets while nobody is: calls that the crate `rdkafka` does
//! not wrap.

use std::fmt;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::Client;
use super::conf::c_string;
use super::error::{of_code, of_object, text};
use super::list::{List, check_elements_of};
use super::request::Request;
use crate::kafka::{KafkaError, codes};

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub client_id: String,
    /// As the broker sees it.
    pub host: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.client_id, self.host.trim_start_matches('/'))
    }
}

/// The members of a group; of one that does not exist, none.
pub fn members(client: &Client, group: &str, timeout: Duration) -> Result<Vec<Member>, KafkaError> {
    let group = c_string(group)?;
    let mut groups = [group.as_ptr()];
    let request = Request::new(
        client,
        rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        timeout,
    )?;
    // SAFETY: live client, options and queue; one C string, which lives for the call.
    unsafe {
        rd::rd_kafka_DescribeConsumerGroups(
            client.raw(),
            groups.as_mut_ptr(),
            groups.len(),
            request.options(),
            request.queue(),
        );
    }
    let event = request.answer()?;
    // SAFETY: live event; the array has `count` entries, owned by the event as all that they
    // point to.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.raw());
        if result.is_null() {
            return Err(no_group());
        }
        let mut count = 0;
        let array = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if array.is_null() || count == 0 {
            return Err(no_group());
        }
        members_of(*array)
    }
}

/// # Safety
/// `group` is a live description.
unsafe fn members_of(
    group: *const rd::rd_kafka_ConsumerGroupDescription_t,
) -> Result<Vec<Member>, KafkaError> {
    // SAFETY: by contract; all that is read belongs to the description.
    unsafe {
        of_object(rd::rd_kafka_ConsumerGroupDescription_error(group))?;
        let members = 0..rd::rd_kafka_ConsumerGroupDescription_member_count(group);
        let member = |index| {
            let member = rd::rd_kafka_ConsumerGroupDescription_member(group, index);
            Member {
                client_id: text(rd::rd_kafka_MemberDescription_client_id(member)),
                host: text(rd::rd_kafka_MemberDescription_host(member)),
            }
        };
        Ok(members.map(member).collect())
    }
}

/// Sets offsets of a group. The broker refuses it while the group has members.
pub fn alter_offsets(
    client: &Client,
    group: &str,
    offsets: &List,
    timeout: Duration,
) -> Result<(), KafkaError> {
    let group = c_string(group)?;
    let request = Request::new(
        client,
        rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
        timeout,
    )?;
    // SAFETY: live client, options, queue and list, a C string that lives for the call; the library
    // copies both, and what is created here is destroyed here.
    unsafe {
        let mut alter = rd::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), offsets.raw());
        rd::rd_kafka_AlterConsumerGroupOffsets(
            client.raw(),
            &raw mut alter,
            1,
            request.options(),
            request.queue(),
        );
        rd::rd_kafka_AlterConsumerGroupOffsets_destroy(alter);
    }
    let event = request.answer()?;
    // SAFETY: live event; the array has `count` entries, owned by the event as their lists.
    unsafe {
        let result = rd::rd_kafka_event_AlterConsumerGroupOffsets_result(event.raw());
        if result.is_null() {
            return Err(no_group());
        }
        let mut count = 0;
        let array = rd::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        if array.is_null() || count == 0 {
            return Err(no_group());
        }
        of_object(rd::rd_kafka_group_result_error(*array))?;
        check_elements_of(rd::rd_kafka_group_result_partitions(*array))
    }
}

fn no_group() -> KafkaError {
    of_code(codes::LOCAL_FAIL, "the answer names no group")
}
