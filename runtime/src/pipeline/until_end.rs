//! `--until end`: the pipeline ends when the group has committed what was there at the start,
//! whichever process did it.

use std::time::{Duration, Instant};

use crate::kafka::admin::GroupOffsets;
use crate::kafka::{KafkaError, TopicPartition};
use crate::plan::Pipeline;

use super::cluster::input_topics;
use super::preflight::Facts;

const ANSWER: Duration = Duration::from_secs(5);

/// Distance of two looks at the committed offsets.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Watches the group's committed offsets.
pub struct UntilEnd<'a> {
    plan: &'a Pipeline,
    facts: &'a Facts,
    /// `None` until the ends are known.
    targets: Option<Vec<(TopicPartition, i64)>>,
    looked: Option<Instant>,
    /// `None` until it is asked first.
    group: Option<GroupOffsets>,
}

impl<'a> UntilEnd<'a> {
    pub fn new(plan: &'a Pipeline, facts: &'a Facts) -> Self {
        Self {
            plan,
            facts,
            targets: None,
            looked: None,
            group: None,
        }
    }

    /// Whether every partition is committed up to the end that was found first.
    pub fn is_reached(&mut self) -> bool {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return false;
        }
        self.looked = Some(Instant::now());
        self.look().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot see yet whether the end is reached");
            false
        })
    }

    fn look(&mut self) -> Result<bool, KafkaError> {
        let targets = match self.targets.take() {
            Some(targets) => targets,
            None => self.find_ends()?,
        };
        let partitions: Vec<TopicPartition> =
            targets.iter().map(|(partition, _)| partition.clone()).collect();
        let committed = self.group()?.committed(&partitions, ANSWER);
        let reached = committed.map(|committed| {
            targets.iter().all(|(partition, end)| {
                committed
                    .iter()
                    .any(|(of, offset)| of == partition && offset.is_some_and(|offset| offset >= *end))
            })
        });
        self.targets = Some(targets);
        reached
    }

    fn group(&mut self) -> Result<&GroupOffsets, KafkaError> {
        let group = match self.group.take() {
            Some(group) => group,
            None => self
                .facts
                .directory
                .with_admin(|admin| admin.group(self.plan.name.as_str()))?,
        };
        Ok(self.group.insert(group))
    }

    fn find_ends(&self) -> Result<Vec<(TopicPartition, i64)>, KafkaError> {
        let directory = &self.facts.directory;
        let (names, described) = directory.with_admin(|admin| {
            let names = input_topics(self.plan, admin)?;
            let described = admin.describe(&names.iter().map(String::as_str).collect::<Vec<_>>(), ANSWER)?;
            Ok::<_, KafkaError>((names, described))
        })?;
        let mut targets = Vec::new();
        for (name, described) in names.iter().zip(described) {
            for partition in 0..described?.partitions {
                let partition = TopicPartition {
                    topic: name.as_str().into(),
                    partition,
                };
                let end = directory
                    .with_admin(|admin| admin.bounds(&partition, ANSWER))?
                    .end;
                targets.push((partition, end));
            }
        }
        Ok(targets)
    }
}
