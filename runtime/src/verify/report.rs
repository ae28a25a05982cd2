//! What a proof says, as one value: for a person and for a program.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::guest::Module;
use crate::plan::{Pipeline, WasmStage};

use super::account::{Account, Ignored, Outcomes};
use super::finding::{Findings, Kind, text};

/// So many outputs that differ, and so large a share of all, speak for another module.
const SYSTEMATIC_LEAST: u64 = 3;
const SYSTEMATIC_SHARE: u64 = 4;

/// A module that recomputed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleName {
    #[serde(serialize_with = "text")]
    pub stage: Arc<str>,
    #[serde(serialize_with = "text")]
    pub sha256: Arc<str>,
}

impl ModuleName {
    pub fn of((stage, module): (&WasmStage, &Module)) -> Self {
        Self {
            stage: Arc::clone(&stage.name),
            sha256: module.sha256().into(),
        }
    }
}

/// What was looked at of an input partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scope {
    #[serde(serialize_with = "text")]
    pub topic: Arc<str>,
    pub partition: i32,
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
}

/// The verdict.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub pipeline: String,
    pub proven: bool,
    #[serde(flatten)]
    pub outcomes: Outcomes,
    #[serde(serialize_with = "by_kind")]
    pub findings: Findings,
    pub ignored: Ignored,
    pub modules: Vec<ModuleName>,
    pub partitions: Vec<Scope>,
    pub notes: Vec<String>,
}

fn by_kind<S: Serializer>(findings: &Findings, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(findings.iter())
}

impl Report {
    pub fn new(plan: &Pipeline, modules: Vec<ModuleName>, account: Account) -> Self {
        let partitions: Vec<Scope> = account
            .inputs()
            .iter()
            .map(|input| Scope {
                topic: Arc::clone(&input.facts.id.topic),
                partition: input.facts.id.partition,
                from: input.start().min(input.end()),
                to: input.end(),
            })
            .collect();
        let findings = account.findings.sorted();
        // Of nothing, everything is true.
        let has_scope = partitions.iter().any(|scope| scope.from < scope.to);
        let mut report = Self {
            pipeline: plan.name.to_string(),
            proven: findings.is_empty() && has_scope,
            outcomes: account.outcomes,
            findings,
            ignored: account.ignored,
            modules,
            partitions,
            notes: Vec::new(),
        };
        report.notes = report.work_out_notes(!plan.stores.is_empty());
        report
    }

    fn work_out_notes(&self, keeps_state: bool) -> Vec<String> {
        let mut notes = Vec::new();
        let count = |kind| self.findings.count(kind);
        let differing = count(Kind::Differs);
        if differing >= SYSTEMATIC_LEAST && differing * SYSTEMATIC_SHARE >= self.outcomes.inputs {
            let modules: Vec<String> = self
                .modules
                .iter()
                .map(|m| format!("{} {}", m.stage, m.sha256))
                .collect();
            notes.push(format!(
                "{differing} of {} inputs differ from what the module makes of them ({}): if another one ran, give it \
                 with --module PATH; a transform that depends on time or on what it keeps in memory cannot be \
                 recomputed",
                self.outcomes.inputs,
                modules.join(", ")
            ));
        }
        if keeps_state {
            notes.push(
                "the pipeline keeps state, which is not recomputed: its outputs are only known to stand once each \
                 and in order"
                    .to_owned(),
            );
        }
        if count(Kind::Unproven) > 0 {
            notes.push(
                "what is unproven may be right all the same: --assume-filtered takes what is missing of it for \
                 filtered, --from and --since leave it out"
                    .to_owned(),
            );
        }
        if self.ignored.untraced > 0 {
            notes.push(format!(
                "{} records of the outputs carry no strait-source: written by others, or before `provenance: headers`",
                self.ignored.untraced
            ));
        }
        notes
    }
}

/// The summary; findings are listed by whoever prints it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.outcomes;
        if self.proven && o.assumed == 0 {
            writeln!(f, "{}: {} inputs, each exactly once", self.pipeline, o.inputs)?;
        } else if self.proven {
            writeln!(
                f,
                "{}: {} inputs, each exactly once; {} offsets assumed filtered",
                self.pipeline, o.exactly_once, o.assumed
            )?;
        } else {
            let kinds = Kind::ALL.map(|kind| (kind, self.findings.count(kind)));
            let kinds = kinds.iter().filter(|(_, count)| *count > 0);
            let mut kinds: Vec<String> = kinds
                .map(|(kind, count)| format!("{count} {}", kind.as_str()))
                .collect();
            if kinds.is_empty() {
                kinds.push("no input offset is in scope".to_owned());
            }
            writeln!(f, "{}: not proven: {}", self.pipeline, kinds.join(", "))?;
            writeln!(
                f,
                "  {} of {} inputs are there exactly once",
                o.exactly_once, o.inputs
            )?;
        }
        write!(
            f,
            "  {} with {} outputs, {} filtered, {} dead letters, {} skipped",
            o.emitted, o.outputs, o.filtered, o.dead_letters, o.skipped
        )?;
        if o.repeated > 0 {
            write!(f, ", {} repeats", o.repeated)?;
        }
        if o.by_coordinate > 0 {
            write!(f, "; {} outputs of inputs that are gone", o.by_coordinate)?;
        }
        let i = &self.ignored;
        let ignored = [
            (i.outside_range, "outside the range"),
            (i.committed_since, "committed meanwhile"),
            (i.untraced, "without strait-source"),
            (i.unreadable, "with a coordinate that cannot be read"),
            (i.other_cluster, "of another cluster"),
            (i.other_pipeline, "of another pipeline"),
            (i.other_topic, "of another input topic"),
        ];
        let ignored: Vec<String> = ignored
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !ignored.is_empty() {
            write!(f, "\n  not counted: {}", ignored.join(", "))?;
        }
        for module in &self.modules {
            write!(f, "\n  recomputed with {} {}", module.stage, module.sha256)?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}
