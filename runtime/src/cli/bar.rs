//! How far it has come: on a terminal alone, and on standard error, since what is printed may
//! be piped.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::inquiry::Passed;

/// It is gone when it is dropped.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    pub fn new(doing: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = "{msg:16} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    pub fn show(&self, passed: Passed) {
        let Some(bar) = &self.0 else { return };
        match passed {
            Passed::Total(offsets) => bar.set_length(bar.position().saturating_add(offsets)),
            Passed::Offsets(offsets) => bar.inc(offsets),
        }
    }

    /// What is done from now on.
    pub fn say(&self, doing: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(doing);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
