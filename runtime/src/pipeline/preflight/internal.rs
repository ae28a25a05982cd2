//! The topics that a pipeline keeps for itself: found, or made where it may.

use std::collections::HashMap;

use crate::kafka::admin::{Admin, NewTopic};
use crate::kafka::{KafkaError, codes};
use crate::lane::outgoing::Capacity;
use crate::plan::{InputTopics, Pipeline};

use super::{ANSWER, Misfit};

/// A topic shared by the whole group needs no more than one partition.
const CONTROL_PARTITIONS: i32 = 1;

/// Copies of an internal topic where the cluster has that many nodes.
const REPLICATION: i32 = 3;

/// Settings of which more is as good.
const AT_LEAST: [&str; 1] = ["delete.retention.ms"];

/// A topic as it has to be.
struct Internal {
    name: String,
    partitions: i32,
    settings: &'static [(&'static str, &'static str)],
    /// What happens otherwise.
    because: &'static str,
    /// What it means if it has fewer partitions than its input, and what can be done.
    grown: (&'static str, &'static str),
}

/// In the order of [`Pipeline::produced_topics`]: the control topic first. What it returns is
/// complete only if nothing is amiss.
pub(super) fn find_or_make(
    admin: &Admin,
    plan: &Pipeline,
    misfits: &mut Vec<Misfit>,
) -> Result<Vec<Capacity>, KafkaError> {
    find_or_make_all(admin, plan, wanted(admin, plan)?, misfits)
}

/// The topic that tells what has become of dead letters. Only who works with them needs it.
pub(super) fn find_or_make_marks(
    admin: &Admin,
    plan: &Pipeline,
    misfits: &mut Vec<Misfit>,
) -> Result<Vec<Capacity>, KafkaError> {
    let marks = Internal {
        name: plan.name.dead_letter_marks_topic(),
        partitions: 1,
        settings: &[("cleanup.policy", "compact")],
        because: "a letter whose mark expires would be replayed again",
        grown: ("it needs one partition", "create it anew"),
    };
    find_or_make_all(admin, plan, vec![marks], misfits)
}

fn find_or_make_all(
    admin: &Admin,
    plan: &Pipeline,
    topics: Vec<Internal>,
    misfits: &mut Vec<Misfit>,
) -> Result<Vec<Capacity>, KafkaError> {
    let mut capacities = Vec::new();
    let mut made = None;
    for topic in topics {
        match find(admin, &topic, misfits)? {
            Found::Yes(capacity) => capacities.push(capacity),
            Found::Amiss => {}
            Found::No if plan.internal_topics.create => {
                make(admin, plan, &topic, misfits)?;
                made = Some(topic.name);
            }
            Found::No => {
                let what = format!(
                    "the internal topic {} is missing, and internal_topics is `require`",
                    topic.name
                );
                misfits.push(misfit(what, format!("create it with {}", topic.described())));
            }
        }
    }
    match made {
        // It takes a moment until every broker knows it: whoever asks again will see it.
        Some(name) if misfits.is_empty() => {
            let message = format!("{name} is being created");
            Err(KafkaError::own("TOPIC_IS_NEW", &message, true))
        }
        _ => Ok(capacities),
    }
}

fn wanted(admin: &Admin, plan: &Pipeline) -> Result<Vec<Internal>, KafkaError> {
    let mut topics = vec![Internal {
        name: plan.name.control_topic(),
        partitions: CONTROL_PARTITIONS,
        settings: &[("cleanup.policy", "compact")],
        because: "a mark that expires would look like a partition that never was",
        grown: ("it needs one partition", "create it anew"),
    }];
    let inputs: Vec<&str> = plan.inputs_with_claims().iter().map(String::as_str).collect();
    for (input, described) in inputs.iter().zip(admin.describe(&inputs, ANSWER)?) {
        topics.push(Internal {
            name: plan.name.claims_topic(input),
            partitions: described?.partitions,
            // What is no longer needed is deleted by its lane, by the time of the records.
            settings: &[
                ("cleanup.policy", "delete"),
                ("retention.ms", "-1"),
                ("retention.bytes", "-1"),
                ("message.timestamp.type", "CreateTime"),
            ],
            because: "a message id that expires while the pipeline stands still would pass again",
            grown: (
                "the input has grown, so a message id may now arrive in another partition than before, and its repeats \
                 would pass",
                "to accept that for one window",
            ),
        });
    }
    let inputs: Vec<&str> = match &plan.input.topics {
        InputTopics::Named(names) if !plan.stores.is_empty() => names.iter().map(String::as_str).collect(),
        InputTopics::Named(_) | InputTopics::Pattern(_) => Vec::new(),
    };
    let mut described = HashMap::new();
    for (input, topic) in inputs.iter().zip(admin.describe(&inputs, ANSWER)?) {
        described.insert(*input, topic?.partitions);
    }
    for (store, input) in plan.state_topics() {
        topics.push(Internal {
            name: plan.name.state_topic(store, input),
            partitions: described.get(input).copied().unwrap_or_default(),
            settings: &[("cleanup.policy", "compact"), ("delete.retention.ms", "86400000")],
            because: "state that expires would be lost, and a copy of it must meet the tombstones of what was deleted",
            grown: (
                "the input has grown, so a key may now arrive in another partition than the one that holds its state",
                "to go on with what there is; or run the pipeline under another name, to count from the beginning",
            ),
        });
    }
    Ok(topics)
}

