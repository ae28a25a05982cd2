//! `strait offsets show`.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use crate::kafka::admin::GroupMember;
use crate::lane::starts::{Beginning, decide};
use crate::offsets::group::{Group, Known};
use crate::offsets::plan::Facts;
use crate::plan::Start;

use super::Of;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub of: Of,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, group: &Group) -> anyhow::Result<ExitCode> {
    let known = group.look()?;
    let members = group.members()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let partitions = known.partitions.iter().map(|facts| {
            json!({
                "topic": &*facts.id.topic,
                "partition": facts.id.partition,
                "committed": facts.committed,
                "began": facts.began,
                "start": facts.bounds.start,
                "end": facts.bounds.end,
                "lag": facts.lag(),
                "note": note(group.plan.input.start, &known, facts),
            })
        });
        let members = members
            .iter()
            .map(|member| json!({ "client_id": member.client_id, "host": member.host }));
        let shown = json!({
            "group": group.name(),
            "members": members.collect::<Vec<_>>(),
            "partitions": partitions.collect::<Vec<_>>(),
        });
        writeln!(out, "{shown:#}")?;
    } else {
        print(group, &known, &members, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(group: &Group, known: &Known, members: &[GroupMember], out: &mut impl Write) -> std::io::Result<()> {
    let members = match members {
        [] => "nobody is in it".to_owned(),
        members => {
            let names: Vec<String> = members.iter().map(ToString::to_string).collect();
            format!("in it: {}", names.join(", "))
        }
    };
    let without = known.partitions.iter().all(|facts| facts.committed.is_none());
    let offsets = if without { ", and it has no offset" } else { "" };
    writeln!(out, "group {}: {members}{offsets}", group.name())?;
    let names = known.partitions.iter().map(|facts| facts.name().len());
    let width = names.max().unwrap_or_default().max("partition".len());
    writeln!(
        out,
        "{:width$} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "partition", "committed", "lag", "start", "end", "began"
    )?;
    let number = |offset: Option<i64>| offset.map_or("-".to_owned(), |offset| offset.to_string());
    for facts in &known.partitions {
        writeln!(
            out,
            "{:width$} {:>12} {:>12} {:>12} {:>12} {:>12}",
            facts.name(),
            number(facts.committed),
            number(facts.lag()),
            facts.bounds.start,
            facts.bounds.end,
            number(facts.began)
        )?;
    }
    for facts in &known.partitions {
        if let Some(note) = note(group.plan.input.start, known, facts) {
            writeln!(out, "{}: {note}", facts.name())?;
        }
    }
    Ok(())
}

/// What is special about a partition.
fn note(start: Start, known: &Known, facts: &Facts) -> Option<&'static str> {
    let Some(committed) = facts.committed else {
        return Some(
            match decide(&known.marks, &facts.topic_id, facts.id.partition, start) {
                Beginning::Earliest => "the group has no offset, and will begin at the start of the log",
                Beginning::Latest => "the group has no offset, and will begin at the end of the log",
                Beginning::Expired => {
                    "the group has lost its offset (expired, or deleted), and the pipeline will not start: set it with \
                     strait offsets reset"
                }
            },
        );
    };
    let in_log = (facts.bounds.start..=facts.bounds.end).contains(&committed);
    (!in_log).then_some("the offset is not in the log any more: input.on_gap says what the pipeline does")
}
