//! How a record fails: for good, or until later.

use std::fmt;

/// `Result` with [`Error`] unless told otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a record has no outputs.
///
/// Any standard error turns into a reject with `?`:
///
/// ```
/// # use strait_sdk::prelude::*;
/// fn number(value: &[u8]) -> Result<i64> {
///     let text = std::str::from_utf8(value)?;
///     Ok(text.parse()?)
/// }
/// assert_eq!(number(b"12").unwrap(), 12);
/// assert!(number(b"x").unwrap_err().is_reject());
/// ```
pub struct Error {
    kind: Kind,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Reject,
    Retry,
    /// What went wrong is kept by the output and is about more than this record.
    Ended,
}

impl Error {
    /// The record has failed for good: it is never tried again, and the pipeline's policy says
    /// what becomes of it (`on_error.then`).
    pub fn reject(reason: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Reject,
            reason: reason.to_string(),
        }
    }

    /// The record is to be tried again, after a pause that grows (`on_error.retry`). The records
    /// behind it wait. When all attempts are used up, the record has failed for good.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Retry,
            reason: reason.to_string(),
        }
    }

    pub(crate) fn ended(reason: impl Into<String>) -> Self {
        Self {
            kind: Kind::Ended,
            reason: reason.into(),
        }
    }

    /// Whether the record has failed for good.
    pub fn is_reject(&self) -> bool {
        self.kind == Kind::Reject
    }

    /// Whether the record is to be tried again.
    pub fn is_retry(&self) -> bool {
        self.kind == Kind::Retry
    }

    /// What the dead letter will say.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.kind, self.reason)
    }
}

/// An error that says nothing about trying again is a reject.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::reject(error)
    }
}