enum Found {
    Yes(Capacity),
    No,
    /// It is there, and there is a misfit about it.
    Amiss,
}

fn find(admin: &Admin, topic: &Internal, misfits: &mut Vec<Misfit>) -> Result<Found, KafkaError> {
    let name = topic.name.as_str();
    let partitions = match admin.describe_topic(name, ANSWER) {
        Ok(described) => described.partitions,
        Err(error) if error.code == codes::UNKNOWN_TOPIC_OR_PART => return Ok(Found::No),
        Err(error) => return Err(error),
    };
    let before = misfits.len();
    if partitions < topic.partitions {
        misfits.push(misfit(
            format!(
                "the internal topic {name} has {partitions} partitions for an input of {}: {}",
                topic.partitions, topic.grown.0
            ),
            format!("give it {} {}", topic.partitions, topic.grown.1),
        ));
    }
    for (key, value) in topic.settings {
        let is = admin.topic_setting(name, key, ANSWER)?;
        if !fits(key, &is, value) {
            let or_more = if AT_LEAST.contains(key) { " or more" } else { "" };
            misfits.push(misfit(
                format!("the internal topic {name} has {key}={is}"),
                format!("set it to {value}{or_more}: {}", topic.because),
            ));
        }
    }
    if misfits.len() > before {
        return Ok(Found::Amiss);
    }
    let limit = admin.max_message_bytes(&[name], ANSWER)?;
    let limit = limit.first().copied();
    Ok(limit.map_or(Found::Amiss, |limit| Found::Yes(Capacity::new(limit, partitions))))
}

fn fits(key: &str, is: &str, wanted: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok().filter(|_| AT_LEAST.contains(&key));
    is == wanted
        || number(is)
            .zip(number(wanted))
            .is_some_and(|(is, wanted)| is >= wanted)
}

fn make(
    admin: &Admin,
    plan: &Pipeline,
    topic: &Internal,
    misfits: &mut Vec<Misfit>,
) -> Result<(), KafkaError> {
    let nodes = i32::try_from(admin.node_count(ANSWER)?).unwrap_or(i32::MAX);
    let fitting = if nodes >= REPLICATION { REPLICATION } else { 1 };
    let replication = plan.internal_topics.replication.unwrap_or(fitting);
    let settings = topic.settings.iter();
    let new = NewTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication,
        config: settings
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    match admin.create_topic(&new, ANSWER) {
        Ok(true) => tracing::info!(topic = topic.name, replication, "internal topic created"),
        Ok(false) => {}
        Err(error) if error.retriable => return Err(error),
        Err(error) => misfits.push(misfit(
            format!("cannot create the internal topic {}: {error}", topic.name),
            "grant this user the right to create it, or create it and write `internal_topics: require`"
                .to_owned(),
        )),
    }
    Ok(())
}

impl Internal {
    fn described(&self) -> String {
        let settings = self.settings.iter().map(|(key, value)| format!("{key}={value}"));
        let settings: Vec<String> = settings.collect();
        let plural = if self.partitions == 1 { "" } else { "s" };
        format!(
            "{} partition{plural} and {}",
            self.partitions,
            settings.join(", ")
        )
    }
}

fn misfit(what: String, remedy: String) -> Misfit {
    Misfit {
        key: "internal_topics".to_owned(),
        what,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn tombstones_may_be_kept_longer_and_nothing_else_may_differ() {
        let day = "86400000";
        for (is, fit) in [(day, true), ("172800000", true), ("3600000", false), ("", false)] {
            assert_eq!(fits("delete.retention.ms", is, day), fit, "{is}");
        }
        assert!(fits("cleanup.policy", "compact", "compact"));
        assert!(!fits("cleanup.policy", "compact,delete", "compact"));
        assert!(!fits("retention.ms", "0", "-1"));
    }
}
