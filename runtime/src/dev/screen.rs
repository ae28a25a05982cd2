//! What `strait dev` shows on standard output: lines that stay, and on a terminal one line
//! below them that changes. Logs go to standard error and are not its business.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    /// Only on a terminal.
    bar: Option<ProgressBar>,
}

impl Screen {
    pub fn new() -> Self {
        Self {
            bar: std::io::stdout().is_terminal().then(new_bar),
        }
    }

    /// Whether somebody may be watching.
    pub fn is_terminal(&self) -> bool {
        self.bar.is_some()
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => print(line),
        }
    }

    /// Replaces the line that changes; without a terminal it is a line as any other.
    pub fn status(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(line.to_owned()),
            None => print(line),
        }
    }

    /// Clears the way for a program that writes to the terminal itself.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    /// The changing line goes; what is said from now on stays below the rest.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    // A line longer than the terminal is wide is cut, since one that wraps cannot be redrawn.
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more; that is no reason to stop working.
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}
