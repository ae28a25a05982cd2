//! Which pipeline a verb is about.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Checked, Code, Findings, KeyPath, OverrideArgs, Overrides};
use crate::plan::Pipeline;

/// The one pipeline of a file.
#[derive(Debug, clap::Args)]
pub struct Of {
    /// The pipeline's file
    #[arg(value_name = "PIPELINE")]
    path: PathBuf,
    #[command(flatten)]
    overrides: OverrideArgs,
}

impl Of {
    pub fn checked(&self) -> Result<Checked, Findings> {
        let overrides = Overrides::from(self.overrides.clone());
        let config::Report { pipelines, findings } =
            config::report(std::slice::from_ref(&self.path), &overrides);
        if findings.has_errors() {
            return Err(findings);
        }
        let mut pipelines = pipelines.into_iter();
        if let (Some(checked), None) = (pipelines.next(), pipelines.next()) {
            return Ok(checked);
        }
        let (places, what) = (config::Places::new(&self.path), "it holds several pipelines");
        let several = places.error(Code::NameTaken, &KeyPath::root(), what, "name the file of one");
        Err(std::iter::once(several).collect())
    }

    /// Does something with it, or says what is wrong with it. That whoever reads along has had enough is
    /// no failure.
    pub fn with(
        &self,
        work: impl FnOnce(&Arc<Pipeline>) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let checked = match self.checked() {
            Ok(checked) => checked,
            Err(findings) => return Ok(super::invalid(&findings)),
        };
        match work(&Arc::new(checked.pipeline)) {
            Err(error) if super::is_closed(&error) => Ok(ExitCode::SUCCESS),
            done => done,
        }
    }
}
