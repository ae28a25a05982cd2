//! What the guests that misbehave do, by the value of a record.

/// Anything that is no command passes.
pub const PASS: &str = "pass";
pub const FILTER: &str = "drop";
/// Emits first: what a record emitted before it is rejected must not be seen.
pub const REJECT: &str = "reject:told to";
/// Asks to be tried again, however often it is.
pub const RETRY: &str = "retry-always";
/// Passes at the third attempt.
pub const RETRY_TWICE: &str = "retry:3";
pub const TRAP: &str = "panic:told to";
pub const LOOP: &str = "loop";
pub const MEMORY: &str = "bomb";
pub const OVERSIZED: &str = "oversize";
pub const UNKNOWN_OUTPUT: &str = "unknown-output";

/// What the guest `malformed` does to the answer to a whole batch, if one of its records
/// asks for it.
pub const MALFORMED: [&str; 17] = [
    "empty",
    "short",
    "magic",
    "version",
    "flags",
    "total-len",
    "entry-count",
    "entries-offset",
    "heap-len",
    "origin",
    "output",
    "kind",
    "inherit",
    "value",
    "reason",
    "pointer",
    "tag",
];

/// What the guest `importer` asks for.
pub const IMPORT: &str = "wall_clock";
