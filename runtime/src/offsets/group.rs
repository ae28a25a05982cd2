//! The group of a pipeline, its input and its marks, as the cluster tells of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Trouble;
use super::plan::Facts;
use crate::inquiry::{self, ANSWER, LEADER, insist};
use crate::kafka::admin::{Admin, GroupMember, TopicDescription};
use crate::kafka::ends::LogEnds;
use crate::kafka::{Position, TopicPartition, codes};
use crate::lane::starts::Marks;
use crate::pipeline::cluster::input_topics;
use crate::plan::Pipeline;

/// How long offsets may take to become stable: those of a transaction that is about to end.
const STABLE: Duration = Duration::from_secs(10);
/// One look at them.
const LOOK: Duration = Duration::from_secs(3);

/// The group of one pipeline. It is never joined.
pub struct Group {
    pub plan: Arc<Pipeline>,
    pub admin: Admin,
    pub client_id: String,
}

/// What is known of the group.
pub struct Known {
    pub partitions: Vec<Facts>,
    pub marks: Marks,
}

impl Group {
    pub fn of(plan: &Arc<Pipeline>) -> Result<Self, Trouble> {
        let client_id = format!("{}.offsets", plan.name);
        let admin = Admin::open(&plan.cluster, &client_id).map_err(inquiry::Trouble::opening)?;
        insist("reach the cluster", || admin.cluster_id(ANSWER))?;
        Ok(Self {
            plan: Arc::clone(plan),
            admin,
            client_id,
        })
    }

    /// As the pipeline is named.
    pub fn name(&self) -> &str {
        self.plan.name.as_str()
    }

    /// The committed offsets first: the logs may only have grown since.
    pub fn look(&self) -> Result<Known, Trouble> {
        let topics = self.topics()?;
        let ids: Vec<TopicPartition> = topics.iter().flat_map(partitions_of).collect();
        let committed = self.committed(&ids)?;
        let marks = self.marks()?;
        let topic_ids = topics.iter().flat_map(|topic| {
            let id: Arc<str> = id_of(topic).into();
            partitions_of(topic).map(move |_| Arc::clone(&id))
        });
        let mut partitions = Vec::with_capacity(ids.len());
        for ((id, topic_id), committed) in ids.into_iter().zip(topic_ids).zip(committed) {
            let bounds = insist("ask for the bounds of the input", || {
                self.admin.bounds(&id, LEADER)
            })?;
            let mark = marks.partition(&topic_id, id.partition);
            partitions.push(Facts {
                committed,
                began: mark.map(|mark| mark.offset),
                bounds,
                topic_id,
                id,
            });
        }
        Ok(Known { partitions, marks })
    }

    fn topics(&self) -> Result<Vec<TopicDescription>, Trouble> {
        let names = insist("list the topics", || input_topics(&self.plan, &self.admin))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        insist("describe the input", || {
            let described = self.admin.describe(&names, ANSWER)?;
            described.into_iter().collect()
        })
        .map_err(Trouble::from)
    }

    /// Stable offsets. An open transaction that does not end holds them up.
    fn committed(&self, ids: &[TopicPartition]) -> Result<Vec<Option<i64>>, Trouble> {
        let doing = "read the committed offsets of the group";
        let stable = self
            .admin
            .group(self.name())
            .map_err(|error| inquiry::Trouble::of(doing, error))?;
        let until = Instant::now() + STABLE;
        let error = loop {
            match stable.committed(ids, LOOK) {
                Ok(offsets) => return Ok(offsets.into_iter().map(|(_, offset)| offset).collect()),
                Err(error) if codes::is_transient(error.code) && Instant::now() < until => {}
                Err(error) => break error,
            }
        };
        let so_far = self.admin.group_so_far(self.name());
        if codes::is_transient(error.code) && so_far.is_ok_and(|group| group.committed(ids, LOOK).is_ok()) {
            return Err(Trouble::Refused(format!(
                "a transaction of {} is open, and nobody knows yet where its offsets will be. It is decided when the \
                 process that left it starts again, or {} after it began; then run this again",
                self.name(),
                humantime::format_duration(self.plan.timeouts.transaction)
            )));
        }
        Err(inquiry::Trouble::of(doing, error).into())
    }

    fn marks(&self) -> Result<Marks, Trouble> {
        let entries = inquiry::marks(&self.plan, &self.client_id)?;
        let entries = entries
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_slice()));
        Ok(Marks::from_entries(entries))
    }

    /// Where a time stands in each log, as [`super::plan::moves`] takes it.
    pub fn at_time(&self, partitions: &[Facts], time_ms: i64) -> Result<Vec<Option<i64>>, Trouble> {
        let ids: Vec<TopicPartition> = partitions.iter().map(|facts| facts.id.clone()).collect();
        let mut ends =
            LogEnds::open(&self.plan.cluster, &self.client_id).map_err(inquiry::Trouble::opening)?;
        Ok(insist("look up offsets by time", || {
            ends.offsets_at(&ids, time_ms, LEADER)
        })?)
    }

    /// Who is in the group.
    pub fn members(&self) -> Result<Vec<GroupMember>, Trouble> {
        Ok(insist("ask who is in the group", || {
            self.admin.members(self.name(), ANSWER)
        })?)
    }

    pub fn refuse_members(&self) -> Result<(), Trouble> {
        let members = self.members()?;
        if members.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = members.iter().map(ToString::to_string).collect();
        Err(Trouble::Refused(format!(
            "the group {} has members: {}. Stop them first; one that died is in it until its session ends ({})",
            self.name(),
            names.join(", "),
            humantime::format_duration(self.plan.timeouts.session)
        )))
    }

    /// Sets offsets. The broker refuses it if somebody has joined meanwhile.
    pub fn set(&self, positions: &[Position]) -> Result<(), Trouble> {
        if positions.is_empty() {
            return Ok(());
        }
        let is_set = insist("set the offsets of the group", || {
            match self.admin.alter_offsets(self.name(), positions, ANSWER) {
                Ok(()) => Ok(true),
                Err(error) if error.code == codes::UNKNOWN_MEMBER_ID => Ok(false),
                Err(error) => Err(error),
            }
        })?;
        if is_set {
            return Ok(());
        }
        self.refuse_members()?;
        Err(Trouble::Refused(format!(
            "somebody was in the group {} a moment ago; run it again",
            self.name()
        )))
    }

    /// What the cluster knows of a topic; `None`: there is none.
    pub fn describe(&self, topic: &str) -> Result<Option<TopicDescription>, Trouble> {
        Ok(inquiry::topic(&self.admin, &format!("describe {topic}"), topic)?)
    }
}

fn partitions_of(topic: &TopicDescription) -> impl Iterator<Item = TopicPartition> {
    let name: Arc<str> = topic.name.as_str().into();
    (0..topic.partitions).map(move |partition| TopicPartition {
        topic: Arc::clone(&name),
        partition,
    })
}

/// Its name, where brokers know no ids.
fn id_of(topic: &TopicDescription) -> &str {
    topic.id.as_deref().unwrap_or(&topic.name)
}
