//! Where a value came from, and how a key is named: the two things every finding
//! carries. A value keeps its own origin through interpolation and overrides, so
//! that a mistake is reported where the reader can mend it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What to open to change a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A place in a file; lines and columns count from one, columns in characters.
    File {
        file: Arc<Path>,
        line: usize,
        column: usize,
    },
    /// An environment variable, by name.
    Variable(Arc<str>),
    /// A flag, as it was written.
    Flag(Arc<str>),
}

impl Origin {
    /// The first character of a file: for what concerns the whole of it.
    pub fn start(file: &Arc<Path>) -> Self {
        Self::File {
            file: Arc::clone(file),
            line: 1,
            column: 1,
        }
    }

    /// Whether the value overrides the file.
    pub fn is_override(&self) -> bool {
        !matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A path of keys and list positions from the top of the document. It reads
/// `stages.0.wasm.module`, which is also what `--set` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// The whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// From keys known to hold no dot.
    pub fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub fn from_segments(segments: Vec<String>) -> Self {
        Self(segments)
    }

    #[must_use]
    pub fn join(&self, segment: impl fmt::Display) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.to_string());
        Self(segments)
    }

    pub fn segments(&self) -> &[String] {
        &self.0
    }

    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// As RFC 6901 writes it.
    pub fn pointer(&self) -> String {
        self.0.iter().fold(String::new(), |pointer, segment| {
            pointer + "/" + &segment.replace('~', "~0").replace('/', "~1")
        })
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
