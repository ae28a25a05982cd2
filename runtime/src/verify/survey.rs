//! What the cluster says before anything is read, in the one order that proves something:
//! first what the group has committed, then where the outputs end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::inquiry::{self, ANSWER, LEADER, insist};
use crate::kafka::TopicPartition;
use crate::kafka::admin::{Admin, GroupOffsets};
use crate::kafka::ends::LogEnds;
use crate::lane::outgoing::Capacity;
use crate::lane::starts::{PartitionMark, is_partition_key, partition_key};
use crate::pipeline::cluster::input_topics;
use crate::plan::{Pipeline, Then};

use super::Trouble;
use super::account::{InputFacts, Output, OutputTopic};
use super::range::Asked;
use super::source::Use;

/// What the proof starts from.
pub struct Survey {
    pub cluster_id: Arc<str>,
    pub inputs: Vec<InputFacts>,
    /// The topics that outputs and dead letters go to, each once.
    pub topics: Vec<OutputTopic>,
    /// What each of them is for.
    pub uses: Vec<Use>,
    pub outputs: Vec<Output>,
    /// By index of an output in the pipeline, then the dead letters.
    pub topic_of: Vec<u16>,
    pub capacities: Vec<Capacity>,
    /// The group began on partitions that are no inputs any more.
    pub had_other_inputs: bool,
}

/// Stable offsets of the group, in the order of `ids`.
pub fn committed(group: &GroupOffsets, ids: &[TopicPartition]) -> Result<Vec<Option<i64>>, Trouble> {
    let offsets = insist("read the committed offsets of the group", || {
        group.committed(ids, ANSWER)
    })?;
    Ok(offsets.into_iter().map(|(_, offset)| offset).collect())
}

struct InputPartition {
    id: TopicPartition,
    topic_id: Arc<str>,
    is_compacted: bool,
}

/// Asks all that the proof must know. Whoever looks at the group's offsets again does it with
/// what comes beside it.
pub fn ask(plan: &Pipeline, asked: &Asked) -> Result<(Survey, GroupOffsets), Trouble> {
    let client_id = client_id(plan);
    if let Some(mistake) = asked.contradiction() {
        return Err(Trouble::Usage(mistake));
    }
    let admin = Admin::open(&plan.cluster, &client_id).map_err(inquiry::Trouble::opening)?;
    let mut ends = LogEnds::open(&plan.cluster, &client_id).map_err(inquiry::Trouble::opening)?;
    let group = admin
        .group(plan.name.as_str())
        .map_err(inquiry::Trouble::opening)?;
    let cluster_id = insist("reach the cluster", || admin.cluster_id(ANSWER))?;
    let partitions = input_partitions(&admin, plan)?;
    let ids: Vec<TopicPartition> = partitions.iter().map(|partition| partition.id.clone()).collect();
    if let Some(unknown) = asked.partitions().find(|partition| !ids.contains(partition)) {
        return Err(Trouble::Usage(format!(
            "{}:{} is no partition of the input; name one of {}",
            unknown.topic,
            unknown.partition,
            input_topics(plan, &admin).unwrap_or_default().join(", ")
        )));
    }
    // What must be there is decided here. All that is asked from now on may only have grown:
    // output partitions, their ends, and the marks of partitions that began.
    let committed = committed(&group, &ids)?;
    if committed.iter().all(Option::is_none) {
        return Err(Trouble::NothingCommitted {
            group: plan.name.to_string(),
        });
    }
    let (from, to) = asked.times();
    let from = at_time(&mut ends, &ids, from)?;
    let to = at_time(&mut ends, &ids, to)?;
    let outputs = OutputTopics::ask(&admin, plan)?;
    let marks = inquiry::marks(plan, &client_id)?;
    refuse_lost_offsets(&group, &partitions, &committed, &marks)?;
    let slots = outputs.partitions(&mut ends)?;
    let own: HashSet<Vec<u8>> = partitions.iter().map(|p| mark_key(p).into_bytes()).collect();
    let had_other_inputs = marks
        .keys()
        .any(|key| is_partition_key(key) && !own.contains(key));
    let mut inputs = Vec::with_capacity(partitions.len());
    for (index, partition) in partitions.into_iter().enumerate() {
        let bounds = insist("ask for the bounds of the input", || {
            ends.bounds(&partition.id, LEADER)
        })?;
        let began = mark(&marks, &partition).unwrap_or(0);
        let of = |offsets: &[Option<i64>]| offsets.get(index).copied().flatten();
        inputs.push(InputFacts {
            asked: asked.of(&partition.id, (of(&from), of(&to))),
            began,
            committed: of(&committed).unwrap_or(began),
            log_start: bounds.start,
            id: partition.id,
            topic_id: partition.topic_id,
            is_compacted: partition.is_compacted,
        });
    }
    let survey = Survey {
        cluster_id: cluster_id.into(),
        inputs,
        uses: outputs.uses,
        topics: outputs.topics,
        topic_of: outputs.topic_of,
        capacities: outputs.capacities,
        outputs: slots,
        had_other_inputs,
    };
    Ok((survey, group))
}

