//! Messages to the runtime's log.
//!
//! ```
//! strait_sdk::log::info("a new currency appeared");
//! strait_sdk::log::warn(format_args!("{} is no currency", "XXX"));
//! ```
//!
//! Outside of WebAssembly, messages go to standard error, or to
//! [`Ran::logs`](crate::testing::Ran::logs) under test. Do not log each record: each message
//! leaves the sandbox.

use std::fmt;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// For following one record through.
pub fn trace(message: impl fmt::Display) {
    log(Level::Trace, message);
}

/// For the author of the transform.
pub fn debug(message: impl fmt::Display) {
    log(Level::Debug, message);
}

/// A change that an operator may want to know of.
pub fn info(message: impl fmt::Display) {
    log(Level::Info, message);
}

/// Something unexpected that the transform can live with.
pub fn warn(message: impl fmt::Display) {
    log(Level::Warn, message);
}

/// Something that an operator must look at.
pub fn error(message: impl fmt::Display) {
    log(Level::Error, message);
}

/// A message of any level.
pub fn log(level: Level, message: impl fmt::Display) {
    let message = message.to_string();
    #[cfg(target_arch = "wasm32")]
    crate::abi::log(level, &message);
    #[cfg(not(target_arch = "wasm32"))]
    native::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native {
    use std::cell::RefCell;
    use std::io::Write;

    use super::Level;

    thread_local! {
        static CAPTURED: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
    }

    pub(super) fn log(level: Level, message: String) {
        let left = CAPTURED.with_borrow_mut(|captured| match captured {
            Some(messages) => {
                messages.push((level, message));
                None
            }
            None => Some(message),
        });
        if let Some(message) = left {
            // Nobody can be told that standard error is gone.
            drop(writeln!(std::io::stderr(), "{level:?}: {message}"));
        }
    }

    /// Runs `work` and hands over what it logged on this thread.
    pub(crate) fn capture<R>(work: impl FnOnce() -> R) -> (R, Vec<(Level, String)>) {
        let outer = CAPTURED.replace(Some(Vec::new()));
        let result = work();
        (result, CAPTURED.replace(outer).unwrap_or_default())
    }
}
