//! A mistake in a configuration: where, which key, what is wrong, what to write.
//!
//! Codes are stable: programs may match on them, so a code is never reused for
//! another meaning. The text may change.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::place::{KeyPath, Origin};

/// Whether the configuration can run in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    FileMissing,
    FileUnreadable,
    FileTooLarge,
    FolderEmpty,
    YamlSyntax,
    YamlEmpty,
    YamlDocuments,
    YamlAlias,
    YamlTag,
    YamlKey,
    YamlDuplicate,
    YamlDepth,
    KeyUnknown,
    KeyMissing,
    ValueType,
    ValueChoice,
    ValueFormat,
    ValueRange,
    ValueRepeated,
    InterpolationSyntax,
    InterpolationMissing,
    OverrideSyntax,
    OverrideKey,
    OverrideUnused,
    NameTaken,
    TopicName,
    TopicLoop,
    TopicShared,
    OutputDefault,
    DeadLetterMissing,
    DeadLetterUnused,
    TimeoutFit,
    MemoryFit,
    DeliveryRule,
    DedupRule,
    StateRule,
    KafkaRefused,
    KafkaUnknown,
    KafkaValue,
    KafkaScope,
    ModuleMissing,
    ModuleRefused,
    ClusterMisfit,
    ClusterUnreachable,
}

impl Code {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileMissing => "file.missing",
            Self::FileUnreadable => "file.unreadable",
            Self::FileTooLarge => "file.too_large",
            Self::FolderEmpty => "file.folder_empty",
            Self::YamlSyntax => "yaml.syntax",
            Self::YamlEmpty => "yaml.empty",
            Self::YamlDocuments => "yaml.documents",
            Self::YamlAlias => "yaml.alias",
            Self::YamlTag => "yaml.tag",
            Self::YamlKey => "yaml.key",
            Self::YamlDuplicate => "yaml.duplicate",
            Self::YamlDepth => "yaml.depth",
            Self::KeyUnknown => "key.unknown",
            Self::KeyMissing => "key.missing",
            Self::ValueType => "value.type",
            Self::ValueChoice => "value.choice",
            Self::ValueFormat => "value.format",
            Self::ValueRange => "value.range",
            Self::ValueRepeated => "value.repeated",
            Self::InterpolationSyntax => "interpolation.syntax",
            Self::InterpolationMissing => "interpolation.missing",
            Self::OverrideSyntax => "override.syntax",
            Self::OverrideKey => "override.key",
            Self::OverrideUnused => "override.unused",
            Self::NameTaken => "name.taken",
            Self::TopicName => "topic.name",
            Self::TopicLoop => "topic.loop",
            Self::TopicShared => "topic.shared",
            Self::OutputDefault => "output.default",
            Self::DeadLetterMissing => "dead_letter.missing",
            Self::DeadLetterUnused => "dead_letter.unused",
            Self::TimeoutFit => "timeout.fit",
            Self::MemoryFit => "memory.fit",
            Self::DeliveryRule => "delivery.rule",
            Self::DedupRule => "dedup.rule",
            Self::StateRule => "state.rule",
            Self::KafkaRefused => "kafka.refused",
            Self::KafkaUnknown => "kafka.unknown",
            Self::KafkaValue => "kafka.value",
            Self::KafkaScope => "kafka.scope",
            Self::ModuleMissing => "module.missing",
            Self::ModuleRefused => "module.refused",
            Self::ClusterMisfit => "cluster.misfit",
            Self::ClusterUnreachable => "cluster.unreachable",
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub code: Code,
    pub origin: Origin,
    /// The key that holds the mistake; the root for the file as a whole.
    pub key: KeyPath,
    /// What is wrong, without a full stop.
    pub what: String,
    /// What to write instead, as an instruction.
    pub remedy: String,
}

impl Finding {
    /// An error; see [`Finding::warning`] for the milder kind.
    pub fn error(
        code: Code,
        origin: &Origin,
        key: &KeyPath,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (origin, key) = (origin.clone(), key.clone());
        Self {
            severity: Severity::Error,
            code,
            origin,
            key,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The same finding, which does not keep the configuration from running.
    #[must_use]
    pub fn warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut object = json!({
            "severity": self.severity.as_str(),
            "code": self.code.as_str(),
            "key": self.key.to_string(),
            "pointer": self.key.pointer(),
            "what": self.what,
            "remedy": self.remedy,
        });
        let place = match &self.origin {
            Origin::File { file, line, column } => {
                json!({ "file": file.to_string_lossy(), "line": line, "column": column })
            }
            Origin::Variable(name) => json!({ "variable": &**name }),
            Origin::Flag(flag) => json!({ "flag": &**flag }),
        };
        if let (Some(object), serde_json::Value::Object(place)) = (object.as_object_mut(), place) {
            object.extend(place);
        }
        object
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_root() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// Every mistake that was found, in the order of the files and their lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    pub fn extend(&mut self, others: impl IntoIterator<Item = Finding>) {
        self.0.extend(others);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them keeps the configuration from running.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Puts those of one file into the order of its lines. Files stay in the order
    /// in which they were given; what comes from overrides follows the files.
    pub fn sort(&mut self) {
        let mut files: Vec<Arc<Path>> = Vec::new();
        for finding in &self.0 {
            if let Origin::File { file, .. } = &finding.origin
                && !files.contains(file)
            {
                files.push(Arc::clone(file));
            }
        }
        self.0.sort_by_key(|finding| match &finding.origin {
            Origin::File { file, line, column } => (
                files
                    .iter()
                    .position(|known| known == file)
                    .unwrap_or(files.len()),
                *line,
                *column,
            ),
            Origin::Variable(_) => (files.len(), 0, 0),
            Origin::Flag(_) => (files.len() + 1, 0, 0),
        });
        self.0.dedup();
    }

    /// One line each; with colour for a terminal.
    pub fn render(&self, colour: bool) -> String {
        self.0
            .iter()
            .map(|finding| render_line(finding, colour))
            .collect()
    }

    /// A list of objects: severity, code, place, key, pointer, what, remedy.
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(Finding::to_json).collect()
    }
}

/// Whether to colour what goes to this stream: a terminal whose user did not object.
pub fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|told| told.is_empty())
}

fn render_line(finding: &Finding, colour: bool) -> String {
    if !colour {
        return format!("{finding}\n");
    }
    let tint = match finding.severity {
        Severity::Error => "31",
        Severity::Warning => "33",
    };
    let key = if finding.key.is_root() {
        String::new()
    } else {
        format!("\x1b[36m{}\x1b[0m: ", finding.key)
    };
    let Finding {
        origin, what, remedy, ..
    } = finding;
    format!("\x1b[1m{origin}\x1b[0m: {key}\x1b[{tint}m{what}\x1b[0m; {remedy}\n")
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Findings {}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        Self(findings.into_iter().collect())
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