fn input_partitions(admin: &Admin, plan: &Pipeline) -> Result<Vec<InputPartition>, Trouble> {
    let names = insist("list the topics", || input_topics(plan, admin))?;
    let mut partitions = Vec::new();
    for name in &names {
        let (id, count) = describe(admin, name)?;
        let is_compacted = is_compacted(admin, name)?;
        partitions.extend((0..count).map(|partition| InputPartition {
            id: TopicPartition {
                topic: name.as_str().into(),
                partition,
            },
            topic_id: Arc::clone(&id),
            is_compacted,
        }));
    }
    Ok(partitions)
}

/// Id (its name where brokers know no ids) and number of partitions.
fn describe(admin: &Admin, name: &str) -> Result<(Arc<str>, i32), Trouble> {
    let topic = insist(&format!("describe {name}"), || admin.describe_topic(name, ANSWER))?;
    let id = topic.id.unwrap_or_else(|| name.to_owned());
    Ok((id.into(), topic.partitions))
}

fn is_compacted(admin: &Admin, name: &str) -> Result<bool, Trouble> {
    let policy = insist(&format!("ask for the cleanup.policy of {name}"), || {
        admin.topic_setting(name, "cleanup.policy", ANSWER)
    })?;
    Ok(policy.contains("compact"))
}

/// Where times stand in logs. It connects with the first question.
pub struct Times<'p> {
    plan: &'p Pipeline,
    ends: Option<LogEnds>,
}

impl<'p> Times<'p> {
    pub fn new(plan: &'p Pipeline) -> Self {
        Self { plan, ends: None }
    }

    /// The first offset of a partition whose record is not older; `None` if all are.
    pub fn offset_at(&mut self, id: &TopicPartition, time: i64) -> Result<Option<i64>, Trouble> {
        let ends = match self.ends.take() {
            Some(ends) => ends,
            None => {
                LogEnds::open(&self.plan.cluster, &client_id(self.plan)).map_err(inquiry::Trouble::opening)?
            }
        };
        let ends = self.ends.insert(ends);
        let offsets = insist("look up offsets by time", || {
            ends.offsets_at(std::slice::from_ref(id), time, LEADER)
        })?;
        Ok(offsets.into_iter().next().flatten())
    }
}

/// Of all clients of a proof.
pub fn client_id(plan: &Pipeline) -> String {
    format!("{}.verify", plan.name)
}

/// A time that is later than all records stands at the end of everything.
fn at_time(
    ends: &mut LogEnds,
    ids: &[TopicPartition],
    time: Option<i64>,
) -> Result<Vec<Option<i64>>, Trouble> {
    let Some(time) = time else {
        return Ok(Vec::new());
    };
    let offsets = insist("look up offsets by time", || ends.offsets_at(ids, time, LEADER))?;
    Ok(offsets
        .into_iter()
        .map(|offset| Some(offset.unwrap_or(i64::MAX)))
        .collect())
}

/// Where the group began on this partition, if its first transaction left word.
fn mark(marks: &BTreeMap<Vec<u8>, Vec<u8>>, partition: &InputPartition) -> Option<i64> {
    let mark: PartitionMark = serde_json::from_slice(marks.get(mark_key(partition).as_bytes())?).ok()?;
    Some(mark.offset)
}

fn mark_key(partition: &InputPartition) -> String {
    partition_key(&partition.topic_id, partition.id.partition)
}

/// A partition that the group began and has no offset for. One that has begun only now has its
/// offset by now, too.
fn refuse_lost_offsets(
    group: &GroupOffsets,
    partitions: &[InputPartition],
    offsets: &[Option<i64>],
    marks: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), Trouble> {
    for (partition, offset) in partitions.iter().zip(offsets) {
        if offset.is_some() || mark(marks, partition).is_none() {
            continue;
        }
        if committed(group, std::slice::from_ref(&partition.id))?
            .iter()
            .all(Option::is_none)
        {
            return Err(Trouble::OffsetGone(partition.id.clone()));
        }
    }
    Ok(())
}

#[derive(Default)]
struct OutputTopics {
    topics: Vec<OutputTopic>,
    counts: Vec<i32>,
    uses: Vec<Use>,
    topic_of: Vec<u16>,
    capacities: Vec<Capacity>,
}

impl OutputTopics {
    fn ask(admin: &Admin, plan: &Pipeline) -> Result<Self, Trouble> {
        let mut all = Self::default();
        for output in &plan.outputs {
            all.add(admin, &output.topic, |topic| topic.outputs = true)?;
        }
        if let Then::DeadLetter { topic, style } = &plan.on_error.then {
            all.add(admin, topic, |topic| topic.letters = Some(*style))?;
        }
        Ok(all)
    }

    fn add(&mut self, admin: &Admin, name: &str, used: impl FnOnce(&mut Use)) -> Result<(), Trouble> {
        let known = self.topics.iter().position(|topic| *topic.name == *name);
        if known.is_none() {
            let (_, count) = describe(admin, name)?;
            self.topics.push(OutputTopic {
                name: name.into(),
                is_compacted: is_compacted(admin, name)?,
            });
            self.counts.push(count);
            self.uses.push(Use {
                outputs: false,
                letters: None,
            });
        }
        let index = known.unwrap_or(self.topics.len() - 1);
        if let Some(of) = self.uses.get_mut(index) {
            used(of);
        }
        let limits = insist(&format!("ask for the max.message.bytes of {name}"), || {
            admin.max_message_bytes(&[name], ANSWER)
        })?;
        let count = self.counts.get(index).copied().unwrap_or(0);
        let limit = limits.first().copied().unwrap_or(usize::MAX);
        self.capacities.push(Capacity::new(limit, count));
        self.topic_of.push(u16::try_from(index).unwrap_or(u16::MAX));
        Ok(())
    }

    fn partitions(&self, ends: &mut LogEnds) -> Result<Vec<Output>, Trouble> {
        let mut outputs = Vec::new();
        for ((topic, count), index) in self.topics.iter().zip(&self.counts).zip(0..) {
            for partition in 0..*count {
                let id = TopicPartition {
                    topic: Arc::clone(&topic.name),
                    partition,
                };
                let doing = format!("ask for the ends of {id}");
                let bounds = insist(&doing, || ends.bounds(&id, LEADER))?;
                outputs.push(Output {
                    topic: index,
                    partition,
                    log_start: bounds.start,
                    end: bounds.end,
                });
            }
        }
        Ok(outputs)
    }
}
